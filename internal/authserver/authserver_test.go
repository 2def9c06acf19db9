package authserver_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/warder-gateway/warder/internal/authserver"
	"github.com/warder-gateway/warder/internal/keys"
)

const (
	issuer = "http://127.0.0.1:8080/auth"
	// secret has every kind of character that form encoding must protect.
	secret      = "s3cret+with:all%kinds &of=characters"
	otherSecret = "Zm9yIHRoZSBvdGhlciBjbGllbnQ"
)

// clock is a clock that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func config(t testing.TB) authserver.Config {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keys.NewTokenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return authserver.Config{
		Issuer: issuer,
		Signer: signer,
		Now:    newClock().Now,
		Clients: map[string]authserver.Client{
			"demo":  {Secret: digest(secret), Scopes: []string{"orders:read", "orders:write"}, Audience: []string{"orders-api", "https://stock.example.com"}},
			"plain": {Secret: digest(otherSecret), Audience: []string{"orders-api"}},
		},
	}
}

func newServer(t testing.TB, cfg authserver.Config) *authserver.Server {
	t.Helper()
	s, err := authserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tokenRequest makes a good request for a token; edit makes it another one.
func tokenRequest(body string, edit ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/auth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, e := range edit {
		e(r)
	}
	return r
}

// basic authenticates as RFC 6749 section 2.3.1 wants it.
func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}

func serve(s http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

type answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func decode(t testing.TB, w *httptest.ResponseRecorder) answer {
	t.Helper()
	var a answer
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		t.Fatalf("status %d: body is not what RFC 6749 says: %v", w.Code, err)
	}
	return a
}

type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	Expires  int64  `json:"exp"`
	Issued   int64  `json:"iat"`
	ID       string `json:"jti"`
	Client   string `json:"client_id"`
	Scope    string `json:"scope"`
}

// verify checks a token with the keys that the server publishes.
func verify(t testing.TB, s http.Handler, token string) claims {
	t.Helper()
	w := serve(s, httptest.NewRequest(http.MethodGet, "/auth/jwks", nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	head := jws.Signatures[0].Protected
	if typ := head.ExtraHeaders[jose.HeaderType]; typ != "at+jwt" {
		t.Errorf("typ %v, want at+jwt", typ)
	}
	key := set.Key(head.KeyID)
	if len(key) != 1 {
		t.Fatalf("%d keys are published under kid %q, want 1", len(key), head.KeyID)
	}
	payload, err := jws.Verify(key[0])
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	d := json.NewDecoder(strings.NewReader(string(payload)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServerAnswersItsPathsAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	var paths []string
	for _, p := range s.Paths() {
		paths = append(paths, p.Path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			w := serve(s, httptest.NewRequest(method, p.Path, nil))
			listed := slices.Contains(p.Methods, method) || method == "HEAD" && slices.Contains(p.Methods, "GET")
			if listed == (w.Code == http.StatusMethodNotAllowed) {
				t.Errorf("%s %s: status %d, listed %t", method, p.Path, w.Code, listed)
			}
			if !listed && w.Header().Get("Allow") == "" {
				t.Errorf("%s %s: 405 without Allow", method, p.Path)
			}
			if method == "HEAD" && w.Body.Len() > 0 {
				t.Errorf("HEAD %s: has a body", p.Path)
			}
		}
	}
	want := []string{"/auth/token", "/auth/jwks", "/auth/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/auth"}
	if !slices.Equal(paths, want) {
		t.Errorf("paths %q, want %q", paths, want)
	}
	for _, path := range []string{"/", "/auth", "/auth/", "/auth/token/", "/token", "/AUTH/token", "/auth//token", "/.well-known/oauth-authorization-server"} {
		if w := serve(s, httptest.NewRequest("GET", path, nil)); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, w.Code)
		}
	}
}

func TestEveryAnswerCarriesTheSecurityHeadersAndNoCORS(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	paths := []string{"/nowhere"}
	for _, p := range s.Paths() {
		paths = append(paths, p.Path)
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			w := serve(s, r)
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s: no nosniff", method, path)
			}
			cached := w.Header().Get("Cache-Control")
			if w.Code == http.StatusOK && cached != "public, max-age=300" || w.Code != http.StatusOK && cached != "no-store" {
				t.Errorf("%s %s: status %d with Cache-Control %q", method, path, w.Code, cached)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: has %s", method, path, name)
				}
			}
		}
	}
}

// A client that knows nothing but the issuer finds its way over the network.
func TestDiscoveryLeadsFromTheIssuerToAVerifiedToken(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/auth", "/a/b"} {
		t.Run("issuer path "+path, func(t *testing.T) {
			t.Parallel()
			hs := httptest.NewUnstartedServer(nil)
			base := "http://" + hs.Listener.Addr().String()
			cfg := config(t)
			cfg.Issuer, cfg.Now = base+path, nil
			s := newServer(t, cfg)
			hs.Config.Handler = s
			hs.Start()
			defer hs.Close()

			get := func(address string) map[string]any {
				resp, err := hs.Client().Get(address)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
					t.Fatalf("%s: status %d, %s", address, resp.StatusCode, resp.Header.Get("Content-Type"))
				}
				var document map[string]any
				if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
					t.Fatal(err)
				}
				return document
			}
			document := get(base + "/.well-known/oauth-authorization-server" + path)
			same := get(base + path + "/.well-known/openid-configuration")
			if a, b := mustJSON(t, document), mustJSON(t, same); a != b {
				t.Errorf("the two discovery documents differ:\n%s\n%s", a, b)
			}
			if document["issuer"] != cfg.Issuer {
				t.Errorf("issuer %v, want %s", document["issuer"], cfg.Issuer)
			}

			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo"}, "client_secret": {secret}}
			resp, err := hs.Client().PostForm(document["token_endpoint"].(string), form)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var a answer
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
				t.Fatal(err)
			}
			jws, err := jose.ParseSignedCompact(a.AccessToken, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatalf("status %d: %v", resp.StatusCode, err)
			}
			var set jose.JSONWebKeySet
			if err := json.Unmarshal([]byte(mustJSON(t, get(document["jwks_uri"].(string)))), &set); err != nil {
				t.Fatal(err)
			}
			if _, err := jws.Verify(set); err != nil {
				t.Error(err)
			}
		})
	}
}

// The fields that RFC 8414 section 2 requires are there, and no field that
// promises something the server does not do.
func TestDiscoveryListsOnlyWhatIsTrue(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	w := serve(s, httptest.NewRequest("GET", "/auth/.well-known/openid-configuration", nil))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"issuer":                                issuer,
		"token_endpoint":                        issuer + "/token",
		"jwks_uri":                              issuer + "/jwks",
		"response_types_supported":              []any{},
		"grant_types_supported":                 []any{"client_credentials"},
		"token_endpoint_auth_methods_supported": []any{"client_secret_basic", "client_secret_post"},
	}
	if a, b := mustJSON(t, got), mustJSON(t, want); a != b {
		t.Errorf("document\n%s\nwant\n%s", a, b)
	}
	for _, grant := range []string{"authorization_code", "refresh_token", "password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange", "Client_Credentials"} {
		w := serve(s, tokenRequest("grant_type="+url.QueryEscape(grant), basic("demo", secret)))
		if a := decode(t, w); w.Code != 400 || a.Error != "unsupported_grant_type" {
			t.Errorf("grant %s: %d %s, want it unsupported as it is not listed", grant, w.Code, a.Error)
		}
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func rawBasic(pair string) func(*http.Request) {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
}
