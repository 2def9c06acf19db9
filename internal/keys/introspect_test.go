package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/secret"
)

func pemOf(t testing.TB, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf(t, "PRIVATE KEY", der, err)
}

func TestClientsProveThemselves(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		what   string
		cfg    keys.ClientAuthConfig
		header string
		form   url.Values
	}{
		{
			"by secret in the header", keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "warder", Secret: secret.New([]byte("s3cret"))},
			"warder:s3cret", url.Values{},
		}, {
			// RFC 6749 section 2.3.1: both are form-encoded first.
			"by secret with special characters", keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "https://a b:c", Secret: secret.New([]byte("%+:é&="))},
			"https%3A%2F%2Fa+b%3Ac:%25%2B%3A%C3%A9%26%3D", url.Values{},
		}, {
			"by secret in the body", keys.ClientAuthConfig{Method: keys.ClientSecretPost, ID: "a:b", Secret: secret.New([]byte("%+"))},
			"", url.Values{"client_id": {"a:b"}, "client_secret": {"%+"}},
		}, {
			"by certificate", keys.ClientAuthConfig{Method: keys.TLSClient, ID: "warder", Pair: tls.Certificate{Certificate: [][]byte{{1}}}},
			"", url.Values{"client_id": {"warder"}},
		},
	} {
		auth, err := keys.NewClientAuth(c.cfg)
		if err != nil {
			t.Fatal(c.what, err)
		}
		h, form := http.Header{}, url.Values{}
		if err := auth.Prove(h, form, now); err != nil {
			t.Error(c.what, err)
		}
		got, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.Get("Authorization"), "Basic "))
		if string(got) != c.header || form.Encode() != c.form.Encode() {
			t.Errorf("%s: %q %v", c.what, got, form)
		}
		if text := fmt.Sprintf("%v %+v %#v", c.cfg, c.cfg, auth); strings.Contains(text, "s3cret") {
			t.Errorf("%s: the secret is told: %s", c.what, text)
		}
	}
}

func TestAssertionsAreSignedByTheAlgorithmOfTheKey(t *testing.T) {
	t.Parallel()
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	sec1, err := x509.MarshalECPrivateKey(p256)
	for alg, c := range map[string]struct {
		file []byte
		key  crypto.Signer
	}{
		"RS256": {pkcs8(t, rsaKey), rsaKey}, "ES256": {pemOf(t, "EC PRIVATE KEY", sec1, err), p256}, "ES384": {pkcs8(t, p384), p384}, "ES512": {pkcs8(t, p521), p521},
		"EdDSA": {pkcs8(t, ed), ed}, "RS256 ": {pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), rsaKey},
	} {
		auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.PrivateKeyJWT, ID: "warder", Key: c.file, Issuer: "https://idp.example/"})
		if err != nil {
			t.Fatal(alg, err)
		}
		ids := map[string]bool{}
		now := time.Now()
		for range 2 {
			form := url.Values{}
			if err := auth.Prove(http.Header{}, form, now); err != nil {
				t.Fatal(alg, err)
			}
			claims := jwt.MapClaims{}
			_, err := jwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) { return c.key.Public(), nil },
				jwt.WithValidMethods([]string{strings.TrimSpace(alg)}), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
			if err != nil || form.Get("client_id") != "warder" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("%s: %v %v", alg, err, form)
			}
			if claims["iss"] != "warder" || claims["sub"] != "warder" || claims["aud"] != "https://idp.example/" || claims["exp"] != float64(now.Unix()+60) {
				t.Errorf("%s: %v", alg, claims)
			}
			ids[fmt.Sprint(claims["jti"])] = true
		}
		if len(ids) != 2 || ids["<nil>"] {
			t.Errorf("%s: jti %v", alg, ids)
		}
	}
}

func TestWhatProvesNobody(t *testing.T) {
	t.Parallel()
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	public, err := x509.MarshalPKIXPublicKey(p256.Public())
	s := secret.New([]byte("s"))
	byKey := func(file []byte) keys.ClientAuthConfig {
		return keys.ClientAuthConfig{Method: keys.PrivateKeyJWT, ID: "w", Key: file, Issuer: "https://idp.example/"}
	}
	for what, cfg := range map[string]keys.ClientAuthConfig{
		"nothing":            {},
		"no way":             {ID: "w", Secret: s},
		"no id":              {Method: keys.ClientSecretBasic, Secret: s},
		"no secret":          {Method: keys.ClientSecretPost, ID: "w"},
		"no certificate":     {Method: keys.TLSClient, ID: "w"},
		"no key":             byKey(nil),
		"no PEM":             byKey([]byte("key")),
		"a public key":       byKey(pemOf(t, "PUBLIC KEY", public, err)),
		"an encrypted key":   byKey(pemOf(t, "ENCRYPTED PRIVATE KEY", []byte{1}, nil)),
		"a broken key":       byKey(pemOf(t, "PRIVATE KEY", []byte{1}, nil)),
		"a small RSA key":    byKey(pkcs8(t, small)),
		"a P-224 key":        byKey(pkcs8(t, p224)),
		"nobody to sign for": {Method: keys.PrivateKeyJWT, ID: "w", Key: pkcs8(t, p256)},
	} {
		if _, err := keys.NewClientAuth(cfg); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := (&keys.ClientAuth{}).Prove(http.Header{}, url.Values{}, time.Now()); err == nil {
		t.Error("the zero ClientAuth proves somebody")
	}
}

func basic(t testing.TB) *keys.ClientAuth {
	t.Helper()
	auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "warder", Secret: secret.New([]byte("s"))})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// heard is an answer as it came.
type heard struct {
	keys.Place
	text string
}

// ask asks in about a token and returns the answer as it came.
func ask(t testing.TB, in *keys.Introspector, token string) (string, error) {
	t.Helper()
	id := keys.VerdictID{Token: [16]byte([]byte(fmt.Sprintf("%-16.16s", token)))}
	v, err := in.Ask(context.Background(), netip.Prefix{}, &id, token, time.Now(), func() error { return nil }, func(active bool, answer exchange.Claims) keys.Conclusion {
		return keys.Conclusion{Value: &heard{text: fmt.Sprint(active, " ", answer)}, Good: active, Expires: time.Now().Add(time.Hour)}
	})
	if s, ok := v.(*heard); ok {
		return s.text, err
	}
	return "", err
}

func TestTheEndpointIsFoundByDiscovery(t *testing.T) {
	t.Parallel()
	doc := func(issuer, endpoint string) string {
		return fmt.Sprintf(`{"issuer":%q,"introspection_endpoint":%q,"mtls_endpoint_aliases":{"introspection_endpoint":"SELF/other"}}`, issuer, endpoint)
	}
	good := `{"active":true}`
	for _, c := range []struct {
		what    string
		answers map[string]string
		want    string // of the error; empty: it was asked
	}{
		{"found", map[string]string{discovery: doc("SELF", "SELF/in"), "/in": good}, ""},
		{"the document is another issuer's", map[string]string{discovery: doc("https://evil.example", "SELF/in"), "/in": good}, "byte for byte"},
		{"it names none", map[string]string{discovery: `{"issuer":"SELF"}`}, "no introspection_endpoint"},
		{"it names a text that is none", map[string]string{discovery: `{"issuer":"SELF","introspection_endpoint":["SELF/in"]}`, "/in": good}, "no introspection_endpoint"},
		{"a very long one", map[string]string{discovery: doc("SELF", "SELF/"+strings.Repeat("x", 2<<10))}, "longer than"},
		{"http elsewhere", map[string]string{discovery: doc("SELF", "http://idp.example/in")}, "not https"},
		{"link-local", map[string]string{discovery: doc("SELF", "https://169.254.169.254/in")}, "never dialled"},
		{"a redirect of the document", map[string]string{discovery: "redirect /real", "/real": doc("SELF", "SELF/in"), "/in": good}, "redirect"},
		{"no document", map[string]string{"/in": good}, "status 404"},
		{"an endpoint that is gone", map[string]string{discovery: doc("SELF", "SELF/in")}, "status 404"},
	} {
		s := site(t, false, c.answers)
		in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: s.URL, Auth: basic(t), Cache: time.Second})
		got, err := ask(t, in, "opaque")
		switch {
		case c.want == "" && (err != nil || !strings.HasPrefix(got, "true ")):
			t.Errorf("%s: %q %v", c.what, got, err)
		case c.want != "" && (fault.Of(err) != fault.IdentityUnavailable || !strings.Contains(fault.Reason(err), c.want)):
			t.Errorf("%s: %q %v, want %q", c.what, got, err, c.want)
		}
		in.Close()
	}
}

// endpoint is an authorization server that remembers what it was asked.
type endpoint struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
}

func newEndpoint(t testing.TB, ask tls.ClientAuthType, serve http.HandlerFunc) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.ParseForm()
			e.mu.Lock()
			e.asked = append(e.asked, r)
			e.mu.Unlock()
		}
		serve(w, r)
	}))
	e.TLS = &tls.Config{ClientAuth: ask}
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(e.Certificate())
	return p
}

func TestACertificateIsShownToTheAliasForClientsWithOne(t *testing.T) {
	t.Parallel()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "warder"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.TLSClient, ID: "warder", Pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}})
	if err != nil {
		t.Fatal(err)
	}
	var e *endpoint
	e = newEndpoint(t, tls.RequestClientCert, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == discovery:
			fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q,"mtls_endpoint_aliases":{"introspection_endpoint":%q}}`, e.URL, e.URL+"/plain", e.URL+"/mtls")
		case r.URL.Path == "/mtls" && len(r.TLS.PeerCertificates) == 1 && bytes.Equal(r.TLS.PeerCertificates[0].Raw, der):
			io.WriteString(w, `{"active":true}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: e.URL, CAPool: e.pool(), Auth: auth})
	defer in.Close()
	if got, err := ask(t, in, "opaque"); err != nil || !strings.HasPrefix(got, "true") {
		t.Fatalf("%q %v", got, err)
	}
	if f := e.asked[0].PostForm; f.Get("client_id") != "warder" || f.Get("token") != "opaque" {
		t.Errorf("asked %v", f)
	}
	plain := site(t, false, map[string]string{"/in": `{"active":true}`})
	open := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: plain.URL, Endpoint: plain.URL + "/in", Auth: auth})
	defer open.Close()
	if _, err := ask(t, open, "opaque"); err == nil || !strings.Contains(fault.Reason(err), "not https") {
		t.Errorf("over plain http, where no certificate can be shown: %v", err)
	}
}

func TestTheRequestIsThatOfRFC7662(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"active":false}`) })
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL + "/in?tenant=1", CAPool: e.pool(), Auth: basic(t)})
	defer in.Close()
	for range 3 {
		if got, err := ask(t, in, "a+b/c=="); err != nil || got != "false []" {
			t.Fatalf("%q %v", got, err)
		}
	}
	r := e.asked[0]
	id, secret, _ := r.BasicAuth()
	if r.Method != http.MethodPost || r.URL.RequestURI() != "/in?tenant=1" || id != "warder" || secret != "s" || r.PostForm.Encode() != "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token" {
		t.Errorf("%s %s %v %v", r.Method, r.URL, r.Header, r.PostForm)
	}
	if r.Header.Get("Accept") != "application/json" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Values("Idempotency-Key") != nil {
		t.Errorf("%v", r.Header)
	}
	if e.asked[1].RemoteAddr != r.RemoteAddr || e.asked[2].RemoteAddr != r.RemoteAddr {
		t.Error("the connection is not used again")
	}
}

func TestAKeptConnectionThatWasClosedCostsNobodyHisAnswer(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"active":true}`) })
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t)})
	defer in.Close()
	for range 20 {
		if _, err := ask(t, in, "opaque"); err != nil {
			t.Fatal(err)
		}
		e.CloseClientConnections()
	}
}

func TestAnOutageIsToldOnceAndWithoutTheToken(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	down := true
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		io.WriteString(w, `{"active":true}`)
	})
	var told bytes.Buffer
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t), Log: slog.New(slog.NewTextHandler(&told, nil))})
	for range 3 {
		ask(t, in, "canary-token")
	}
	mu.Lock()
	down = false
	mu.Unlock()
	ask(t, in, "canary-token")
	in.Close()
	text := told.String()
	if strings.Count(text, "not introspected") != 1 || strings.Count(text, "introspected again") != 1 || !strings.Contains(text, "502") || strings.Contains(text, "canary") {
		t.Error(text)
	}
	if _, err := ask(t, in, "canary-token"); fault.Of(err) != fault.IdentityUnavailable {
		t.Errorf("after it was closed: %v", err)
	}
}

// An endpoint may answer 400 to some tokens: strangers must not write the log.
func TestOutagesThatComeAndGoAreToldOnceAMinute(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		io.WriteString(w, `{"active":true}`)
	})
	var told bytes.Buffer
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t), Log: slog.New(slog.NewTextHandler(&told, nil))})
	for range 10 {
		ask(t, in, "opaque")
	}
	in.Close()
	text := told.String()
	if calls.Load() != 10 || strings.Count(text, "not introspected") != 1 || strings.Count(text, "introspected again") != 1 {
		t.Errorf("%d calls: %s", calls.Load(), text)
	}
}

func TestWhoMayNotAskLeavesItToTheNext(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"active":true}`) })
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t)})
	defer in.Close()
	id := keys.VerdictID{Token: [16]byte([]byte(fmt.Sprintf("%-16.16s", "opaque")))}
	refusal := fault.New(fault.RateLimited, "")
	began, refused := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := in.Ask(context.Background(), netip.Prefix{}, &id, "opaque", time.Now(), func() error {
			close(began)
			<-refused
			return refusal
		}, nil)
		if err != refusal {
			t.Errorf("the one who may not: %v", err)
		}
	})
	<-began
	wg.Go(func() {
		if got, err := ask(t, in, "opaque"); err != nil || !strings.HasPrefix(got, "true") {
			t.Errorf("the one who may: %q %v", got, err)
		}
	})
	close(refused)
	wg.Wait()
}

// What is concluded follows from what strangers and issuers write. A bug there
// costs that request.
func TestABugInAConclusionCostsOneAnswer(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"active":true}`) })
	var told bytes.Buffer
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t), Log: slog.New(slog.NewTextHandler(&told, nil))})
	id := keys.VerdictID{Token: [16]byte([]byte(fmt.Sprintf("%-16.16s", "opaque")))}
	v, err := in.Ask(context.Background(), netip.Prefix{}, &id, "opaque", time.Now(), func() error { return nil }, func(bool, exchange.Claims) keys.Conclusion { panic("a bug") })
	if v != nil || fault.Of(err) != fault.IdentityUnavailable {
		t.Errorf("after a panic: %v %v", v, err)
	}
	func() {
		defer func() { recover() }() // as who serves the request does
		in.Ask(context.Background(), netip.Prefix{}, &id, "opaque", time.Now(), func() error { panic("another") }, nil)
	}()
	if got, err := ask(t, in, "opaque"); err != nil || !strings.HasPrefix(got, "true") {
		t.Errorf("the next one: %q %v", got, err)
	}
	in.Close()
	if text := told.String(); !strings.Contains(text, "a bug") || strings.Contains(text, "opaque\"") {
		t.Error(text)
	}
}

// Endpoints may answer 400 to tokens of a form that they do not like, which
// strangers choose: it must not double the calls.
func TestWhatTheEndpointDoesNotLikeIsNoReasonToLookItUpAgain(t *testing.T) {
	t.Parallel()
	var e *endpoint
	var looked atomic.Int64
	e = newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == discovery {
			looked.Add(1)
			fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q}`, e.URL, e.URL+"/in")
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: e.URL, CAPool: e.pool(), Auth: basic(t)})
	defer in.Close()
	for range 3 {
		if _, err := ask(t, in, "opaque"); !strings.Contains(fault.Reason(err), "status 400") {
			t.Fatal(err)
		}
	}
	if n := looked.Load(); n != 1 {
		t.Errorf("looked up %d times", n)
	}
}

func TestWhatStrangersMakeUpPushesNoGoodTokenOut(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, tls.NoClientCert, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"active":%t}`, strings.HasPrefix(r.PostForm.Get("token"), "good"))
	})
	in := keys.NewIntrospector(keys.IntrospectorConfig{Issuer: "https://idp.example", Endpoint: e.URL, CAPool: e.pool(), Auth: basic(t), Cache: 30 * time.Second})
	defer in.Close()
	for _, token := range []string{"good", "bad"} {
		if _, err := ask(t, in, token); err != nil {
			t.Fatal(err)
		}
	}
	good, bad := in.Remembered()
	if good != 1 || bad != 1 {
		t.Errorf("%d good and %d bad tokens are remembered", good, bad)
	}
}

func FuzzParseIntrospection(f *testing.F) {
	for _, s := range []string{`{"active":true,"exp":1}`, `{"active":false}`, `{"active":"true"}`, `{"active":true,"active":false}`, "", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		active, answer, err := keys.ParseIntrospection(body)
		if err != nil && (active || answer != nil) {
			t.Fatalf("%q: %v with an answer", body, err)
		}
		if raw, _ := answer.Get("active"); active != (raw == "true") {
			t.Fatalf("%q: active %v", body, active)
		}
	})
}
