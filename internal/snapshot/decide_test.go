package snapshot_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/snapshot"
)

func newExchange(method, host, path string) *exchange.Exchange {
	x := &exchange.Exchange{Start: now, Client: netip.MustParseAddr("192.0.2.1"), Conn: &exchange.Conn{}}
	x.Req.Reset()
	x.Req.Method, x.Req.Host, x.Req.Path, x.Req.Target = []byte(method), []byte(host), []byte(path), []byte(path)
	return x
}

func world() *pipeline.World { return &pipeline.World{Now: now, Counters: counters.NewMemory(1 << 16)} }

func TestTheZeroSnapshotRefuses(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/x", "/../x", ""} {
		if r, v := new(snapshot.Snapshot).Decide(newExchange("GET", "x", path), world()); r != nil || v.Passed() {
			t.Errorf("%q: route %v, %v", path, r, v)
		}
	}
	if (*snapshot.Snapshot)(nil).Legend() != nil || len(new(snapshot.Snapshot).Routes()) > 0 {
		t.Error("the zero snapshot knows something")
	}
}

func TestARefusalWithoutARouteSaysWhatWasLookedFor(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), upstreams+"routes: [{ path: /x, methods: [GET], upstream: b, auth: none }]")
	for _, c := range []struct {
		method, path string
		code         fault.Code
		saw          string
	}{
		{"GET", "/y", fault.RouteUnknown, "host api.example.com, path /y, method GET"},
		{"PUT", "/x", fault.MethodNotAllowed, "host api.example.com, path /x, method PUT"},
		{"GET", "/x/%2e%2e", fault.PathNotNormal, "host api.example.com, path /x/%2e%2e, method GET, because the path holds a . or .. segment"},
		{"GET", "/x;a", fault.PathNotNormal, "because "},
	} {
		x, r, code := ask(s, c.method, c.path)
		var saw []string
		for _, o := range x.Trail.Steps()[0].Operands() {
			saw = append(saw, o.Name+" "+o.String())
		}
		if got := strings.Join(saw, ", "); r != nil || code != c.code || !strings.Contains(got, c.saw) || len(x.Trail.Steps()) != 1 || x.Trail.Steps()[0].Outcome != exchange.Refused {
			t.Errorf("%s %s: %v, %s", c.method, c.path, code, got)
		}
	}
}

// spellings are ways to write a field name that somebody behind us may take
// for the name itself.
func spellings(name string) []string {
	swap := func(to string) string { return strings.NewReplacer("-", to).Replace(name) }
	title := []byte(name)
	for i := range title {
		if i == 0 || title[i-1] == '-' {
			title[i] = strings.ToUpper(string(title[i]))[0]
		}
	}
	return []string{name, strings.ToUpper(name), string(title), swap("_"), swap("."), strings.ToUpper(swap(".")), strings.Replace(name, "-", ".", 1), strings.Replace(name, "-", "_", 1), swap("~"), swap("!"), swap("|")}
}

func TestNoPolicyAndNoUpstreamSeesWhatAClientSaysOfItself(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), upstreams+"routes: [{ name: open, path: /**, upstream: b, auth: none }, { name: pass, path: /pass, upstream: b, auth: none, pass: [X-Original-URL] }]")
	var names []string
	for _, entry := range snapshot.Spoofable() {
		prefix, open := strings.CutSuffix(entry, "*")
		if !strings.HasSuffix(prefix, "-") {
			names = append(names, prefix)
		}
		if open {
			names = append(names, prefix+"for", prefix+"a-b")
		}
	}
	for _, name := range names {
		for _, spelling := range spellings(name) {
			x, _, code := ask(s, "GET", "/x", spelling+": spoofed", "X-Extra: kept")
			if code != fault.None {
				t.Fatalf("%s: %v", spelling, code)
			}
			for i := range x.Req.Fields {
				f := &x.Req.Fields[i]
				if string(f.Value) == "spoofed" && f.ID != exchange.HeaderRequestID && !f.Drop {
					t.Errorf("%s goes on", spelling)
				}
			}
			if v, n := x.Req.GetName(strings.ToLower(spelling)); n > 0 && name != "x-request-id" && !strings.Contains(spelling, "_") {
				t.Errorf("a policy can read %s: %s", spelling, v)
			}
			if v, n := x.Req.GetName("x-extra"); n != 1 || string(v) != "kept" {
				t.Errorf("%s: X-Extra is gone", spelling)
			}
		}
	}
	for _, innocent := range []string{"X-Forwarded", "X-Forward-For", "Forwarded-For", "X-Real-IPs", "Client-Certain", "X-Original", "XForwardedFor", "Content-Type", "True-Client", "X-Requested-With"} {
		if x, _, _ := ask(s, "GET", "/x", innocent+": kept"); string(x.Req.Fields[len(x.Req.Fields)-1].Value) != "kept" {
			if innocent != "Client-Certain" { // client-cert* takes it along
				t.Errorf("%s was removed", innocent)
			}
		}
	}
	for _, spelling := range spellings("x-original-url") {
		x, _, _ := ask(s, "GET", "/pass", spelling+": meant", "X-Original-Method: spoofed")
		if last := x.Req.Fields[len(x.Req.Fields)-1]; string(last.Value) != "meant" {
			t.Errorf("%s does not pass where the route says so, or more passes: %s", spelling, last.Name)
		}
	}
}

func TestOnlyACredentialThatWasVerifiedGoesOn(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), `issuers: { corp: { issuer: https://login.example.com/, audience: orders-api } }
consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
`+upstreams+`routes:
  - { name: open, path: /open, upstream: b, auth: none }
  - { name: key, path: /key, upstream: b, auth: { apiKey: { in: header, name: X-Partner-Key } } }
  - { name: token, path: /token, upstream: b, auth: { jwt: corp } }
  - { name: kept, path: /kept, upstream: b, auth: { jwt: corp }, forwardToken: false }
`)
	for _, r := range s.Routes() {
		x := &exchange.Exchange{}
		for _, name := range []string{"Authorization", "X-Api-Key", "x-partner-key", "Proxy-Authorization", "Cookie", "X-Extra",
			"X.Api.Key", "x~api~key", "X-Partner.Key", "Proxy!Authorization"} {
			x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), ID: exchange.IdentifyString(name)})
		}
		if r.Labels.Name == "token" {
			x.Verified = exchange.HeaderAuthorization
		}
		r.StripCredentials(x)
		var on []string
		for _, f := range x.Req.Fields {
			if !f.Drop {
				on = append(on, string(f.Name))
			}
		}
		want := map[string]string{
			"open": "Cookie X-Extra", "key": "Cookie X-Extra", "token": "Authorization Cookie X-Extra", "kept": "Cookie X-Extra",
		}[r.Labels.Name]
		if got := strings.Join(on, " "); got != want {
			t.Errorf("%s: %s go on, want %s", r.Labels.Name, got, want)
		}
	}
}

const paths = upstreams + `consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
routes:
  - { name: all, path: /**, upstream: b, auth: none, pathAllow: [encodedSlash, encodedPercent] }
  - { name: admin, path: /admin/**, upstream: b, auth: { apiKey: true } }
  - { name: one, path: "/a/{x}", methods: [GET], upstream: b, auth: none, pathAllow: [semicolon, encodedReserved] }
  - { name: exact, path: /a/b, upstream: b, auth: { apiKey: true } }
`

// What was decided of a path is what would be decided of its normal form, so
// that nothing behind us, reading the one we send, can see another request.
func decidesAlike(t *testing.T, s *snapshot.Snapshot, path string) {
	t.Helper()
	if path == "*" { // no path at all: OPTIONS * is of no route
		return
	}
	x := newExchange("GET", "x", path)
	r, v := s.Decide(x, world())
	normal, _, bad := exchange.NormalizePath([]byte(path), func(n int) []byte { return make([]byte, n) })
	if bad != nil {
		if r != nil || v.Code() != bad.Code {
			t.Errorf("%q has no normal form, yet: %v", path, v.Code())
		}
		return
	}
	if got := string(x.Req.Path); got != string(normal) {
		t.Errorf("%q is sent on as %q, not as %q", path, got, normal)
	}
	r2, v2 := s.Decide(newExchange("GET", "x", string(normal)), world())
	if r != r2 || v != v2 {
		t.Errorf("%q: %v, its normal form %q: %v", path, v.Code(), normal, v2.Code())
	}
}

func TestAPathIsDecidedLikeItsNormalForm(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), paths)
	for _, path := range samplePaths {
		decidesAlike(t, s, path)
	}
	for _, c := range []struct {
		path string
		code fault.Code
	}{
		{"/admin/x", fault.CredentialMissing}, {"/%61dmin/x", fault.CredentialMissing}, {"/admin", fault.CredentialMissing},
		{"/Admin/x", fault.PathNotNormal}, {"/admin./x", fault.PathNotNormal}, {"/x/..%2fadmin", fault.PathNotNormal},
		{"/a/%62", fault.CredentialMissing}, {"/a/b/", fault.PathNotNormal}, {"/a/c", fault.None}, {"/b", fault.None},
	} {
		if _, v := s.Decide(newExchange("GET", "x", c.path), world()); v.Code() != c.code {
			t.Errorf("%s: %v, want %v", c.path, v.Code(), c.code)
		}
	}
}

var samplePaths = []string{
	"/", "/a", "/a/b", "/a/%62", "/%61/b", "/admin/x", "/%61%64min/x", "/a/b%2fc", "/a/b%2Fc", "/a/b;c", "/a/%3b", "/a/%3F", "//a", "/a//b", "/a/./b", "/a/%2e/b",
	"/a/%252e", "/a/%25", "/a/%2", "/a/é", "/a/%C3%A9", "/a/%c3%a9", "/a/%ff", "/a/\x00", "/a/%00", `/a\b`, "/a/%5c", "/a?b", "", "*", "a",
}

func FuzzAPathIsDecidedLikeItsNormalForm(f *testing.F) {
	for _, p := range samplePaths {
		f.Add(p)
	}
	s := compile(f, newCompiler(), paths)
	f.Fuzz(func(t *testing.T, path string) { decidesAlike(t, s, path) })
}

func FuzzCompile(f *testing.F) {
	for _, src := range badDocuments(f) {
		f.Add(src)
	}
	f.Add(paths)
	f.Fuzz(func(t *testing.T, src string) {
		c := newCompiler()
		c.Local = local
		s, problems := compileAll(c, src)
		if (s == nil) == (len(problems) == 0) {
			t.Fatal("neither a snapshot nor a problem, or both")
		}
		if s == nil {
			return
		}
		defer s.Release()
		for i := range s.Routes() {
			r := &s.Routes()[i]
			if (r.Upstream == nil) == (r.Local == nil) || len(r.Methods) == 0 || r.Metrics == nil {
				t.Errorf("a route that is not whole: %+v", r)
			}
			x := newExchange(r.Methods[0], "x", "/")
			// Nobody is let in without a word of the document.
			if v := r.Chain.Run(x, world()); v.Passed() && r.Local == nil && r.Policies[0].Check.Name != "none" {
				t.Errorf("route %s let a request without credentials pass: %+v", r.Labels.Name, r.Policies)
			}
		}
	})
}

// Connection cannot take away a field by which we judge: the backend would
// serve another request than the one that was judged.
func TestConnectionCannotNameWhatIsRead(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), upstreams+`consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
routes:
  - { name: beta, path: /x, match: { headers: { X-Beta: "1" } }, upstream: b, auth: none }
  - { name: plain, path: /x, upstream: b, auth: none, rateLimit: 5/s per header:x-tenant }
  - { name: key, path: /key, upstream: b, auth: { apiKey: { in: header, name: X-Partner-Key } } }
`)
	for _, name := range []string{"X-Beta", "x-tenant", "X-PARTNER-KEY"} {
		x := newExchange("GET", "x", "/x")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte("1"), Nominated: true})
		if _, v := s.Decide(x, world()); v.Code() != fault.RequestMalformed {
			t.Errorf("Connection: %s: %v", name, v.Code())
		}
	}
	x := newExchange("GET", "x", "/x")
	x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("X-Other"), Value: []byte("1"), Nominated: true})
	if r, v := s.Decide(x, world()); !v.Passed() || r.Labels.Name != "plain" {
		t.Errorf("Connection: X-Other: %v", v.Code())
	}
}

// Credentials must not cross a network readable: over a plain listener that
// other machines reach, only public routes are served.
func TestTransportInsecure(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	c.Local = local
	s := compile(t, c, `listeners: [{ name: far, address: "0.0.0.0:0", tls: none }, { name: near, address: "127.0.0.1:1" }]
consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
`+upstreams+`routes:
  - { name: open, path: /open, upstream: b, auth: none }
  - { name: key, path: /key, upstream: b, auth: { apiKey: true } }
`)
	if !s.Listeners[0].Exposed || s.Listeners[1].Exposed {
		t.Fatalf("exposed: %v, %v", s.Listeners[0].Exposed, s.Listeners[1].Exposed)
	}
	for _, c := range []struct {
		host, path string
		exposed    bool
		want       fault.Code
	}{
		{"x", "/open", true, fault.None},
		{"x", "/key", true, fault.TransportInsecure},
		{"x", "/key", false, fault.CredentialMissing},
		{"auth.example.com", "/auth/token", true, fault.TransportInsecure},
	} {
		x := newExchange("GET", c.host, c.path)
		if c.path == "/auth/token" {
			x.Req.Method = []byte("POST")
		}
		x.Conn = &exchange.Conn{Exposed: c.exposed}
		if _, v := s.Decide(x, world()); v.Code() != c.want {
			t.Errorf("%s%s, exposed %v: %v, want %v", c.host, c.path, c.exposed, v.Code(), c.want)
		}
	}
	if l := s.ListenerFor(false, "1"); l == nil || l.Name != "near" {
		t.Errorf("port 1 is listener %v", l)
	}
	if l := s.ListenerFor(false, "99"); l != nil {
		t.Errorf("port 99 could be either listener, but is %s", l.Name)
	}
}
