package exchange

import (
	"unicode/utf8"

	"github.com/warder-gateway/warder/internal/fault"
)

// PathFeature is something in a path that only routes which ask for it may
// receive (pathAllow in the configuration). A set of bits.
type PathFeature uint8

// The features that pathAllow can name.
const (
	EncodedSlash    PathFeature = 1 << iota // %2F
	Semicolon                               // ;
	EmptySegments                           // //
	EncodedReserved                         // %3F %23 %3B %5B %5D
	EncodedPercent                          // %25 before two hex digits
)

// The reasons for which a path is refused, whatever the route.
var (
	errPathStart     = fault.New(fault.PathNotNormal, "the path does not start with a slash")
	errPathEscape    = fault.New(fault.PathNotNormal, "% is not followed by two hexadecimal digits")
	errPathControl   = fault.New(fault.PathNotNormal, "the path holds a control character")
	errPathBackslash = fault.New(fault.PathNotNormal, "the path holds a backslash")
	errPathRaw       = fault.New(fault.PathNotNormal, "the path holds a byte that must be escaped (a space, ?, # or a byte beyond ASCII)")
	errPathUTF8      = fault.New(fault.PathNotNormal, "the escapes of the path are not valid UTF-8")
	errPathDots      = fault.New(fault.PathNotNormal, "the path holds a . or .. segment")
	errCapture       = fault.New(fault.PathNotNormal, "a captured segment holds an escaped slash, backslash or control character")
)

// What NormalizePath does with a raw byte of each class.
const (
	pathPlain uint8 = iota
	pathSlash
	pathSemicolon
	pathPercent
	pathControl
	pathBackslash
	pathRaw
)

var pathClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c < 0x20 || c == 0x7F:
			t[c] = pathControl
		case c >= 0x80 || c == ' ' || c == '?' || c == '#':
			t[c] = pathRaw
		}
	}
	t['/'], t[';'], t['%'], t['\\'] = pathSlash, pathSemicolon, pathPercent, pathBackslash
	return t
}()

// NormalizePath returns the normal form of the path of a request target, the
// one form that is matched, shown to policies and sent on: escapes of
// unreserved characters (RFC 3986 section 2.3) are decoded, every other
// escape is kept in upper case, and nothing else changes. A path that is
// normal already is returned itself; otherwise the result lives in memory
// from alloc and is never longer than raw.
//
// Paths that parties read differently are refused with path_not_normal and
// the rule in Reason: broken escapes, controls and backslashes in any
// spelling, bytes that must be escaped, escapes that are not UTF-8, and dot
// segments in any spelling. Features are only reported in uses; whether they
// are allowed is for the matched route to say.
func NormalizePath(raw []byte, alloc func(n int) []byte) (path []byte, uses PathFeature, err *fault.Error) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, 0, errPathStart
	}
	for i := 0; i < len(raw); i++ {
		class := pathClass[raw[i]]
		if class == pathPlain {
			continue
		}
		switch class {
		case pathSlash:
			if i+1 < len(raw) {
				switch raw[i+1] {
				case '/':
					uses |= EmptySegments
				case '.':
					if plainDots(raw[i+1:]) {
						return nil, 0, errPathDots
					}
				}
			}
		case pathSemicolon:
			uses |= Semicolon
		case pathPercent:
			path, err = decodeUnreserved(raw, i, alloc)
			if err != nil {
				return nil, 0, err
			}
			if uses, err = inspectPath(path); err != nil {
				return nil, 0, err
			}
			return path, uses, nil
		default:
			return nil, 0, rawPathFault(raw[i])
		}
	}
	return raw, uses, nil
}

// rawPathFault names the rule that a raw byte breaks, nil if none.
func rawPathFault(c byte) *fault.Error {
	switch pathClass[c] {
	case pathControl:
		return errPathControl
	case pathBackslash:
		return errPathBackslash
	case pathRaw:
		return errPathRaw
	}
	return nil
}

// plainDots reports whether s, which stands after a slash and holds no escape
// in its first segment, begins with a dot segment.
func plainDots(s []byte) bool {
	n := 0
	for n < len(s) && s[n] == '.' {
		n++
	}
	return n >= 1 && n <= 2 && (n == len(s) || s[n] == '/' || s[n] == ';')
}

// decodeUnreserved brings the escapes of raw, of which the first stands at
// from, into normal form. It copies only when something changes.
func decodeUnreserved(raw []byte, from int, alloc func(n int) []byte) ([]byte, *fault.Error) {
	var out []byte // nil as long as raw is normal
	n := 0         // bytes of out in use
	for i := from; i < len(raw); i++ {
		c := raw[i]
		if c != '%' {
			if err := rawPathFault(c); err != nil {
				return nil, err
			}
			if out != nil {
				out[n] = c
				n++
			}
			continue
		}
		v, ok := unescape(raw[i:])
		if !ok {
			return nil, errPathEscape
		}
		size := 1 // escapes that belong together
		switch {
		case v < 0x20 || v == 0x7F:
			return nil, errPathControl
		case v == '\\':
			return nil, errPathBackslash
		case v >= 0x80:
			r, s := escapedRune(raw[i:])
			if r == utf8.RuneError && s <= 1 {
				return nil, errPathUTF8
			}
			if r < 0xA0 { // C1 controls
				return nil, errPathControl
			}
			size = s
		}
		decode := unreserved[v]
		if out == nil && (decode || !upperEscapes(raw[i:i+3*size])) {
			out = alloc(len(raw))
			n = copy(out, raw[:i])
		}
		switch {
		case out == nil:
		case decode:
			out[n] = v
			n++
		default:
			for _, c := range raw[i : i+3*size] {
				if c >= 'a' && c <= 'f' {
					c -= 'a' - 'A'
				}
				out[n] = c
				n++
			}
		}
		i += 3*size - 1
	}
	if out == nil {
		return raw, nil
	}
	return out[:n], nil
}

// inspectPath reports the features of a path whose escapes are in normal
// form. It refuses dot segments, also those that only appear to a reader who
// decodes once more than we do, or any number of times, and who takes an
// escaped delimiter for a real one.
func inspectPath(path []byte) (uses PathFeature, err *fault.Error) {
	start := true // at the beginning of a segment, or after dots only
	dots := 0
	for i := 0; i < len(path); {
		v, size := path[i], 1
		if v == '%' {
			first, _ := unescape(path[i:])
			switch first {
			case '/':
				uses |= EncodedSlash
			case '?', '#', ';', '[', ']':
				uses |= EncodedReserved
			}
			v, size = deepUnescape(path[i:])
			if size > 3 {
				uses |= EncodedPercent
			}
		} else if v == ';' {
			uses |= Semicolon
		} else if v == '/' && i > 0 && path[i-1] == '/' {
			uses |= EmptySegments
		}
		i += size
		switch {
		case v == '.' && start:
			dots++
		case v == '/' || v == '\\':
			if start && (dots == 1 || dots == 2) {
				return 0, errPathDots
			}
			start, dots = true, 0
		case v == ';' || v == '?' || v == '#' || v < 0x20 || v == 0x7F:
			if start && (dots == 1 || dots == 2) {
				return 0, errPathDots
			}
			start = false
		default:
			start = false
		}
	}
	if start && (dots == 1 || dots == 2) {
		return 0, errPathDots
	}
	return uses, nil
}

// DecodeSegment returns the value of a segment captured by {x}: the segment,
// which is in normal form, with every escape decoded. A segment without
// escapes is returned itself. A value that would hold a slash, a backslash or
// a control character refuses with path_not_normal.
func DecodeSegment(segment []byte, alloc func(n int) []byte) ([]byte, *fault.Error) {
	i := 0
	for i < len(segment) && segment[i] != '%' {
		i++
	}
	if i == len(segment) {
		return segment, nil
	}
	out := alloc(len(segment))
	n := copy(out, segment[:i])
	for ; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			v, ok := unescape(segment[i:])
			if !ok || v == '/' || v == '\\' || v < 0x20 || v == 0x7F {
				return nil, errCapture
			}
			c = v
			i += 2
		}
		out[n] = c
		n++
	}
	return out[:n], nil
}

// unescape reads the escape that s begins with.
func unescape(s []byte) (v byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, lo := unhex[s[1]], unhex[s[2]]
	return hi<<4 | lo&0x0F, hi < 16 && lo < 16
}

// deepUnescape reads the escape that s begins with, and if that is a percent
// sign before two hexadecimal digits, the escape these form together, and so
// on. size is the length read.
func deepUnescape(s []byte) (v byte, size int) {
	v, _ = unescape(s)
	size = 3
	for v == '%' && len(s) >= size+2 && unhex[s[size]] < 16 && unhex[s[size+1]] < 16 {
		v = unhex[s[size]]<<4 | unhex[s[size+1]]
		size += 2
	}
	return v, size
}

// escapedRune reads the character whose UTF-8 form s begins with, each byte
// escaped, and the number of its bytes.
func escapedRune(s []byte) (r rune, bytes int) {
	var b [utf8.UTFMax]byte
	n := 0
	for n < len(b) {
		if len(s) < 3*n+3 || s[3*n] != '%' {
			break
		}
		v, ok := unescape(s[3*n:])
		if !ok {
			break
		}
		b[n] = v
		n++
	}
	return utf8.DecodeRune(b[:n])
}

func upperEscapes(s []byte) bool {
	for _, c := range s {
		if c >= 'a' && c <= 'f' {
			return false
		}
	}
	return true
}

// unhex gives the value of a hexadecimal digit; 16 or more for other bytes.
var unhex = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xFF
	}
	for i := range 16 {
		t["0123456789abcdef"[i]] = byte(i)
		t["0123456789ABCDEF"[i]] = byte(i)
	}
	return t
}()

// unreserved holds the characters of RFC 3986 section 2.3.
var unreserved = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" {
		t[c] = true
	}
	return t
}()
