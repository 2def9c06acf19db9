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

// BenchmarkIdentity is what a request pays for telling its backend who calls.
func BenchmarkIdentity(b *testing.B) {
	key, err := keys.NewLocalSigner()
	if err != nil {
		b.Fatal(err)
	}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(key); err != nil {
		b.Fatal(err)
	}
	for name, cfg := range map[string]identity.Config{
		"three headers":   {Headers: map[string]identity.Value{"X-User": {Value: "{claims.sub}"}, "X-Tenant": {Value: "{claims.tenant}"}, "X-Groups": {Value: "{claims.groups}"}}},
		"an assertion":    {JWT: &identity.JWT{Header: "X-Identity"}},
		"with two claims": {JWT: &identity.JWT{Header: "X-Identity", Claims: []string{"tenant", "groups"}}},
	} {
		b.Run(name, func(b *testing.B) {
			parts, err := identity.New(cfg, pipeline.Env{Upstream: "orders", Assertions: a})
			if err != nil {
				b.Fatal(err)
			}
			x, w := caller(b), &pipeline.World{Now: time.Now()}
			id := x.Identity
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				x.Identity = id
				if v := parts.Transform.Transform(x, w); !v.Passed() {
					b.Fatal(v)
				}
			}
		})
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
