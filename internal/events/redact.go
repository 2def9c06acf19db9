package events

import (
	"bytes"
	"strings"
)

const (
	redacted  = "[redacted]"
	maxQuery  = 1024 // bytes of a query that are looked at and kept
	maxFolded = 64   // bytes of a parameter's name that are looked at
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
// name, and of those whose value looks like a credential. A long query is cut
// with a mark. The result is q itself, or lives in memory from alloc.
func redactQuery(q []byte, alloc func(n int) []byte) []byte {
	if len(q) <= maxQuery && !anySecret(q) {
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
		case hasValue && secretParameter(name, value):
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
func anySecret(q []byte) bool {
	for len(q) > 0 {
		end := bytes.IndexAny(q, "&;")
		if end < 0 {
			end = len(q)
		}
		name, value, hasValue := bytes.Cut(q[:end], []byte("="))
		if looksSecret(name) || hasValue && secretParameter(name, value) {
			return true
		}
		q = q[min(end+1, len(q)):]
	}
	return false
}

func secretParameter(name, value []byte) bool {
	if len(value) == 0 {
		return false
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
	return looksSecret(value)
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

// decodeByte reads one byte of a query, escaped or not.
func decodeByte(s []byte) (c byte, size int) {
	if s[0] == '+' {
		return ' ', 1
	}
	if s[0] != '%' || len(s) < 3 {
		return s[0], 1
	}
	hi, lo := strings.IndexByte(hexDigits, s[1]|0x20), strings.IndexByte(hexDigits, s[2]|0x20)
	if hi < 0 || lo < 0 {
		return s[0], 1
	}
	return byte(hi<<4 | lo), 3
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
