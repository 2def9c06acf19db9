package identity_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/identity"
)

// usual is what backends are usually told.
var usual = map[string]identity.Config{
	"three headers":   {Headers: map[string]identity.Value{"X-User": {Value: "{claims.sub}"}, "X-Tenant": {Value: "{claims.tenant}"}, "X-Groups": {Value: "{claims.groups}"}}},
	"an assertion":    {JWT: &identity.JWT{Header: "X-Identity"}},
	"with two claims": {JWT: &identity.JWT{Header: "X-Identity", Claims: []string{"tenant", "groups"}}},
}

// BenchmarkIdentity is what a request pays for telling its backend who calls.
func BenchmarkIdentity(b *testing.B) {
	a := authority(b)
	for name, cfg := range usual {
		b.Run(name, func(b *testing.B) {
			tell := telling(b, cfg, a)
			b.ReportAllocs()
			for b.Loop() {
				tell()
			}
		})
	}
}

// The fields are in the memory of the exchange, and so is an assertion that
// was signed for a request before.
func TestTellingABackendWhoCallsAllocatesNothing(t *testing.T) {
	a := authority(t)
	for name, cfg := range usual {
		tell := telling(t, cfg, a)
		tell() // makes room, and signs
		if n := testing.AllocsPerRun(100, tell); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func authority(t testing.TB) *assertion.Authority {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(key); err != nil {
		t.Fatal(err)
	}
	return a
}

// telling returns what tells a backend of the same caller in one request after
// the other.
func telling(t testing.TB, cfg identity.Config, a *assertion.Authority) func() {
	t.Helper()
	parts, err := identity.New(cfg, pipeline.Env{Upstream: "orders", Assertions: a})
	if err != nil {
		t.Fatal(err)
	}
	x, w := caller(t), &pipeline.World{Now: time.Now()}
	id := x.Identity
	return func() {
		x.Reset()
		x.Identity = id
		if v := parts.Transform.Transform(x, w); !v.Passed() {
			t.Fatal(v)
		}
	}
}

// caller is an exchange whose identity came from a usual access token.
func caller(t testing.TB) *exchange.Exchange {
	t.Helper()
	claims, err := exchange.ParseClaims([]byte(`{"iss":"https://login.example.com/","aud":"orders-api","iat":1763812800,"exp":1763816400,"jti":"b1946ac92492d2347c6235b4d2611184",
		"sub":"0f6a2c1e-6a43-4be4-9f5a-0f2a4a5b5c11","client_id":"orders-web","scope":"orders:read profile","tenant":"blue","groups":["buyer","admin"],"email":"alice@example.com"}`))
	if err != nil {
		t.Fatal(err)
	}
	return &exchange.Exchange{Identity: &exchange.Identity{
		Method: "jwt", Issuer: "corp", Subject: "0f6a2c1e-6a43-4be4-9f5a-0f2a4a5b5c11", Client: "orders-web", Consumer: "corp/orders-web",
		Scopes: []string{"orders:read", "profile"}, Roles: []string{"buyer", "admin"}, Claims: claims, Expires: time.Now().Add(time.Hour),
	}}
}
