package events

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// unsafeRune reports whether r could make a line look like something else: a
// control character (ANSI sequences begin with one), a line or paragraph
// separator, or a mark that is invisible or changes the direction of writing.
func unsafeRune(r rune) bool {
	switch {
	case r < 0x20 || r >= 0x7F && r < 0xA0:
		return true
	case r == 0x00AD, r == 0x061C, r == 0xFEFF:
		return true
	case r >= 0x200B && r <= 0x200F, r >= 0x2028 && r <= 0x202E, r >= 0x2060 && r <= 0x206F:
		return true
	}
	return false
}

// appendJSON appends s as a JSON string of at most limit bytes, quotes not
// counted; what is cut off is marked with "…". Unsafe characters are escaped,
// bytes that are not UTF-8 become U+FFFD. A limit below 16 counts as 16.
func appendJSON[T string | []byte](b []byte, s T, limit int) []byte {
	const mark = "…"
	limit = max(limit, 16)
	b = append(b, '"')
	if len(s) <= limit && plain(s) {
		return append(append(b, s...), '"')
	}
	start := len(b)
	fit := start // where the mark goes if the rest does not fit
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20 && c < 0x7F:
			b = append(b, c)
		case c < utf8.RuneSelf:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			var r rune
			r, size = decodeRune(s, i)
			switch {
			case unsafeRune(r): // all of them lie in the first plane
				b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			default:
				b = utf8.AppendRune(b, r)
			}
		}
		if len(b)-start > limit {
			return append(append(b[:fit], mark...), '"')
		}
		if len(b)-start <= limit-len(mark) {
			fit = len(b)
		}
		i += size
	}
	return append(b, '"')
}

// plain reports whether s needs no escape.
func plain[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if escapes[s[i]] {
			return false
		}
	}
	return true
}

// escapes holds the bytes that do not stand for themselves in a line.
var escapes = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x20 || c >= 0x7F || c == '"' || c == '\\'
	}
	return t
}()

// decodeRune decodes the character of s at i without copying s.
func decodeRune[T string | []byte](s T, i int) (rune, int) {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s[i:min(len(s), i+utf8.UTFMax)])
	return utf8.DecodeRune(b[:n])
}

// printable returns s with unsafe characters written as escapes, so that it
// can be shown in a terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, unsafeRune) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
