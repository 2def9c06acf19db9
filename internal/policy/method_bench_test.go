package policy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/store/storetest"
	"github.com/warder-gateway/warder/internal/telemetry"
)

const methodsConfig = `
listeners: [{ name: one, address: "127.0.0.1:8443", tls: { certificates: [{ certFile: tls.crt, keyFile: tls.key }], clientAuth: { caFile: tls.crt, mode: optional } } }]
upstreams: { b: ["http://127.0.0.1:9"] }
issuers:
  corp: { issuer: "https://corp.example/", jwksFile: jwks.json, audience: api, algorithms: [RS256, ES256, EdDSA], roles: groups }
  other: { issuer: "https://other.example/", jwksFile: jwks.json, audience: api, algorithms: [ES256] }
  asked: { issuer: "https://corp.example/", audience: api, introspection: { clientId: gw, clientSecret: "${file:secret}", endpoint: %[1]q, cache: 30s } }
  web: { issuer: %[1]q, login: { clientId: web, clientSecret: "${file:secret}", lifetime: 24h, idle: 24h } }
consumers:
  acme: { apiKeys: [{ hash: %[2]q }], password: %[3]q, certificates: [{ thumbprint: %[4]q }], clients: [{ issuer: corp, id: app }] }
routes:
  - { path: /none, upstream: b, auth: none }
  - { path: /key, upstream: b, auth: { apiKey: true } }
  - { path: /basic, upstream: b, auth: { basic: true } }
  - { path: /jwt, upstream: b, auth: { jwt: corp } }
  - { path: /asked, upstream: b, auth: { introspect: asked } }
  - { path: /app, upstream: b, auth: { login: web } }
  - { path: /cert, upstream: b, auth: { mtls: true } }
  - { path: /any, upstream: b, auth: { anyOf: [{ jwt: corp, scopes: [write] }, { apiKey: true }, { basic: true }] } }
  - { path: /all, upstream: b, auth: { allOf: [{ apiKey: true }, { jwt: corp, scopes: [write] }] } }
  - { path: /scoped, upstream: b, auth: { jwt: corp, scopes: [write], roles: [buyer], consumers: [acme] } }
`

// BenchmarkMethod decides requests by every way to say who is calling, all
// caches warm unless it says otherwise: what a method costs, without the wire
// and without the record. The line "none" is what there is to pay in any case.
func BenchmarkMethod(b *testing.B) {
	m := newMethods(b)
	bearer := func(alg string) []exchange.Field {
		return []exchange.Field{field(exchange.HeaderAuthorization, "Authorization", "Bearer "+m.token(alg, nil))}
	}
	key := field(exchange.HeaderAPIKey, "X-Api-Key", m.key)
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, m.point[0], m.point[1]))
	bound := m.token("RS256", map[string]any{"cnf": map[string]string{"jkt": encode(sum[:])}})
	basic := field(exchange.HeaderAuthorization, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:correct horse")))
	for _, c := range []struct {
		name, path string
		fields     []exchange.Field
		cold       bool // nothing is remembered of tokens
		revoked    bool // the store has a revocation of every kind
		proof      bool // a proof of the token's key with each request
	}{
		{name: "none", path: "/none"},
		{name: "API key", path: "/key", fields: []exchange.Field{key}},
		{name: "Basic", path: "/basic", fields: []exchange.Field{basic}},
		{name: "JWT", path: "/jwt", fields: bearer("RS256")},
		{name: "JWT cold RS256", path: "/jwt", fields: bearer("RS256"), cold: true},
		{name: "JWT cold ES256", path: "/jwt", fields: bearer("ES256"), cold: true},
		{name: "JWT cold EdDSA", path: "/jwt", fields: bearer("EdDSA"), cold: true},
		{name: "JWT with revocations", path: "/jwt", fields: bearer("RS256"), revoked: true},
		{name: "JWT, scopes, roles, consumers", path: "/scoped", fields: bearer("RS256")},
		{name: "introspection", path: "/asked", fields: []exchange.Field{field(exchange.HeaderAuthorization, "Authorization", "Bearer opaque")}},
		{name: "login", path: "/app", fields: []exchange.Field{field(exchange.Identify([]byte("Cookie")), "Cookie", m.logIn())}},
		{name: "mTLS", path: "/cert"},
		{name: "DPoP", path: "/jwt", fields: []exchange.Field{field(exchange.HeaderAuthorization, "Authorization", "DPoP "+bound), field(exchange.HeaderDPoP, "DPoP", "")}, proof: true},
		{name: "anyOf of 3, by the last", path: "/any", fields: []exchange.Field{basic}},
		{name: "allOf of 2", path: "/all", fields: append(bearer("RS256"), key)},
	} {
		b.Run(c.name, func(b *testing.B) {
			snap := m.warm
			if c.cold {
				snap = m.cold
			}
			if c.revoked {
				m.revoke()
			}
			x, w := &exchange.Exchange{}, &pipeline.World{Counters: snap.Counters, Replays: snap.Counters, Remote: true}
			method, host := []byte("GET"), []byte("a.example")
			target := make([]byte, 0, 32)
			once := func(now time.Time) {
				x.Reset()
				x.Conn, x.Client, x.Start, x.Secure = m.conn, netip.AddrFrom4([4]byte{192, 0, 2, 1}), now, true
				target = append(target[:0], c.path...)
				x.Req.Method, x.Req.Target, x.Req.Path, x.Req.Host, x.Req.Authority = method, target, target, host, host
				x.Req.Fields = append(x.Req.Fields, c.fields...)
				w.Now = now
				if _, v := snap.Decide(x, w); !v.Passed() {
					b.Fatal(v.Code(), x.Reason, x.Trail.Steps())
				}
			}
			var proofs [][]byte // each is good once; made outside of what is measured
			prove := func() {
				if len(proofs) == 0 {
					b.StopTimer()
					for range 512 {
						proofs = append(proofs, []byte(m.proof("https://a.example"+c.path, bound)))
					}
					b.StartTimer()
				}
				c.fields[1].Value, proofs = proofs[0], proofs[1:]
			}
			if c.proof {
				prove()
			}
			once(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				if c.proof {
					prove()
				}
				once(time.Now())
			}
		})
	}
}

func field(id exchange.HeaderID, name, value string) exchange.Field {
	return exchange.Field{Name: []byte(name), Value: []byte(value), ID: id}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// methods is a gateway's decisions, with all that they need around them.
type methods struct {
	b          *testing.B
	warm, cold *snapshot.Snapshot
	conn       *exchange.Conn // shows the certificate of acme
	key        string
	idp        *httptest.Server
	nonce      string // of the login that is under way
	rsa        *rsa.PrivateKey
	ec         *ecdsa.PrivateKey
	point      [2]string
	ed         ed25519.PrivateKey
	revoke     func()
}

func newMethods(b *testing.B) *methods {
	m := &methods{b: b, key: apikey.Generate()}
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	var err error
	m.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	m.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	var edPublic ed25519.PublicKey
	edPublic, m.ed, err = ed25519.GenerateKey(nil)
	check(err)
	point, err := m.ec.PublicKey.Bytes()
	check(err)
	m.point = [2]string{encode(point[1:33]), encode(point[33:])}
	set, err := json.Marshal(map[string]any{"keys": []any{
		map[string]string{"kty": "RSA", "kid": "RS256", "n": encode(m.rsa.N.Bytes()), "e": encode(big.NewInt(int64(m.rsa.E)).Bytes())},
		map[string]string{"kty": "EC", "crv": "P-256", "kid": "ES256", "x": m.point[0], "y": m.point[1]},
		map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": encode(edPublic)},
	}})
	check(err)
	m.idp = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.answer(w, r, set) }))
	b.Cleanup(m.idp.Close)

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"a.example"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	ca, err := x509.CreateCertificate(rand.Reader, template, template, m.ec.Public(), m.ec)
	check(err)
	template.SerialNumber, template.Subject, template.IsCA, template.KeyUsage = big.NewInt(2), pkix.Name{CommonName: "client"}, false, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	parent, err := x509.ParseCertificate(ca)
	check(err)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, m.ec.Public(), m.ec)
	check(err)
	leaf, err := x509.ParseCertificate(der)
	check(err)
	thumbprint := sha256.Sum256(der)
	private, err := x509.MarshalPKCS8PrivateKey(m.ec)
	check(err)
	dir := b.TempDir()
	for name, content := range map[string][]byte{
		"tls.crt":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}),
		"tls.key":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"jwks.json": set, "secret": []byte("secret"),
	} {
		check(os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	m.conn = &exchange.Conn{Listener: "one", Proto: "HTTP/1.1", AsksCert: true}
	m.conn.SetTLS(tls.ConnectionState{ServerName: "a.example", PeerCertificates: []*x509.Certificate{leaf}})

	log := slog.New(slog.DiscardHandler)
	state, err := app.OpenState(filepath.Join(dir, "state"))
	check(err)
	st := storetest.SQLite(b)
	compiler := app.NewCompiler(telemetry.NewMetrics("test", nil), keys.NewVerdicts(), counters.NewMemory(counters.DefaultBuckets), log, state)
	compiler.Memory = directory.NewMemory(log, time.Now)
	check(compiler.Memory.Load(b.Context(), st))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { compiler.Memory.Run(ctx, st, func() {}); ended <- struct{}{} }()
	compiler.Sessions.Use(st)
	go func() { compiler.Sessions.Run(ctx, st, func() {}); ended <- struct{}{} }()
	b.Cleanup(func() { stop(); <-ended; <-ended })
	written := fmt.Sprintf(methodsConfig, m.idp.URL, apikey.Hash(m.key), password.New([]byte("correct horse")), hex.EncodeToString(thumbprint[:]))
	compile := func() *snapshot.Snapshot {
		doc, problems := config.Decode(filepath.Join(dir, "warder.yaml"), []byte(written), compiler.Vocabulary())
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		config.Resolve(doc, config.Sources{File: secret.ReadFile})
		snap, problems := compiler.Compile(doc)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		b.Cleanup(snap.Release)
		snap.Prepare()
		return snap
	}
	m.warm = compile()
	compiler.Verdicts = nil
	m.cold = compile()
	m.revoke = func() {
		now := time.Now()
		for _, r := range []directory.Revocation{
			{What: exchange.RevokedToken, Name: hex.EncodeToString(make([]byte, 32))},
			{What: exchange.RevokedID, Issuer: "https://corp.example/", Name: "x"},
			{What: exchange.RevokedSubject, Issuer: "https://corp.example/", Name: "x", Before: now},
			{What: exchange.RevokedConsumer, Name: "x", Before: now},
			{What: exchange.RevokedIssuer, Issuer: "https://x.example/", Before: now},
		} {
			_, err := directory.Revoke(b.Context(), st, r, now)
			check(err)
		}
		check(compiler.Memory.Load(b.Context(), st))
	}
	return m
}

// answer is that of an issuer: to who asks about a token, and to who logs in.
func (m *methods) answer(w http.ResponseWriter, r *http.Request, set []byte) {
	w.Header().Set("Content-Type", "application/json")
	at := m.idp.URL
	switch {
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]any{"issuer": at, "jwks_uri": at + "/jwks", "authorization_endpoint": at + "/auth", "token_endpoint": at + "/token"})
	case r.URL.Path == "/jwks":
		w.Write(set)
	case r.URL.Path == "/token":
		json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": m.token("ES256", map[string]any{"iss": at, "aud": "web", "nonce": m.nonce, "iat": time.Now().Unix()})})
	default:
		json.NewEncoder(w).Encode(map[string]any{"active": true, "iss": "https://corp.example/", "aud": "api", "client_id": "app", "sub": "alice", "exp": time.Now().Add(24 * time.Hour).Unix()})
	}
}

// token is one of corp, with other claims put over its own.
func (m *methods) token(alg string, more map[string]any) string {
	key := map[string]any{"RS256": m.rsa, "ES256": m.ec, "EdDSA": m.ed}[alg]
	claims := golangjwt.MapClaims{
		"iss": "https://corp.example/", "aud": "api", "sub": "alice", "client_id": "app", "scope": "profile write", "groups": []string{"buyer"},
		"jti": rand.Text(), "iat": time.Now().Unix() - 60, "exp": time.Now().Unix() + 86400,
	}
	for name, v := range more {
		claims[name] = v
	}
	t := golangjwt.NewWithClaims(golangjwt.GetSigningMethod(alg), claims)
	t.Header["kid"] = alg
	text, err := t.SignedString(key)
	if err != nil {
		m.b.Error(err)
	}
	return text
}

func (m *methods) proof(at, token string) string {
	sum := sha256.Sum256([]byte(token))
	t := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, golangjwt.MapClaims{"jti": rand.Text(), "htm": "GET", "htu": at, "iat": time.Now().Unix(), "ath": encode(sum[:])})
	t.Header["typ"], t.Header["jwk"] = "dpop+jwt", map[string]string{"kty": "EC", "crv": "P-256", "x": m.point[0], "y": m.point[1]}
	text, err := t.SignedString(m.ec)
	if err != nil {
		m.b.Fatal(err)
	}
	return text
}

// logIn logs in and returns the session's cookie.
func (m *methods) logIn() string {
	m.b.Helper()
	visit := func(target string, cookies []*http.Cookie) *http.Response {
		m.b.Helper()
		u, err := url.Parse(target)
		if err != nil {
			m.b.Fatal(err)
		}
		x := &exchange.Exchange{Conn: m.conn, Client: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Start: time.Now(), Secure: true}
		x.Req.Method, x.Req.Target, x.Req.Path, x.Req.Host, x.Req.Authority = []byte("GET"), []byte(u.Path), []byte(u.Path), []byte("a.example"), []byte("a.example")
		r, v := m.warm.Decide(x, &pipeline.World{Now: x.Start, Counters: m.warm.Counters, Remote: true})
		if !v.Passed() {
			m.b.Fatal(v.Code(), x.Reason)
		}
		req := httptest.NewRequest("GET", "https://a.example"+u.RequestURI(), nil)
		for _, c := range cookies {
			req.AddCookie(c)
		}
		w := httptest.NewRecorder()
		r.Local.ServeHTTP(w, req)
		return w.Result()
	}
	var begun *http.Response
	for end := time.Now().Add(10 * time.Second); begun == nil || begun.StatusCode != http.StatusFound; begun = visit("/.warder/login/web/start?return=/", nil) {
		if time.Now().After(end) {
			m.b.Fatal("no login begins: ", begun.StatusCode)
		}
	}
	at, err := begun.Location()
	if err != nil {
		m.b.Fatal(err)
	}
	m.nonce = at.Query().Get("nonce")
	done := visit("/.warder/login/web/callback?"+url.Values{"code": {"x"}, "state": {at.Query().Get("state")}}.Encode(), begun.Cookies())
	for _, c := range done.Cookies() {
		if c.MaxAge >= 0 {
			return c.Name + "=" + c.Value
		}
	}
	m.b.Fatal("no session: ", done.StatusCode)
	return ""
}
