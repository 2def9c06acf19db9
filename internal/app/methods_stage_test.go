package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// stage is where every method is tried: a gateway whose surroundings are well,
// and one whose store and counters never answered.
type stage struct {
	t       *testing.T
	row     int // of the try; the backend counts by it
	well    *running
	ill     *running
	secure  map[string]*running // the same as well, over TLS, by what it makes of client certificates
	backend *counting
	keys    map[string]string // API keys by what they are
	sign    func(golangjwt.MapClaims) string
	foreign func(golangjwt.MapClaims) string // by a stranger, with the same key id
	client  *me
	certs   map[string]*tls.Certificate
	opaque  sync.Map // opaque token -> what the issuer says of it
	idp     *provider
	browser *browser
	session string // the name of the cookie
	raw     bool   // answers are kept as bytes of HTTP/1.1, head and body
}

// counting is a backend that counts by the parameter row.
type counting struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *counting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[r.URL.Query().Get("row")]++
	io.WriteString(w, "backend")
}

func (c *counting) hits(row int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[fmt.Sprint(row)]
}

const (
	rightPassword = "correct horse battery staple"
	deadURL       = "http://127.0.0.1:1"
)

const stageConfig = `
store: %[1]q
%[2]s
issuers:
  corp: { issuer: "` + corpURL + `", audience: api, jwksFile: %[3]q, algorithms: [EdDSA], roles: groups }
  dpop: { issuer: "` + corpURL + `", audience: api, jwksFile: %[3]q, algorithms: [EdDSA], tokenBinding: dpop }
  cert: { issuer: "` + corpURL + `", audience: api, jwksFile: %[3]q, algorithms: [EdDSA], tokenBinding: mtls }
  down: { issuer: "` + deadURL + `", audience: api, algorithms: [EdDSA] }
  asked: { issuer: "` + corpURL + `", audience: api, introspection: { clientId: gw, clientSecret: "${file:%[4]s}", endpoint: %[5]q } }
  mute: { issuer: "` + corpURL + `", audience: api, introspection: { clientId: gw, clientSecret: "${file:%[4]s}", endpoint: "` + deadURL + `" } }
  web: { issuer: %[6]q, roles: groups, login: { clientId: web, clientSecret: "${file:%[4]s}", scopes: [openid, profile] } }
  gone: { issuer: "` + deadURL + `", login: { clientId: web, clientSecret: "${file:%[4]s}" } }
consumers:
  acme:
    apiKeys: [{ hash: %[7]q }, { hash: %[8]q, expires: 2020-01-31 }, { hash: %[9]q, from: 198.51.100.0/24 }, { hash: %[10]q, routes: [hello] }]
    password: %[11]q
    certificates: [{ sanDns: batch.acme.example }]
    clients: [{ issuer: corp, id: acme-app }]
  hasty: { password: %[11]q }
  globex: { clients: [{ issuer: corp, id: globex-app }] }
upstreams: { b: [%[12]q] }
routes:
  - { name: hello, path: /hello, upstream: b, auth: { apiKey: true } }
  - { path: /key, upstream: b, auth: { apiKey: true } }
  - { path: /basic, upstream: b, auth: { basic: true } }
  - { path: /jwt, upstream: b, auth: { jwt: corp } }
  - { path: /jwt-down, upstream: b, auth: { jwt: down } }
  - { path: /dpop, upstream: b, auth: { jwt: dpop } }
  - { path: /cert, upstream: b, auth: { jwt: cert } }
  - { path: /introspect, upstream: b, auth: { introspect: asked } }
  - { path: /introspect-down, upstream: b, auth: { introspect: mute } }
  - { path: /app, upstream: b, auth: { login: web } }
  - { path: /app-down, upstream: b, auth: { login: gone } }
  - { path: /mtls, upstream: b, auth: { mtls: true } }
  - { path: /any, upstream: b, auth: { anyOf: [{ jwt: corp, scopes: [write], roles: [buyer] }, { apiKey: true }, { mtls: true }] } }
  - { path: /all, upstream: b, auth: { allOf: [{ apiKey: true }, { jwt: corp, scopes: [write] }, { mtls: true }] } }
`

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, backend: &counting{seen: map[string]int{}}, keys: map[string]string{}, certs: map[string]*tls.Certificate{}, secure: map[string]*running{}, client: newMe(t)}
	backend := httptest.NewServer(s.backend)
	t.Cleanup(backend.Close)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, ok := s.opaque.Load(r.FormValue("token"))
		if !ok {
			said = `{"active":false}`
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, said.(string))
	}))
	t.Cleanup(issuer.Close)
	s.idp = newProvider(t)
	for _, what := range []string{"good", "expired", "elsewhere", "other route", "unknown"} {
		s.keys[what] = apikey.Generate()
	}
	var file string
	file, s.sign = corp(t)
	_, s.foreign = corp(t)
	proof := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(proof, []byte("secret!"), 0o600); err != nil {
		t.Fatal(err)
	}
	configured := func(at, counters string) string {
		return fmt.Sprintf(stageConfig, at, counters, file, proof, issuer.URL, s.idp.url,
			apikey.Hash(s.keys["good"]), apikey.Hash(s.keys["expired"]), apikey.Hash(s.keys["elsewhere"]), apikey.Hash(s.keys["other route"]),
			password.New([]byte(rightPassword)), backend.URL)
	}
	state := filepath.Join(t.TempDir(), "state")
	well := configured(store.DefaultAddress, "")
	listeners := s.listeners()
	for name, words := range listeners {
		s.secure[name] = s.serve(state, well, words)
	}
	s.well = s.secure["partners"]
	// Both are of one fleet: they seal with the same keys.
	elsewhere := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys.kek", "data-keys.sealed"} {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.ill = s.serve(elsewhere, configured("postgres://warder@127.0.0.1:1/warder", "counters: redis://127.0.0.1:1"), listeners["partners"])
	s.browser = s.well.browser(t)
	s.logIn(same)
	s.session, _ = s.browser.session()

	office := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: state})
	if err := directory.AddConsumer(t.Context(), office, "stored", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.keys["revoked"] = newKey(t, office, "stored")
	s.well.answersAt(t, "/key", "X-Api-Key", s.keys["revoked"], 200)
	if _, err := directory.RevokeKey(t.Context(), office, apikey.Prefix(s.keys["revoked"]), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.Revoke(t.Context(), office, directory.Revocation{What: exchange.RevokedID, Issuer: corpURL, Name: "revoked"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.well.answersAt(t, "/key", "X-Api-Key", s.keys["revoked"], 401)
	s.well.answersAt(t, "/jwt", "Authorization", "Bearer "+s.token("jti", "revoked"), 401)
	return s
}

// listeners are three that ask for client certificates: by a list of revoked
// ones, by a responder that never answers, and behind a proxy that forwards them.
func (s *stage) listeners() map[string]string {
	t := s.t
	dir := t.TempDir()
	servers, partners, strangers := newCA(t, dir, "servers"), newCA(t, dir, "partners"), newCA(t, dir, "strangers")
	server := servers.issue(func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} })
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := writePEM(t, dir, "server.crt", "CERTIFICATE", server.Leaf.Raw), writePEM(t, dir, "server.key", "PRIVATE KEY", key)
	client := func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"batch.acme.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	s.certs["good"], s.certs["revoked"], s.certs["a stranger's"] = partners.issue(client), partners.issue(client), strangers.issue(client)
	s.certs["nobody's"] = partners.issue(func(c *x509.Certificate) { client(c); c.DNSNames = []string{"nobody.example"} })
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: s.certs["revoked"].Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)}},
	}, partners.cert, partners.key)
	if err != nil {
		t.Fatal(err)
	}
	asks := fmt.Sprintf(", tls: { certificates: [{ certFile: %q, keyFile: %q }], clientAuth: { caFile: %q, mode: optional, ", certFile, keyFile, partners.file)
	listed := fmt.Sprintf("%scrlFile: %q } }", asks, writePEM(t, dir, "partners.crl", "X509 CRL", list))
	return map[string]string{
		"partners": listed,
		"unsure":   fmt.Sprintf("%socsp: %q } }", asks, deadURL),
		"front":    listed + ", clientCertHeader: { form: client-cert, from: [127.0.0.1/32] }",
	}
}

type ca struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newCA(t *testing.T, dir, name string) *ca {
	t.Helper()
	a := &ca{t: t}
	root := a.issue(func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = pkix.Name{CommonName: name}, true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	})
	a.cert, a.key = root.Leaf, root.PrivateKey.(*ecdsa.PrivateKey)
	a.file = writePEM(t, dir, name+".crt", "CERTIFICATE", a.cert.Raw)
	return a
}

// issue makes a certificate; the first of a CA is its own.
func (a *ca) issue(change func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template := &x509.Certificate{SerialNumber: big.NewInt(a.n), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	change(template)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// me is a client with a key of its own.
type me struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	jwk   map[string]string
	thumb string // of the key
}

func newMe(t *testing.T) *me {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	m := &me{t: t, key: key, jwk: map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}}
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, m.jwk["x"], m.jwk["y"]))
	m.thumb = b64(sum[:])
	return m
}

// proof makes a DPoP proof for GET of a URL.
func (m *me) proof(url, token string, more golangjwt.MapClaims) string {
	m.t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := golangjwt.MapClaims{"jti": rand.Text(), "htm": "GET", "htu": url, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	maps.Copy(claims, more)
	t := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, claims)
	t.Header["typ"], t.Header["jwk"] = "dpop+jwt", m.jwk
	text, err := t.SignedString(m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// token makes a token of corp for acme's application; claims come in pairs.
func (s *stage) token(claims ...any) string {
	all := golangjwt.MapClaims{"sub": "alice", "client_id": "acme-app", "scope": "write"}
	for i := 0; i+1 < len(claims); i += 2 {
		all[claims[i].(string)] = claims[i+1]
	}
	return s.sign(all)
}

// says has the issuer know an opaque token; claims as for token.
func (s *stage) says(claims ...any) (token string) {
	now := time.Now().Unix()
	all := map[string]any{"active": true, "iss": corpURL, "aud": "api", "client_id": "acme-app", "sub": "alice", "scope": "write", "exp": now + 600, "token_type": "Bearer"}
	for i := 0; i+1 < len(claims); i += 2 {
		all[claims[i].(string)] = claims[i+1]
	}
	token = rand.Text()
	s.opaque.Store(token, string(mustJSON(s.t, all)))
	return token
}

// get asks the well gateway over the plain listener.
func (s *stage) get(path string, fields ...string) *reply { return s.ask(s.well, path, fields...) }

func (s *stage) ask(at *running, path string, fields ...string) *reply {
	s.t.Helper()
	return s.send(at, nil, request(s.t, "GET", fmt.Sprint(at.url, path, "?row=", s.row), fields...))
}

// send asks a gateway, over a connection that shows a certificate, if any.
func (s *stage) send(at *running, cert *tls.Certificate, req *http.Request) *reply {
	s.t.Helper()
	if s.raw {
		return s.sendRaw(at, cert, req)
	}
	client := at.client
	if cert != nil {
		transport := towards(at.address, cert)
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &reply{at: at, proto: resp.Proto, status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// sendRaw asks by HTTP/1.1 and keeps every byte of the answer.
func (s *stage) sendRaw(at *running, cert *tls.Certificate, req *http.Request) *reply {
	s.t.Helper()
	cfg := towards(at.address, cert).TLSClientConfig
	cfg.ServerName = "a.example"
	c, err := tls.Dial("tcp", at.address, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	req.Close = true
	if err := req.Write(c); err != nil {
		s.t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return &reply{at: at, proto: resp.Proto, status: resp.StatusCode, header: resp.Header, body: string(all)}
}

func (s *stage) bearer(path, token string) *reply {
	s.t.Helper()
	return s.get(path, "Authorization", "Bearer "+token)
}

// over asks over a connection that shows a certificate, by name; "": none.
func (s *stage) over(listener, cert, path string, fields ...string) *reply {
	s.t.Helper()
	return s.send(s.secure[listener], s.certs[cert], request(s.t, "GET", fmt.Sprint("https://a.example", path, "?row=", s.row), fields...))
}

// serve starts a gateway that is called by the name a.example.
func (s *stage) serve(state, config, words string) *running {
	s.t.Helper()
	r := serveFrom(s.t, state, "127.0.0.1:0", config, words)
	r.address = strings.TrimPrefix(r.url, "https://")
	transport := towards(r.address, nil)
	s.t.Cleanup(transport.CloseIdleConnections)
	r.url, r.client = "https://a.example", &http.Client{Transport: transport, Timeout: 10 * time.Second}
	return r
}

// towards leads to an address, whatever is asked for, and shows a certificate.
func towards(address string, show *tls.Certificate) *http.Transport {
	if show == nil {
		show = &tls.Certificate{}
	}
	return &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return show, nil }},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		ForceAttemptHTTP2: true,
	}
}

// altered returns the token with its signature changed in the middle.
func altered(token string) string {
	at := strings.LastIndexByte(token, '.') + 20
	c := byte('A')
	if token[at] == c {
		c = 'B'
	}
	return token[:at] + string(c) + token[at+1:]
}

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
