package route

import "strings"

// Overlap reports whether some request could be taken by both patterns if
// their methods and conditions are left aside. A pattern that Build complains
// about overlaps everything.
func Overlap(a, b Pattern) bool {
	scratch := builder{}
	pa, pb := scratch.parsePath(&a), scratch.parsePath(&b)
	ha, _ := scratch.parseHost(a.Host)
	hb, _ := scratch.parseHost(b.Host)
	return len(scratch.problems) > 0 || hostsOverlap(ha, hb) && pathsOverlap(pa, pb)
}

func hostsOverlap(a, b string) bool {
	switch {
	case a == "" || b == "" || a == AnyHost || b == AnyHost || a == b:
		return true
	case a[0] == '*' && b[0] == '*':
		return strings.HasSuffix(a[1:], b[1:]) || strings.HasSuffix(b[1:], a[1:])
	case a[0] == '*':
		return len(b) >= len(a) && strings.HasSuffix(b, a[1:])
	case b[0] == '*':
		return len(a) >= len(b) && strings.HasSuffix(a, b[1:])
	}
	return false
}

func pathsOverlap(a, b []segment) bool {
	for i := 0; ; i++ {
		switch {
		case i < len(a) && a[i].kind == restSegment, i < len(b) && b[i].kind == restSegment:
			return true
		case i == len(a) || i == len(b):
			return len(a) == len(b)
		}
		x, y := a[i], b[i]
		switch {
		case x.kind == literalSegment && y.kind == literalSegment:
			if x.text != y.text {
				return false
			}
		case x.kind == literalSegment && x.text == "", y.kind == literalSegment && y.text == "":
			return false // a capture is never empty
		}
	}
}
