package events

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

const (
	redacted  = "[redacted]"
	maxQuery  = 1024 // bytes of a query that are looked at and kept
	maxFolded = 64   // bytes of a parameter's name that are looked at
	maxPath   = 2048 // bytes that are kept of a path with something redacted
)

// Names of parameters that hold credentials, folded. A name that contains one
// of the words holds one too.
var (
	usualNames = map[string]bool{
		"auth": true, "code": true, "hmac": true, "key": true, "otp": true, "pass": true, "pin": true, "pwd": true,
		"samlresponse": true, "sid": true, "sig": true, "ticket": true,
	}
	usualWords = bytes.Fields([]byte("accesskey apikey assertion authorization credential jwt passphrase passw privatekey secret session signature token"))
)

// redactQuery returns q without the values of credentials: of parameters known by
// name, and of those whose value looks like a credential. Known are the usual
// names and those of l; without l, which names are credentials cannot be told,
// and no value stays. A long query is cut with a mark. The result is q itself,
// or lives in memory from alloc.
func redactQuery(q []byte, l *exchange.Legend, alloc func(n int) []byte) []byte {
	if len(q) <= maxQuery && !anySecret(q, l) {
		return q
	}
	rest, cut := q, false
	if len(q) > maxQuery {
		rest, cut = q[:maxQuery], true
	}
	// A redacted parameter may grow, from two bytes at least.
	out := alloc(len(rest) + (len(rest)/2+1)*len(redacted) + len("…"))[:0]
	for len(rest) > 0 {
		end := bytes.IndexAny(rest, "&;")
		if end < 0 {
			end = len(rest)
		}
		name, value, hasValue := bytes.Cut(rest[:end], []byte("="))
		switch {
		case looksSecret(name):
			out = append(out, redacted...)
		case hasValue && secretParameter(name, value, l):
			out = append(append(append(out, name...), '='), redacted...)
		default:
			out = append(out, rest[:end]...)
		}
		if end < len(rest) {
			out = append(out, rest[end])
			end++
		}
		rest = rest[end:]
	}
	if cut {
		out = append(out, "…"...)
	}
	return out
}

// anySecret reports whether something in q must be taken out.
func anySecret(q []byte, l *exchange.Legend) bool {
	for len(q) > 0 {
		end := bytes.IndexAny(q, "&;")
		if end < 0 {
			end = len(q)
		}
		name, value, hasValue := bytes.Cut(q[:end], []byte("="))
		if looksSecret(name) || hasValue && secretParameter(name, value, l) {
			return true
		}
		q = q[min(end+1, len(q)):]
	}
	return false
}

func secretParameter(name, value []byte, l *exchange.Legend) bool {
	if len(value) == 0 {
		return false
	}
	if l == nil {
		return true
	}
	var buf [maxFolded]byte
	folded, whole := foldName(buf[:0], name)
	if !whole || usualNames[string(folded)] {
		return true
	}
	for _, word := range usualWords {
		if bytes.Contains(folded, word) {
			return true
		}
	}
	for _, name := range l.Parameters {
		if foldsTo(folded, name) || holdsParameter(value, name) {
			return true
		}
	}
	return looksSecret(value)
}

// foldsTo reports whether a folded name is that of name.
func foldsTo(folded []byte, name string) bool {
	var buf [maxFolded]byte
	other, _ := foldName(buf[:0], []byte(name))
	return bytes.Equal(folded, other)
}

// holdsParameter reports whether a value, however often it is escaped, holds
// name and an equals sign: an address with a credential in its query.
func holdsParameter(value []byte, name string) bool {
	for at := 0; at < len(value); {
		rest, n := value[at:], 0
		for n < len(name) {
			c, size := decodeByte(rest)
			if size == 0 || c|0x20 != name[n]|0x20 {
				break
			}
			rest = rest[size:]
			n++
		}
		if n == len(name) {
			if c, _ := decodeByte(rest); c == '=' {
				return true
			}
		}
		_, size := decodeByte(value[at:])
		at += size
	}
	return false
}

// foldName appends a parameter's name with escapes decoded, letters in lower
// case, and everything but letters and digits left out: access-token,
// accessToken and access%5Ftoken are one. whole is false for names that are
// too long to be judged.
func foldName(b, name []byte) (folded []byte, whole bool) {
	for i := 0; i < len(name); i++ {
		c, size := decodeByte(name[i:])
		i += size - 1
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c < 'a' && (c < '0' || c > '9') || c > 'z' && c < 0x80 {
			continue
		}
		if len(b) == maxFolded {
			return b, false
		}
		b = append(b, c)
	}
	return b, true
}

// decodeByte reads one byte, however often it is escaped: %41, %2541 and
// %252541 are all A.
func decodeByte(s []byte) (c byte, size int) {
	c, size = decodeOnce(s)
	for c == '%' { // perhaps the beginning of another escape
		hi, n := decodeOnce(s[size:])
		lo, m := decodeOnce(s[size+n:])
		escaped, ok := unhex(hi, lo)
		if !ok {
			break
		}
		c, size = escaped, size+n+m
	}
	return c, size
}

// decodeOnce reads one byte, escaped or not; of nothing it reads a zero.
func decodeOnce(s []byte) (c byte, size int) {
	if len(s) == 0 {
		return 0, 0
	}
	if s[0] == '%' && len(s) >= 3 {
		if c, ok := unhex(s[1], s[2]); ok {
			return c, 3
		}
	}
	return s[0], 1
}

func unhex(hi, lo byte) (c byte, ok bool) {
	h, l := strings.IndexByte(hexDigits, hi|0x20), strings.IndexByte(hexDigits, lo|0x20)
	if h < 0 || l < 0 {
		return 0, false
	}
	return byte(h<<4 | l), true
}

const hexDigits = "0123456789abcdef"

// looksSecret reports whether a value holds what looks like a credential
// anywhere: a JWT, a key of ours, an Authorization value, or a credential
// parameter of a URL inside it.
func looksSecret(value []byte) bool {
	var tail [16]byte // the last bytes, decoded, in lower case
	n := 0
	for i := 0; i < len(value); i++ {
		c, size := decodeByte(value[i:])
		i += size - 1
		if c == '+' { // a space, which may have been escaped again
			c = ' '
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == len(tail) {
			n = copy(tail[:], tail[len(tail)/2:])
		}
		tail[n] = c
		n++
		seen := tail[:n]
		switch c {
		case 'j':
			if bytes.HasSuffix(seen, []byte("eyj")) {
				return true
			}
		case '_':
			if bytes.HasSuffix(seen, []byte("wk_")) {
				return true
			}
		case ' ':
			if bytes.HasSuffix(seen, []byte("bearer ")) || bytes.HasSuffix(seen, []byte("basic ")) || bytes.HasSuffix(seen, []byte("dpop ")) {
				return true
			}
		case '=':
			for _, word := range [...]string{"token=", "secret=", "password=", "key=", "code="} {
				if bytes.HasSuffix(seen, []byte(word)) {
					return true
				}
			}
		}
	}
	return false
}

// redactPath returns path without the segments that hold a JWT or a key of
// ours, in whatever way they are escaped, and whether there were any; such a
// path is cut with a mark if it is long. The result is path itself, or lives
// in memory from alloc.
func redactPath(path []byte, alloc func(n int) []byte) (_ []byte, found bool) {
	if !mayHoldCredential(path) || !anyCredentialSegment(path) {
		return path, false
	}
	out := alloc(maxPath + len(mark))[:0]
	for more := true; more; {
		var segment []byte
		segment, path, more = bytes.Cut(path, slash)
		if credentialSegment(segment) {
			segment = redactedBytes
		}
		if room := maxPath - len(out); len(segment) >= room && (more || len(segment) > room) {
			return append(append(out, segment[:room]...), mark...), true
		}
		out = append(out, segment...)
		if more {
			out = append(out, '/')
		}
	}
	return out, true
}

var slash, redactedBytes = []byte("/"), []byte(redacted)

// redactTrail puts the redacted path in the place of what checks saw.
func redactTrail(t *exchange.Trail, path []byte) {
	var text [128]byte // no more than an operand has
	n := copyCut(text[:], path)
	for i := range t.Steps() {
		operands := t.Steps()[i].Operands()
		for j := range operands {
			if operands[j].Name == "path" {
				operands[j].Text = string(text[:n])
			}
		}
	}
}

// mayHoldCredential is the short look that is enough for most paths.
func mayHoldCredential(path []byte) bool {
	return bytes.IndexByte(path, '%') >= 0 || bytes.Contains(path, keyLead) ||
		len(path) > 2*minPart && bytes.Count(path, []byte(".")) >= 2
}

func anyCredentialSegment(path []byte) bool {
	for more := true; more; {
		var segment []byte
		segment, path, more = bytes.Cut(path, slash)
		if credentialSegment(segment) {
			return true
		}
	}
	return false
}

const minPart = 8 // characters of the first part of a JWT

var keyLead = []byte("wk_")

// credentialSegment reports whether a segment of a path holds a JWT (RFC 7519,
// signed, encrypted or neither) or begins a key of ours, at its start or after
// anything but a letter or digit.
func credentialSegment(segment []byte) bool {
	header := false // a part that is the header of a JWT was seen
	dots := 0       // after it
	start := true   // a word may begin here
	for i := 0; i < len(segment); {
		c, size := decodeByte(segment[i:])
		if start && (c == 'w' || c == 'e') { // as a key or, in base64url, an object begins
			var ahead [12]byte // decoded
			n := 0
			for at := i; n < len(ahead) && at < len(segment); n++ {
				c, size := decodeByte(segment[at:])
				ahead[n] = c
				at += size
			}
			if bytes.HasPrefix(ahead[:n], keyLead) {
				return true
			}
			if !header && beginsObject(ahead[:n]) {
				header, dots = true, 0
			}
		}
		i += size
		alphanumeric := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		start = !alphanumeric
		switch {
		case c == '.':
			if dots++; header && dots == 2 {
				return true
			}
		case !alphanumeric && c != '-' && c != '_':
			header = false
		}
	}
	return false
}

// beginsObject reports whether s begins with at least minPart characters of
// base64url, and these are the beginning of a JSON object.
func beginsObject(s []byte) bool {
	n := 0
	for n < len(s) && s[n] != '.' {
		n++
	}
	if n < minPart {
		return false
	}
	var b [9]byte
	size, err := base64.RawURLEncoding.Decode(b[:], s[:n&^3])
	if err != nil || b[0] != '{' {
		return false
	}
	rest := bytes.TrimLeft(b[1:size], " \t\r\n")
	return len(rest) == 0 || rest[0] == '"' || rest[0] == '}'
}
