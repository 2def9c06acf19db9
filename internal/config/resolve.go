package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/warder-gateway/warder/internal/secret"
)

// Sources answer references. A nil one answers none.
type Sources struct {
	// Env returns the value of an environment variable, and whether it is set.
	Env func(name string) (string, bool)
	// File returns what is in a file; the path is joined to the document's
	// folder. It bounds what it reads.
	File func(path string) ([]byte, error)
}

// reference is a field whose text waits for Resolve.
type reference struct {
	node    *yaml.Node
	path    string
	parts   []part
	secret  *secret.Value // one of these two
	address *Address
}

// part is a piece of text: literal, or a reference.
type part struct {
	scheme string // env, file; empty: text is literal
	text   string // the literal, the variable or the path
	other  string // after :-, used if the variable is not set or empty
	has    bool   // there is such a default
}

var errReference = errors.New("a reference is ${env:NAME}, ${env:NAME:-DEFAULT} or ${file:PATH}")

// readReferences cuts text into its parts; neighbouring literals are one part.
func readReferences(text string) ([]part, error) {
	var parts []part
	var literal strings.Builder
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			literal.WriteString(text)
			break
		}
		if i > 0 && text[i-1] == '$' {
			literal.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		literal.WriteString(text[:i])
		if literal.Len() > 0 {
			parts = append(parts, part{text: literal.String()})
			literal.Reset()
		}
		inside, rest, closed := strings.Cut(text[i+2:], "}")
		scheme, name, named := strings.Cut(inside, ":")
		if !closed || !named || name == "" {
			return nil, errReference
		}
		p := part{scheme: scheme, text: name}
		if scheme == "env" {
			p.text, p.other, p.has = strings.Cut(name, ":-")
			if !isVariable(p.text) {
				return nil, errReference
			}
		}
		parts = append(parts, p)
		text = rest
	}
	if literal.Len() > 0 || len(parts) == 0 {
		parts = append(parts, part{text: literal.String()})
	}
	return parts, nil
}

func isVariable(s string) bool {
	for i, r := range s {
		if !(r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || i > 0 && r >= '0' && r <= '9') {
			return false
		}
	}
	return s != ""
}

// referring decodes into a field that may hold a reference.
func (d *decoder) referring(n *yaml.Node, path string, v reflect.Value) {
	text, ok := d.scalar(n, path)
	if !ok {
		return
	}
	parts, err := readReferences(text)
	if err != nil {
		d.complainAt(n, path, err.Error(), "")
		return
	}
	r := reference{node: n, path: path, parts: parts}
	switch into := v.Addr().Interface().(type) {
	case *secret.Value:
		r.secret = into
	case *Address:
		r.address = into
	}
	waits := false
	for _, p := range parts {
		switch {
		case p.scheme == "":
			continue
		case p.scheme == "vault" || p.scheme == "kms":
			d.complainAt(n, path, "${"+p.scheme+":} is not in this build", "use ${env:} or ${file:}")
			return
		case p.scheme != "env" && p.scheme != "file":
			d.complainAt(n, path, "unknown kind of reference", DidYouMean(p.scheme, []string{"env", "file"}))
			return
		case p.scheme == "file" && r.address != nil:
			d.complainAt(n, path, "an address is not read from a file", "use ${env:NAME}")
			return
		case !d.inDocument:
			d.complainAt(n, path, "references inside a policy are not in this build", "")
			return
		}
		waits = true
	}
	if waits {
		d.references = append(d.references, r)
		return
	}
	r.set(parts[0].text)
}

func (r *reference) set(text string) {
	if r.secret != nil {
		*r.secret = secret.New([]byte(text))
		return
	}
	*r.address = Address(text)
}

// Resolve puts what the sources say in the place of the document's references.
// It is the only step that reads anything outside the document, and is called
// once, before the document is compiled.
func Resolve(doc *Document, s Sources) Problems {
	d := &decoder{file: doc.root.file}
	d.follow(doc.references, s)
	doc.references = nil
	if len(d.problems) == 0 {
		d.problems = doc.Problems() // what was said is not said again
		c := checker{doc, d}
		c.addresses()
		d.problems = d.problems[len(doc.problems):]
	}
	found := d.problems.Sort()
	doc.problems = append(doc.Problems(), found...).Sort()
	return found
}

// ResolveOnly is Resolve of the values at one path and below it, for who needs
// nothing else of the document. It can neither be resolved any further nor be
// compiled.
func ResolveOnly(doc *Document, path string, s Sources) Problems {
	d := &decoder{file: doc.root.file}
	d.follow(slices.DeleteFunc(doc.references, func(r reference) bool {
		return r.path != path && !strings.HasPrefix(r.path, path+".")
	}), s)
	doc.references = nil
	return d.problems.Sort()
}

// follow sets the values of references.
func (d *decoder) follow(references []reference, s Sources) {
	for _, r := range references {
		var all strings.Builder
		ok := true
		for _, p := range r.parts {
			text, why := d.fetch(p, s)
			if why != "" {
				ok = false
				d.complainAt(r.node, r.path, why, "")
			}
			all.WriteString(text)
		}
		if ok {
			r.set(all.String())
		}
	}
}

// fetch returns the text of one part, or why there is none. Neither repeats
// what a source said.
func (d *decoder) fetch(p part, s Sources) (text, why string) {
	const most = 64 << 10
	switch {
	case p.scheme == "":
		return p.text, ""
	case p.scheme == "env" && s.Env != nil:
		if v, _ := s.Env(p.text); v != "" {
			text = v
		} else if p.has {
			return p.other, ""
		} else {
			return "", "the environment variable " + p.text + " is not set, or is empty"
		}
	case p.scheme == "file" && s.File != nil:
		b, err := s.File(d.join(p.text))
		if err != nil {
			return "", err.Error()
		}
		// Editors end a file with a newline; no secret does.
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if text == "" {
			return "", "the file " + p.text + " is empty"
		}
		if strings.Contains(text, "\x00") {
			return "", "the file " + p.text + " holds a NUL byte: a secret is text"
		}
	default:
		return "", "references to " + p.scheme + " cannot be followed here"
	}
	if len(text) > most {
		return "", "the secret is larger than 64 KiB"
	}
	return text, ""
}
