package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Test 5 of the security rules: 10,000 requests of two users and of two keys,
// interleaved over exchanges that are used again, through the memories of
// tokens and of assertions. Each carries its own subject.
func TestTenThousandInterleavedRequestsCarryTheirOwnSubjects(t *testing.T) {
	t.Parallel()
	var signers [2]keys.Signer
	for i := range signers {
		var err error
		if signers[i], err = keys.NewLocalSigner(); err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := keys.NewTokenSigner(signers[0])
	if err != nil {
		t.Fatal(err)
	}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(signers[1]); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), tokens.PublicJWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	compiler := &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: telemetry.NewMetrics("test", nil), Verdicts: keys.NewVerdicts(),
		Counters: counters.NewMemory(1 << 10), Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile, Assertions: a,
		Local: func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, nil },
	}
	acme, other := apikey.Generate(), apikey.Generate()
	doc, problems := config.Decode(filepath.Join(dir, "warder.yaml"), []byte(`
issuers: { corp: { issuer: "https://login.example.com/", audience: orders-api, jwksFile: jwks.json } }
consumers:
  acme: { apiKeys: [{ hash: "`+apikey.Hash(acme)+`" }] }
  other: { apiKeys: [{ hash: "`+apikey.Hash(other)+`" }] }
upstreams: { b: ["http://127.0.0.1:9"] }
routes:
  - path: /x
    upstream: b
    auth: { anyOf: [{ jwt: corp }, { apiKey: true }] }
    identity: { headers: { X-User: "{claims.sub}", X-Consumer: "{consumer}" }, jwt: { header: X-Identity } }
`), compiler.Vocabulary())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	config.Resolve(doc, config.Sources{File: secret.ReadFile})
	snap, problems := compiler.Compile(doc)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	defer snap.Release()
	snap.Prepare()

	type caller struct{ field, value, want string }
	callers := []caller{{"X-Api-Key", acme, "|acme||acme"}, {"X-Api-Key", other, "|other||other"}}
	for _, sub := range []string{"alice", "bob"} {
		now := time.Now().Unix()
		token, err := tokens.Sign(t.Context(), map[string]any{
			"iss": "https://login.example.com/", "aud": "orders-api", "iat": now, "exp": now + 600, "client_id": "app", "sub": sub,
		}, "at+jwt")
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, caller{"Authorization", "Bearer " + token, sub + "|corp/app|" + sub + "|corp/app"})
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			x, w := &exchange.Exchange{}, &pipeline.World{Counters: compiler.Counters, Remote: true}
			for n := range 10_000 / 8 {
				who := &callers[(n*n+i)%len(callers)]
				x.Reset()
				x.Start, x.Conn = time.Now(), &exchange.Conn{Listener: "one"}
				w.Now = x.Start.Add(time.Duration(n) * 50 * time.Millisecond) // assertions are renewed meanwhile
				x.Req.Method, x.Req.Target, x.Req.Path, x.Req.Host = []byte("GET"), []byte("/x"), []byte("/x"), []byte("h")
				x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(who.field), Value: []byte(who.value), ID: exchange.IdentifyString(who.field)})
				r, v := snap.Decide(x, w)
				if v.Passed() {
					v = r.Chain.Transform(x, w)
				}
				if got := told(x); !v.Passed() || got != who.want {
					t.Errorf("%v %q, want %q", v.Code(), got, who.want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// told is what the backend of x hears.
func told(x *exchange.Exchange) string {
	said := map[string]string{}
	x.ReqEdit.Each(func(name string, value []byte) { said[name] = string(value) })
	_, rest, _ := strings.Cut(said["X-Identity"], ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, _ := base64.RawURLEncoding.DecodeString(payload)
	var claims struct{ Sub, Consumer string }
	if json.Unmarshal(text, &claims) != nil {
		return "nothing"
	}
	return fmt.Sprintf("%s|%s|%s|%s", said["X-User"], said["X-Consumer"], claims.Sub, claims.Consumer)
}
