// Package snapshot is one whole configuration, compiled and immutable: what
// requests run on. Compile makes one of a document, Live says which one is in
// force, and the Pool keeps what must outlive a swap.
//
// Decide is the one place where a request is allowed or refused. Serving,
// explaining and testing all call it; they differ only in the world they
// hand it.
package snapshot

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/route"
	"github.com/warder-gateway/warder/internal/telemetry"
	"github.com/warder-gateway/warder/internal/upstream"
)

// Snapshot is a compiled configuration. It is immutable and safe for
// concurrent use. The zero Snapshot refuses everything.
type Snapshot struct {
	Config    string // SHA-256 of the document, in hex
	Listeners []*Listener
	Issuers   []*pipeline.Issuer
	Counters  counters.Counters // what limits are counted by

	// Elsewhere are the consumers that routes name and the document does not
	// have: they may be in the store.
	Elsewhere []Mention

	// Doubts are what speaks against a document that is allowed, by place.
	Doubts config.Problems

	routes   []Route
	index    *route.Index
	local    *route.Index // Warder's own routes
	redirect *Route       // answers on listeners that only redirect; nil: nobody does
	hasLocal bool
	legend   *exchange.Legend
	reads    []string // request fields that routes and policies read, lower case
	set      setFields
	judges   map[string]certRules // of client certificates, by listener
	streams  streamRules
	loans    loans

	borrowers atomic.Int64
}

// Listener is one address to serve.
type Listener struct {
	Name        string
	Address     string
	TLS         *tls.Config // nil: plain. Connections go by Handshake
	AsksCert    bool        // clients may show a certificate
	PublicURL   string      // as of exchange.Conn
	H2C         bool        // plain, and speaks HTTP/2 too, by prior knowledge
	Exposed     bool        // plain, and other machines can reach it
	Redirect    bool        // sends every request to HTTPS, and serves nothing else
	Front       *exchange.Front
	CertHeader  *exchange.CertHeader // nil: nobody forwards certificates
	Introducers []netip.Prefix       // peers whose connections begin with a PROXY header
	Security    string               // digest of whom it trusts: connections end when it changes
	Limits      http1.Limits
	Connections int
	PerAddress  int // connections of one client's address

	asks string // digest of what is asked of clients; "": nothing
	ticketing
}

// Route is a compiled route.
type Route struct {
	Labels   *exchange.Route // apart from the rest, which it would keep alive
	Chain    *pipeline.Chain
	Upstream *upstream.Group // nil when Local answers
	Local    http.Handler
	Timeouts http1.Timeouts
	MaxBody  int64 // bytes; 0: no bound
	Metrics  *telemetry.RouteMetrics
	Upgrades []string // protocols that connections may switch to

	secured     bool // credentials travel: not to be had over an exposed listener
	Methods     []string
	Target      string   // the upstream's name, or "local"
	Policies    []Policy // in the order in which they are asked; for explain
	credentials credentials
	pass        pass
}

// Policy is a policy of a route, for those who ask.
type Policy struct {
	Check exchange.Check
	From  string // "route", "api NAME" or "defaults"
	phase int    // in which it is asked first
}

// ListenerFor returns the listener that would take requests over TLS, or plain
// ones, at a port; nil when it cannot be told which. Where none speaks TLS,
// something in front of us does.
func (s *Snapshot) ListenerFor(secure bool, port string) *Listener {
	var fit []*Listener
	for _, l := range s.Listeners {
		if (l.TLS != nil) == secure {
			fit = append(fit, l)
		}
	}
	if len(fit) == 0 {
		fit = slices.DeleteFunc(slices.Clone(s.Listeners), func(l *Listener) bool { return l.Redirect })
	}
	alike := true
	for _, l := range fit {
		if _, at, _ := net.SplitHostPort(l.Address); at == port {
			return l
		}
		alike = alike && l.Exposed == fit[0].Exposed && l.Redirect == fit[0].Redirect && (l.Front == nil) == (fit[0].Front == nil)
	}
	if len(fit) == 0 || !alike {
		return nil
	}
	return fit[0]
}

// Wide returns the trusted ranges that are larger than a subnet of proxies
// has to be: /24 for IPv4, /64 for IPv6.
func (l *Listener) Wide() (wide []netip.Prefix) {
	all := l.Introducers
	if l.Front != nil {
		all = slices.Concat(l.Front.Trusted, all)
	}
	for _, p := range all {
		if p.Bits() < 24 || p.Addr().Is6() && p.Bits() < 64 {
			wide = append(wide, p)
		}
	}
	return wide
}

// StripCredentials drops the request's fields that carry credentials, but for
// the one that was verified and may go on.
func (r *Route) StripCredentials(x *exchange.Exchange) { r.credentials.strip(&x.Req, x.Verified) }

// Legend returns the words for trails of this snapshot.
func (s *Snapshot) Legend() *exchange.Legend {
	if s == nil {
		return nil
	}
	return s.legend
}

// Routes returns the compiled routes, in the order of the document.
func (s *Snapshot) Routes() []Route { return s.routes }

// The legend's first entries: for requests that match no route, for those
// that should have come over TLS, and for those that ask for a WebSocket.
const (
	checkRoute = iota
	checkTransport
	checkUpgrade
)

var houseChecks = []exchange.Check{checkRoute: {Phase: "route"}, checkTransport: {Phase: "transport", Want: "HTTPS"}, checkUpgrade: {Phase: "upgrade", Want: "a WebSocket handshake"}}

// Decide says whether the request may pass, and by which route. It matches,
// strips what clients may not send, and runs the route's chain; it writes no
// response. The route is nil when none matched.
func (s *Snapshot) Decide(x *exchange.Exchange, w *pipeline.World) (*Route, pipeline.Verdict) {
	x.Trail.Begin(checkRoute)
	path, uses, bad := x.Req.Path, exchange.PathFeature(0), (*fault.Error)(nil)
	if string(path) != "*" { // which is no path; OPTIONS alone may ask for it, and no route has it
		path, uses, bad = exchange.NormalizePath(path, x.Alloc)
	}
	if bad != nil {
		x.Reason = bad.Reason
		return nil, s.unmatched(x, bad.Code, bad.Reason)
	}
	x.Req.Path, x.Req.PathUses = path, uses
	if s.nominated(&x.Req) {
		x.Reason = "Connection names a field that a route or policy reads"
		return nil, s.unmatched(x, fault.RequestMalformed, x.Reason)
	}
	if why := misdirected(x); why != "" {
		x.Reason = why
		return nil, s.unmatched(x, fault.MisdirectedRequest, why)
	}
	if x.Conn != nil && s.judges != nil {
		if code := s.judgeConnection(x); code != fault.None {
			return nil, s.unmatched(x, code, x.Reason)
		}
	}
	r, code := s.find(x)
	if r == nil {
		return nil, s.unmatched(x, code, x.Reason)
	}
	x.Route = r.Labels
	x.Trail.Saw("route", r.Labels.Name)
	x.Trail.Saw("pattern", r.Labels.Pattern)
	x.Trail.End(exchange.Passed, fault.None)
	if r.secured && x.Conn != nil && x.Conn.Exposed && !x.Secure { // only a trusted proxy can have said so there
		x.Trail.Begin(checkTransport)
		x.Trail.Saw("because", "the listener is plain and reachable from other machines")
		x.Trail.End(exchange.Refused, fault.TransportInsecure)
		return r, pipeline.Refuse(fault.TransportInsecure)
	}
	strip(&x.Req, r.pass, &s.set)
	verdict := r.Chain.Run(x, w)
	if verdict.Passed() && x.Req.Upgrade != "" && slices.Contains(r.Upgrades, x.Req.Upgrade) {
		verdict = grantUpgrade(x, verdict)
	}
	return r, verdict
}

// grantUpgrade lets the upstream switch protocols if it is asked to properly.
func grantUpgrade(x *exchange.Exchange, passed pipeline.Verdict) pipeline.Verdict {
	x.Trail.Begin(checkUpgrade)
	if f := http1.CheckHandshake(&x.Req); f != nil {
		x.Reason = f.Reason
		x.Trail.Saw("because", f.Reason)
		x.Trail.End(exchange.Refused, f.Code)
		return pipeline.Refuse(f.Code)
	}
	x.Trail.Saw("to", x.Req.Upgrade)
	x.Trail.End(exchange.Passed, fault.None)
	x.Upgrade = x.Req.Upgrade
	return passed
}

// nominated reports whether the sender had a field removed on the way that
// somebody here goes by: judge and backend would see different requests.
func (s *Snapshot) nominated(h *exchange.Head) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if !f.Nominated {
			continue
		}
		for _, name := range s.reads {
			if exchange.EqualFold(f.Name, name) {
				return true
			}
		}
	}
	return false
}

// find returns the route of a request, or says why there is none.
func (s *Snapshot) find(x *exchange.Exchange) (*Route, fault.Code) {
	if x.Conn != nil && x.Conn.Redirect {
		switch {
		case s.redirect == nil:
			return nil, fault.RouteUnknown
		case len(x.Req.Host) == 0:
			x.Reason = "without Host it cannot be said where to ask again"
			return nil, fault.RequestMalformed
		}
		return s.redirect, fault.None
	}
	i, code, ok := s.match(x)
	if !ok {
		return nil, code
	}
	return &s.routes[i], fault.None
}

// match looks among Warder's own routes first: Compile has seen to it that no
// other route takes their paths. What lies below Warder's own folder goes to no
// other route, whatever that takes.
func (s *Snapshot) match(x *exchange.Exchange) (i int, code fault.Code, ok bool) {
	if s.index == nil { // nobody compiled this
		return 0, fault.InternalError, false
	}
	if s.hasLocal {
		if i, code, ok = s.local.Match(x); ok || code == fault.MethodNotAllowed {
			return i, code, ok
		}
		x.Reason = ""
	}
	if reserved(x.Req.Path) {
		x.Reason = "the path lies below " + folder + ", where this gateway answers itself"
		return 0, fault.RouteUnknown, false
	}
	return s.index.Match(x)
}

func (s *Snapshot) unmatched(x *exchange.Exchange, code fault.Code, reason string) pipeline.Verdict {
	x.Trail.Saw("host", string(x.Req.Host))
	x.Trail.Saw("path", string(x.Req.Path))
	x.Trail.Saw("method", string(x.Req.Method))
	switch {
	case code == fault.MethodNotAllowed:
		x.Trail.Saw("allow", x.Allow)
	case reason != "":
		x.Trail.Saw("because", reason)
	}
	x.Trail.End(exchange.Refused, code)
	return pipeline.Refuse(code)
}

// Prepare starts what the snapshot needs and was not running. It is called
// once, before the snapshot is put in force.
func (s *Snapshot) Prepare() { s.loans.start() }

func (s *Snapshot) close() { s.loans.release() }

// credentials are the fields a route does not let through.
type credentials struct {
	ids   []exchange.HeaderID
	names []string // of all, folded: a field without an id may be taken for any

	// parameters are the names of query parameters that some route reads as
	// credentials: an address with one is not told on.
	parameters []string
}

func (c *credentials) strip(h *exchange.Head, verified exchange.HeaderID) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != exchange.HeaderOther {
			for _, id := range c.ids {
				f.Drop = f.Drop || f.ID == id && id != verified
			}
			continue
		}
		for _, name := range c.names {
			f.Drop = f.Drop || len(f.Name) == len(name) && foldedEqual(f.Name, name)
		}
		if len(c.parameters) > 0 && exchange.EqualFold(f.Name, "referer") {
			for _, name := range c.parameters {
				f.Drop = f.Drop || exchange.MentionsParameter(f.Value, name)
			}
		}
	}
}

// Mention is a name that a document uses, with the complaint to make of it
// where it is first used if nobody else knows it.
type Mention struct {
	Name string
	At   config.Problem
}
