package login_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by hand. It begins now, as tokens are judged by it, and the
// store has a clock of its own.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// issuer is an OpenID Connect provider that does as a test says.
type issuer struct {
	t     *testing.T
	url   string
	key   *ecdsa.PrivateKey
	clock *clock

	mu        sync.Mutex
	subject   string
	status    int           // of the token endpoint; 0: 200
	expires   int           // of access tokens; 0: not said
	scope     any           // that was granted; nil: not said
	slow      time.Duration // what an answer of the token endpoint takes
	asked     int           // how often it was
	refreshes int           // how many there were
	current   string        // the refresh token that is good
	nonce     string
}

func (i *issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/token" {
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.url, "jwks_uri": i.url + "/jwks", "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
		})
		return
	}
	i.asked++
	i.clock.move(i.slow)
	if i.status != 0 {
		w.WriteHeader(i.status)
		return
	}
	r.ParseForm()
	claims := jwt.MapClaims{"sub": i.subject}
	if r.PostForm.Get("grant_type") == "refresh_token" {
		i.refreshes++
		if r.PostForm.Get("refresh_token") != i.current {
			w.WriteHeader(400)
			json.NewEncoder(w).Encode(map[string]any{"error": "invalid_grant"})
			return
		}
	} else {
		claims["nonce"] = i.nonce
	}
	i.current = rand.Text()
	answer := map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": i.sign(claims), "refresh_token": i.current}
	if i.expires > 0 {
		answer["expires_in"] = i.expires
	}
	if i.scope != nil {
		answer["scope"] = i.scope
	}
	json.NewEncoder(w).Encode(answer)
}

// sign makes a token for the client.
func (i *issuer) sign(claims jwt.MapClaims) string {
	now := i.clock.now().Unix()
	all := jwt.MapClaims{"iss": i.url, "aud": "web", "iat": now, "exp": now + 300}
	maps.Copy(all, claims)
	t := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	t.Header["kid"] = "1"
	text, err := t.SignedString(i.key)
	if err != nil {
		i.t.Error(err)
	}
	return text
}

// house is an issuer, a store, and what instances of a gateway share.
type house struct {
	t      *testing.T
	clock  *clock
	issuer *issuer
	store  *store.Store
	sealed *keys.DataKeys
	set    *keys.Static
}

func newHouse(t *testing.T) *house {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.NewKey("1", "ES256", &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, clock: &clock{at: time.Now()}, store: storetest.SQLite(t), set: keys.NewStatic(public)}
	h.issuer = &issuer{t: t, key: key, clock: h.clock, subject: "alice"}
	srv := httptest.NewServer(h.issuer)
	t.Cleanup(srv.Close)
	h.issuer.url = srv.URL
	wrapper, err := keys.CreateEmbedded(filepath.Join(t.TempDir(), "key"), secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	if h.sealed, err = keys.OpenDataKeys(t.Context(), wrapper, &keystest.Memory{}); err != nil {
		t.Fatal(err)
	}
	return h
}

// instance is one gateway's part of logins.
type instance struct {
	h *house
	*login.Party
}

// nobody is a directory without consumers, where nothing was revoked.
type nobody struct{}

func (nobody) Client(string, string) (*exchange.Consumer, bool)        { return nil, false }
func (nobody) Revoked(*exchange.Identity, time.Time) (code fault.Code) { return fault.None }

// open starts an instance that follows the store until the test ends. It is
// ready when it is returned.
func (h *house) open(change ...func(*login.Config)) *instance {
	h.t.Helper()
	sessions := login.NewSessions(slog.New(slog.DiscardHandler), h.clock.now)
	sessions.Unlock(h.sealed)
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	sessions.Use(h.store)
	following.Go(func() { sessions.Run(ctx, h.store, func() {}) })
	h.t.Cleanup(func() { stop(); following.Wait() })
	auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "web", Secret: secret.New([]byte("s"))})
	if err != nil {
		h.t.Fatal(err)
	}
	provider := keys.NewProvider(keys.ProviderConfig{Issuer: h.issuer.url, Auth: auth})
	h.t.Cleanup(provider.Close)
	cfg := login.Config{
		Name: "corp", Issuer: h.issuer.url, ClientID: "web", Scopes: []string{"openid"}, Idle: 30 * time.Minute, Lifetime: 12 * time.Hour,
		MaxSilence: 1000 * time.Hour, Algorithms: []string{"ES256"}, ClockSkew: 30 * time.Second, Keys: h.set, Provider: provider,
		Directory: nobody{}, Sessions: sessions, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&cfg)
	}
	i := &instance{h, login.NewParty(cfg)}
	for over := time.Now().Add(10 * time.Second); i.ask("x", true) != fault.SessionExpired; time.Sleep(time.Millisecond) {
		if time.Now().After(over) {
			h.t.Fatal("the instance does not come up")
		}
	}
	return i
}

// ask says why there is no identity for a session; None: there is one.
func (i *instance) ask(cookie string, store bool) fault.Code {
	id, err := i.Identity(context.Background(), []byte(cookie), []byte("127.0.0.1"), i.h.clock.now(), store)
	if err == nil && id.Subject != "" {
		return fault.None
	}
	return fault.Of(err)
}

// record is a ResponseWriter that remembers why an answer is a refusal.
type record struct {
	*httptest.ResponseRecorder
	code   fault.Code
	reason string
	event  string
}

func (r *record) Refused(code fault.Code, reason string) { r.code, r.reason = code, reason }
func (r *record) Refuse(code fault.Code, reason, _ string) {
	r.code, r.reason = code, reason
	r.WriteHeader(code.Status())
}
func (r *record) Happened(event string) { r.event = event }

// visit asks for one of the routes, with cookies.
func (i *instance) visit(method, at, body string, cookies map[string]string, fields ...string) *record {
	i.h.t.Helper()
	if strings.HasPrefix(at, "/") {
		at = "http://127.0.0.1" + at
	}
	r := httptest.NewRequest(method, at, strings.NewReader(body))
	for n := 0; n < len(fields); n += 2 {
		r.Header.Set(fields[n], fields[n+1])
	}
	for name, value := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := &record{ResponseRecorder: httptest.NewRecorder(), code: fault.None}
	i.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(cookies, c.Name)
		} else {
			cookies[c.Name] = c.Value
		}
	}
	return w
}

// begin begins a login and has the user approve of it; it returns the callback.
func (i *instance) begin(cookies map[string]string) string {
	i.h.t.Helper()
	w := i.visit("GET", "/.warder/login/corp/start", "", cookies)
	at, err := url.Parse(w.Header().Get("Location"))
	if w.Code != 302 || err != nil {
		i.h.t.Fatal(w.Code, w.Body, w.reason)
	}
	q := at.Query()
	i.h.issuer.set(func() { i.h.issuer.nonce = q.Get("nonce") })
	return q.Get("redirect_uri") + "?" + url.Values{"code": {"c"}, "state": {q.Get("state")}}.Encode()
}

// login logs in and returns the cookie's value.
func (i *instance) login() string {
	i.h.t.Helper()
	cookies := map[string]string{}
	if w := i.visit("GET", i.begin(cookies), "", cookies); w.Code != 302 || cookies[i.Cookie()] == "" {
		i.h.t.Fatal(w.Code, w.Body, fmt.Sprint(w.reason))
	}
	return cookies[i.Cookie()]
}
