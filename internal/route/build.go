package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Bounds of one pattern.
const (
	maxPattern  = 2048 // bytes of Path
	maxSegments = 64
	maxCaptures = 15
	maxHost     = 253
	maxName     = 64 // bytes of a capture's name
)

// Problem is a complaint about one of the patterns given to Build.
type Problem struct {
	Pattern int    // index of the pattern
	Other   int    // index of the pattern it collides with, -1 if none
	Field   string // host, path, methods or headers
	Text    string // what is wrong and what to do
}

// Build makes an Index. Every problem of every pattern is reported; with any
// the Index is nil. The order of the patterns never matters.
func Build(patterns []Pattern) (*Index, []Problem) {
	b := builder{ix: &Index{exact: map[string]*table{}, wildcard: map[string]*table{}, hostless: &table{}, anyHost: &table{}}}
	for m := range b.ix.allow {
		b.ix.allow[m] = methods(m).allow()
	}
	for i := range patterns {
		b.add(i, &patterns[i])
	}
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	return b.ix, nil
}

type builder struct {
	ix       *Index
	problems []Problem
	at       int // pattern being added
}

func (b *builder) complain(field, format string, args ...any) {
	b.problems = append(b.problems, Problem{Pattern: b.at, Other: -1, Field: field, Text: fmt.Sprintf(format, args...)})
}

func (b *builder) add(i int, p *Pattern) {
	b.at = i
	before := len(b.problems)
	segments := b.parsePath(p)
	r := route{
		index:   p.Route,
		pattern: i,
		methods: b.parseMethods(p.Methods),
		headers: b.parseHeaders(p.Headers),
		allowed: p.Allowed,
	}
	for _, s := range segments {
		switch s.kind {
		case captureSegment:
			r.names = append(r.names, s.text)
		case restSegment:
			r.rest = true
		}
	}
	host, ok := b.parseHost(p.Host)
	if !ok || len(b.problems) > before {
		return
	}
	switch {
	case host == "":
		b.insert(b.ix.hostless, segments, r, p.Protected)
	case host == AnyHost:
		// Its own table cannot hold a collision that the first does not.
		if b.insert(b.ix.hostless, segments, r, p.Protected) {
			b.insert(b.ix.anyHost, segments, r, p.Protected)
		}
	case host[0] == '*':
		suffix := host[1:]
		b.ix.labels = max(b.ix.labels, strings.Count(suffix, "."))
		b.insert(tableOf(b.ix.wildcard, suffix), segments, r, p.Protected)
	default:
		b.insert(tableOf(b.ix.exact, host), segments, r, p.Protected)
	}
}

func tableOf(m map[string]*table, key string) *table {
	t := m[key]
	if t == nil {
		t = &table{}
		m[key] = t
	}
	return t
}

// insert puts a route into a table, unless it equals one that is there.
func (b *builder) insert(t *table, segments []segment, r route, protected bool) bool {
	leafAt := t.root.grow(segments)
	if *leafAt == nil {
		*leafAt = &leaf{rank: rank(foldSegments(segments))}
	}
	l := *leafAt
	for i := range l.routes {
		other := &l.routes[i]
		if both := other.methods & r.methods; both != 0 && slices.Equal(other.headers, r.headers) {
			b.problems = append(b.problems, Problem{
				Pattern: b.at, Other: other.pattern, Field: "path",
				Text: fmt.Sprintf("another route takes %s for the same host, path and conditions; remove one of them, or give it other methods or a condition", both.allow()),
			})
			return false
		}
	}
	at, _ := slices.BinarySearchFunc(l.routes, r, compareRoutes)
	l.routes = slices.Insert(l.routes, at, r)
	if protected {
		t.folded.add(segments, &t.folded)
	}
	return true
}

// compareRoutes orders the routes of a leaf: more conditions first, and among
// as many by their text, so that the order of the file does not matter.
func compareRoutes(a, b route) int {
	if c := cmp.Compare(len(b.headers), len(a.headers)); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.headers, b.headers, compareHeaders); c != 0 {
		return c
	}
	return cmp.Compare(a.methods, b.methods)
}

func compareHeaders(a, b Header) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
}

// grow returns the place of the leaf of a pattern in the tree below n.
func (n *node) grow(segments []segment) **leaf {
	for _, s := range segments {
		switch s.kind {
		case restSegment:
			return &n.rest
		case captureSegment:
			if n.capture == nil {
				n.capture = &node{}
			}
			n = n.capture
		default:
			next := n.literal[s.text]
			if next == nil {
				next = &node{}
				if n.literal == nil {
					n.literal = map[string]*node{}
				}
				n.literal[s.text] = next
			}
			n = next
		}
	}
	return &n.end
}

type segmentKind uint8

// The kinds of segments, most specific first.
const (
	literalSegment segmentKind = iota
	captureSegment
	endSegment // not a segment: the pattern ends
	restSegment
)

type segment struct {
	kind segmentKind
	text string // the literal, or the capture's name
}

func (b *builder) parsePath(p *Pattern) []segment {
	if !strings.HasPrefix(p.Path, "/") {
		b.complain("path", "%q does not start with a slash", p.Path)
		return nil
	}
	if len(p.Path) > maxPattern {
		b.complain("path", "is longer than %d bytes", maxPattern)
		return nil
	}
	texts := strings.Split(p.Path[1:], "/")
	if len(texts) > maxSegments {
		b.complain("path", "has more than %d segments", maxSegments)
		return nil
	}
	var segments []segment
	names := map[string]bool{}
	plain := make([]string, len(texts)) // with captures made literals, to be judged as a path
	for i, text := range texts {
		s := segment{text: text}
		plain[i] = text
		switch {
		case text == "**":
			s.kind = restSegment
			plain[i] = "x"
			if i < len(texts)-1 {
				b.complain("path", "** may only stand at the end of %q", p.Path)
			}
		case strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}"):
			s = segment{captureSegment, text[1 : len(text)-1]}
			plain[i] = "x"
			switch {
			case !captureName(s.text):
				b.complain("path", "%q does not name a capture: use up to %d letters, digits, - and _", text, maxName)
			case s.text == Rest:
				b.complain("path", "{%s} is the name of what ** captures; choose another", Rest)
			case names[s.text]:
				b.complain("path", "{%s} stands twice in %q", s.text, p.Path)
			}
			names[s.text] = true
		case strings.ContainsAny(text, "*{}"):
			b.complain("path", "%q in %q: write {name} for one whole segment, or ** at the end for the rest", text, p.Path)
		}
		segments = append(segments, s)
	}
	if len(names) > maxCaptures {
		b.complain("path", "has more than %d captures", maxCaptures)
	}
	b.judgePath(strings.Join(plain, "/"), p)
	return segments
}

// judgePath complains about a pattern that no request can match because of
// what the normaliser does to its path.
func (b *builder) judgePath(plain string, p *Pattern) {
	raw := []byte("/" + plain)
	normal, uses, err := exchange.NormalizePath(raw, func(n int) []byte { return make([]byte, n) })
	switch {
	case err != nil:
		b.complain("path", "%q can never match: %s", p.Path, err.Reason)
	case string(normal) != string(raw):
		b.complain("path", "%q is not in normal form; its literal segments are those of %q", p.Path, normal)
	case uses&^p.Allowed != 0:
		b.complain("path", "%q can never match: list %s under pathAllow", p.Path, featureNames(uses&^p.Allowed))
	}
}

func captureName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, c := range []byte(s) {
		if !nameByte(c) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func (b *builder) parseMethods(list []string) (m methods) {
	if len(list) == 0 {
		return every
	}
	for _, name := range list {
		switch one := methodOf([]byte(name)); {
		case one != 0:
			m |= one
		case name == "TRACE" || name == "CONNECT":
			b.complain("methods", "%s is never served", name)
		case methodOf([]byte(strings.ToUpper(name))) != 0:
			b.complain("methods", "methods are case-sensitive: write %s", strings.ToUpper(name))
		default:
			b.complain("methods", "%q is not one of %s", name, every.allow())
		}
	}
	if m&get != 0 {
		m |= head
	}
	return m
}

func (b *builder) parseHeaders(list []Header) []Header {
	out := make([]Header, 0, len(list))
	for _, h := range list {
		name := strings.ToLower(h.Name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(c rune) bool { return c > 0x7F || !nameByte(byte(c)) && !strings.ContainsRune("!#$%&'*+.^`|~", c) }):
			b.complain("headers", "%q is not a header name", h.Name)
		case strings.Contains(name, "_"):
			b.complain("headers", "%s can never match: header names with _ are dropped", h.Name)
		case slices.ContainsFunc(out, func(o Header) bool { return o.Name == name }):
			b.complain("headers", "%s stands twice; a request that sends it twice is refused", h.Name)
		case h.Value != strings.Trim(h.Value, " \t") || strings.ContainsFunc(h.Value, func(c rune) bool { return c < 0x20 || c == 0x7F }):
			b.complain("headers", "the value of %s can never match: it holds a control character, or a space at an end", h.Name)
		}
		out = append(out, Header{name, h.Value})
	}
	slices.SortFunc(out, compareHeaders)
	return out
}

// parseHost returns the host pattern in lower case.
func (b *builder) parseHost(host string) (string, bool) {
	host = strings.ToLower(host)
	name := strings.TrimPrefix(host, "*.")
	switch {
	case host == "" || host == AnyHost:
		return host, true
	case strings.HasPrefix(name, "["):
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
		if name == host && err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(name, "]") {
			return host, true
		}
	case len(name) <= maxHost && !slices.ContainsFunc(strings.Split(name, "."), func(label string) bool { return !captureName(label) }):
		return host, true
	}
	b.complain("host", "%q is not a host: write a name without port, *.name, [IPv6 address] or %s", host, AnyHost)
	return "", false
}
