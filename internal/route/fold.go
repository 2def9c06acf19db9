package route

import (
	"bytes"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// foldIndex finds the protected patterns that a path would meet if it were
// read leniently, as backends do: without regard to case and escapes, to
// empty segments and path parameters (;x), and to slashes or dots at the end.
// An escaped slash stays data here too.
type foldIndex struct {
	root  node
	plain bool // folding changed no pattern
}

// add enters a pattern, making the index when it is the first.
func (*foldIndex) add(segments []segment, at **foldIndex) {
	if *at == nil {
		*at = &foldIndex{plain: true}
	}
	f := *at
	folded := foldSegments(segments)
	if len(folded) != len(segments) {
		f.plain = false
	}
	for i := range folded {
		if folded[i] != segments[min(i, len(segments)-1)] {
			f.plain = false
		}
	}
	leafAt := f.root.grow(folded)
	if *leafAt == nil {
		*leafAt = &leaf{rank: rank(folded)}
	}
}

// better reports whether a protected pattern that is more specific than the
// matched one almost matches; with no match every pattern is.
func (f *foldIndex) better(p *folder, matched *leaf) bool {
	if f == nil || f.plain && p.isPlain() {
		return false // what almost matches matches
	}
	var caps captures
	near := f.root.find(p.folded(), 1, &caps, 0)
	return near != nil && (matched == nil || near.rank < matched.rank)
}

// rank writes the specificity of a folded pattern so that of two patterns
// that match the same path the smaller string is the more specific.
func rank(segments []segment) string {
	var r []byte
	for _, s := range segments {
		r = append(r, '0'+byte(s.kind))
	}
	if n := len(segments); n == 0 || segments[n-1].kind != restSegment {
		r = append(r, '0'+byte(endSegment))
	}
	return string(r)
}

// foldSegments folds the literals of a pattern.
func foldSegments(segments []segment) []segment {
	var out []segment
	for _, s := range segments {
		if s.kind == literalSegment {
			s.text = string(foldSegment(nil, []byte(s.text)))
			if s.text == "" {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// folder folds the path of a request when it is first asked.
type folder struct {
	x     *exchange.Exchange
	path  []byte
	done  bool
	known bool
	plain bool
}

// isPlain reports whether folding leaves the path as it is.
func (p *folder) isPlain() bool {
	if !p.known {
		p.known, p.plain = true, plainPath(p.x.Req.Path)
	}
	return p.plain
}

// folded returns the folded path: empty, or segments with a slash before each.
func (p *folder) folded() []byte {
	if p.isPlain() {
		return p.x.Req.Path
	}
	if !p.done {
		path := p.x.Req.Path
		out := p.x.Alloc(len(path))[:0]
		for from := 1; from <= len(path); {
			to := bytes.IndexByte(path[from:], '/')
			if to < 0 {
				to = len(path)
			} else {
				to += from
			}
			n := len(out)
			out = foldSegment(append(out, '/'), path[from:to])
			if len(out) == n+1 {
				out = out[:n]
			}
			from = to + 1
		}
		p.path, p.done = out, true
	}
	return p.path
}

// plainPath reports whether no segment of a normal path changes when folded
// and none is empty.
func plainPath(path []byte) bool {
	last := byte('/')
	for _, c := range path[1:] {
		if folds[c] || c == '/' && (last == '/' || last == '.') {
			return false
		}
		last = c
	}
	return last != '/' && last != '.'
}

// folds holds the bytes that folding changes wherever they stand.
var folds = func() (t [256]bool) {
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = true
	}
	t['%'], t[';'] = true, true
	return t
}()

// foldSegment appends the folded form of one segment. It is never longer.
func foldSegment(out, segment []byte) []byte {
	start := len(out)
	ascii := true
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' && i+2 < len(segment) {
			c = hexByte(segment[i+1])<<4 | hexByte(segment[i+2])
			i += 2
			if c == '/' {
				out = append(out, "%2f"...)
				continue
			}
		}
		if c == ';' || c == '?' || c == '#' {
			break
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		ascii = ascii && c < 0x80
		out = append(out, c)
	}
	if !ascii {
		// Up and down again, because some letters share only the upper case.
		lower := strings.ToLower(strings.ToUpper(string(out[start:])))
		out = append(out[:start], lower...)
	}
	for len(out) > start && (out[len(out)-1] == '.' || out[len(out)-1] == ' ') {
		out = out[:len(out)-1]
	}
	return out
}

// hexByte gives the value of a hexadecimal digit of an escape in normal form.
func hexByte(c byte) byte {
	if c >= 'A' {
		return c - 'A' + 10
	}
	return c - '0'
}
