package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/policy"
)

// sample is a document in which every object stands, with nothing written
// that need not be: what it decodes to are the defaults.
const sample = `
listeners: [{ tls: { certificates: [{ certFile: a, keyFile: b }] } }]
health: { address: ":8902" }
issuers: { NAME: { issuer: https://a/, audience: a, introspection: { clientId: a, clientSecret: "${env:A}" }, login: { clientId: a, clientSecret: "${env:A}" } } }
authorizationServer: { issuer: https://a/, clients: { NAME: { secret: "sha256:` + zeros + `2", audience: a } } }
consumers: { NAME: { apiKeys: [{ hash: "sha256:` + zeros + `1" }], clients: [{ issuer: NAME, id: a }] } }
upstreams: { NAME: { targets: [https://a], tls: {} } }
defaults: { body: {} }
apis: { NAME: { basePath: /a, routes: [{ path: /a, upstream: NAME, auth: none }] } }
routes: [{ path: /a, upstream: NAME, auth: none }]
`

const zeros = "000000000000000000000000000000000000000000000000000000000000000"

// section is one object of the document: a type and where it stands.
type section struct {
	typ  reflect.Type
	path string
	rows []row
}

type row struct{ key, typ, def, words string }

// walk collects the sections of the document, each type once.
type walk struct {
	sections []*section
	seen     map[reflect.Type]bool
	defaults map[string]string // of what Flatten fills in, by Type.key
	used     map[string]bool   // words
	missing  []string
}

// configuration is the page of every key.
func configuration() ([]byte, error) {
	w, err := walkDocument()
	if err != nil {
		return nil, err
	}
	readmes, err := readPolicies()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	title(&b, "Configuration", "Every key of `warder.yaml` that this build enforces, with its type and its default. Any other key is refused with its line. For editors there is [the JSON Schema](warder.schema.json), which `warder schema` prints; how to do things with these keys is on [the configuration page](../CONFIGURATION.md).\n\n"+values)
	for _, s := range w.sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", heading(s.path), typeWords[s.typ.Name()])
		var rows [][]string
		for _, r := range append(s.rows, policyRows(s.typ, readmes)...) {
			rows = append(rows, []string{code(r.key), r.typ, r.def, r.words})
		}
		table(&b, []string{"key", "type", "default", "meaning"}, rows)
		if s.typ == reflect.TypeFor[config.Auth]() || s.typ == reflect.TypeFor[config.Settings]() {
			writePolicies(&b, s.typ, readmes)
		}
	}
	return []byte(b.String()), nil
}

func heading(path string) string {
	if path == "" {
		return "The document"
	}
	return code(path)
}

func walkDocument() (*walk, error) {
	var v config.Vocabulary
	for _, k := range policy.Catalog() {
		v.Policies = append(v.Policies, k.Path)
	}
	doc, problems := config.Decode("sample", []byte(sample), v)
	if len(problems) > 0 {
		return nil, problems
	}
	flat := doc.Flatten()[0]
	w := &walk{seen: map[reflect.Type]bool{}, used: map[string]bool{}, defaults: map[string]string{
		"Timeout.connect": flat.Timeout.Connect.String(), "Timeout.firstByte": flat.Timeout.FirstByte.String(),
		"Timeout.idle": flat.Timeout.Idle.String(), "Timeout.total": flat.Timeout.Total.String(),
		"Route.methods": strings.Join(flat.Methods, ", "), "Settings.forwardToken": strconv.FormatBool(flat.ForwardToken),
	}}
	w.visit(reflect.ValueOf(*doc), "")
	for key := range keyWords {
		if !w.used[key] {
			w.missing = append(w.missing, "the words for "+key+" are for no key")
		}
	}
	if len(w.missing) > 0 {
		slices.Sort(w.missing)
		return nil, errors.New("scripts/reference/words.go: " + strings.Join(w.missing, "; "))
	}
	return w, nil
}

// places are where objects are shown that stand at several.
var places = map[reflect.Type]string{
	reflect.TypeFor[config.Settings](): "defaults",
	reflect.TypeFor[config.Auth]():     "auth",
	reflect.TypeFor[config.Body]():     "body",
	reflect.TypeFor[config.Timeout]():  "timeout",
	reflect.TypeFor[config.Route]():    "routes[]",
}

// visit adds the section of v, which is a struct, and those below it.
func (w *walk) visit(v reflect.Value, path string) {
	if w.seen[v.Type()] {
		return
	}
	w.seen[v.Type()] = true
	path = cmp.Or(places[v.Type()], path)
	s := &section{typ: v.Type(), path: path}
	w.sections = append(w.sections, s)
	if _, ok := typeWords[v.Type().Name()]; !ok {
		w.missing = append(w.missing, "no words for the object "+v.Type().Name())
	}
	for _, n := range w.fields(s, v, path) {
		w.visit(n.v, n.path)
	}
}

// below is an object that has a section of its own.
type below struct {
	v    reflect.Value
	path string
}

// fields adds a row for every key of v, those of what it embeds among them
// unless that has a section, and returns the objects it leads to.
func (w *walk) fields(s *section, v reflect.Value, path string) (under []below) {
	for f := range v.Type().Fields() {
		if f.Anonymous && places[f.Type] == "" {
			under = append(under, w.fields(s, v.FieldByIndex(f.Index), path)...)
			continue
		}
		if f.Anonymous {
			under = append(under, below{v.FieldByIndex(f.Index), path})
			s.rows = append(s.rows, row{key: "…", words: "and what a route may inherit: the keys of [" + code(places[f.Type]) + "](#" + anchor(places[f.Type]) + ")."})
			continue
		}
		name := f.Tag.Get("json")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		key := v.Type().Name() + "." + name
		words, ok := keyWords[key]
		if !ok {
			w.missing = append(w.missing, "no words for the key "+key)
		}
		w.used[key] = true
		r := row{key: name, typ: w.typeOf(f), def: w.defaultOf(v.FieldByIndex(f.Index), f, key), words: words.meaning}
		if inner, suffix := object(v.FieldByIndex(f.Index)); inner.IsValid() {
			at := strings.TrimPrefix(path+"."+name+suffix, ".")
			under = append(under, below{inner, at})
			r.typ = strings.Replace(r.typ, "object", "[object](#"+anchor(cmp.Or(places[inner.Type()], at))+")", 1)
		}
		s.rows = append(s.rows, r)
	}
	return under
}

// object finds the struct of a field: in a pointer, a list or a mapping.
func object(v reflect.Value) (inner reflect.Value, suffix string) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		e := reflect.New(t.Elem()).Elem()
		if !v.IsNil() {
			e = v.Elem()
		}
		return object(e)
	case isNamed(t):
		e := reflect.New(t.Elem()).Elem()
		if v.Len() > 0 {
			e = v.Index(0)
		}
		inner, suffix = object(e.FieldByName("Value"))
		return inner, ".NAME" + suffix
	case t.Kind() == reflect.Slice:
		e := reflect.New(t.Elem()).Elem()
		if v.Len() > 0 {
			e = v.Index(0)
		}
		inner, suffix = object(e)
		return inner, "[]" + suffix
	case t.Kind() == reflect.Struct && t.PkgPath() == documentPackage && (hasKeys(t) || t == reflect.TypeFor[config.Auth]()):
		return v, ""
	}
	return reflect.Value{}, ""
}

var documentPackage = reflect.TypeFor[config.Document]().PkgPath()

func hasKeys(t reflect.Type) bool {
	for f := range t.Fields() {
		if name := f.Tag.Get("json"); name != "" && name != "-" {
			return true
		}
	}
	return false
}

func isNamed(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.PkgPath() == documentPackage && strings.HasPrefix(t.Name(), "Named[")
}

// typeOf says what may be written, in words.
func (w *walk) typeOf(f reflect.StructField) string {
	if enum := f.Tag.Get("enum"); enum != "" {
		var all []string
		for _, word := range strings.Split(enum, ",") {
			all = append(all, code(word))
		}
		words := strings.Join(all, ", ")
		if k := f.Type.Kind(); k == reflect.Slice || k == reflect.Pointer {
			return "list of " + words
		}
		return words
	}
	return typeName(f.Type)
}

func typeName(t reflect.Type) string {
	if words, ok := valueWords[t.String()]; ok {
		return words
	}
	_, many := reflect.New(t).Interface().(interface{ OneOrMany() })
	_, text := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case isNamed(t):
		value, _ := t.Elem().FieldByName("Value")
		return "by name: " + typeName(value.Type)
	case many:
		return typeName(t.Elem()) + ", or a list"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.Kind() == reflect.Struct && !text:
		return "object"
	case t.Kind() == reflect.Bool:
		return "`true`, `false`"
	case t.Kind() == reflect.Int:
		return "number"
	case t.Kind() == reflect.String:
		return "text"
	}
	return t.String() // which the test of this program does not let pass
}

// defaultOf says what holds when the key is not written.
func (w *walk) defaultOf(v reflect.Value, f reflect.StructField, key string) string {
	if f.Tag.Get("required") == "true" {
		return "**required**"
	}
	if def := keyWords[key].def; def != "" {
		return def
	}
	if def := w.defaults[key]; def != "" {
		return code(def)
	}
	if inner, _ := object(v); inner.IsValid() || v.IsZero() {
		return "" // the keys of an object have their own
	}
	if v.Kind() == reflect.Slice {
		var all []string
		for i := range v.Len() {
			all = append(all, fmt.Sprint(v.Index(i).Interface()))
		}
		return code(strings.Join(all, ", "))
	}
	return code(fmt.Sprint(v.Interface()))
}

// anchor is the anchor of a heading that is code.
func anchor(path string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '[' || r == ']' {
			return -1
		}
		return r
	}, strings.ToLower(path))
}
