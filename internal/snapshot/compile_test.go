package snapshot_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/policy/public"
	"github.com/warder-gateway/warder/internal/snapshot"
)

func TestEveryProblemIsReportedAtOnceSortedAndAtItsPlace(t *testing.T) {
	t.Parallel()
	got := complaints(t, newCompiler(), `listeners:
  - { name: one, address: "127.0.0.1:0" }
  - { name: two, address: "127.0.0.1:0" }
issuers:
  corp.eu: { issuer: https://login.example.com/, audience: orders-api, caFile: /none/ca.pem }
  corp: { isuer: https://login.example.com/, audience: orders-api }
consumers:
  a.b: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab", expires: soon }] }
upstreams:
  v1.orders: { targets: [https://127.0.0.1:9000], tls: { caFile: /none/ca.pem } }
  b: [http://127.0.0.1:9000]
routes:
  - { path: /a, upstream: b, auth: { jwt: nobody } }
  - { path: /b, upstream: b, auth: none, rateLimit: 10/s per consumer }
  - { path: b, upstream: b, auth: none }
  - { path: "/c/{x}/{x}", upstream: b, auth: none }
  - { path: /d, upstream: nowhere, auth: none }
`)
	want := []string{
		`warder.yaml:3:27: listeners[1].address: is the address of listener one`,
		`warder.yaml:5:80: issuers["corp.eu"].caFile: file does not exist`,
		`warder.yaml:6:11: issuers.corp.isuer: unknown key; did you mean "issuer"?`,
		`warder.yaml:8:112: consumers["a.b"].apiKeys[0].expires: `,
		`warder.yaml:10:66: upstreams["v1.orders"].tls.caFile: file does not exist`,
		`warder.yaml:13:43: routes[0].auth.jwt: no issuer is called "nobody"; issuers has corp.eu, corp`,
		`warder.yaml:14:53: routes[1].rateLimit[0].per: a public route does not know its consumer`,
		`warder.yaml:15:13: routes[2].path: a path begins with a slash`,
		`warder.yaml:16:13: routes[3].path: `,
		`warder.yaml:17:27: routes[4].upstream: there is no upstream "nowhere"`,
	}
	lines := strings.Split(got, "\n")
	for i := range max(len(lines), len(want)) {
		switch {
		case i >= len(want):
			t.Errorf("also: %s", lines[i])
		case i >= len(lines):
			t.Errorf("missing: %s", want[i])
		case !strings.HasPrefix(lines[i], want[i]):
			t.Errorf("got  %s\nwant %s…", lines[i], want[i])
		}
	}
}

func TestOneMistakeIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ document, want string }{
		"a login that misses its secret": {`issuers: { corp: { issuer: https://login.example.com/, audience: a, login: { clientId: web } } }
upstreams: { b: [http://127.0.0.1:9000] }
routes: [{ path: /a, upstream: b, auth: { login: corp } }]
`, "warder.yaml:1:76: issuers.corp.login: clientSecretBasic needs clientSecret"},
		"a key good from no range of addresses": {`consumers: { a: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab", from: [10.0.0.0/33] }] } }
upstreams: { b: [http://127.0.0.1:9000] }
routes: [{ path: /a, upstream: b, auth: { apiKey: true, consumers: [a] } }]
`, "warder.yaml:1:119: consumers.a.apiKeys[0].from[0]: this is not a range of addresses"},
		"the form of an earlier build": {`upstreams: { b: [http://127.0.0.1:9000] }
routes: [{ path: /a, upstream: b, auth: { apiKey: { header: x-partner-key } } }]
`, "warder.yaml:2:53: routes[0].auth.apiKey.header: unknown key; write apiKey: { in: header, name: x-partner-key }"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := complaints(t, newCompiler(), c.document)
			if !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") > 0 {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// badDocuments are the documents that the format's own tests refuse.
func badDocuments(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../config/testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	all := map[string]string{}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(a.Files[0].Data)
	}
	return all
}

func TestADocumentWithProblemsIsCompiledForMoreAndNeverServed(t *testing.T) {
	t.Parallel()
	for name, src := range badDocuments(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCompiler()
			c.Local = local
			_, first := config.Decode("warder.yaml", []byte(src), c.Vocabulary())
			s, problems := compileAll(c, src)
			if s != nil {
				s.Release()
				t.Fatal("was accepted")
			}
			if !slices.Equal(problems, slices.Clone(problems).Sort()) {
				t.Errorf("not sorted:\n%v", problems)
			}
			for _, p := range first {
				if !slices.Contains(problems, p) {
					t.Errorf("forgotten: %v", p)
				}
			}
			for _, p := range problems {
				if p.File != "warder.yaml" || p.Line < 1 || p.Column < 1 || p.Text == "" {
					t.Errorf("without a place or a text: %+v", p)
				}
			}
			if n := c.Pool.Held(); n != 0 {
				t.Errorf("%d resources are still held", n)
			}
		})
	}
}

func TestTheCatalogIsWholeAndDecodable(t *testing.T) {
	t.Parallel()
	shapes := []string{"x", `""`, "true", "1", "10/s", "[]", "[x]", "[[x]]", "[{ a: b }]", "{}", "{ a: b }", "~"}
	seen := map[string]bool{}
	for _, k := range policy.Catalog() {
		if seen[k.Path] {
			t.Errorf("%s stands twice in the catalog", k.Path)
		}
		seen[k.Path] = true
		all := slices.Clone(shapes)
		for typ := reflect.TypeOf(k.NewConfig()).Elem(); ; typ = typ.Elem() {
			if typ.Kind() == reflect.Struct {
				for i := range typ.NumField() {
					name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
					if name == "" {
						t.Errorf("%s: field %s has no json tag", k.Path, typ.Field(i).Name)
					}
					for _, s := range shapes {
						all = append(all, "{ "+name+": "+s+" }", "[{ "+name+": "+s+" }]")
					}
				}
			}
			if typ.Kind() != reflect.Slice && typ.Kind() != reflect.Pointer {
				break
			}
		}
		for _, shape := range all {
			// A kind that the decoder has no rule for would panic here.
			decode(t, k, shape)
		}
	}
	for _, path := range []string{"auth.none", "auth.jwt", "auth.apiKey", "auth.scopes", "auth.anyScope", "auth.consumers", "rateLimit"} {
		if !seen[path] {
			t.Errorf("%s is not in the catalog", path)
		}
	}
}

func decode(t *testing.T, k pipeline.Kind, value string) {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: %s: %v", k.Path, value, p)
		}
	}()
	doc, _ := config.Decode("f", []byte("limits: { x: "+value+" }"), config.Vocabulary{})
	doc.Limits[0].Value.Decode(k.NewConfig())
}

// part makes a policy of fixed parts, whatever its configuration.
func part(path string, parts pipeline.Parts, err error) pipeline.Kind {
	return pipeline.Policy(path, func(string, pipeline.Env) (pipeline.Parts, error) { return parts, err })
}

type letIn struct{}

func (letIn) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return exchange.Anonymous, pipeline.Pass
}

// The document's own rules catch most of this; the compiler does not rely on it.
func TestARouteHasExactlyOneProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jwt, scopes pipeline.Parts
		want        string
	}{
		"a proof that proves nothing": {pipeline.Parts{}, pipeline.Parts{}, "names conditions but no proof"},
		"a condition that proves":     {pipeline.Parts{Authenticate: letIn{}, Scoped: true}, pipeline.Parts{Authenticate: letIn{}}, "a second proof in one auth object"},
		"scopes without a token":      {pipeline.Parts{Authenticate: letIn{}}, pipeline.Parts{Scope: "a"}, "asks for scopes, which this proof does not carry"},
	} {
		compiler := newCompiler()
		compiler.Catalog = []pipeline.Kind{pipeline.Policy("auth.none", public.New), part("auth.jwt", c.jwt, nil), part("auth.scopes", c.scopes, nil)}
		if got := complaints(t, compiler, upstreams+"routes: [{ path: /x, upstream: b, auth: { jwt: a, scopes: b } }]"); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// What failed is not also said to be missing.
	compiler := newCompiler()
	compiler.Catalog = []pipeline.Kind{part("auth.jwt", pipeline.Parts{}, errors.Join(pipeline.Complain("a", "one"), errors.New("two")))}
	if got := complaints(t, compiler, upstreams+"routes: [{ path: /x, upstream: b, auth: { jwt: a } }]"); got != "warder.yaml:2:48: routes[0].auth.jwt: two\nwarder.yaml:2:48: routes[0].auth.jwt.a: one" {
		t.Error(got)
	}
}

func TestAUsersRouteCannotTakeThePlaceOfOurs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, route string
		refused     bool
	}{
		{"the path itself", `{ host: auth.example.com, path: /auth/token }`, true},
		{"with another method", `{ host: auth.example.com, path: /auth/token, methods: [GET] }`, true},
		{"on any host", `{ host: any, path: /auth/token }`, true},
		{"on hosts of a pattern", `{ host: "*.example.com", path: /auth/token }`, true},
		{"by a capture", `{ host: auth.example.com, path: "/{x}/token" }`, true},
		{"by a rest", `{ host: auth.example.com, path: /auth/** }`, true},
		{"by everything", `{ path: /** }`, true},
		{"for some requests only", `{ host: auth.example.com, path: /auth/token, match: { headers: { X-Beta: "1" } } }`, true},
		{"discovery", `{ host: auth.example.com, path: /.well-known/** }`, true},
		{"a host of its own", `{ host: api.example.com, path: /** }`, false},
		{"another path", `{ host: auth.example.com, path: /orders/** }`, false},
		{"a longer path", `{ host: auth.example.com, path: /auth/token/x }`, false},
	} {
		compiler := newCompiler()
		compiler.Local = local
		s, problems := compileAll(compiler, upstreams+"routes: [ "+strings.Replace(c.route, "{ ", "{ upstream: b, auth: none, ", 1)+" ]")
		if s != nil {
			s.Release()
		}
		switch {
		case c.refused && (len(problems) == 0 || !strings.Contains(problems.Error(), "which the authorization server answers")):
			t.Errorf("%s: accepted, or for another reason: %v", c.what, problems)
		case !c.refused && len(problems) > 0:
			t.Errorf("%s: %v", c.what, problems)
		}
	}
}

func TestOurOwnRoutesAreServedBesideTheUsers(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	c.Local = local
	s := compile(t, c, upstreams+"routes: [{ name: orders, host: auth.example.com, path: /orders/**, upstream: b, auth: none }]")
	for _, q := range []struct {
		method, host, path, route string
		code                      fault.Code
	}{
		{"POST", "auth.example.com", "/auth/token", "token", fault.None},
		{"GET", "auth.example.com", "/auth/token", "", fault.MethodNotAllowed},
		{"GET", "auth.example.com", "/orders/1", "orders", fault.None},
		{"POST", "api.example.com", "/auth/token", "", fault.RouteUnknown},
		{"GET", "auth.example.com", "/auth", "", fault.RouteUnknown},
		{"POST", "auth.example.com", "/auth/%2e%2e/auth/token", "", fault.PathNotNormal},
	} {
		x := newExchange(q.method, q.host, q.path)
		r, v := s.Decide(x, world())
		name := ""
		if r != nil {
			name = r.Labels.Name
		}
		if name != q.route || v.Code() != q.code {
			t.Errorf("%s %s%s: route %q, %v", q.method, q.host, q.path, name, v.Code())
		}
	}
}

func TestWhatCannotBeMadeLocallyIsAProblem(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	c.Local = func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, os.ErrPermission }
	if got := complaints(t, c, upstreams+"routes: [{ path: /x, upstream: b, auth: none }]"); !strings.Contains(got, "permission denied") {
		t.Error(got)
	}
}

func TestPassCannotNameACredential(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Authorization", "x-api-key", "X-Partner-Key", "proxy-authorization"} {
		_, problems := compileAll(newCompiler(), upstreams+`consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
routes:
  - { path: /key, upstream: b, auth: { apiKey: { in: header, name: X-Partner-Key } } }
  - { path: /open, upstream: b, auth: none, pass: [x-real-ip, `+name+`] }
`)
		if len(problems) != 1 || problems[0].Path != "routes[1].pass[1]" {
			t.Errorf("pass: [%s]: %v", name, problems)
		}
	}
}

func TestRoutesAreNotChosenByWhatIsRemoved(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"X-Forwarded-Proto": 1, "x-real-ip": 1, "X-Beta": 0} {
		s, problems := compileAll(newCompiler(), upstreams+`routes: [{ path: /x, match: { headers: { `+name+`: "1" } }, upstream: b, auth: none }]`)
		if s != nil {
			s.Release()
		}
		if len(problems) != want {
			t.Errorf("match.headers.%s: %v", name, problems)
		}
	}
}
