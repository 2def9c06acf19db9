package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// issuer signs access tokens.
type issuer struct {
	t      testing.TB
	signer *keys.TokenSigner
	words  string // of the document
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keys.NewTokenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, signer.PublicJWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &issuer{t, signer, fmt.Sprintf("issuers: { corp: { issuer: https://login.example.com/, audience: orders-api, jwksFile: %q } }\n", file)}
}

func (i *issuer) token(sub string) string {
	i.t.Helper()
	now := time.Now().Unix()
	token, err := i.signer.Sign(i.t.Context(), map[string]any{
		"iss": "https://login.example.com/", "aud": "orders-api", "iat": now, "exp": now + 600, "client_id": "app", "sub": sub,
	}, "at+jwt")
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

func signing(t testing.TB) *assertion.Authority {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(key); err != nil {
		t.Fatal(err)
	}
	return a
}

// reflecting is an upstream of HTTP/1.1 and of gRPC that keeps all fields it
// was sent, those behind the body included.
func reflecting(t testing.TB) (url string, seen func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fmt.Sprint(r.URL.Path, r.Header, r.Trailer))
		w.Header().Set("X-Saw", r.Header.Get("X-User"))
	}))
	up.Config.Protocols = new(http.Protocols)
	up.Config.Protocols.SetHTTP1(true)
	up.Config.Protocols.SetUnencryptedHTTP2(true)
	up.Start()
	t.Cleanup(up.Close)
	return up.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// Test 4 of the rules on headers: on every route, in every spelling, over both
// protocols, a backend sees no value of a client in a field that any route sets.
func TestNoClientSendsAnIdentityHeader(t *testing.T) {
	t.Parallel()
	const lie = "said-by-the-client"
	h, iss := newHouse(t, nil), newIssuer(t)
	h.compiler.Assertions = signing(t)
	url, seen := reflecting(t)
	words, client := certificate(t)
	key := apikey.Generate()
	err := h.load(iss.words + `
listeners:
  - { name: one, address: "127.0.0.1:0" }
  - { name: two, address: "localhost:0"` + words + ` }
consumers: { acme: { apiKeys: [{ hash: "` + apikey.Hash(key) + `" }] } }
upstreams: { c: [` + url + `], g: { targets: [` + url + `], protocol: grpc } }
apis:
  other:
    basePath: /other
    defaults: { upstream: c, auth: { apiKey: true } }
    routes: [{ path: /x }]
routes:
  - { path: /told, upstream: c, auth: { jwt: corp }, identity: { headers: { X-User: "{claims.sub}", X-Empty: "{claims.nobody}" }, jwt: { header: X-Identity } } }
  - { path: /told-rpc, upstream: g, auth: { jwt: corp }, identity: { headers: { X-User: "{claims.sub}" }, jwt: { header: X-Identity } } }
  - { path: /told-chat, upstream: c, auth: { jwt: corp }, identity: { headers: { X-User: "{claims.sub}" }, jwt: { header: X-Identity } }, upgrade: [websocket] }
  - { path: /open, upstream: c, auth: none }
  - { path: /chat, upstream: c, auth: none, upgrade: [websocket] }
  - { path: /grpc, upstream: g, auth: none }
  - { path: /pass, upstream: c, auth: none, pass: [X-Original-User] }
`)
	if err != nil {
		t.Fatal(err)
	}
	bearer := "Bearer " + iss.token("alice")
	spellings := []string{}
	for _, name := range []string{"X-User", "X-Empty", "X-Identity"} {
		spellings = append(spellings, name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "~"), strings.ReplaceAll(name, "-", "!"))
	}
	routes := map[string][2]string{
		"/told": {"Authorization", bearer}, "/other/x": {"X-Api-Key", key}, "/open": {"Accept", "*/*"}, "/pass": {"X-Original-User", "passed"},
		"/told-rpc": {"Authorization", bearer}, "/told-chat": {"Authorization", bearer}, "/chat": {"Accept", "*/*"}, "/grpc": {"Content-Type", "application/grpc"},
	}
	asked := 0
	for _, path := range slices.Sorted(maps.Keys(routes)) {
		with := routes[path]
		for _, name := range spellings {
			one := dial(t, h.Addresses()["one"])
			fields := []string{with[0] + ": " + with[1], name + ": " + lie, name + ": " + lie}
			method := "POST"
			if strings.HasSuffix(path, "chat") {
				method, fields = "GET", append(fields, handshake...)
			} else {
				fields = append(fields, "Transfer-Encoding: chunked", "Trailer: "+name)
			}
			one.send(method, path, fields...)
			if !strings.HasSuffix(path, "chat") {
				io.WriteString(one, "1\r\nx\r\n0\r\n"+name+": "+lie+"\r\n\r\n")
			}
			if status, _, body := one.receive(method); status != 200 && status != 426 && !strings.HasSuffix(path, "rpc") {
				t.Errorf("%s %s: %d %s", path, name, status, body)
			}
			one.Close()

			req, err := http.NewRequest("POST", "https://"+h.Addresses()["two"]+path, io.MultiReader(strings.NewReader("x")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{with[0]: {with[1]}, name: {lie, lie}}
			req.Trailer = http.Header{http.CanonicalHeaderKey(name): {lie}}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 && !strings.HasSuffix(path, "rpc") {
				t.Errorf("%s %s over HTTP/2: %s", path, name, resp.Status)
			}
			asked += 2
		}
	}
	got := seen()
	if len(got) < asked {
		t.Errorf("the upstream saw %d requests of %d", len(got), asked)
	}
	told := 0
	for _, one := range got {
		if strings.Contains(one, lie) {
			t.Fatalf("the upstream saw %s", one)
		}
		if strings.Contains(one, "X-User:[alice]") && strings.Contains(one, "X-Identity:[eyJ") {
			told++
		}
	}
	if want := 3 * 2 * len(spellings); told != want {
		t.Errorf("the backend was told %d times who calls, want %d", told, want)
	}
}

// Requests of two users and of two keys, interleaved: each backend is told of
// who asked. Ten thousand more of them are in the policy's own tests.
func TestEachBackendIsToldOfWhoAsked(t *testing.T) {
	t.Parallel()
	h, iss := newHouse(t, nil), newIssuer(t)
	h.compiler.Assertions = signing(t)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(r.Header.Get("X-Identity"), ".")
		payload, _, _ := strings.Cut(rest, ".")
		said, _ := base64.RawURLEncoding.DecodeString(payload)
		var claims struct{ Sub, Consumer string }
		json.Unmarshal(said, &claims)
		fmt.Fprintf(w, "%s|%s|%s|%s", r.Header.Get("X-User"), r.Header.Get("X-Consumer"), claims.Sub, claims.Consumer)
	}))
	t.Cleanup(up.Close)
	acme, other := apikey.Generate(), apikey.Generate()
	err := h.load(iss.words + `
listeners: [{ name: one, address: "127.0.0.1:0" }]
consumers:
  acme: { apiKeys: [{ hash: "` + apikey.Hash(acme) + `" }] }
  other: { apiKeys: [{ hash: "` + apikey.Hash(other) + `" }] }
upstreams: { c: [` + up.URL + `] }
routes:
  - path: /x
    upstream: c
    auth: { anyOf: [{ jwt: corp }, { apiKey: true }] }
    identity: { headers: { X-User: "{claims.sub}", X-Consumer: "{consumer}" }, jwt: { header: X-Identity } }
`)
	if err != nil {
		t.Fatal(err)
	}
	callers := [][2]string{
		{"Authorization: Bearer " + iss.token("alice"), "alice|corp/app|alice|corp/app"}, {"Authorization: Bearer " + iss.token("bob"), "bob|corp/app|bob|corp/app"},
		{"X-Api-Key: " + acme, "|acme||acme"}, {"X-Api-Key: " + other, "|other||other"},
	}
	var wg sync.WaitGroup
	for i := range 8 {
		c := dial(t, h.Addresses()["one"])
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		wg.Go(func() {
			for n := range 1000 / 8 {
				caller := callers[(n+i)%len(callers)]
				if n%3 == 0 {
					caller = callers[n%2]
				}
				status, _, body := c.ask("GET", "/x", caller[0])
				if status != 200 || body != caller[1] {
					t.Errorf("%d %q, want %q", status, body, caller[1])
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWithoutAKeyNothingUnsignedGoesOn(t *testing.T) {
	t.Parallel()
	h, iss := newHouse(t, nil), newIssuer(t)
	h.compiler.Assertions = assertion.New(slog.New(slog.DiscardHandler))
	url, seen := reflecting(t)
	err := h.load(iss.words + `
listeners: [{ name: one, address: "127.0.0.1:0" }]
upstreams: { c: [` + url + `] }
routes:
  - { path: /x, upstream: c, auth: { jwt: corp }, identity: { jwt: { header: X-Identity } } }
  - { path: /y, upstream: c, auth: { jwt: corp } }
`)
	if err != nil {
		t.Fatal(err)
	}
	c, bearer := dial(t, h.Addresses()["one"]), "Authorization: Bearer "+iss.token("alice")
	status, header, body := c.ask("GET", "/x", bearer)
	if status != 503 || header.Get("Retry-After") == "" || !strings.Contains(body, "identity_unavailable") || len(seen()) != 0 {
		t.Errorf("%d %s; the upstream saw %v", status, body, seen())
	}
	if status, _, _ := c.ask("GET", "/.warder/jwks.json"); status != 503 {
		t.Error("keys:", status)
	}
	if status, _, _ := c.ask("GET", "/y", bearer); status != 200 {
		t.Error("a route without an assertion:", status)
	}
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	h.compiler.Assertions.Use(key)
	if status, _, body := c.ask("GET", "/x", bearer); status != 200 {
		t.Error("with a key:", status, body)
	}
	status, header, body = c.ask("GET", "/.warder/jwks.json")
	if status != 200 || header.Get("Cache-Control") != "public, max-age=300" || !strings.Contains(body, key.Key().ID) {
		t.Error("keys:", status, header, body)
	}
}

// What cannot be told is a fault of ours, and the record says why without the
// value.
func TestAValueThatNoFieldHoldsRefuses(t *testing.T) {
	t.Parallel()
	h, iss := newHouse(t, nil), newIssuer(t)
	url, seen := reflecting(t)
	err := h.load(iss.words + `
listeners: [{ name: one, address: "127.0.0.1:0" }]
upstreams: { c: [` + url + `] }
routes:
  - { path: /x, upstream: c, auth: { jwt: corp }, identity: { headers: { X-User: "{claims.sub}" } } }
`)
	if err != nil {
		t.Fatal(err)
	}
	status, _, body := dial(t, h.Addresses()["one"]).ask("GET", "/x", "Authorization: Bearer "+iss.token("eve\r\nX-Admin: yes"))
	if status != 500 || !strings.Contains(body, "transform_failed") || len(seen()) != 0 {
		t.Errorf("%d %s; the upstream saw %v", status, body, seen())
	}
}
