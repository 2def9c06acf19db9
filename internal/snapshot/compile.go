package snapshot

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/public"
	"github.com/warder-gateway/warder/internal/route"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/telemetry"
	"github.com/warder-gateway/warder/internal/upstream"
)

// Compiler makes snapshots of documents. Every field is required but Memory and Guard.
type Compiler struct {
	Catalog []pipeline.Kind
	Pool    *Pool
	Metrics *telemetry.Metrics
	// Verdicts remembers verified tokens from one snapshot to the next.
	Verdicts *keys.Verdicts
	// Counters are those in memory: all there are, or what takes over while a
	// server does not answer.
	Counters *counters.Memory
	// Memory holds the consumers and keys of the store; nil: there is none.
	Memory *directory.Memory
	// Guard slows down those who guess, from one snapshot to the next. nil:
	// nothing that can be guessed may be configured.
	Guard *guessing.Guard
	// Nonces are those that proofs of possession may hold, from one snapshot
	// to the next. nil: none are given out.
	Nonces *binding.Nonces
	Log    *slog.Logger
	// ReadFile reads certificates and keys: all that is read from outside the
	// document.
	ReadFile func(path string) ([]byte, error)
	// ReadLists reads revocation lists, which may be large; nil: ReadFile does.
	ReadLists func(path string) ([]byte, error)
	// Local returns what Warder answers itself under a document.
	Local func(doc *config.Document) (Local, error)
	// Assertions signs for backends, from one snapshot to the next. nil:
	// routes that ask for it refuse.
	Assertions *assertion.Authority
	// Sessions keep browser sessions; nil: there are none to be had.
	Sessions *login.Sessions
	// KeysChanged is called when an issuer's keys are others than before; it must
	// not wait. nil: nobody is told.
	KeysChanged func()
}

// Local is what Warder answers itself on public listeners.
type Local struct {
	Routes []LocalRoute
	Keys   map[string]keys.Set // key sets of issuers we are ourselves, by issuer URL
}

// LocalRoute is one of them. It is public: the handler judges its callers.
type LocalRoute struct {
	Name, Host, Path string
	Methods          []string
	Handler          http.Handler
	MaxBody          int64
	// Reserved says that the path begins with a folder that is ours: a route
	// that takes all paths leaves it out, and none may be written below it.
	Reserved bool
}

// Vocabulary returns what a decoder must know of the catalog.
func (c *Compiler) Vocabulary() config.Vocabulary {
	var v config.Vocabulary
	for _, k := range c.Catalog {
		v.Policies = append(v.Policies, k.Path)
	}
	return v
}

// Compile turns a decoded and resolved document into a snapshot, or into
// every problem there is, those of the document included, sorted by place. It
// starts nothing; what it borrowed from the pool goes back when the snapshot
// is released, on which the caller holds the first loan.
func (c *Compiler) Compile(doc *config.Document) (*Snapshot, config.Problems) {
	b := &build{
		Compiler: c, doc: doc,
		s: &Snapshot{
			Config: doc.Hash(),
			legend: &exchange.Legend{Config: doc.Hash()[:12], Checks: slices.Clone(houseChecks)},
			loans:  loans{pool: c.Pool, held: map[string]*poolEntry{}},
		},
		issuers:   map[string]*pipeline.Issuer{},
		parties:   map[string]*login.Party{},
		logins:    map[string][]string{},
		limits:    map[string]pipeline.Limit{},
		upstreams: map[string]*upstream.Group{},
		carriers:  map[string]string{},
	}
	b.s.borrowers.Store(1)
	b.problems = doc.Problems()
	b.compile()
	if len(b.problems) > 0 {
		b.s.Release()
		return nil, b.problems.Sort()
	}
	return b.s, nil
}

// build is one compilation.
type build struct {
	*Compiler
	doc       *config.Document
	s         *Snapshot
	directory *directory.Directory
	spared    guessing.Spared
	issuers   map[string]*pipeline.Issuer
	parties   map[string]*login.Party // by issuer
	logins    map[string][]string     // hosts of routes, by issuer
	limits    map[string]pipeline.Limit
	roots     []*x509.Certificate // by which listeners judge clients
	upstreams map[string]*upstream.Group
	carriers  map[string]string   // pool keys of upstreams
	decoded   map[config.Node]any // configuration of policies
	local     Local
	patterns  []route.Pattern
	flat      []config.FlatRoute
	spoken    []string // credential fields that any route reads
	sets      []setAt  // fields that policies set towards upstreams
	asks      []setAt  // fields that policies, matches and pass lists go by
	asserts   bool     // some route has assertions signed
	problems  config.Problems
}

// complain notes a problem at path, unless there is one already: one mistake
// is answered once.
func (b *build) complain(path, text, mend string) {
	if !slices.ContainsFunc(b.problems, func(p config.Problem) bool { return p.Path == path }) {
		b.problems = append(b.problems, b.doc.Complain(path, text, mend))
	}
}

// entry returns the path of a named entry of a section. Names may hold dots,
// which a path would take for steps.
func entry(section, name string) string {
	if strings.Contains(name, ".") {
		return fmt.Sprintf("%s[%q]", section, name)
	}
	return section + "." + name
}

func (b *build) compile() {
	local, err := b.Local(b.doc)
	if err != nil {
		b.blameLocal(err)
		local = Local{}
	}
	b.local = local
	b.compileCounters()
	b.compileListeners()
	b.spared = b.doc.Spared()
	b.compileDirectory()
	for _, e := range b.doc.Issuers {
		b.compileIssuer(e.Name, &e.Value)
	}
	for _, e := range b.doc.Limits {
		var l pipeline.Limit
		if bad := e.Value.Decode(&l); len(bad) > 0 {
			b.problems = append(b.problems, bad...)
		} else if _, err := l.Compile(); err != nil {
			b.blame(e.Value, err)
		}
		l.Name = e.Name
		b.limits[e.Name] = l
	}
	b.decodePolicies()
	for _, e := range b.doc.Upstreams {
		b.upstreams[e.Name] = b.upstream(e.Name, &e.Value)
	}
	b.flat = b.doc.Flatten()
	b.s.streams = b.streamRules()
	b.s.routes = make([]Route, len(b.flat), len(b.flat)+len(b.local.Routes))
	parts := make([][]pipeline.Parts, len(b.flat))
	for i := range b.flat {
		parts[i] = b.compileRoute(i, &b.flat[i])
	}
	for i := range b.flat {
		for _, h := range b.flat[i].Match.Headers {
			b.s.reads = append(b.s.reads, strings.ToLower(h.Name))
		}
	}
	for _, l := range b.s.Listeners {
		if l.CertHeader != nil {
			b.s.reads = append(b.s.reads, "client-cert", "client-cert-chain", "x-forwarded-client-cert")
		}
	}
	b.compileSets()
	b.s.reads = append(b.s.reads, b.spoken...)
	slices.Sort(b.s.reads)
	b.s.reads = slices.Compact(b.s.reads)
	for i := range b.flat {
		r := &b.s.routes[i]
		r.credentials = b.credentialsOf(&b.flat[i])
	}
	b.indexRoutes()
}

// compileRoute compiles route i and its policies.
func (b *build) compileRoute(i int, f *config.FlatRoute) []pipeline.Parts {
	r := &b.s.routes[i]
	*r = Route{
		Labels:   &exchange.Route{Index: i, Name: f.Name, Pattern: f.Path, Host: f.Host},
		Timeouts: timeouts(f.Timeout, f.TunnelTotal),
		Upgrades: f.Upgrade,
		MaxBody:  int64(f.MaxBody),
		Metrics:  b.Metrics.Route(f.Name),
		Methods:  f.Methods,
		Target:   f.Upstream,
		Upstream: b.upstreams[f.Upstream],
		secured:  !f.Public,
	}
	for _, h := range f.Match.Headers {
		if inStripSet([]byte(h.Name)) {
			b.problems = append(b.problems, f.Node.Complain("match.headers."+h.Name, "is a field that says who the client is: it is removed from every request, so that no client can choose its route by it", ""))
		}
		b.asks = append(b.asks, setAt{h.Name, f.Node, "match.headers." + h.Name})
	}
	for i, name := range f.Pass {
		if why := neverPasses(name); why != "" && !strings.EqualFold(name, "proxy-authorization") { // which is a credential
			b.problems = append(b.problems, f.Node.Complain(fmt.Sprintf("pass[%d]", i), why, ""))
		}
		r.pass = append(r.pass, fold(name))
		b.asks = append(b.asks, setAt{name, f.Node, fmt.Sprintf("pass[%d]", i)})
	}
	env := pipeline.Env{
		Route: f.Name, Public: f.Public, Directory: b.directory, Guard: b.Guard, Spared: b.spared, Nonces: b.Nonces,
		Issuer: b.issuer, Limit: b.limit, Login: b.loginOn(f.Host), AsksCerts: len(b.s.judges) > 0,
		Upstream: f.Upstream, Assertions: b.Assertions,
	}
	var parts []pipeline.Parts
	policies := slices.Clone(f.Policies)
	slices.SortFunc(policies, func(x, y config.FlatPolicy) int { return cmp.Compare(b.rank(x.Path), b.rank(y.Path)) })
	var needs asked
	sound := true
	for _, p := range policies {
		part, ok := b.compilePolicy(p, env)
		if !ok {
			sound = false
			continue
		}
		needs.add(&part, p)
		if part.Authenticate != nil && (needs.proofs > 1 || len(f.Proofs) > 0) {
			b.problems = append(b.problems, p.Node.Complain("", "a second proof in one auth object", "allOf and anyOf join proofs"))
		}
		part.Forward = part.Forward && f.ForwardToken
		r.Policies = append(r.Policies, Policy{part.Check, p.From, phase(&part)})
		parts = append(parts, part)
		b.note(&part, p.Node)
	}
	needs.judge(b)
	if len(f.Proofs) == 0 {
		if needs.proofs == 0 && sound {
			b.problems = append(b.problems, f.Node.Complain("auth", "names conditions but no proof", proofMend))
		}
		r.Chain = pipeline.NewChain(parts, b.directory, b.s.legend)
	} else if proofs := b.combine(f, r, env); proofs != nil {
		for _, p := range proofs.Proofs { // limits of a method are the route's
			if p.Screen != nil || p.Limit != nil {
				parts = append(parts, pipeline.Parts{Screen: p.Screen, Limit: p.Limit, Check: p.Check})
			}
		}
		r.Chain = pipeline.NewCombinedChain(proofs, parts, b.directory, b.s.legend)
	}
	slices.SortStableFunc(r.Policies, func(x, y Policy) int { return cmp.Compare(x.phase, y.phase) })
	b.patterns = append(b.patterns, route.Pattern{
		Route: i, Host: f.Host, Path: f.Path, Methods: f.Methods,
		Headers: conditions(f.Match), Allowed: features(f.PathAllow), Protected: !f.Public,
	})
	return parts
}

// note remembers what the whole snapshot has to know of a policy.
func (b *build) note(p *pipeline.Parts, at config.Node) {
	b.spoken = append(b.spoken, p.Credentials...)
	for _, name := range p.Parameters {
		if !slices.Contains(b.s.legend.Parameters, name) {
			b.s.legend.Parameters = append(b.s.legend.Parameters, name)
		}
	}
	if p.Doubt != "" {
		if d := at.Complain("", p.Doubt, ""); !slices.Contains(b.s.Doubts, d) { // routes may share it
			b.s.Doubts = append(b.s.Doubts, d)
		}
	}
	b.s.reads = append(b.s.reads, p.Reads...)
	for _, name := range slices.Concat(p.Credentials, p.Reads) {
		b.asks = append(b.asks, setAt{name, at, ""})
	}
	for _, f := range p.Sets {
		b.sets = append(b.sets, setAt{f.Name, at, f.At})
	}
	b.asserts = b.asserts || p.Asserts
	for _, name := range p.Consumers {
		if !slices.Contains(b.doc.Consumers.Names(), name) && !slices.ContainsFunc(b.s.Elsewhere, func(m Mention) bool { return m.Name == name }) {
			b.s.Elsewhere = append(b.s.Elsewhere, Mention{name, at.Complain("", "neither this file nor the store has a consumer "+name, "write it under consumers, add it with `warder consumer new`, or mend the name: it lets nobody in")})
		}
	}
}

// phase returns the place of the first phase that a policy has a part in.
func phase(p *pipeline.Parts) int {
	asked := []bool{p.Screen != nil, p.Authenticate != nil, p.Authorize != nil, p.Limit != nil, p.Transform != nil, true}
	return slices.Index(asked, true)
}

// decodePolicies decodes the value of every policy once, however many routes
// inherit it, and also where no route can be compiled: a document's problems
// are all told at once.
func (b *build) decodePolicies() {
	b.decoded = map[config.Node]any{}
	b.doc.EachPolicy(func(path string, value config.Node) {
		cfg := b.Catalog[b.rank(path)].NewConfig()
		if bad := value.Decode(cfg); len(bad) > 0 {
			b.problems = append(b.problems, bad...)
		} else {
			b.decoded[value] = cfg
		}
	})
}

// compilePolicy builds one policy; false means that a problem was reported.
func (b *build) compilePolicy(p config.FlatPolicy, env pipeline.Env) (pipeline.Parts, bool) {
	kind := b.Catalog[b.rank(p.Path)]
	cfg, ok := b.decoded[p.Node]
	if !ok {
		return pipeline.Parts{}, false
	}
	parts, err := kind.Build(cfg, env)
	if err != nil {
		b.blame(p.Node, err)
		return pipeline.Parts{}, false
	}
	return parts, true
}

// errSaid ends what cannot be compiled because of a problem elsewhere.
var errSaid = errors.New("cannot be compiled while what it names has a problem")

// blame reports each problem that err joins at its place below node.
func (b *build) blame(node config.Node, err error) {
	if errors.Is(err, errSaid) && len(b.problems) > 0 {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			b.blame(node, one)
		}
		return
	}
	path, text := "", err.Error()
	if at := (*pipeline.Problem)(nil); errors.As(err, &at) {
		path, text = at.Path, at.Text
	}
	b.problems = append(b.problems, node.Complain(path, text, ""))
}

// rank is the place of a policy in the catalog. Decode has seen to it that
// there is one.
func (b *build) rank(path string) int {
	return slices.IndexFunc(b.Catalog, func(k pipeline.Kind) bool { return k.Path == path })
}

func (b *build) issuer(name string) (*pipeline.Issuer, error) {
	if i := b.issuers[name]; i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("no issuer is called %q; %s", name, known("issuers", name, b.doc.Issuers.Names()))
}

func (b *build) limit(name string) (pipeline.Limit, error) {
	if l, ok := b.limits[name]; ok {
		return l, nil
	}
	return pipeline.Limit{}, fmt.Errorf("no limit is called %q; %s", name, known("limits", name, b.doc.Limits.Names()))
}

// known says what a section has in place of name.
func known(section, name string, names []string) string {
	if len(names) == 0 {
		return "there are no " + section
	}
	if meant := config.DidYouMean(name, names); meant != "" {
		return meant
	}
	return section + " has " + strings.Join(names, ", ")
}

// blameLocal reports each problem at its place: that which it brings along, or
// one of the authorization server.
func (b *build) blameLocal(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			b.blameLocal(one)
		}
		return
	}
	if problems := (config.Problems)(nil); errors.As(err, &problems) {
		b.problems = append(b.problems, problems...)
		return
	}
	path, text := "authorizationServer", err.Error()
	if at := (*pipeline.Problem)(nil); errors.As(err, &at) {
		path, text = strings.TrimSuffix(path+"."+at.Path, "."), at.Text
	}
	b.complain(path, text, "")
}

func (b *build) compileDirectory() {
	var consumers []directory.Consumer
	for _, e := range b.doc.Consumers {
		c := directory.Consumer{Name: e.Name, Password: b.password(e.Name, e.Value.Password), Roles: e.Value.Roles}
		for i, k := range e.Value.APIKeys {
			c.Keys = append(c.Keys, directory.Key{Digest: k.Hash, Expires: k.Expires.End(), Limits: b.keyLimits(&k, fmt.Sprintf("%s.apiKeys[%d]", entry("consumers", e.Name), i))})
		}
		for _, cl := range e.Value.Clients {
			c.Clients = append(c.Clients, directory.Client{Issuer: cl.Issuer, ID: cl.ID})
		}
		c.Certs = b.certsOf(e.Name, e.Value.Certificates)
		consumers = append(consumers, c)
	}
	var err error
	if b.directory, err = directory.Over(b.Memory, b.doc.Freshness.Revocations.Std(), consumers); err != nil {
		var all directory.Problems
		errors.As(err, &all)
		for _, p := range all {
			b.complain(entry("consumers", p.Consumer)+"."+p.Path, p.Text, "")
		}
	}
}

// password reads the hash of a consumer's password; nil if it has none.
func (b *build) password(consumer string, v secret.Value) *password.Hash {
	if v.IsZero() {
		return nil
	}
	h, err := password.Parse(strings.TrimSpace(string(v.Reveal()))) // a file ends with a newline
	if err != nil {
		b.complain(entry("consumers", consumer)+".password", err.Error(), "")
		return nil
	}
	return &h
}

// keyLimits compiles where a key of the document at path is good.
func (b *build) keyLimits(k *config.APIKey, path string) *exchange.KeyLimits {
	if len(k.From)+len(k.Routes) == 0 {
		return nil
	}
	for i, name := range k.Routes {
		if !slices.ContainsFunc(b.doc.Flatten(), func(f config.FlatRoute) bool { return f.Name == name }) {
			b.complain(fmt.Sprintf("%s.routes[%d]", path, i), fmt.Sprintf("there is no route %q", name), "name one of routes, or leave routes out: then the key is good on all")
		}
	}
	l := &exchange.KeyLimits{From: config.Prefixes(k.From), Routes: k.Routes}
	unread := slices.ContainsFunc(l.From, func(p netip.Prefix) bool { return !p.IsValid() }) && len(b.problems) > 0 // it was said
	if err := directory.CheckLimits(l); err != nil && !unread {
		b.complain(path, err.Error(), "")
	}
	return l
}

// credentialsOf says what a route removes towards its upstream: every field
// that some route reads as a credential, and the well-known ones. The one that
// was verified for a request stays.
func (b *build) credentialsOf(f *config.FlatRoute) (c credentials) {
	c.parameters = b.s.legend.Parameters
	all := append([]string{"authorization", "dpop", "proxy-authorization", "x-api-key"}, b.spoken...)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		if i := slices.IndexFunc(f.Pass, func(p string) bool { return strings.EqualFold(p, name) }); i >= 0 {
			b.problems = append(b.problems, f.Node.Complain(fmt.Sprintf("pass[%d]", i), "names a field that carries credentials: only one that was verified for the request goes on",
				"let the route verify it (jwt forwards its token), or have the backend read another field"))
		}
		if id := exchange.IdentifyString(name); id != exchange.HeaderOther {
			c.ids = append(c.ids, id)
		}
		c.names = append(c.names, fold(name))
	}
	return c
}

// addLocal adds a route of our own and returns its pattern.
func (b *build) addLocal(l LocalRoute) route.Pattern {
	open, _ := public.New(true, pipeline.Env{})
	i := len(b.s.routes)
	b.s.routes = append(b.s.routes, Route{
		Labels:  &exchange.Route{Index: i, Name: l.Name, Pattern: l.Path, Host: l.Host},
		Chain:   pipeline.NewChain([]pipeline.Parts{open}, b.directory, b.s.legend),
		Local:   l.Handler,
		MaxBody: l.MaxBody,
		Metrics: b.Metrics.Route(l.Name),
		Methods: l.Methods,
		Target:  "local",
		secured: true, // clients show their secrets there
	})
	return route.Pattern{Route: i, Host: l.Host, Path: l.Path, Methods: l.Methods}
}

// indexRoutes builds both indexes: Warder's own routes stand apart, so that
// they do not make their host one with routes of its own.
func (b *build) indexRoutes() {
	b.local.Routes = append(b.local.Routes, b.loginRoutes()...)
	b.local.Routes = append(b.local.Routes, b.keyRoutes()...)
	b.s.hasLocal = len(b.local.Routes) > 0
	var own, all []route.Pattern
	for _, l := range b.local.Routes {
		p := b.addLocal(l)
		if !l.Reserved {
			own = append(own, p)
		}
		all = append(all, p)
	}
	b.reserve()
	b.addRedirect()
	var problems []route.Problem
	if b.s.local, problems = route.Build(all); len(problems) > 0 {
		b.complain("authorizationServer", problems[0].Text, "")
		own = nil // what is no pattern overlaps everything
	}
	if b.s.index, problems = route.Build(b.patterns); len(problems) > 0 {
		for _, p := range problems {
			text := p.Text
			if rest, ok := strings.CutPrefix(text, "another route"); ok && p.Other >= 0 {
				other := &b.flat[p.Other]
				text = fmt.Sprintf("the route %s in line %d%s", other.Name, other.Node.Pos().Line, rest)
			}
			b.problems = append(b.problems, b.flat[p.Pattern].Node.Complain(p.Field, text, ""))
		}
		return
	}
	for _, p := range own {
		b.overlap(p)
	}
}

// overlap complains about routes that could take a request of ours.
func (b *build) overlap(own route.Pattern) {
	for _, p := range b.patterns {
		if route.Overlap(p, own) {
			b.problems = append(b.problems, b.flat[p.Route].Node.Complain("path", "also takes "+own.Host+own.Path+", which the authorization server answers",
				"give the route a host of its own, or the authorization server another host or path"))
		}
	}
}

func conditions(m config.Match) (all []route.Header) {
	for _, h := range m.Headers {
		all = append(all, route.Header{Name: strings.ToLower(h.Name), Value: h.Value})
	}
	return all
}

func features(names []string) (set exchange.PathFeature) {
	for _, name := range names {
		set |= map[string]exchange.PathFeature{
			"encodedSlash": exchange.EncodedSlash, "semicolon": exchange.Semicolon, "emptySegments": exchange.EmptySegments,
			"encodedReserved": exchange.EncodedReserved, "encodedPercent": exchange.EncodedPercent,
		}[name]
	}
	return set
}

// timeouts turns the document's "unlimited" into the engine's zero.
func timeouts(t config.Timeout, tunnel scalar.Timeout) http1.Timeouts {
	or0 := func(t scalar.Timeout) time.Duration {
		if t == scalar.Unlimited {
			return 0
		}
		return t.Std()
	}
	return http1.Timeouts{Connect: or0(t.Connect), FirstByte: or0(t.FirstByte), Idle: or0(t.Idle), Total: or0(t.Total), Tunnel: or0(tunnel)}
}
