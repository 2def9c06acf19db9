package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/store"
)

// provider is an OpenID Connect provider that does as a test says.
type provider struct {
	t   *testing.T
	url string
	key *ecdsa.PrivateKey

	mu        sync.Mutex
	claims    func(jwt.MapClaims)   // changes what an ID token says
	answer    func(map[string]any)  // changes what the token endpoint says
	status    int                   // of the token endpoint; 0: 200
	codes     map[string]url.Values // what each was asked for with
	expires   int                   // of access tokens; 0: not said
	refreshes int                   // how many there were
	current   string                // the refresh token that is good
	calls     int                   // of the token endpoint
	sid       string
	document  func(map[string]any)
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, codes: map[string]url.Values{}, sid: "sid-1"}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	b64 := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc := map[string]any{
			"issuer": p.url, "jwks_uri": p.url + "/jwks", "authorization_endpoint": p.url + "/auth?tenant=1", "token_endpoint": p.url + "/token",
			"end_session_endpoint": p.url + "/end", "authorization_response_iss_parameter_supported": true,
		}
		if p.document != nil {
			p.document(doc)
		}
		json.NewEncoder(w).Encode(doc)
	case "/jwks":
		point, _ := p.key.PublicKey.Bytes()
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:]),
		}}})
	case "/token":
		p.calls++
		r.ParseForm()
		if id, secret, ok := r.BasicAuth(); !ok || id != "web" || secret != "secret%21" {
			w.WriteHeader(401)
			return
		}
		if p.status != 0 {
			w.WriteHeader(p.status)
			return
		}
		nonce := ""
		switch r.PostForm.Get("grant_type") {
		case "authorization_code":
			asked := p.codes[r.PostForm.Get("code")]
			sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
			if asked == nil || asked.Get("code_challenge") != b64(sum[:]) || asked.Get("redirect_uri") != r.PostForm.Get("redirect_uri") {
				w.WriteHeader(400)
				json.NewEncoder(w).Encode(map[string]any{"error": "invalid_grant"})
				return
			}
			delete(p.codes, r.PostForm.Get("code"))
			nonce = asked.Get("nonce")
			p.current = fmt.Sprint("refresh-", p.calls)
		case "refresh_token":
			p.refreshes++
			if r.PostForm.Get("refresh_token") != p.current {
				w.WriteHeader(400)
				json.NewEncoder(w).Encode(map[string]any{"error": "invalid_grant"})
				return
			}
			p.current = fmt.Sprint("refresh-", p.calls)
		}
		claims := jwt.MapClaims{"sub": "alice", "groups": []string{"buyer"}}
		if nonce != "" {
			claims["nonce"] = nonce
		}
		if p.sid != "" {
			claims["sid"] = p.sid
		}
		if p.claims != nil {
			p.claims(claims)
		}
		answer := map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": p.sign(claims, "JWT"), "refresh_token": p.current, "scope": "openid profile"}
		if p.expires > 0 {
			answer["expires_in"] = p.expires
		}
		if p.answer != nil {
			p.answer(answer)
		}
		json.NewEncoder(w).Encode(answer)
	default:
		w.WriteHeader(404)
	}
}

// sign makes a token that is good for the client unless claims say otherwise.
func (p *provider) sign(claims jwt.MapClaims, typ string) string {
	now := time.Now().Unix()
	all := jwt.MapClaims{"iss": p.url, "aud": "web", "iat": now, "exp": now + 300}
	maps.Copy(all, claims)
	for name, value := range all {
		if value == nil {
			delete(all, name)
		}
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	t.Header["kid"], t.Header["typ"] = "1", typ
	text, err := t.SignedString(p.key)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// approve is the user who logs in: it returns the callback's URL.
func (p *provider) approve(at string) string {
	p.t.Helper()
	u, err := url.Parse(at)
	if err != nil || !strings.HasPrefix(at, p.url+"/auth?") {
		p.t.Fatalf("not sent to the issuer: %q", at)
	}
	q := u.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	code := rand.Text()
	p.codes[code] = q
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.url}}.Encode()
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// browser keeps cookies and follows nothing.
type browser struct {
	t       *testing.T
	r       *running
	cookies map[string]string
	set     []*http.Cookie // by the last answer
}

func (r *running) browser(t *testing.T) *browser {
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t: t, r: r, cookies: map[string]string{}}
}

// ask sends a request; what begins with a slash is of the gateway. Without
// fields it is a navigation.
func (b *browser) ask(method, at string, fields ...string) (*http.Response, string) {
	b.t.Helper()
	if strings.HasPrefix(at, "/") {
		at = b.r.url + at
	}
	if len(fields) == 0 {
		fields = []string{"Sec-Fetch-Mode", "navigate", "Accept", "text/html"}
	}
	req := request(b.t, method, at, fields...)
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		req.AddCookie(&http.Cookie{Name: name, Value: b.cookies[name]})
	}
	resp, body := b.r.do(b.t, req)
	b.set = resp.Cookies()
	for _, c := range b.set {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return resp, body
}

// begin opens a page and returns where the issuer is asked to log in.
func (b *browser) begin(page string) string {
	b.t.Helper()
	resp, body := b.ask("GET", page)
	start := resp.Header.Get("Location")
	if resp.StatusCode != 302 || !strings.HasPrefix(start, "/.warder/login/corp/start?return=") {
		b.t.Fatalf("%d %q %s", resp.StatusCode, start, body)
	}
	resp, body = b.ask("GET", start)
	if resp.StatusCode != 302 || resp.Header.Get("Cache-Control") != "no-store" {
		b.t.Fatalf("%d %v %s\n%s", resp.StatusCode, resp.Header, body, b.r.errors)
	}
	return resp.Header.Get("Location")
}

// login logs in by a page and returns to it.
func (b *browser) login(p *provider, page string) {
	b.t.Helper()
	resp, body := b.ask("GET", p.approve(b.begin(page)))
	if resp.StatusCode != 302 || resp.Header.Get("Location") != page {
		b.t.Fatalf("%d %v %s\n%s", resp.StatusCode, resp.Header, body, b.r.errors)
	}
}

func (b *browser) wants(status int, code, method, at string, fields ...string) {
	b.t.Helper()
	resp, body := b.ask(method, at, fields...)
	if resp.StatusCode != status || code != "" && !strings.Contains(body, code) {
		b.t.Errorf("%s %s %q: %d %s, want %d %s\n%s", method, at, fields, resp.StatusCode, body, status, code, b.r.errors)
	}
}

func (b *browser) session() (name, value string) {
	for name, value := range b.cookies {
		if strings.HasPrefix(name, "__Host-warder-session-") {
			return name, value
		}
	}
	return "", ""
}

// loggingIn is a gateway where browsers log in.
func loggingIn(t *testing.T, p *provider, more string) *running {
	t.Helper()
	return loggingInFrom(t, p, more, filepath.Join(t.TempDir(), "state"))
}

func loggingInFrom(t *testing.T, p *provider, more, state string) *running {
	t.Helper()
	return loggingInOver(t, p, more, state, store.DefaultAddress)
}

// loggingInOver is loggingInFrom with a store.
func loggingInOver(t *testing.T, p *provider, more, state, at string) *running {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret!"), 0o600); err != nil {
		t.Fatal(err)
	}
	return serveFrom(t, state, "127.0.0.1:0", fmt.Sprintf(`
store: %q
issuers:
  corp: { issuer: %q, roles: groups, login: { clientId: web, clientSecret: "${file:%s}", scopes: [openid, profile]%s } }
  other: { issuer: %q, jwksFile: none.json, audience: x }
upstreams: { app: [%q], chat: [%q], events: [%q] }
routes:
  - { path: /events, upstream: events, auth: { login: corp } }
  - { path: /chat, upstream: chat, auth: { login: corp }, upgrade: [websocket] }
  - { path: /token, upstream: app, auth: { anyOf: [{ jwt: other }, { login: corp }] } }
  - { path: /app/**, upstream: app, auth: { login: corp } }
  - { path: /scoped, upstream: app, auth: { login: corp, scopes: [profile] } }
  - { path: /admin, upstream: app, auth: { login: corp, scopes: [admin] } }
  - { path: /open, upstream: app, auth: none }
  - { path: /**, upstream: app, auth: { login: corp } }
`, at, p.url, secret, more, p.url+"/x", reflector(t), chatty(t), telling(t)), "")
}

// telling starts an upstream that tells of events, one, and then waits.
func telling(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

var xhr = []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}

func TestLoginInABrowser(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	b := r.browser(t)
	at, err := url.Parse(b.begin("/app/page?a=1&b=%2F"))
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	if q.Get("tenant") != "1" || q.Get("response_type") != "code" || q.Get("client_id") != "web" || q.Get("scope") != "openid profile" ||
		q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 43 || len(q.Get("nonce")) < 43 ||
		q.Get("redirect_uri") != r.url+"/.warder/login/corp/callback" {
		t.Errorf("%v", q)
	}
	for _, c := range b.set {
		if !strings.HasPrefix(c.Name, "__Host-warder-login-") || c.MaxAge != 600 {
			t.Errorf("%v", c)
		}
	}
	callback := p.approve(at.String())
	code := strings.TrimPrefix(callback[strings.Index(callback, "code="):strings.Index(callback, "&")], "code=")
	resp, _ := b.ask("GET", callback)
	if resp.StatusCode != 302 || resp.Header.Get("Location") != "/app/page?a=1&b=%2F" {
		t.Fatalf("%d %v\n%s", resp.StatusCode, resp.Header, r.errors)
	}
	for _, c := range b.set {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("attributes of %v", c)
		}
	}
	if len(b.cookies) != 1 {
		t.Errorf("the browser has %v", b.cookies)
	}
	b.cookies["theirs"] = "1"
	for _, path := range []string{"/app/page", "/open", "/scoped", "/"} {
		resp, body := b.ask("GET", path)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s\n%s", path, resp.StatusCode, body, r.errors)
		}
		if got := reflected(t, body).Header; got.Get("Cookie") != "theirs=1" || got.Get("Authorization") != "" {
			t.Errorf("%s: the backend saw %v", path, got)
		}
	}
	b.wants(403, "scope_missing", "GET", "/admin")
	eventually(t, func() bool { return strings.Contains(r.log.String(), "alice") }, "the record does not name who asked:\n%s", r.log)
	_, value := b.session()
	for _, text := range []string{r.log.String(), r.errors.String()} {
		if strings.Contains(text, value) || strings.Contains(text, "refresh-") || strings.Contains(text, code) {
			t.Errorf("something secret is logged:\n%s", text)
		}
	}
}

func TestScriptsAreNeverSentToALogin(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	b := loggingIn(t, p, "").browser(t)
	for _, fields := range [][]string{
		xhr,
		{"Sec-Fetch-Mode", "no-cors", "Accept", "text/html"},
		{"Accept", "application/json"},
		{"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"},
		{"Accept", "*/*"},
	} {
		resp, body := b.ask("GET", "/app/x", fields...)
		if resp.StatusCode != 401 || !strings.Contains(body, "login_required") || resp.Header.Get("WWW-Authenticate") != `Cookie realm="corp"` || resp.Header.Get("Location") != "" {
			t.Errorf("%q: %d %v %s", fields, resp.StatusCode, resp.Header, body)
		}
	}
	b.wants(401, "login_required", "POST", "/app/x", "Accept", "text/html")
	b.wants(302, "", "GET", "/app/x", "Accept", "text/html,*/*")
}

func TestUnsafeRequestsNeedAPageOfThisSite(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	b := loggingIn(t, p, "").browser(t)
	b.login(p, "/app/")
	for _, c := range []struct {
		status int
		fields []string
	}{
		{403, []string{"Accept", "*/*"}},
		{403, []string{"Sec-Fetch-Site", "cross-site"}},
		{403, []string{"Sec-Fetch-Site", "same-site"}},
		{403, []string{"Sec-Fetch-Site", "none"}},
		{403, []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"}},
		{403, []string{"Origin", "null"}},
		{403, []string{"Origin", "https://evil.example"}},
		{403, []string{"Origin", strings.Replace(b.r.url, "http:", "https:", 1)}},
		{403, []string{"Origin", b.r.url + ".evil.example"}},
		{403, []string{"Origin", b.r.url, "Origin", "https://evil.example"}},
		{200, []string{"Sec-Fetch-Site", "same-origin"}},
		{200, []string{"Origin", b.r.url}},
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			code := ""
			if c.status == 403 {
				code = "csrf_refused"
			}
			b.wants(c.status, code, method, "/app/x", c.fields...)
		}
	}
	b.wants(200, "", "GET", "/app/x", "Sec-Fetch-Site", "cross-site")
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	b.wants(403, "csrf_refused", "GET", "/app/x", append(upgrade, "Origin", "https://evil.example")...)
	b.wants(400, "credential_ambiguous", "GET", "/app/x", "Authorization", "Bearer x")
	name, value := b.session()
	req := request(t, "GET", b.r.url+"/app/x", "Cookie", name+"="+value+"; "+name+"=x")
	if resp, body := b.r.do(t, req); resp.StatusCode != 400 || !strings.Contains(body, "credential_ambiguous") {
		t.Errorf("two sessions: %d %s", resp.StatusCode, body)
	}
}

func TestCallbacksThatEndNoLogin(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	change := func(name string, values ...string) func(string) string {
		return func(at string) string {
			u, _ := url.Parse(at)
			q := u.Query()
			q[name] = values
			u.RawQuery = q.Encode()
			return u.String()
		}
	}
	for what, alter := range map[string]func(string) string{
		"another state":                change("state", "x"),
		"no state":                     change("state"),
		"two states":                   change("state", "x", "y"),
		"another code":                 change("code", "x"),
		"no code":                      change("code"),
		"two codes":                    change("code", "x", "y"),
		"another issuer (mix-up)":      change("iss", "https://evil.example"),
		"no issuer, which is promised": change("iss"),
		"two issuers":                  change("iss", p.url, p.url),
		"the issuer says no":           change("error", "access_denied"),
	} {
		b := r.browser(t)
		b.wants(401, "login_failed", "GET", alter(p.approve(b.begin("/app/"))))
		if name, _ := b.session(); name != "" {
			t.Errorf("%s: there is a session", what)
		}
	}
	b := r.browser(t)
	b.wants(503, "identity_unavailable", "GET", change("error", "temporarily_unavailable")(p.approve(b.begin("/app/"))))

	// A callback is of use to one browser, once.
	at := p.approve(b.begin("/app/"))
	thief := r.browser(t)
	thief.wants(401, "login_failed", "GET", at)
	thief.begin("/app/")
	thief.wants(401, "login_failed", "GET", at)
	kept := maps.Clone(b.cookies)
	b.wants(302, "", "GET", at)
	b.wants(401, "login_failed", "GET", at)
	calls := p.calls
	b.cookies = kept
	b.wants(401, "login_failed", "GET", at) // replayed with its own cookie
	if p.calls != calls {
		t.Error("a code was sent twice: the issuer would take back its tokens")
	}

	// What was sealed for one use is no good for another.
	b = r.browser(t)
	begun := b.begin("/app/")
	u, _ := url.Parse(begun)
	for name := range b.cookies {
		b.cookies[name] = b.cookies[name][:len(b.cookies[name])-2] + "AA"
	}
	b.wants(401, "login_failed", "GET", p.approve(u.String()))
}

func TestIDTokensThatProveNoLogin(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	now := time.Now().Unix()
	for what, change := range map[string]func(jwt.MapClaims){
		"another nonce":               func(c jwt.MapClaims) { c["nonce"] = "x" },
		"no nonce":                    func(c jwt.MapClaims) { delete(c, "nonce") },
		"another issuer":              func(c jwt.MapClaims) { c["iss"] = "https://evil.example" },
		"no issuer":                   func(c jwt.MapClaims) { c["iss"] = nil },
		"another client's":            func(c jwt.MapClaims) { c["aud"] = "other" },
		"of two clients without azp":  func(c jwt.MapClaims) { c["aud"] = []string{"web", "other"} },
		"given to another client":     func(c jwt.MapClaims) { c["azp"] = "other" },
		"expired":                     func(c jwt.MapClaims) { c["exp"] = now - 3600 },
		"without end":                 func(c jwt.MapClaims) { c["exp"] = nil },
		"without a beginning":         func(c jwt.MapClaims) { c["iat"] = nil },
		"from before the login":       func(c jwt.MapClaims) { c["iat"] = now - 3600 },
		"from the future":             func(c jwt.MapClaims) { c["iat"] = now + 3600 },
		"without a subject":           func(c jwt.MapClaims) { c["sub"] = nil },
		"with an empty subject":       func(c jwt.MapClaims) { c["sub"] = "" },
		"with a subject of a number":  func(c jwt.MapClaims) { c["sub"] = 1 },
		"beside another access token": func(c jwt.MapClaims) { c["at_hash"] = "x" },
		"a logout token":              func(c jwt.MapClaims) { c["events"] = map[string]any{} },
		"an access token":             func(c jwt.MapClaims) { c["token_use"] = "access" },
	} {
		p.set(func() { p.claims = change })
		b := r.browser(t)
		resp, body := b.ask("GET", p.approve(b.begin("/app/")))
		if name, _ := b.session(); resp.StatusCode != 401 || !strings.Contains(body, "login_failed") || name != "" {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
	}
	sum := sha256.Sum256([]byte("opaque"))
	p.set(func() {
		p.claims = func(c jwt.MapClaims) {
			c["at_hash"], c["aud"], c["azp"] = base64.RawURLEncoding.EncodeToString(sum[:16]), []string{"web", "other"}, "web"
		}
	})
	b := r.browser(t)
	b.login(p, "/app/")
	p.set(func() { p.claims = nil })
	for what, change := range map[string]func(map[string]any){
		"no ID token":     func(a map[string]any) { delete(a, "id_token") },
		"no access token": func(a map[string]any) { delete(a, "access_token") },
		"of another type": func(a map[string]any) { a["token_type"] = "mac" },
		"not signed": func(a map[string]any) {
			parts := strings.Split(a["id_token"].(string), ".")
			a["id_token"] = "eyJhbGciOiJub25lIn0." + parts[1] + "."
		},
		"signed by another": func(a map[string]any) { a["id_token"] = newProvider(t).sign(jwt.MapClaims{"sub": "alice"}, "JWT") },
	} {
		p.set(func() { p.answer = change })
		b := r.browser(t)
		resp, body := b.ask("GET", p.approve(b.begin("/app/")))
		if name, _ := b.session(); resp.StatusCode != 401 || name != "" {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
	}
	p.set(func() { p.answer, p.status = nil, 500 })
	b = r.browser(t)
	b.wants(503, "identity_unavailable", "GET", p.approve(b.begin("/app/")))
}

func TestReturnsStayOnThisSite(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	for to, want := range map[string]string{
		"/app/x?y=1": "/app/x?y=1", "": "/", "app": "/", "//evil.example": "/", `/\evil.example`: "/", `\/evil.example`: "/",
		"https://evil.example": "/", "/a\r\nb": "/", "/\t/evil.example": "/", "/%0d%0aSet-Cookie:x": "/", "/%5cevil.example": "/",
		"/.warder/login/corp/logout": "/", "/" + strings.Repeat("a", 1000): "/", "javascript:alert(1)": "/", "/%2f/evil.example": "/",
	} {
		b := r.browser(t)
		resp, _ := b.ask("GET", "/.warder/login/corp/start?return="+url.QueryEscape(to))
		resp, _ = b.ask("GET", p.approve(resp.Header.Get("Location")))
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
}

func TestABrowserHasFiveLoginsBegunAtMost(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	b := loggingIn(t, p, "").browser(t)
	var begun []string
	for i := range 8 {
		begun = append(begun, b.begin(fmt.Sprint("/app/", i)))
		if len(b.cookies) > 5 {
			t.Fatalf("%d logins", len(b.cookies))
		}
	}
	b.wants(401, "login_failed", "GET", p.approve(begun[2]))
	// Tabs that were opened at once all end well, in any order.
	for _, i := range []int{5, 3, 7, 4, 6} {
		resp, _ := b.ask("GET", p.approve(begun[i]))
		if resp.Header.Get("Location") != fmt.Sprint("/app/", i) {
			t.Errorf("tab %d: %d %v", i, resp.StatusCode, resp.Header)
		}
	}
	b.wants(200, "", "GET", "/app/")
}

func TestALoginGivesANewSession(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	b := r.browser(t)
	b.login(p, "/app/")
	name, before := b.session()
	old := r.browser(t)
	old.cookies[name] = before
	old.wants(200, "", "GET", "/app/")
	resp, _ := b.ask("GET", "/.warder/login/corp/start?return=/app/")
	b.ask("GET", p.approve(resp.Header.Get("Location")))
	if _, after := b.session(); after == before || after == "" {
		t.Error("the session was kept")
	}
	old.wants(401, "session_expired", "GET", "/app/", xhr...)
	b.wants(200, "", "GET", "/app/")
	for what, value := range map[string]string{"made up": "x", "empty": "", "long": strings.Repeat("A", 5000), "cut": before[:len(before)-1], "not base64": "?"} {
		thief := r.browser(t)
		thief.cookies[name] = value
		thief.wants(401, "session_expired", "GET", "/app/", xhr...)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	// Of another host it is no session.
	_, value := b.session()
	req := request(t, "GET", r.url+"/app/", append(xhr, "Cookie", name+"="+value)...)
	req.Host = "other.example"
	if resp, body := r.do(t, req); resp.StatusCode != 401 || !strings.Contains(body, "session_expired") {
		t.Errorf("at another host: %d %s", resp.StatusCode, body)
	}
	b.wants(200, "", "GET", "/app/")
}

func TestABackendSetsNoCookieOfOurs(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "__Host-warder-session-1=x; Path=/; Secure")
		w.Header().Add("Set-Cookie", "__host-Warder-login-1=x")
		w.Header().Add("Set-Cookie", "theirs=1")
	}))
	t.Cleanup(srv.Close)
	r := serve(t, fmt.Sprintf("upstreams: { app: [%q] }\nroutes: [{ path: /, upstream: app, auth: none }]\n", srv.URL), "")
	b := r.browser(t)
	b.ask("GET", "/")
	if len(b.set) != 1 || b.set[0].Name != "theirs" {
		t.Errorf("%v", b.set)
	}
}

// What begins like a route of ours, and is none, goes to no backend, whatever
// routes there are.
func TestWhatLiesBelowOurFolderIsNoRouteOfAnybody(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	b := loggingIn(t, p, "").browser(t)
	b.login(p, "/app/")
	b.wants(200, "", "GET", "/x")
	for _, path := range []string{
		"/.warder", "/.warder/", "/.warder/x", "/.warder/login", "/.warder/login/corp", "/.warder/login/corp/", "/.warder/login/corp/x",
		"/.warder/login/other/start", "/.warder/login/corp/start/", "/%2ewarder/x", "/.WARDER/x", "/.Warder/login/corp/start",
	} {
		b.wants(404, "route_unknown", "GET", path)
		b.wants(404, "route_unknown", "POST", path, "Sec-Fetch-Site", "same-origin")
	}
	b.wants(405, "method_not_allowed", "DELETE", "/.warder/login/corp/logout", "Sec-Fetch-Site", "same-origin")
	b.wants(200, "", "GET", "/.warders")

	// Also where nobody logs in.
	r := serve(t, fmt.Sprintf("upstreams: { app: [%q] }\nroutes: [{ path: /**, upstream: app, auth: none }]\n", reflector(t)), "")
	r.browser(t).wants(404, "route_unknown", "GET", "/.warder/login/corp/start")
	r.browser(t).wants(200, "", "GET", "/x")
}

// A login that fails, and a logout by the issuer, are security events; a
// failure is in the access log with its reason, as every refusal.
func TestFailedLoginsAreToldAsOtherFailedAttempts(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	var r *running
	t.Run("serve", func(t *testing.T) {
		r = loggingIn(t, p, "")
		b := r.browser(t)
		b.wants(401, "login_failed", "GET", "/.warder/login/corp/callback?state=x&code=very-secret")
		b.login(p, "/app/")
		event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
		token := p.sign(jwt.MapClaims{"sub": "alice", "jti": rand.Text(), "events": event}, "logout+jwt")
		req, err := http.NewRequest("POST", r.url+"/.warder/login/corp/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if resp, body := r.do(t, req); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}) // and end
	if log := r.log.String(); !strings.Contains(log, `"status":401,"code":"login_failed","publicCode":"login_failed","reason":"this browser has not begun this login`) {
		t.Errorf("the access log does not say why:\n%s", log)
	}
	for _, want := range []string{`msg="security event" code=login_failed from=127.0.0.1/32 count=1 last=`, `msg="security event" event="logout by the issuer" from=127.0.0.1/32 count=1 last=`} {
		if !strings.Contains(r.errors.String(), want) {
			t.Errorf("no %s in\n%s", want, r.errors)
		}
	}
	if strings.Contains(r.log.String()+r.errors.String(), "very-secret") {
		t.Error("a code is logged")
	}
}
