package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// holder signs as an issuer, and as the client that tokens are bound to.
type holder struct {
	t       *testing.T
	private *ecdsa.PrivateKey
	x, y    string
}

func newHolder(t *testing.T) *holder {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return &holder{t, private, b64(point[1:33]), b64(point[33:])}
}

func (h *holder) jwk() map[string]string {
	return map[string]string{"kty": "EC", "crv": "P-256", "x": h.x, "y": h.y}
}

func (h *holder) sign(header map[string]any, claims jwt.MapClaims) string {
	h.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	for name, v := range header {
		token.Header[name] = v
	}
	text, err := token.SignedString(h.private)
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// bound returns a token that is bound to h's key, and the configuration of its
// issuer, which h is too.
func (h *holder) bound() (token, issuers string) {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "keys.json")
	set, _ := json.Marshal(map[string]any{"keys": []any{h.jwk()}})
	if err := os.WriteFile(file, set, 0o600); err != nil {
		h.t.Fatal(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, h.x, h.y))
	token = h.sign(map[string]any{"typ": "at+jwt"}, jwt.MapClaims{
		"iss": "https://login.example.com/", "aud": "orders-api", "sub": "alice", "client_id": "mobile", "exp": time.Now().Unix() + 300,
		"cnf": map[string]string{"jkt": base64.RawURLEncoding.EncodeToString(sum[:])},
	})
	return token, fmt.Sprintf("issuers: { corp: { issuer: https://login.example.com/, audience: orders-api, jwksFile: %q } }\n", file)
}

func (h *holder) proof(url, token string) string {
	h.t.Helper()
	sum := sha256.Sum256([]byte(token))
	return h.sign(map[string]any{"typ": "dpop+jwt", "jwk": h.jwk()}, jwt.MapClaims{
		"jti": rand.Text(), "htm": "GET", "htu": url, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	})
}

// The URI of a proof is the one that the client called, whoever stands between
// and whatever version of HTTP is spoken; and no proof goes on.
func TestTheURIOfAProofIsTheOneTheClientCalled(t *testing.T) {
	t.Parallel()
	me := newHolder(t)
	token, issuers := me.bound()
	routes := func() string {
		return strings.Replace(backend(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "authorization=%t dpop=%q|", r.Header.Get("Authorization") == "DPoP "+token, r.Header.Values("DPoP"))
		}), "auth: none", "auth: { jwt: corp }", 1)
	}
	said := []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: Shop.example.com"}
	for _, c := range []struct {
		name, words string
		fields      []string
		uri         string
		status      int
	}{
		{"nobody between", "", nil, "http://local/x", 200},
		{"a stranger's word", "", said, "https://shop.example.com/x", 401},
		{"a stranger's word is no word", "", said, "http://local/x", 200},
		{"a trusted proxy", ", trustedProxies: 127.0.0.1/32", said, "https://shop.example.com/x", 200},
		{"a trusted proxy, the inner URI", ", trustedProxies: 127.0.0.1/32", said, "http://local/x", 401},
		{"a trusted proxy that says nothing", ", trustedProxies: 127.0.0.1/32", nil, "http://local/x", 200},
		{"Forwarded", ", trustedProxies: 127.0.0.1/32, forwarded: rfc7239", []string{"Forwarded: for=203.0.113.9;proto=https;host=shop.example.com"}, "https://shop.example.com/x", 200},
		{"publicUrl", `, publicUrl: "https://api.example.com"`, nil, "https://api.example.com/x", 200},
		{"publicUrl goes before what a proxy says", `, trustedProxies: 127.0.0.1/32, publicUrl: "https://api.example.com:444/"`, said, "https://api.example.com:444/x", 200},
		{"publicUrl, the inner URI", `, publicUrl: "https://api.example.com"`, nil, "http://local/x", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, nil)
			address := h.serveWith(issuers, c.words, routes())
			fields := append([]string{"Authorization: DPoP " + token, "DPoP: " + me.proof(c.uri, token)}, c.fields...)
			status, _, body := dial(t, address).ask("GET", "/x", fields...)
			if body, _, _ = strings.Cut(body, "|"); status != c.status || status == 200 && body != "authorization=true dpop=[]" {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		h := newHouse(t, nil)
		words, client := certificate(t)
		address := h.serveWith(issuers, words, routes())
		for uri, want := range map[string]int{"https://" + address + "/x": 200, "https://" + address + "/y": 401} {
			req, _ := http.NewRequest("GET", "https://"+address+"/x", nil)
			req.Header.Set("Authorization", "DPoP "+token)
			req.Header.Set("DPoP", me.proof(uri, token))
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != want || want == 200 && !strings.HasPrefix(string(body), "authorization=true dpop=[]") {
				t.Errorf("%s: %s %d %s", uri, resp.Proto, resp.StatusCode, body)
			}
		}
	})
}

// serveWith is serveThrough with issuers.
func (h *house) serveWith(issuers, words, routes string) string {
	h.t.Helper()
	if err := h.load(issuers + through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		h.t.Fatal(err)
	}
	return h.Addresses()["one"]
}
