package exchange

import (
	"encoding/binary"
	"encoding/hex"
	"unicode/utf8"
)

// Members yields the members of a JSON array, in order; of anything else it
// yields nothing. It allocates nothing.
func (v JSON) Members(yield func(JSON) bool) {
	if v == "" || v[0] != '[' {
		return
	}
	p := strictParser{s: string(v), i: 1}
	for p.space(); p.peek() != ']'; p.space() {
		if p.peek() == ',' {
			p.i++
			p.space()
		}
		start := p.i
		p.skip()
		if !yield(JSON(p.s[start:p.i])) {
			return
		}
	}
}

// AppendASCII appends v as the same JSON in ASCII and without white space
// between its parts: what is not printable ASCII is written as escapes.
func (v JSON) AppendASCII(b []byte) []byte {
	inside := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case !inside && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
		case inside && c == '\\':
			b = append(b, c, v[i+1])
			i++
		case c >= 0x7f:
			r, size := utf8.DecodeRuneInString(string(v[i:]))
			b = appendEscaped(b, r)
			i += size - 1
		default:
			inside = inside != (c == '"')
			b = append(b, c)
		}
	}
	return b
}

// AppendJSON appends text as a JSON string in ASCII. What is no UTF-8 is
// written as U+FFFD.
func AppendJSON(b []byte, text string) []byte {
	b = append(b, '"')
	done := 0 // of text, appended
	for i := 0; i < len(text); i++ {
		c := text[i]
		if plainJSON[c] {
			continue
		}
		b = append(b, text[done:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = appendEscaped(b, rune(c))
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			b = appendEscaped(b, r)
			i += size - 1
		}
		done = i + 1
	}
	return append(append(b, text[done:]...), '"')
}

// plainJSON are the bytes that stand for themselves in a JSON string, and in
// ASCII.
var plainJSON = func() (t [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendEscaped appends \uXXXX, or two of them (RFC 8259 section 7).
func appendEscaped(b []byte, r rune) []byte {
	if r >= 0x10000 {
		r -= 0x10000
		return appendUnit(appendUnit(b, 0xD800+uint16(r>>10)), 0xDC00+uint16(r&0x3FF))
	}
	return appendUnit(b, uint16(r))
}

func appendUnit(b []byte, unit uint16) []byte {
	var two [2]byte
	binary.BigEndian.PutUint16(two[:], unit)
	return hex.AppendEncode(append(b, '\\', 'u'), two[:])
}
