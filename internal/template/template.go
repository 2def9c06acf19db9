// Package template fills texts with what is known of a request: {claims.sub},
// {consumer}. A text is compiled once into a short list of parts; filling it
// in allocates nothing but what the value itself needs.
//
// What is filled in comes from strangers and goes into header fields. It is
// never changed in silence: a value that a field cannot hold as it is is an
// error, unless an encoding is written.
package template

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Bounds of a text.
const (
	MaxText  = 1 << 10 // bytes
	maxParts = 16      // placeholders and what stands between them
)

// Encoding says how values are written.
type Encoding uint8

// The encodings. With Percent and Base64URL each member of a list is written
// by itself.
const (
	Plain     Encoding = iota // as they are: printable ASCII
	Percent                   // all but letters, digits and -._~ as %XX of its UTF-8 (RFC 3986 section 2.1)
	Base64URL                 // of its UTF-8, without padding (RFC 4648 section 5)
	JSON                      // as JSON in ASCII, also objects
)

// Encodings are their names in a configuration, Plain apart.
var Encodings = map[string]Encoding{"percent": Percent, "base64url": Base64URL, "json": JSON}

// Why a template gives no value.
var (
	// ErrNothing: what a placeholder stands for is not known of this request,
	// or says nothing: null, an empty text, an empty list.
	ErrNothing = errors.New("there is nothing to fill in")

	errBytes  = errors.New("it holds what is not printable ASCII")
	errEdge   = errors.New("it begins or ends with a space")
	errMember = errors.New("a member of the list holds what parts the members, or begins or ends with a space")
	errNested = errors.New("it is an object, or a list of more than texts, numbers and booleans")
	errLong   = errors.New("it is too long")
)

// Template is a compiled text. Immutable. The zero Template gives nothing.
type Template struct {
	parts    []part
	encoding Encoding
}

type part struct {
	what source
	text string // of a literal; the path of a claim
}

// source is what a part is filled with.
type source uint8

const (
	literal source = iota
	claim
	consumer
	subject
	issuer
	scopes
	roles
)

var sources = map[string]source{"consumer": consumer, "subject": subject, "issuer": issuer, "scopes": scopes, "roles": roles}

// Compile reads a text with placeholders in braces. Errors say what to write.
func Compile(text string, e Encoding) (*Template, error) {
	if text == "" || len(text) > MaxText {
		return nil, fmt.Errorf("a template has from 1 to %d bytes", MaxText)
	}
	t := &Template{encoding: e}
	for rest := text; rest != ""; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			at = len(rest)
		}
		if at > 0 {
			t.parts = append(t.parts, part{literal, rest[:at]})
		}
		if rest = rest[at:]; rest == "" {
			break
		}
		name, after, closed := strings.Cut(rest[1:], "}")
		if rest[0] == '}' || !closed {
			return nil, errors.New("a brace stands alone; placeholders are written {claims.sub}, and a brace means nothing else")
		}
		p, err := placeholder(name)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	if len(t.parts) > maxParts {
		return nil, fmt.Errorf("it has %d parts; at most %d may be", len(t.parts), maxParts)
	}
	for _, p := range t.parts {
		if p.what == literal && !printable(p.text) {
			return nil, errors.New("it holds what is not printable ASCII")
		}
	}
	if text[0] == ' ' || text[len(text)-1] == ' ' {
		return nil, errors.New("it begins or ends with a space, which no field keeps")
	}
	return t, nil
}

func placeholder(name string) (part, error) {
	if path, ok := strings.CutPrefix(name, "claims."); ok && path != "" && printable(path) && !strings.Contains(path, "{") {
		return part{claim, path}, nil
	}
	if what, ok := sources[name]; ok {
		return part{what: what}, nil
	}
	return part{}, fmt.Errorf("there is no {%s}; write {claims.NAME}, {consumer}, {subject}, {issuer}, {scopes} or {roles}", name)
}

// Mixes reports whether t writes, as they are, two values or more that callers
// may have had a say in. Whoever chooses one can write in it what parts them,
// and be taken for having the other.
func (t *Template) Mixes() bool {
	free := 0
	for _, p := range t.parts {
		if p.what != literal && p.what != issuer { // whose names the configuration gives
			free++
		}
	}
	return t.encoding == Plain && free > 1
}

// Append appends what t gives for an exchange whose identity is proved, of at
// most so many bytes. After an error nothing of what was appended may be used.
// Errors never repeat a value.
func (t *Template) Append(b []byte, x *exchange.Exchange, most int) ([]byte, error) {
	if len(t.parts) == 0 || x.Identity == nil {
		return b, ErrNothing
	}
	start := len(b)
	for i := range t.parts {
		var err error
		if b, err = t.part(b, &t.parts[i], x.Identity); err != nil {
			return b, err
		}
		if len(b)-start > most {
			return b, errLong
		}
	}
	if value := b[start:]; len(value) == 0 {
		return b, ErrNothing
	} else if value[0] == ' ' || value[len(value)-1] == ' ' {
		return b, errEdge
	}
	return b, nil
}

func (t *Template) part(b []byte, p *part, id *exchange.Identity) ([]byte, error) {
	switch p.what {
	case literal:
		return append(b, p.text...), nil
	case claim:
		raw, _ := id.Claims.Lookup(p.text)
		return t.json(b, raw)
	case consumer:
		return t.text(b, id.Consumer)
	case subject:
		return t.text(b, id.Subject)
	case issuer:
		return t.text(b, id.Issuer)
	case scopes:
		return t.list(b, id.Scopes, ' ') // as they are written in tokens (RFC 6749 section 3.3)
	case roles:
		return t.list(b, id.Roles, ',')
	}
	return b, ErrNothing
}

// text appends one text.
func (t *Template) text(b []byte, text string) ([]byte, error) {
	if text == "" {
		return b, ErrNothing
	}
	switch t.encoding {
	case Percent:
		return appendPercent(b, text), nil
	case Base64URL:
		return base64.RawURLEncoding.AppendEncode(b, []byte(text)), nil
	case JSON:
		return exchange.AppendJSON(b, text), nil
	}
	if !printable(text) {
		return b, errBytes
	}
	return append(b, text...), nil
}

// list appends texts with a byte between them.
func (t *Template) list(b []byte, texts []string, between byte) ([]byte, error) {
	if len(texts) == 0 {
		return b, ErrNothing
	}
	if t.encoding == JSON {
		for i, text := range texts {
			b = exchange.AppendJSON(append(b, "[,"[min(i, 1)]), text)
		}
		return append(b, ']'), nil
	}
	for i, text := range texts {
		if i > 0 {
			b = append(b, between)
		}
		var err error
		if b, err = t.member(b, text, between); err != nil {
			return b, err
		}
	}
	return b, nil
}

// member appends one text of a list: read again, the list is the same.
func (t *Template) member(b []byte, text string, between byte) ([]byte, error) {
	if text == "" || t.encoding == Plain && (strings.IndexByte(text, between) >= 0 || text[0] == ' ' || text[len(text)-1] == ' ') {
		return b, errMember
	}
	return t.text(b, text)
}

// json appends the value of a claim.
func (t *Template) json(b []byte, raw exchange.JSON) ([]byte, error) {
	switch {
	case raw == "" || raw == "null" || raw == `""`:
		return b, ErrNothing
	case raw[0] == '[':
		return t.array(b, raw)
	case t.encoding == JSON:
		return raw.AppendASCII(b), nil
	case raw[0] == '{':
		return b, errNested
	}
	return t.text(b, scalar(raw))
}

// array appends a list of a token.
func (t *Template) array(b []byte, raw exchange.JSON) ([]byte, error) {
	n := 0
	for one := range raw.Members {
		n++
		if t.encoding == JSON {
			break
		}
		if one[0] == '[' || one[0] == '{' || one == "null" {
			return b, errNested
		}
		if n > 1 {
			b = append(b, ',')
		}
		var err error
		if b, err = t.member(b, scalar(one), ','); err != nil {
			return b, err
		}
	}
	switch {
	case n == 0:
		return b, ErrNothing
	case t.encoding == JSON:
		return raw.AppendASCII(b), nil
	}
	return b, nil
}

// scalar returns a text, or a number or a boolean as it is written.
func scalar(raw exchange.JSON) string {
	if text, ok := raw.Text(); ok {
		return text
	}
	return string(raw)
}

// printable reports whether all of text is from space to tilde.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

func appendPercent(b []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
