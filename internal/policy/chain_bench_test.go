package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// BenchmarkChain decides and records requests, without the wire: on a public
// route, and on one that asks for a token, a scope and a limit per consumer,
// for one token and for 10,000 at random. Between two requests the nearer
// caches see as much other work as moving a request over the wire is. The
// figure is the median of the chain's own time.
func BenchmarkChain(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k", "x": text(point[1:33]), "y": text(point[33:]),
	}}})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), set, 0o600); err != nil {
		b.Fatal(err)
	}
	metrics := telemetry.NewMetrics("test", nil)
	compiler := &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: metrics,
		Verdicts: keys.NewVerdicts(), Counters: counters.NewMemory(counters.DefaultBuckets), Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile,
		Local: func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, nil },
	}
	doc, problems := config.Decode(filepath.Join(dir, "warder.yaml"), []byte(`
listeners: [{ address: "127.0.0.1:8080", tls: none }]
upstreams: { backend: ["http://127.0.0.1:9"] }
issuers: { bench: { issuer: "https://bench.example/", jwksFile: jwks.json, audience: orders-api, algorithms: [ES256] } }
routes:
  - { path: /open/**, methods: [GET], upstream: backend, auth: none }
  - path: /orders/**
    methods: [GET]
    upstream: backend
    auth: { jwt: bench, scopes: ["orders:read"] }
    rateLimit: { rate: 1000000/s, burst: 1000000, per: consumer }
`), compiler.Vocabulary())
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	config.Resolve(doc, config.Sources{File: secret.ReadFile})
	snap, problems := compiler.Compile(doc)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	defer snap.Release()
	snap.Prepare()
	records := events.NewRecorder(metrics)
	records.Redirect(io.Discard)
	defer records.Close()

	tokens := make([]string, 10_000)
	now := time.Now()
	for i := range tokens {
		t := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, golangjwt.MapClaims{
			"iss": "https://bench.example/", "aud": "orders-api", "scope": "profile orders:read", "iat": now.Unix() - 60, "exp": now.Unix() + 86400,
			"sub": fmt.Sprintf("user-%05d", i), "client_id": fmt.Sprintf("client-%05d", i), "jti": fmt.Sprintf("bench-token-%05d", i),
		})
		t.Header["kid"] = "k"
		signed, err := t.SignedString(key)
		if err != nil {
			b.Fatal(err)
		}
		tokens[i] = "Bearer " + signed
	}
	conn := &exchange.Conn{Listener: "127.0.0.1:8080", Proto: "HTTP/1.1"}
	x, w := &exchange.Exchange{}, &pipeline.World{}
	w.Remote = true
	method, host, authorization := []byte("GET"), []byte("127.0.0.1"), []byte("Authorization")
	var buf, target []byte
	once := func(path, token string) time.Duration {
		x.Reset()
		x.Conn, x.Client, x.Start, x.Secure = conn, netip.AddrFrom4([4]byte{192, 0, 2, 1}), time.Now(), true
		target = append(target[:0], path...)
		x.Req.Method, x.Req.Target, x.Req.Path, x.Req.Host = method, target, target, host
		buf = append(buf[:0], token...) // as one that was just read
		if token != "" {
			x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: authorization, Value: buf, ID: exchange.HeaderAuthorization})
		}
		start := time.Now()
		x.ID = exchange.NewRequestID()
		w.Now, w.Counters = x.Start, snap.Counters
		r, v := snap.Decide(x, w)
		if !v.Passed() {
			b.Fatal(v.Code(), x.Reason, x.Trail.Steps())
		}
		x.Resp.Status = 200
		took := x.Elapsed()
		records.Record(x, snap.Legend(), fault.None, took)
		r.Metrics.Observe(telemetry.NotRefused, 200, took, took)
		return time.Since(start)
	}
	for _, token := range tokens {
		once("/orders/1", token)
	}
	other := make([]byte, 16<<20)
	at := 0
	for _, c := range []struct {
		name, path string
		tokens     []string
	}{{"public", "/open/1", []string{""}}, {"one token", "/orders/1", tokens[:1]}, {"10,000 tokens", "/orders/1", tokens}} {
		b.Run(c.name, func(b *testing.B) {
			took := make([]time.Duration, 0, 1<<17)
			b.ReportAllocs()
			for b.Loop() {
				for range 256 << 10 / 64 {
					at = (at + 64) % len(other)
					other[at]++
				}
				took = append(took, once(c.path, c.tokens[mathrand.IntN(len(c.tokens))]))
			}
			slices.Sort(took) // the median: others share the machine
			b.ReportMetric(float64(took[len(took)/2]), "own-ns/op")
		})
	}
}
