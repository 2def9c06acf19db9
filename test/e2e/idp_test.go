package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// Issuers by preset, all with the keys of one real provider: each route takes
// the access tokens of its own, in the shape that provider documents, and
// nothing else that was signed with the same keys.
func TestPresetsOverTheWire(t *testing.T) {
	t.Parallel()
	idp := harness.StartIdP(t, 0)
	const dir, api = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
	now := time.Now().Unix()
	life := func(c harness.Claims) harness.Claims {
		c["iat"], c["exp"] = now-5, now+600
		return c
	}
	realm := "https://sso.example.com/realms/acme"
	type provider struct {
		config          string
		access, idToken harness.Claims
	}
	providers := map[string]provider{
		"okta": {`preset: okta, tenant: acme.okta.com, audience: "api://default"`,
			life(harness.Claims{"iss": "https://acme.okta.com/oauth2/default", "aud": "api://default", "cid": "0oa1", "uid": "00u1", "scp": []string{"orders:read"}, "sub": "alice"}),
			life(harness.Claims{"iss": "https://acme.okta.com/oauth2/default", "aud": "0oa1", "sub": "00u1", "at_hash": "h", "nonce": "n"})},
		"auth0": {`preset: auth0, tenant: acme.eu.auth0.com, audience: "https://orders/"`,
			life(harness.Claims{"iss": "https://acme.eu.auth0.com/", "aud": []string{"https://orders/", "https://acme.eu.auth0.com/userinfo"}, "azp": "spa1", "scope": "orders:read", "sub": "auth0|1"}),
			life(harness.Claims{"iss": "https://acme.eu.auth0.com/", "aud": "spa1", "sub": "auth0|1", "nonce": "n"})},
		"cognito": {`preset: cognito, tenant: eu-west-1_abc, clientIds: [7abc]`,
			life(harness.Claims{"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc", "sub": "u1", "token_use": "access", "client_id": "7abc", "scope": "orders/read"}),
			life(harness.Claims{"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc", "sub": "u1", "token_use": "id", "aud": "7abc"})},
		"entra": {`preset: entra-id, tenant: ` + dir + `, audience: ["api://orders", ` + api + `]`,
			life(harness.Claims{"iss": "https://login.microsoftonline.com/" + dir + "/v2.0", "aud": api, "azp": "app", "azpacr": "1", "tid": dir, "oid": "o1", "sub": "p", "scp": "orders.read", "ver": "2.0"}),
			life(harness.Claims{"iss": "https://login.microsoftonline.com/" + dir + "/v2.0", "aud": api, "tid": dir, "oid": "o1", "sub": "p", "ver": "2.0"})},
		"keycloak": {`preset: keycloak, issuer: ` + realm + `, audience: orders`,
			life(harness.Claims{"iss": realm, "aud": "orders", "typ": "Bearer", "azp": "web", "sub": "u1", "scope": "openid"}),
			life(harness.Claims{"iss": realm, "aud": "web", "typ": "ID", "azp": "web", "sub": "u1"})},
	}
	config, routes := "issuers:\n", "routes:\n"
	for name, p := range providers {
		config += fmt.Sprintf("  %s: { %s, jwksUri: %s/jwks }\n", name, p.config, idp.Issuer)
		routes += fmt.Sprintf("  - { path: /%s, upstream: b, auth: { jwt: %s } }\n", name, name)
	}
	g := harness.Warder(t, config+"upstreams: { b: ["+harness.Nginx(t, "a").URL+"] }\n"+routes)
	plain := harness.Claims{"typ": "JWT"}
	ask := func(path string, claims harness.Claims) (int, string) {
		r := harness.Curl(t, append(bearer(idp.Sign(t, plain, claims)), g.URL+"/"+path)...)
		return r.Status, g.Record(t, r.ID()).Code
	}
	for name, p := range providers {
		if status, code := ask(name, p.access); code != "" {
			t.Errorf("%s: its access token: %d %s", name, status, code)
		}
		if status, code := ask(name, p.idToken); status != 401 || code != "token_type_wrong" {
			t.Errorf("%s: its ID token: %d %s", name, status, code)
		}
		for other, o := range providers {
			if other == name {
				continue
			}
			if status, code := ask(name, o.access); status != 401 || code != "token_issuer_unknown" {
				t.Errorf("%s: the access token of %s: %d %s", name, other, status, code)
			}
		}
	}
	if status, code := ask("entra", with(providers["entra"].access, "tid", "22222222-2222-3333-4444-555555555555")); status != 401 || code != "token_issuer_unknown" {
		t.Errorf("entra: tid of another: %d %s", status, code)
	}
}

// Two providers by different hands: idp check finds the way to their keys,
// judges their tokens, and what init writes runs.
func TestIdPCheckAndInitWithRealProviders(t *testing.T) {
	t.Parallel()
	idp := harness.StartIdP(t, 0)
	other, token := harness.StartOtherIdP(t)
	for issuer, token := range map[string]string{idp.Issuer: idp.Token(t, "shop", "orders:read"), other: token} {
		dir := t.TempDir()
		file := filepath.Join(dir, "token")
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		out, stderr, code := harness.Run(t, "idp", "check", issuer, "--audience", "orders-api", "--token", file)
		if code != 0 || !strings.Contains(out, "ok    token      accepted") || !strings.Contains(out, "    issuer: "+issuer+"\n    audience: orders-api\n") {
			t.Errorf("%s: %d %s\n%s", issuer, code, stderr, out)
		}
		if out, _, code := harness.Run(t, "idp", "check", issuer+"/"); code != 1 || !strings.Contains(out, "a slash at the end counts: write "+issuer+"\n") {
			t.Errorf("%s/: %d\n%s", issuer, code, out)
		}
		first := filepath.Join(dir, "warder.yaml")
		if out, stderr, code := harness.Run(t, "init", first, "--issuer", issuer, "--audience", "orders-api", "--upstream", harness.Nginx(t, "a").URL); code != 0 {
			t.Fatalf("init: %d %s\n%s", code, stderr, out)
		}
		text, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		g := harness.Warder(t, string(text))
		if r := harness.Curl(t, append(bearer(token), g.URL+"/orders/1")...); r.Header.Get("X-Request-Id") == "" || g.Record(t, r.ID()).Code != "" {
			t.Errorf("%s: %d %s", issuer, r.Status, r.Body)
		}
	}
}
