package config

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/scalar"
)

// FlatRoute is a route with everything it inherits: its own values over those
// of its API over the defaults, each whole, and the built-in ones below.
type FlatRoute struct {
	Name    string // unique; made of methods and path if none was written
	API     string // empty for a route of its own
	Host    string // empty: any host that has no routes of its own
	Path    string // the API's base path followed by the route's
	Methods []string
	Match   Match
	Upgrade []string // protocols that connections may switch to

	Upstream     string
	Timeout      Timeout        // the route's over its upstream's, field by field; every field is set
	TunnelTotal  scalar.Timeout // of a connection that has switched: only what the route itself says
	MaxBody      scalar.Size
	PathAllow    []string
	Pass         []string
	ForwardToken bool
	Public       bool         // auth: none
	Policies     []FlatPolicy // without those of Proofs
	Proofs       []FlatProof  // of anyOf or allOf; none: the proof is one of Policies
	AllProofs    bool         // all of them have to hold, not just one

	Node Node // the route as written, for complaints
}

// FlatPolicy is a policy that applies to a route.
type FlatPolicy struct {
	Path string // in the catalog: "rateLimit", "auth.jwt"
	From string // "route", "api NAME" or "defaults"
	Node Node
}

// FlatProof is one object of a route's anyOf or allOf.
type FlatProof struct {
	From     string
	Node     Node
	Policies []FlatPolicy // its proof and its conditions, sorted by path
}

// Policy finds a route's policy by its path in the catalog.
func (r *FlatRoute) Policy(path string) (FlatPolicy, bool) {
	for _, p := range r.Policies {
		if p.Path == path {
			return p, true
		}
	}
	return FlatPolicy{}, false
}

// The built-in timeouts and body bound.
const (
	defaultConnect   = scalar.Timeout(2 * time.Second)
	defaultFirstByte = scalar.Timeout(30 * time.Second)
	defaultIdle      = scalar.Timeout(60 * time.Second)
	defaultBody      = scalar.Size(1 << 20)
)

// placedRoute is a route with its API and its path in the document.
type placedRoute struct {
	*Route
	api *Entry[API] // nil: none
	at  string
}

// eachRoute yields the document's routes, those of its own first.
func (d *Document) eachRoute() iter.Seq[placedRoute] {
	return func(yield func(placedRoute) bool) {
		for i := range d.Routes {
			if !yield(placedRoute{&d.Routes[i], nil, item("routes", i)}) {
				return
			}
		}
		for i := range d.APIs {
			api := &d.APIs[i]
			for j := range api.Value.Routes {
				at := item(under(under("apis", api.Name), "routes"), j)
				if !yield(placedRoute{&api.Value.Routes[j], api, at}) {
					return
				}
			}
		}
	}
}

// effective is what applies to a route: nil where nothing was written.
type effective struct {
	upstream     *UpstreamRef
	auth         *Auth
	authFrom     string
	timeout      *Timeout
	body         *Body
	pathAllow    *[]string
	pass         *[]string
	forwardToken *bool
	policies     []FlatPolicy // sorted by path
}

func (r placedRoute) effective(d *Document) effective {
	layers := []struct {
		from string
		*Settings
	}{{"route", &r.Settings}, {"defaults", &d.Defaults}}
	if r.api != nil {
		layers = slices.Insert(layers, 1, struct {
			from string
			*Settings
		}{"api " + r.api.Name, &r.api.Value.Defaults})
	}
	var e effective
	add := func(from string, ps Policies) {
		for path, n := range ps {
			inherited := slices.ContainsFunc(e.policies, func(p FlatPolicy) bool { return p.Path == path })
			if !inherited {
				e.policies = append(e.policies, FlatPolicy{Path: path, From: from, Node: n})
			}
		}
	}
	for _, l := range layers {
		add(l.from, l.Policies)
		// Objects replace whole: an inner layer's scopes say nothing of an outer layer's.
		if e.auth == nil && l.Auth != nil {
			e.authFrom = l.from
			add(l.from, l.Auth.Policies)
		}
		if e.body == nil && l.Body != nil {
			add(l.from, l.Body.Policies)
		}
		e.upstream = cmp.Or(e.upstream, l.Upstream)
		e.auth = cmp.Or(e.auth, l.Auth)
		e.timeout = cmp.Or(e.timeout, l.Timeout)
		e.body = cmp.Or(e.body, l.Body)
		e.pathAllow = cmp.Or(e.pathAllow, l.PathAllow)
		e.pass = cmp.Or(e.pass, l.Pass)
		e.forwardToken = cmp.Or(e.forwardToken, l.ForwardToken)
	}
	slices.SortFunc(e.policies, func(a, b FlatPolicy) int { return cmp.Compare(a.Path, b.Path) })
	return e
}

// Unsound counts the routes that Flatten leaves out.
func (d *Document) Unsound() int {
	n := len(d.Routes)
	for i := range d.APIs {
		n += len(d.APIs[i].Value.Routes)
	}
	return n - len(d.Flatten())
}

// Flatten returns the document's routes, those of its own first, then API by
// API. A route that has a problem, or whose API or inherited settings have
// one, is left out: what would be said of it may follow from that.
func (d *Document) Flatten() []FlatRoute {
	var flat []FlatRoute
	taken := map[string]int{}
	for r := range d.eachRoute() {
		host, base := r.Host, ""
		if r.api != nil {
			base = strings.TrimSuffix(r.api.Value.BasePath, "/")
			host = cmp.Or(host, r.api.Value.Host)
		}
		f := FlatRoute{
			Name: r.Name, Host: host, Path: joinPath(base, r.Path), Methods: r.Methods, Match: r.Match, Upgrade: r.Upgrade,
			MaxBody: defaultBody, ForwardToken: true, Node: r.node(d),
		}
		if f.Name == "" {
			f.Name = defaultName(&f, taken)
		}
		if f.Methods == nil {
			f.Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
		}
		if r.fill(d, &f) {
			flat = append(flat, f)
		}
	}
	return flat
}

func (r placedRoute) node(d *Document) Node {
	return Node{file: d.root.file, path: r.at, n: walk(d.root.n, r.at)}
}

// fill sets what f inherits; it reports whether all of it is sound.
func (r placedRoute) fill(d *Document, f *FlatRoute) bool {
	if d.problems.touch(r.at) || d.problems.touch("defaults") {
		return false
	}
	if r.api != nil {
		f.API = r.api.Name
		at := under("apis", f.API)
		if d.problems.touch(under(at, "defaults")) || d.problems.touch(under(at, "basePath")) || d.problems.touch(under(at, "host")) {
			return false
		}
	}
	e := r.effective(d)
	if e.auth == nil || e.upstream == nil {
		return false
	}
	u := d.Upstreams.Get(e.upstream.Name)
	if u == nil {
		return false
	}
	f.Upstream, f.Public, f.Policies = e.upstream.Name, e.auth.Public(), e.policies
	f.Proofs, f.AllProofs = e.proofs(), len(e.auth.AllOf) > 0
	f.Timeout = u.Timeout.over(Timeout{defaultConnect, defaultFirstByte, defaultIdle, scalar.Unlimited})
	if e.timeout != nil {
		f.Timeout = e.timeout.over(f.Timeout)
	}
	f.TunnelTotal = scalar.Unlimited
	if r.Timeout != nil {
		f.TunnelTotal = cmp.Or(r.Timeout.Total, f.TunnelTotal)
	}
	if e.body != nil {
		f.MaxBody = e.body.MaxSize
	}
	if e.pathAllow != nil {
		f.PathAllow = *e.pathAllow
	}
	if e.pass != nil {
		f.Pass = *e.pass
	}
	if e.forwardToken != nil {
		f.ForwardToken = *e.forwardToken
	}
	return true
}

// proofs lists the objects of anyOf or allOf.
func (e *effective) proofs() []FlatProof {
	var all []FlatProof
	for _, p := range slices.Concat(e.auth.AnyOf, e.auth.AllOf) {
		one := FlatProof{From: e.authFrom, Node: p.node}
		for path, n := range p.Policies {
			one.Policies = append(one.Policies, FlatPolicy{Path: path, From: e.authFrom, Node: n})
		}
		slices.SortFunc(one.Policies, func(a, b FlatPolicy) int { return cmp.Compare(a.Path, b.Path) })
		all = append(all, one)
	}
	return all
}

// over lays what t says over under, field by field.
func (t Timeout) over(under Timeout) Timeout {
	return Timeout{
		Connect:   cmp.Or(t.Connect, under.Connect),
		FirstByte: cmp.Or(t.FirstByte, under.FirstByte),
		Idle:      cmp.Or(t.Idle, under.Idle),
		Total:     cmp.Or(t.Total, under.Total),
	}
}

// joinPath puts a route's path behind its API's base path, which does not end
// with a slash. The path / is the base path itself.
func joinPath(base, path string) string {
	if path == "/" && base != "" {
		return base
	}
	return base + path
}

// defaultName makes a name of methods, host and path: "GET /orders/**". It
// holds a slash, which no written name does; equal ones are numbered.
func defaultName(f *FlatRoute, taken map[string]int) string {
	name := f.Host + f.Path
	if f.Methods != nil {
		name = strings.Join(f.Methods, ",") + " " + name
	}
	taken[name]++
	if n := taken[name]; n > 1 {
		name += " #" + strconv.Itoa(n)
	}
	return name
}

// EachPolicy calls f for every policy value of the document, in no particular
// order, those of routes that Flatten leaves out included.
func (d *Document) EachPolicy(f func(path string, value Node)) {
	of := func(s *Settings) {
		all := []Policies{s.Policies}
		if s.Auth != nil {
			all = append(all, s.Auth.Policies)
			for _, p := range slices.Concat(s.Auth.AnyOf, s.Auth.AllOf) {
				all = append(all, p.Policies)
			}
		}
		if s.Body != nil {
			all = append(all, s.Body.Policies)
		}
		for _, policies := range all {
			for path, value := range policies {
				f(path, value)
			}
		}
	}
	of(&d.Defaults)
	for i := range d.APIs {
		api := &d.APIs[i].Value
		of(&api.Defaults)
		for j := range api.Routes {
			of(&api.Routes[j].Settings)
		}
	}
	for i := range d.Routes {
		of(&d.Routes[i].Settings)
	}
}
