package http1

import "encoding/binary"

// Classes of bytes, as bits of class[c].
const (
	isToken  = 1 << iota // tchar, RFC 9110 section 5.6.2
	isTarget             // visible ASCII: what a request target may hold
	isValue              // what a field value may hold: HTAB, SP, visible ASCII, obs-text
	isHost               // what a host name may hold: letters, digits, - . _ ~
)

var class = func() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		letterOrDigit := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letterOrDigit {
			t[i] |= isToken | isHost
		}
		if c > 0x20 && c < 0x7f {
			t[i] |= isTarget
		}
		if c == '\t' || c >= 0x20 && c != 0x7f {
			t[i] |= isValue
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for _, c := range "-._~" {
		t[c] |= isHost
	}
	return t
}()

func all(b []byte, bit uint8) bool {
	for _, c := range b {
		if class[c]&bit == 0 {
			return false
		}
	}
	return true
}

// allValue is all(b, isValue), eight bytes at a time. Long values (tokens,
// cookies) are most of a head.
func allValue(b []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		control := (w - 0x20*ones) &^ w // top bit set where a byte may be below 0x20
		del := (w ^ 0x7f*ones) - ones   // top bit set where a byte may be 0x7f
		if (control|del)&tops != 0 && !all(b[:8], isValue) {
			return false
		}
	}
	return all(b, isValue)
}

// trim removes optional whitespace from both ends (RFC 9110 section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// nextItem cuts the first item off a comma-separated list.
func nextItem(list []byte) (item, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// decimal reads 1*DIGIT up to 2^63-1.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0') // 19 digits overflow at most once, into the sign
	}
	return n, n >= 0
}

func foldByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

// hasPrefixFold reports whether b starts with the lower-case text prefix.
func hasPrefixFold(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if foldByte(b[i]) != prefix[i] {
			return false
		}
	}
	return true
}
