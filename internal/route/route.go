// Package route finds the route for a request: by host, then path, then
// header conditions, then method. It is a pure data structure; what a route
// runs is not its business.
//
// Routes never fall through. The most specific host and path that are there
// decide, whatever the request's method or fields; a wrong method at that
// path is 405 even if a broader path would take it. A request that only
// almost meets a protected pattern (another case, a slash or dot more) and
// would therefore be served by a broader one is refused: what the gateway
// takes for two resources a backend may take for one.
package route

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// AnyHost as the Host of a Pattern serves every host, also those that have
// routes of their own.
const AnyHost = "any"

// Pattern is one route as written.
type Pattern struct {
	Route     int    // what Match returns
	Host      string // "" (hosts without routes of their own), AnyHost, a name, or *.example.com
	Path      string // segments: literals in normal form, {name}, and ** at the end
	Methods   []string
	Headers   []Header
	Allowed   exchange.PathFeature // path features the route may receive
	Protected bool                 // the route is not public (auth: none)
}

// Header is a condition: the request has exactly one field Name, and its
// value is Value, byte for byte.
type Header struct{ Name, Value string }

// Index finds routes. It is immutable and safe for concurrent use. The zero
// Index has no route.
type Index struct {
	exact    map[string]*table // by host
	wildcard map[string]*table // by what follows the star: ".example.com"
	labels   int               // most dots in a wildcard's suffix
	hostless *table            // for hosts without routes of their own
	anyHost  *table            // for all others
	allow    [1 << servable]string
}

// table holds the routes of one host pattern.
type table struct {
	root   node
	folded *foldIndex // protected patterns only, as lenient readers see them; nil: none
}

// node is a place in the tree of segments.
type node struct {
	literal map[string]*node
	capture *node // {x}
	end     *leaf // the path ends here
	rest    *leaf // **
}

// leaf holds the routes that share one path pattern, those with more
// conditions first.
type leaf struct {
	rank   string // specificity of the folded pattern; see foldIndex
	routes []route
}

type route struct {
	index   int
	pattern int // index of the pattern it was built from
	methods methods
	headers []Header // names in lower case
	names   []string // of the captures, in order
	rest    bool     // the pattern ends in **
	allowed exchange.PathFeature
}

// captures are the bounds of what a pattern captured, in order: {x} and **.
type captures [maxCaptures + 1]struct{ from, to int }

const (
	reasonFolded   = "the path differs from that of a protected route only in case, escapes, or a trailing slash or dot"
	reasonUnrouted = "the path holds something that needs pathAllow, and no route matches"
	reasonTwice    = "a header that routes are chosen by occurs more than once"
)

// Match finds the route of a request and returns what its Pattern says in
// Route. It fills x.Params; x.Allow where the code is method_not_allowed;
// and x.Reason where the code does not speak for itself. When ok is false
// the request is refused with code: route_unknown, method_not_allowed,
// method_unknown, path_not_normal or parameter_ambiguous.
func (ix *Index) Match(x *exchange.Exchange) (route int, code fault.Code, ok bool) {
	var caps captures
	l, folded := ix.find(x, &caps)
	if folded {
		x.Reason = reasonFolded
		return 0, fault.PathNotNormal, false
	}
	r, code := l.choose(x, ix)
	if r == nil {
		if x.Req.PathUses != 0 && code != fault.ParameterAmbiguous {
			x.Reason = reasonUnrouted
			return 0, fault.PathNotNormal, false
		}
		return 0, code, false
	}
	if extra := x.Req.PathUses &^ r.allowed; extra != 0 {
		x.Reason = featureReasons[extra]
		return 0, fault.PathNotNormal, false
	}
	if err := r.fill(x, &caps); err != nil {
		x.Reason = err.Reason
		return 0, err.Code, false
	}
	return r.index, fault.None, true
}

// find returns the leaf of the most specific host and path, nil if none.
// folded says that a more specific protected pattern almost matches.
func (ix *Index) find(x *exchange.Exchange, caps *captures) (l *leaf, folded bool) {
	host, path := x.Req.Host, x.Req.Path
	if len(path) == 0 || path[0] != '/' {
		return nil, false
	}
	f := folder{x: x}
	owned := false
	// The tables in order; near is set when a table that was passed has a
	// protected pattern that almost matches.
	near := false
	try := func(t *table) bool {
		l = t.root.find(path, 1, caps, 0)
		near = near || t.folded.better(&f, l)
		return l != nil
	}
	if t := ix.exact[string(host)]; t != nil {
		owned = true
		if try(t) {
			return l, near
		}
	}
	if len(ix.wildcard) > 0 {
		for i := ix.suffix(host); i >= 0; i = nextDot(host, i) {
			if t := ix.wildcard[string(host[i:])]; t != nil {
				owned = true
				if try(t) {
					return l, near
				}
			}
		}
	}
	t := ix.hostless
	if owned {
		t = ix.anyHost
	}
	if t != nil && try(t) {
		return l, near
	}
	return nil, false
}

// suffix returns the place of the first dot in host from which a wildcard
// may match, -1 if none. A wildcard stands for at least one label.
func (ix *Index) suffix(host []byte) int {
	at, n := -1, 0
	for i := len(host) - 1; i > 0 && n < ix.labels; i-- {
		if host[i] == '.' {
			at, n = i, n+1
		}
	}
	return at
}

func nextDot(host []byte, i int) int {
	if n := bytes.IndexByte(host[i+1:], '.'); n >= 0 {
		return i + 1 + n
	}
	return -1
}

// find walks the tree, most specific first. The next segment of path begins
// at from; from is beyond the path's end when there is none. n is the number
// of captures so far. Every node is visited at most once.
func (n *node) find(path []byte, from int, caps *captures, captured int) *leaf {
	if from > len(path) {
		if n.end != nil {
			return n.end
		}
		if n.rest != nil {
			caps[captured].from, caps[captured].to = len(path), len(path)
		}
		return n.rest
	}
	to := bytes.IndexByte(path[from:], '/')
	if to < 0 {
		to = len(path)
	} else {
		to += from
	}
	if next := n.literal[string(path[from:to])]; next != nil {
		if l := next.find(path, to+1, caps, captured); l != nil {
			return l
		}
	}
	if n.capture != nil && to > from {
		if l := n.capture.find(path, to+1, caps, captured+1); l != nil {
			caps[captured].from, caps[captured].to = from, to
			return l
		}
	}
	if n.rest != nil {
		caps[captured].from, caps[captured].to = from, len(path)
	}
	return n.rest
}

// choose returns the route of the leaf that takes the request, or the code
// of the refusal. A nil leaf knows no route.
func (l *leaf) choose(x *exchange.Exchange, ix *Index) (*route, fault.Code) {
	if l == nil {
		return nil, fault.RouteUnknown
	}
	m := methodOf(x.Req.Method)
	var allow methods
	for i := range l.routes {
		r := &l.routes[i]
		holds, once := r.holds(&x.Req)
		if !once {
			x.Reason = reasonTwice
			return nil, fault.ParameterAmbiguous
		}
		if !holds {
			continue
		}
		if r.methods&m != 0 {
			return r, fault.None
		}
		allow |= r.methods
	}
	if allow == 0 {
		return nil, fault.RouteUnknown
	}
	if !known(x.Req.Method) {
		return nil, fault.MethodUnknown
	}
	x.Allow = ix.allow[allow]
	return nil, fault.MethodNotAllowed
}

// holds reports whether the conditions of the route are met; once is false
// when a field that decides occurs more than once.
func (r *route) holds(h *exchange.Head) (holds, once bool) {
	holds = true
	for i := range r.headers {
		value, n := h.GetName(r.headers[i].Name)
		if n > 1 {
			return false, false
		}
		if n == 0 || string(value) != r.headers[i].Value {
			holds = false
		}
	}
	return holds, true
}

// fill sets the captures of the request.
func (r *route) fill(x *exchange.Exchange, caps *captures) *fault.Error {
	x.Params = x.Params[:0]
	for i, name := range r.names {
		raw := x.Req.Path[caps[i].from:caps[i].to]
		value, err := exchange.DecodeSegment(raw, x.Alloc)
		if err != nil {
			return err
		}
		x.Params = append(x.Params, exchange.Param{Name: name, Value: value})
	}
	if r.rest {
		c := caps[len(r.names)]
		x.Params = append(x.Params, exchange.Param{Name: Rest, Value: x.Req.Path[c.from:c.to]})
	}
	return nil
}

// Rest is the name of the capture of **.
const Rest = "rest"
