package app_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// rotating is an issuer whose keys come and go.
type rotating struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	keys    map[string]ed25519.PrivateKey
	offered []string
	fetched int
}

func newRotating(t *testing.T, offered ...string) *rotating {
	t.Helper()
	r := &rotating{t: t, keys: map[string]ed25519.PrivateKey{}}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.offer(offered...)
	return r
}

// offer makes these the keys of the next answer.
func (r *rotating) offer(kids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kid := range kids {
		if r.keys[kid] == nil {
			_, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				r.t.Fatal(err)
			}
			r.keys[kid] = private
		}
	}
	r.offered = kids
}

func (r *rotating) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched++
	var list []string
	for _, kid := range r.offered {
		public := r.keys[kid].Public().(ed25519.PublicKey)
		list = append(list, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"alg":"EdDSA","x":%q}`, kid, base64.RawURLEncoding.EncodeToString(public)))
	}
	io.WriteString(w, `{"keys":[`+strings.Join(list, ",")+`]}`)
}

func (r *rotating) answers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetched
}

func (r *rotating) sign(kid string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	token := golangjwt.NewWithClaims(golangjwt.SigningMethodEdDSA, golangjwt.MapClaims{
		"iss": r.url, "aud": "api", "sub": kid, "client_id": "c", "iat": time.Now().Unix() - 60, "exp": time.Now().Unix() + 600, "scope": "s",
	})
	token.Header["kid"] = kid
	text, err := token.SignedString(r.keys[kid])
	if err != nil {
		r.t.Fatal(err)
	}
	return "Bearer " + text
}

// reload puts another configuration in the place of the one that runs, below
// the same frame, and waits until it is in force.
func (r *running) reload(t *testing.T, from, to string) {
	t.Helper()
	r.rewrite(t, func(document string) string {
		if !strings.Contains(document, from) {
			t.Fatalf("the configuration has no %s", from)
		}
		return strings.Replace(document, from, to, 1)
	})
}

// rewrite changes the configuration and waits until it is in force.
func (r *running) rewrite(t *testing.T, change func(document string) string) {
	t.Helper()
	b, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Count(r.errors.String(), "configuration in force")
	if err := os.WriteFile(r.config, []byte(change(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Count(r.errors.String(), "configuration in force") != before }, "the configuration is not taken:\n%s", r.errors)
}

// goesOn says that a stream has not ended.
func goesOn(t *testing.T, what string, ended <-chan int) {
	t.Helper()
	select {
	case status := <-ended:
		t.Errorf("%s ended with %d", what, status)
	default:
	}
}

// A key that is gone from a good answer of its issuer ends the streams of the
// tokens that it signed, and no other; a reload that fetches the same keys anew
// ends none.
func TestAStreamEndsWithTheKeyThatSignedItsToken(t *testing.T) {
	t.Parallel()
	issuer := newRotating(t, "a", "b")
	r := serve(t, fmt.Sprintf(`upstreams: { a: [%s] }
freshness: { jwks: 20h }
issuers: { corp: { issuer: %q, jwksUri: "%s/jwks", audience: api, algorithms: [EdDSA] } }
routes:
  - { name: hello, path: /hello, upstream: a, auth: { jwt: corp } }
  - { name: chat, path: /chat, upstream: a, auth: { jwt: corp }, upgrade: [websocket] }
`, chatty(t), issuer.url, issuer.url), "")
	a, b := issuer.sign("a"), issuer.sign("b")
	r.answersBy(t, "Authorization", a, 200)
	ofA, ofB := r.webSocketBy(t, "Authorization: "+a), r.webSocketBy(t, "Authorization: "+b)
	fetched := issuer.answers()
	r.reload(t, "jwks: 20h", "jwks: 19h") // for which the keys are fetched anew
	r.answersBy(t, "Authorization", a, 200)
	if issuer.answers() == fetched {
		t.Error("the keys were not fetched anew, so that nothing was tested")
	}
	again := r.webSocketBy(t, "Authorization: "+a)
	issuer.offer("b", "c")
	r.answersBy(t, "Authorization", issuer.sign("c"), 200) // an unknown key has the answer fetched
	gone := time.Now()
	for _, ended := range []<-chan int{ofA, again} {
		if status := <-ended; status != 1008 {
			t.Errorf("the stream ended with %d, want 1008", status)
		}
	}
	t.Logf("closed after %s", time.Since(gone))
	r.answersBy(t, "Authorization", a, 401)
	r.answersBy(t, "Authorization", b, 200)
	goesOn(t, "the stream of the other key", ofB)
	eventually(t, func() bool {
		return strings.Count(r.log.String(), `"route":"chat","status":101,"code":"token_key_unknown"`) == 2
	}, "the records do not say why the streams ended:\n%s", r.log)
}

// A key whose limits change ends the streams that it could not open any more.
func TestAStreamEndsWhenItsKeyIsNotGoodThereAnyMore(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ limits, code string }{
		"another address":       {`, from: [192.0.2.0/24]`, "address_denied"},
		"another route":         {`, routes: [hello]`, "credential_not_allowed_here"},
		"this address and more": {`, from: [127.0.0.0/8, 192.0.2.0/24]`, ""},
		"this route and more":   {`, routes: [hello, chat]`, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			limited, free, gone := apikey.Generate(), apikey.Generate(), apikey.Generate()
			r := serve(t, fmt.Sprintf(`upstreams: { a: [%s] }
consumers:
  acme: { apiKeys: [{ hash: %q }, { hash: %q }] }
  other: { apiKeys: [{ hash: %q }] }
routes:
  - { name: hello, path: /hello, upstream: a, auth: { apiKey: true } }
  - { name: chat, path: /chat, upstream: a, auth: { apiKey: true }, upgrade: [websocket] }
`, chatty(t), apikey.Hash(limited), apikey.Hash(gone), apikey.Hash(free)), "")
			ended, stays, goes := r.webSocket(t, limited), r.webSocket(t, free), r.webSocket(t, gone)
			hash := fmt.Sprintf("{ hash: %q", apikey.Hash(limited))
			r.reload(t, fmt.Sprintf("%s }, { hash: %q }", hash, apikey.Hash(gone)), hash+c.limits+" }")
			<-goes // all were judged
			if c.code != "" {
				if status := <-ended; status != 1008 {
					t.Errorf("ended with %d, want 1008", status)
				}
				eventually(t, func() bool {
					return strings.Contains(r.log.String(), `"route":"chat","status":101,"code":"`+c.code+`"`)
				}, "the record does not say %s:\n%s", c.code, r.log)
			} else {
				goesOn(t, "a stream that its key could open", ended)
			}
			goesOn(t, "the stream of another key", stays)
		})
	}
}
