package config

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/warder-gateway/warder/internal/secret"
)

// decoder reads nodes into Go values by the values' types, and collects every
// problem it meets:
//
//   - a struct is an object whose keys are its json tags; embedded structs are
//     part of it. Tags required:"true", enum:"a,b" and later:"c,d" (words of
//     the format that this build does not enforce) narrow it;
//   - a type that reads itself from text takes a scalar, and, if it is a
//     struct, an object as well;
//   - a scalar.List takes one value or a list, other slices a list;
//   - scalars are taken as their text: what YAML would guess plays no part.
type decoder struct {
	file       string
	policies   []string // of the catalog
	inDocument bool     // references may wait for Resolve
	problems   Problems
	references []reference
}

func newDecoder(file string, v Vocabulary) *decoder {
	return &decoder{file: file, policies: v.Policies}
}

// document decodes the root of a document.
func (d *decoder) document(root *yaml.Node, doc *Document) {
	d.inDocument = true
	d.into(root, "", doc)
}

// into decodes n into what into points to.
func (d *decoder) into(n *yaml.Node, path string, into any) {
	if n == nil {
		d.complain(Pos{d.file, 1, 1}, path, "there is no value", "")
		return
	}
	d.value(n, path, reflect.ValueOf(into).Elem(), words{})
}

func (d *decoder) complain(pos Pos, path, text, mend string) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{Pos: pos, Path: path, Text: printable(text), Mend: printable(mend)})
	}
}

// suggest is DidYouMean for the first problems; comparing words takes time,
// and who has made a hundred mistakes has made one.
func (d *decoder) suggest(word string, known func() []string) string {
	if len(d.problems) > 100 {
		return ""
	}
	return DidYouMean(word, known())
}

func (d *decoder) complainAt(n *yaml.Node, path, text, mend string) {
	d.complain(place(d.file, n), path, text, mend)
}

type (
	// defaulter has values for what is not written.
	defaulter interface{ defaults() }
	// named is a Named, whatever it holds.
	named interface {
		reserve(n int)
		add(name string, pos Pos) any
	}
	// shorthand is a type that accepts another shape than its own.
	shorthand interface {
		short(d *decoder, n *yaml.Node, path string) (taken bool)
	}
	// cataloguer keeps the values of policies whose paths begin with prefix.
	cataloguer interface {
		catalog() (prefix string, into *Policies)
	}
)

var (
	nodeType    = reflect.TypeFor[Node]()
	fileType    = reflect.TypeFor[File]()
	addressType = reflect.TypeFor[Address]()
	secretType  = reflect.TypeFor[secret.Value]()
)

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value, w words) {
	if n.Kind == yaml.AliasNode {
		return // the survey has complained
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.complainAt(n, path, "there is no value", "write one, or remove the key")
		return
	}
	switch v.Type() {
	case nodeType:
		v.Set(reflect.ValueOf(Node{file: d.file, path: path, n: n}))
		return
	case fileType:
		if text, ok := d.text(n, path); ok {
			v.SetString(d.join(text))
		}
		return
	case addressType, secretType:
		d.referring(n, path, v)
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, path, v.Elem(), w)
		return
	}
	own := v.Addr().Interface()
	if f, ok := own.(defaulter); ok {
		f.defaults()
	}
	if s, ok := own.(shorthand); ok && s.short(d, n, path) {
		return
	}
	if m, ok := own.(named); ok {
		d.named(n, path, m)
		return
	}
	if t, ok := own.(encoding.TextUnmarshaler); ok && (n.Kind == yaml.ScalarNode || !takesObject(v.Type())) {
		if text, ok := d.text(n, path); ok {
			if err := t.UnmarshalText([]byte(text)); err != nil {
				d.complainAt(n, path, err.Error(), "")
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, path, v)
	case reflect.Slice:
		d.list(n, path, v, w)
	case reflect.Map:
		d.mapping(n, path, v)
	default:
		d.plain(n, path, v, w)
	}
}

// takesObject reports whether a type that reads itself from text has an object
// form as well.
func takesObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && len(fieldsOf(t))+len(laterKeys(t)) > 0
}

// join makes the path of a file that the document names.
func (d *decoder) join(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(d.file), name)
}

// scalar returns the text of a scalar as it was written.
func (d *decoder) scalar(n *yaml.Node, path string) (string, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, true
	case yaml.SequenceNode:
		d.complainAt(n, path, "a single value is meant here, not a list", "")
	default:
		d.complainAt(n, path, "a single value is meant here, not an object", "")
	}
	return "", false
}

// text returns the text of a scalar that is no reference, $${ undone.
func (d *decoder) text(n *yaml.Node, path string) (string, bool) {
	text, ok := d.scalar(n, path)
	if !ok || !strings.Contains(text, "${") {
		return text, ok
	}
	parts, err := readReferences(text)
	if err != nil || len(parts) != 1 || parts[0].scheme != "" {
		d.complainAt(n, path, "a reference cannot stand here",
			"references stand for secrets, and ${env:NAME} for listening addresses; write $${ for the characters themselves")
		return "", false
	}
	return parts[0].text, true
}

// plain decodes into one of Go's own types.
func (d *decoder) plain(n *yaml.Node, path string, v reflect.Value, w words) {
	text, ok := d.text(n, path)
	if !ok || !d.allowed(n, path, text, w) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			d.complainAt(n, path, fmt.Sprintf("%q is neither true nor false", cut(text)), "")
			return
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil || strconv.FormatInt(i, 10) != text {
			d.complainAt(n, path, fmt.Sprintf("%q is not a whole number", cut(text)), "")
			return
		}
		v.SetInt(i)
	default:
		panic("config: no rule to decode into " + v.Type().String())
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, w words) {
	_, single := v.Interface().(interface{ OneOrMany() })
	switch {
	case n.Kind == yaml.SequenceNode:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, item(path, i), v.Index(i), w)
		}
	case single:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.value(n, path, v.Index(0), w)
	default:
		d.complainAt(n, path, "a list is meant here", listMend(n))
	}
}

// listMend says how what stands at n becomes a list.
func listMend(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 {
		return `begin each of its entries with "- "`
	}
	return "write [ … ]"
}

// object decodes into a struct.
func (d *decoder) object(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.complainAt(n, path, "an object is meant here", "write { … }")
		return
	}
	fields := fieldsOf(v.Type())
	later := laterKeys(v.Type())
	var prefix string
	var policies *Policies
	if c, ok := v.Addr().Interface().(cataloguer); ok && d.inDocument {
		prefix, policies = c.catalog()
	}
	seen := make(map[string]bool, len(fields))
	strange := false // a key that may stand for a missing one
	for k, val := range pairs(n) {
		key := k.Value
		if k.Kind != yaml.ScalarNode || seen[key] || k.Tag == "!!merge" {
			continue // the survey has complained
		}
		seen[key] = true
		at := under(path, key)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		switch {
		case i >= 0:
			f := v.FieldByIndex(fields[i].index)
			d.value(val, at, f, fields[i].words)
			if fields[i].required && (val.Kind == yaml.SequenceNode && len(val.Content) == 0 || f.Kind() == reflect.String && isEmpty(val)) {
				d.complainAt(val, at, "it is empty", "")
			}
		case policies != nil && d.knows(prefix+key):
			if *policies == nil {
				*policies = Policies{}
			}
			(*policies)[prefix+key] = Node{file: d.file, path: at, n: val}
		case slices.Contains(later, key):
			strange = true
			d.complainAt(k, at, strconv.Quote(key)+" is not in this build", "")
		default:
			strange = true
			mend := remedy(v.Addr().Interface(), key, val)
			if mend == "" {
				mend = d.suggest(key, func() []string { return d.keysOf(fields, prefix, policies != nil) })
			}
			d.complainAt(k, at, "unknown key", mend)
		}
	}
	for _, f := range fields {
		if f.required && !seen[f.name] && !strange {
			d.complainAt(n, path, f.name+" is missing", "")
		}
	}
}

func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value == ""
}

// knows reports whether the catalog has a policy at path.
func (d *decoder) knows(path string) bool {
	return path == pathNone || slices.Contains(d.policies, path)
}

func (d *decoder) keysOf(fields []field, prefix string, policies bool) []string {
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.name)
	}
	if policies {
		for _, p := range append([]string{pathNone}, d.policies...) {
			if key, ok := strings.CutPrefix(p, prefix); ok && !strings.Contains(key, ".") {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// named decodes into a Named.
func (d *decoder) named(n *yaml.Node, path string, m named) {
	if n.Kind != yaml.MappingNode {
		d.complainAt(n, path, "an object of names is meant here", "write { NAME: … }")
		return
	}
	m.reserve(len(n.Content) / 2)
	seen := make(map[string]bool)
	for k, val := range pairs(n) {
		if k.Kind != yaml.ScalarNode || seen[k.Value] || k.Tag == "!!merge" {
			continue // the survey has complained
		}
		seen[k.Value] = true
		at := under(path, k.Value)
		if !isName(k.Value) {
			d.complainAt(k, at, "this cannot be a name", nameMend)
			continue
		}
		d.into(val, at, m.add(k.Value, place(d.file, k)))
	}
}

// mapping decodes into a map with string keys, which has no order and no places.
func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.complainAt(n, path, "an object is meant here", "write { … }")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for k, val := range pairs(n) {
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			continue // the survey has complained
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(val, under(path, k.Value), e, words{})
		v.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), e)
	}
}

// words are the values a field accepts; none: any.
type words struct {
	enum  []string
	later []string // of the format, but not enforced by this build
}

func (d *decoder) allowed(n *yaml.Node, path, text string, w words) bool {
	switch {
	case w.enum == nil || slices.Contains(w.enum, text):
		return true
	case slices.Contains(w.later, text):
		d.complainAt(n, path, strconv.Quote(text)+" is not in this build", "write "+strings.Join(w.enum, ", "))
	default:
		d.complainAt(n, path, fmt.Sprintf("%q is not one of %s", cut(text), strings.Join(w.enum, ", ")), d.suggest(text, func() []string { return w.enum }))
	}
	return false
}

// field is one key of a struct.
type field struct {
	name     string
	index    []int
	required bool
	words
}

// fieldsOf lists the keys of a struct in the order of its fields, those of
// embedded structs among them.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for f := range t.Fields() {
		if f.Anonymous {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append(slices.Clone(f.Index), inner.index...)
				all = append(all, inner)
			}
			continue
		}
		name, ok := f.Tag.Lookup("json")
		if !ok || name == "-" || !f.IsExported() {
			continue
		}
		all = append(all, field{
			name:     name,
			index:    f.Index,
			required: f.Tag.Get("required") == "true",
			words:    words{enum: splitTag(f.Tag.Get("enum")), later: splitTag(f.Tag.Get("later"))},
		})
	}
	return all
}

func splitTag(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
