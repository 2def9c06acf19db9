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

// introspecting is a gateway that asks the issuer about tokens, in each of the
// ways to say who asks.
func introspecting(t *testing.T, idp *harness.IdP, backend *harness.Backend) *harness.Gateway {
	dir := t.TempDir()
	for name, content := range map[string]string{"basic.secret": "a secret: 100% + more", "post.secret": "post-secret", "wrong.secret": "wrong", "client.key": idp.ClientKey(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var issuers, routes strings.Builder
	for name, registration := range map[string]string{
		"basic": `clientId: "gateway:by secret", clientSecret: "${file:basic.secret}", cache: 1s`,
		"post":  `clientId: gateway-by-post, clientAuth: clientSecretPost, clientSecret: "${file:post.secret}"`,
		"key":   `clientId: gateway-by-key, clientAuth: privateKeyJwt, keyFile: client.key`,
		"wrong": `clientId: gateway-by-post, clientAuth: clientSecretPost, clientSecret: "${file:wrong.secret}"`,
		"long":  `clientId: gateway-by-post, clientAuth: clientSecretPost, clientSecret: "${file:post.secret}", cache: 30s`,
	} {
		fmt.Fprintf(&issuers, "  %s: { issuer: %q, audience: orders-api, introspection: { %s } }\n", name, idp.Issuer, registration)
		fmt.Fprintf(&routes, "  - { path: /%s/**, upstream: orders, auth: { introspect: %s, scopes: [orders:read] } }\n", name, name)
	}
	return harness.Warder(t, fmt.Sprintf("issuers:\n%supstreams: { orders: [%q] }\nroutes:\n%s", issuers.String(), backend.URL, routes.String()), harness.In(dir))
}

func TestOpaqueTokens(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	backend := harness.Nginx(t, "a")
	g := introspecting(t, idp, backend)
	challenge := func(name string) string { return fmt.Sprintf("Bearer realm=%q", name) }
	invalid := func(name string) string { return challenge(name) + `, error="invalid_token"` }
	good := idp.Opaque(t, "shop", "orders:read profile", false)
	if strings.Contains(good, ".") {
		t.Fatalf("%q is not opaque", good)
	}

	for _, name := range []string{"basic", "post", "key"} {
		t.Run("a good token, asked about by "+name, func(t *testing.T) {
			for range 2 {
				r := harness.Curl(t, append(bearer(good), g.URL+"/"+name+"/1")...)
				if r.Status != http.StatusOK {
					t.Fatalf("status %d: %s\n%s", r.Status, r.Body, explain(t, g, "last"))
				}
				if seen := r.Seen(t); seen.Authorization != "Bearer "+good {
					t.Errorf("the verified token was not passed on: %q", seen.Authorization)
				}
				if rec := g.Record(t, r.ID()); rec.Issuer != name || rec.ClientID != "shop" || rec.Consumer != name+"/shop" {
					t.Errorf("access log: issuer %q, client %q, consumer %q", rec.Issuer, rec.ClientID, rec.Consumer)
				}
			}
		})
	}

	before := hits(t, backend)
	t.Run("refused", func(t *testing.T) {
		for _, c := range []struct {
			name string
			args []string
			want refusal
		}{
			{"no token", []string{g.URL + "/post/1"}, refusal{401, "credential_missing", "", challenge("post"), nil}},
			{"made up", append(bearer("made-up"), g.URL+"/post/1"), refusal{401, "token_inactive", "token_invalid", invalid("post"), nil}},
			{"a JWT", append(bearer(idp.Token(t, "shop", "orders:read")), g.URL+"/post/1"), refusal{401, "credential_missing", "", challenge("post"), nil}},
			{"missing scope", append(bearer(idp.Opaque(t, "shop", "profile", false)), g.URL+"/post/1"), refusal{403, "scope_missing", "", challenge("post") + `, error="insufficient_scope", scope="orders:read"`, nil}},
			{"our secret is wrong", append(bearer(good), g.URL+"/wrong/1"), refusal{503, "identity_unavailable", "", "", []string{"Retry-After"}}},
		} {
			t.Run(c.name, func(t *testing.T) { refused(t, g, c.want, c.args...) })
		}
	})

	t.Run("a token that is taken back dies within the cache time", func(t *testing.T) {
		token := idp.Opaque(t, "batch", "orders:read", false)
		if r := harness.Curl(t, append(bearer(token), g.URL+"/basic/1")...); r.Status != http.StatusOK {
			t.Fatalf("status %d", r.Status)
		}
		before = hits(t, backend)
		idp.Revoke(t, "batch", token)
		served := 0
		harness.Eventually(t, "the token is dead", func() bool {
			r := harness.Curl(t, append(bearer(token), g.URL+"/basic/1")...)
			if r.Status == http.StatusOK {
				served++
			}
			return r.Status == http.StatusUnauthorized
		})
		refused(t, g, refusal{401, "token_inactive", "token_invalid", invalid("basic"), nil}, append(bearer(token), g.URL+"/basic/1")...)
		before += served
	})

	t.Run("a token dies when it expires, whatever is remembered", func(t *testing.T) {
		issued, first := time.Now(), time.Duration(0) // until the first answer
		token := idp.Opaque(t, "mobile", "orders:read", true)
		served := 0
		harness.Eventually(t, "the token is dead", func() bool {
			r := harness.Curl(t, append(bearer(token), g.URL+"/long/1")...)
			if first == 0 {
				first = time.Since(issued)
			}
			if r.Status == http.StatusOK {
				served++
			}
			return r.Status == http.StatusUnauthorized
		})
		if served == 0 && first < 3*time.Second { // else it was over before it was asked about
			t.Error("it never lived")
		}
		before += served
	})

	t.Run("explain asks nobody", func(t *testing.T) {
		token := idp.Opaque(t, "shop", "orders:read", false)
		text := explain(t, g, "GET", g.URL+"/post/1", "-H", "Authorization: Bearer "+token)
		if !strings.Contains(text, "would have to be asked") || strings.Contains(text, token) {
			t.Error(text)
		}
	})

	t.Run("when the issuer is down, what is not remembered is refused", func(t *testing.T) {
		token := idp.Opaque(t, "shop", "orders:read", false)
		if r := harness.Curl(t, append(bearer(token), g.URL+"/long/1")...); r.Status != http.StatusOK {
			t.Fatalf("status %d", r.Status)
		}
		idp.Kill()
		if r := harness.Curl(t, append(bearer(token), g.URL+"/long/1")...); r.Status != http.StatusOK {
			t.Errorf("a token that is remembered: %d", r.Status)
		}
		before += 2
		r := refused(t, g, refusal{503, "identity_unavailable", "", "", []string{"Retry-After"}}, append(bearer("unknown"), g.URL+"/long/1")...)
		if !strings.Contains(explain(t, g, r.ID()), "could not be asked") {
			t.Error(explain(t, g, r.ID()))
		}
		if now := hits(t, backend); now != before {
			t.Errorf("%d refused requests reached the backend", now-before)
		}
	})
}
