package gateway_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
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
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, h.x, h.y))
	return h.boundTo("jkt", sum)
}

// boundTo is bound for a member of cnf.
func (h *holder) boundTo(member string, sum [32]byte) (token, issuers string) {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "keys.json")
	set, _ := json.Marshal(map[string]any{"keys": []any{h.jwk()}})
	if err := os.WriteFile(file, set, 0o600); err != nil {
		h.t.Fatal(err)
	}
	token = h.sign(map[string]any{"typ": "at+jwt"}, jwt.MapClaims{
		"iss": "https://login.example.com/", "aud": "orders-api", "sub": "alice", "client_id": "mobile", "exp": time.Now().Unix() + 300,
		"cnf": map[string]string{member: base64.RawURLEncoding.EncodeToString(sum[:])},
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

// A token that is bound to a certificate is good over a connection that shows
// it, or through the proxy that was shown it, and nowhere else.
func TestATokenOfACertificateNeedsTheConnectionThatShowsIt(t *testing.T) {
	t.Parallel()
	ca, partners, strangers := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "partners")
	own, other := partners.issue(nil), partners.issue(nil)
	// Of the same key, and not from our CA.
	forged, _ := x509.CreateCertificate(rand.Reader, own.Leaf, strangers.cert, own.Leaf.PublicKey, strangers.key)
	me := newHolder(t)
	token, issuers := me.boundTo("x5t#S256", sha256.Sum256(own.Leaf.Raw))
	ofForged, _ := me.boundTo("x5t#S256", sha256.Sum256(forged))
	unbound := me.sign(map[string]any{"typ": "at+jwt"}, jwt.MapClaims{
		"iss": "https://login.example.com/", "aud": "orders-api", "sub": "alice", "client_id": "mobile", "exp": time.Now().Unix() + 300,
	})
	issuers = strings.Replace(issuers, "audience", "tokenBinding: mtls, audience", 1)
	document := func(mode, rest string) string {
		return issuers + strings.Replace(partner(ca, clientAuth(partners.file(), mode), "", rest), "mtls: true", "jwt: corp", 1)
	}
	direct := serveDocument(t, ca, document("optional", ""))
	proxied := serveDocument(t, ca, document("none", ", limits: { headerSize: 32KiB }, clientCertHeader: { form: client-cert, from: [127.0.0.1/32] }"))
	strange := serveDocument(t, ca, document("optional", ", limits: { headerSize: 32KiB }, clientCertHeader: { form: client-cert, from: [10.0.0.1/32] }"))
	for _, c := range []struct {
		name  string
		at    *asker
		shows *tls.Certificate
		says  []byte // Client-Cert
		token string
		want  string
	}{
		{"its own", direct, own, nil, token, "in"},
		{"another of the same CA", direct, other, nil, token, "token_binding_failed"},
		{"none", direct, nil, nil, token, "token_binding_failed"},
		{"a stranger's with the same key", direct, &tls.Certificate{Certificate: [][]byte{forged}, PrivateKey: own.PrivateKey}, nil, token, "token_binding_failed"},
		{"its own, from a CA that is not ours", direct, &tls.Certificate{Certificate: [][]byte{forged}, PrivateKey: own.PrivateKey}, nil, ofForged, "token_binding_failed"},
		{"its own, of a token that is not bound", direct, own, nil, unbound, "token_binding_failed"},
		{"none, and its own is only said", direct, nil, own.Leaf.Raw, token, "token_binding_failed"},
		{"a proxy says its own", proxied, nil, own.Leaf.Raw, token, "in"},
		{"a proxy says another", proxied, nil, other.Leaf.Raw, token, "token_binding_failed"},
		{"a proxy says none", proxied, nil, nil, token, "token_binding_failed"},
		{"a proxy says a stranger's", proxied, nil, forged, ofForged, "token_binding_failed"},
		{"who is no proxy says its own", strange, other, own.Leaf.Raw, token, "token_binding_failed"},
	} {
		var certs []tls.Certificate
		if c.shows != nil {
			certs = append(certs, *c.shows)
		}
		conn, err := over(t, c.at.address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always(certs)})
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		if c.says != nil {
			said = "Client-Cert: :" + base64.StdEncoding.EncodeToString(c.says) + ":\r\n"
		}
		fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %s\r\n%s\r\n", c.token, said)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := "in" // and no further: there is no backend
		if resp.StatusCode != 502 {
			got = c.at.code(resp.Header.Get("X-Request-Id"))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s; %s", c.name, got, c.want, c.at.said)
		}
	}
}
