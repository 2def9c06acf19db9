package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Claims are the members of a JSON object, top level, in their own order:
// mostly the verified members of a token's payload. They were checked
// strictly: no member occurs twice, at any depth. Immutable.
type Claims []Claim

// Claim is one member. Raw is its value as valid JSON, without white space
// around it. Neither is a view into anything that is reused.
type Claim struct {
	Name string
	Raw  JSON
}

// JSON is one value as valid JSON text, as strictly checked as Claims are. The
// zero JSON is no value.
type JSON string

// maxClaimsDepth bounds how deep objects and arrays may nest, the outermost
// object included.
const maxClaimsDepth = 32

// ParseClaims reads one JSON object (RFC 8259), more strictly than
// encoding/json does: the text is valid UTF-8 and nothing else follows it, no
// escape stands for half a surrogate pair, no object names a member twice
// however the name is written, nothing nests deeper than 32. The caller bounds
// the size. Names are case-sensitive.
func ParseClaims(object []byte) (Claims, error) {
	if !utf8.Valid(object) {
		return nil, errors.New("is not valid UTF-8")
	}
	var room [16]string // on the stack: enough for most
	p := strictParser{s: string(object), names: room[:0]}
	p.space()
	if p.peek() != '{' {
		return nil, errors.New("is not a JSON object")
	}
	p.top = make(Claims, 0, 16)
	if err := p.object(1); err != nil {
		return nil, err
	}
	p.space()
	if p.i != len(p.s) {
		return nil, p.wrong("end")
	}
	return p.top, nil
}

// Get returns the value of the member called name, as JSON.
func (c Claims) Get(name string) (raw JSON, ok bool) {
	for i := range c {
		if c[i].Name == name {
			return c[i].Raw, true
		}
	}
	return "", false
}

// Lookup returns the value at a path, as JSON. A path is the name of a member,
// which may itself hold dots, or the name of an object, a dot and a path
// inside it: realm_access.roles. A name that is the whole path wins over a
// shorter one. It allocates nothing unless the token writes names with escapes.
func (c Claims) Lookup(path string) (raw JSON, ok bool) {
	if raw, ok = c.Get(path); ok {
		return raw, true
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '.' {
			continue
		}
		if inner, ok := c.Get(path[:i]); ok {
			if raw, ok := lookup(string(inner), path[i+1:]); ok {
				return JSON(raw), true
			}
		}
	}
	return "", false
}

// String returns the text at a path; ok is false when there is none or it is
// no JSON string. It allocates nothing unless the text is written with escapes.
func (c Claims) String(path string) (text string, ok bool) {
	raw, _ := c.Lookup(path)
	return raw.Text()
}

// Scalar is String that also takes a number or a boolean, as it is written.
func (c Claims) Scalar(path string) (text string, ok bool) {
	raw, _ := c.Lookup(path)
	if raw == "" || strings.IndexByte("{[n", raw[0]) >= 0 {
		return "", false
	}
	if raw[0] == '"' {
		return raw.Text()
	}
	return string(raw), true
}

// Strings returns the texts at a path, which is a string or an array of
// strings; ok is false for anything else.
func (c Claims) Strings(path string) (texts []string, ok bool) {
	raw, _ := c.Lookup(path)
	return raw.Texts()
}

// Text returns the text of a JSON string; ok is false for anything else.
func (v JSON) Text() (text string, ok bool) {
	if v == "" {
		return "", false
	}
	return unquote(string(v))
}

// Seconds returns a moment in Unix seconds: an integer from 0 to 2^53, the
// largest that JSON carries everywhere (RFC 8259 section 6), written without
// fraction or exponent. ok is false for anything else.
func (v JSON) Seconds() (n int64, ok bool) {
	u, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil || u > 1<<53 {
		return 0, false
	}
	return int64(u), true
}

// Texts returns the texts of a string or an array of strings; ok is false for
// anything else.
func (v JSON) Texts() (texts []string, ok bool) {
	if text, ok := v.Text(); ok {
		return []string{text}, true
	}
	if v == "" || v[0] != '[' {
		return nil, false
	}
	texts = []string{}
	for member := range v.Members {
		text, ok := member.Text()
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// lookup is Lookup in the object raw, which is valid JSON.
func lookup(raw, path string) (string, bool) {
	if raw[0] != '{' {
		return "", false
	}
	if v, ok := member(raw, path); ok {
		return v, true
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '.' {
			continue
		}
		if inner, ok := member(raw, path[:i]); ok {
			if v, ok := lookup(inner, path[i+1:]); ok {
				return v, true
			}
		}
	}
	return "", false
}

// member returns the value of the member called name of the valid object raw.
func member(raw, name string) (string, bool) {
	p := strictParser{s: raw, i: 1}
	for p.space(); p.peek() != '}'; p.space() {
		if p.peek() == ',' {
			p.i++
			p.space()
		}
		start := p.i
		p.skip()
		written := raw[start:p.i]
		p.space()
		p.i++ // the colon
		p.space()
		start = p.i
		p.skip()
		if text, _ := unquote(written); text == name {
			return raw[start:p.i], true
		}
	}
	return "", false
}

// unquote returns the text of a valid JSON string.
func unquote(raw string) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], true
	}
	var text string
	err := json.Unmarshal([]byte(raw), &text)
	return text, err == nil
}

// strictParser walks over JSON text. Its methods object, array, text and
// number check what they walk over; skip trusts it.
type strictParser struct {
	s     string
	i     int
	top   Claims
	names []string // of the objects that are open, the innermost last
}

func (p *strictParser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *strictParser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *strictParser) wrong(want string) error {
	return fmt.Errorf("is not valid JSON: no %s at byte %d", want, p.i)
}

func (p *strictParser) value(depth int) error {
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth + 1)
	case c == '[':
		return p.array(depth + 1)
	case c == '"':
		_, err := p.text()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(p.s[p.i:], word) {
			p.i += len(word)
			return nil
		}
	}
	return p.wrong("value")
}

func (p *strictParser) object(depth int) error {
	if depth > maxClaimsDepth {
		return fmt.Errorf("nests deeper than %d", maxClaimsDepth)
	}
	p.i++
	base := len(p.names)
	p.space()
	for p.peek() != '}' {
		if len(p.names) > base {
			if p.peek() != ',' {
				return p.wrong("comma")
			}
			p.i++
			p.space()
		}
		if p.peek() != '"' {
			return p.wrong("member name")
		}
		name, err := p.text()
		if err != nil {
			return err
		}
		p.space()
		if p.peek() != ':' {
			return p.wrong("colon")
		}
		p.i++
		p.space()
		start := p.i
		p.names = append(p.names, name)
		if err := p.value(depth); err != nil {
			return err
		}
		if depth == 1 {
			p.top = append(p.top, Claim{Name: name, Raw: JSON(p.s[start:p.i])})
		}
		p.space()
	}
	p.i++
	// Sorted, so that an object of thousands of members costs no more than it
	// should; nobody needs the names any longer.
	names := p.names[base:]
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return errors.New("has an object that names a member twice")
		}
	}
	p.names = p.names[:base]
	return nil
}

func (p *strictParser) array(depth int) error {
	if depth > maxClaimsDepth {
		return fmt.Errorf("nests deeper than %d", maxClaimsDepth)
	}
	p.i++
	p.space()
	for first := true; p.peek() != ']'; first = false {
		if !first {
			if p.peek() != ',' {
				return p.wrong("comma")
			}
			p.i++
			p.space()
		}
		if err := p.value(depth); err != nil {
			return err
		}
		p.space()
	}
	p.i++
	return nil
}

// text reads a string and returns what it stands for.
func (p *strictParser) text() (string, error) {
	start := p.i
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			text, ok := unquote(p.s[start:p.i])
			if !ok {
				return "", p.wrong("string")
			}
			return text, nil
		case c < ' ':
			return "", p.wrong("string")
		case c == '\\':
			if err := p.escape(); err != nil {
				return "", err
			}
		}
	}
	return "", p.wrong("end of string")
}

// escape checks the escape at p.i and leaves p.i at its last byte.
func (p *strictParser) escape() error {
	p.i++
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return p.wrong("escape")
	}
	unit, ok := p.unit()
	if !ok || unit >= 0xDC00 && unit <= 0xDFFF {
		return p.wrong("escape")
	}
	if unit >= 0xD800 && unit <= 0xDBFF {
		// encoding/json reads every lone half as U+FFFD: names that differ
		// would become equal.
		if !strings.HasPrefix(p.s[p.i+1:], `\u`) {
			return p.wrong("second half of a surrogate pair")
		}
		p.i += 2
		if unit, ok = p.unit(); !ok || unit < 0xDC00 || unit > 0xDFFF {
			return p.wrong("second half of a surrogate pair")
		}
	}
	return nil
}

// unit reads the four hexadecimal digits after p.i and leaves p.i at the last.
func (p *strictParser) unit() (u uint32, ok bool) {
	if len(p.s)-p.i < 5 {
		return 0, false
	}
	for range 4 {
		p.i++
		c := p.s[p.i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | uint32(c)
	}
	return u, true
}

func (p *strictParser) number() error {
	if p.peek() == '-' {
		p.i++
	}
	if p.peek() == '0' {
		p.i++
	} else if !p.digits() {
		return p.wrong("digit")
	}
	if p.peek() == '.' {
		p.i++
		if !p.digits() {
			return p.wrong("digit")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.i++
		if c := p.peek(); c == '+' || c == '-' {
			p.i++
		}
		if !p.digits() {
			return p.wrong("digit")
		}
	}
	return nil
}

func (p *strictParser) digits() bool {
	start := p.i
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.i++
	}
	return p.i > start
}

// skip walks over one value of valid JSON.
func (p *strictParser) skip() {
	for open := 0; p.i < len(p.s); {
		switch p.s[p.i] {
		case '"':
			for p.i++; p.s[p.i] != '"'; p.i++ {
				if p.s[p.i] == '\\' {
					p.i++
				}
			}
			p.i++
		case '{', '[':
			open++
			p.i++
			continue
		case '}', ']':
			open--
			p.i++
		case ',', ':', ' ', '\t', '\n', '\r':
			p.i++
			continue
		default: // a number or a word
			for p.i < len(p.s) && strings.IndexByte(",]} \t\n\r", p.s[p.i]) < 0 {
				p.i++
			}
		}
		if open == 0 {
			return
		}
	}
}
