package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// Tokens that a real provider binds to a key are of use only to who has it,
// and each proof of it once in a fleet.
func TestTokensBoundToAKey(t *testing.T) {
	redis := harness.StartRedis(t, canaryPassword)
	idp := harness.StartIdP(t, 0)
	backend := harness.Nginx(t, "a")
	dir := t.TempDir()
	for name, content := range map[string]string{"redis.password": canaryPassword, "post.secret": "post-secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`counters: "redis://:${file:redis.password}@%s"
issuers:
  corp: { issuer: %q, audience: orders-api }
  only: { issuer: %q, audience: orders-api, tokenBinding: dpop }
  asked: { issuer: %q, audience: orders-api, introspection: { clientId: gateway-by-post, clientAuth: clientSecretPost, clientSecret: "${file:post.secret}" } }
upstreams: { orders: [%q] }
routes:
  - { path: /corp/**, upstream: orders, auth: { jwt: corp, scopes: [orders:read] } }
  - { path: /only/**, upstream: orders, auth: { jwt: only } }
  - { path: /asked/**, upstream: orders, auth: { introspect: asked } }
`, redis.Address, idp.Issuer, idp.Issuer, idp.Issuer, backend.URL)
	write := func() *harness.Gateway { return harness.Warder(t, config, harness.In(dir)) }
	g, other := write(), write()

	const algs = `algs="ES256 EdDSA PS256 RS256"`
	me, thief := harness.NewHolder(t), harness.NewHolder(t)
	token, opaque := idp.Bound(t, "shop", "orders:read", me, false), idp.Bound(t, "shop", "orders:read", me, true)
	unbound := idp.Token(t, "shop", "orders:read")
	ask := func(g *harness.Gateway, path, token, proof string) *harness.Response {
		t.Helper()
		return harness.Curl(t, "-H", "Authorization: DPoP "+token, "-H", "DPoP: "+proof, g.URL+path)
	}
	// served is one request with a good proof.
	served := func(g *harness.Gateway, path, token string) {
		t.Helper()
		r := ask(g, path, token, me.Proof(t, "GET", g.URL+path, token, nil))
		if r.Status != http.StatusOK {
			t.Fatalf("%s: status %d: %s\n%s", path, r.Status, r.Body, explain(t, g, "last"))
		}
		if r.Header.Get("DPoP-Nonce") != "" {
			t.Errorf("%s: a nonce that nobody needs", path)
		}
	}
	for _, path := range []string{"/corp/1", "/corp/1", "/only/1", "/corp/1?a=b"} {
		r := ask(g, path, token, me.Proof(t, "GET", g.URL+path, token, nil))
		if r.Status != http.StatusOK {
			t.Fatalf("%s: status %d: %s\n%s", path, r.Status, r.Body, explain(t, g, "last"))
		}
	}
	served(g, "/asked/1", opaque)
	served(g, "/asked/1", opaque)

	for _, c := range []struct {
		name, path, scheme, token, proof string
		code, challenge                  string
	}{
		{"as a bearer token", "/corp/1", "Bearer", token, "", "token_binding_failed", `Bearer realm="corp", error="invalid_token", DPoP error="invalid_token", ` + algs},
		{"opaque as a bearer token", "/asked/1", "Bearer", opaque, "", "token_binding_failed", `Bearer realm="asked", error="invalid_token", DPoP error="invalid_token", ` + algs},
		{"without a proof", "/corp/1", "DPoP", token, "", "dpop_proof_invalid", `Bearer realm="corp", DPoP error="invalid_dpop_proof", ` + algs},
		{"with a thief's proof", "/corp/1", "DPoP", token, thief.Proof(t, "GET", g.URL+"/corp/1", token, nil), "dpop_proof_invalid", `Bearer realm="corp", DPoP error="invalid_dpop_proof", ` + algs},
		{"with a proof for another URI", "/corp/1", "DPoP", token, me.Proof(t, "GET", g.URL+"/corp/2", token, nil), "dpop_proof_invalid", `Bearer realm="corp", DPoP error="invalid_dpop_proof", ` + algs},
		{"not bound, where tokens must be", "/only/1", "Bearer", unbound, "", "token_binding_failed", `DPoP error="invalid_token", ` + algs},
		{"not bound, by scheme DPoP", "/corp/1", "DPoP", unbound, me.Proof(t, "GET", g.URL+"/corp/1", unbound, nil), "token_binding_failed", `Bearer realm="corp", error="invalid_token", DPoP error="invalid_token", ` + algs},
		{"none", "/only/1", "Basic", "eDp5", "", "credential_missing", `DPoP ` + algs},
	} {
		args := []string{"-H", "Authorization: " + c.scheme + " " + c.token, g.URL + c.path}
		if c.proof != "" {
			args = append(args, "-H", "DPoP: "+c.proof)
		}
		r := harness.Curl(t, args...)
		if rec := g.Record(t, r.ID()); r.Status != http.StatusUnauthorized || rec.Code != c.code {
			t.Errorf("%s: %d %s", c.name, r.Status, rec.Code)
		}
		if got := strings.Join(r.Header.Values("Www-Authenticate"), ", "); got != c.challenge {
			t.Errorf("%s: WWW-Authenticate %q, want %q", c.name, got, c.challenge)
		}
	}

	// A proof that one gateway has seen is of no use at the other, were it
	// reached by the same URI.
	shared := "http://shop.example.com/corp/7"
	proof := me.Proof(t, "GET", shared, token, nil)
	for i, at := range []*harness.Gateway{g, other, g} {
		r := harness.Curl(t, "-H", "Host: shop.example.com", "-H", "Authorization: DPoP "+token, "-H", "DPoP: "+proof, at.URL+"/corp/7")
		rec := at.Record(t, r.ID())
		if i == 0 && r.Status != http.StatusOK || i > 0 && (r.Status != http.StatusUnauthorized || rec.Code != "dpop_replayed" || r.Problem(t).Code != "dpop_proof_invalid") {
			t.Errorf("sent the %d. time: %d %s", i+1, r.Status, rec.Code)
		}
	}

	// A client whose clock is wrong gets on with a nonce.
	late := harness.Claims{"iat": time.Now().Unix() - 3600}
	r := ask(g, "/corp/1", token, me.Proof(t, "GET", g.URL+"/corp/1", token, late))
	nonce := r.Header.Get("DPoP-Nonce")
	if got := r.Header.Values("Www-Authenticate"); r.Status != http.StatusUnauthorized || nonce == "" || len(got) != 2 || got[1] != `DPoP error="use_dpop_nonce", `+algs || r.Problem(t).Code != "dpop_nonce_required" {
		t.Errorf("an old proof: %d, nonce %q, challenges %q", r.Status, nonce, got)
	}
	late["nonce"] = nonce
	if r := ask(g, "/corp/1", token, me.Proof(t, "GET", g.URL+"/corp/1", token, late)); r.Status != http.StatusOK {
		t.Errorf("an old proof with the nonce: %d %s", r.Status, r.Body)
	}

	// Without counters nobody can tell a replay.
	redis.Kill()
	harness.Eventually(t, "proofs are refused", func() bool {
		r := ask(g, "/corp/1", token, me.Proof(t, "GET", g.URL+"/corp/1", token, nil))
		return r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "" && r.Problem(t).Code == "identity_unavailable"
	})
	if r := harness.Curl(t, append(bearer(unbound), g.URL+"/corp/1")...); r.Status != http.StatusOK {
		t.Errorf("a bearer token without counters: %d", r.Status)
	}
}
