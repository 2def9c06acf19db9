package snapshot_test

import (
	"fmt"
	"testing"
)

// What a preset says reaches the policy, and what is written wins over it.
func TestAPresetIsLaidUnderWhatIsWritten(t *testing.T) {
	t.Parallel()
	const id = "11111111-2222-3333-4444-555555555555"
	s := compile(t, newCompiler(), `listeners: [{ address: "127.0.0.1:0" }]
issuers:
  a: { preset: okta, tenant: acme.okta.com, audience: x, jwksFile: /none }
  b: { preset: okta, tenant: acme.okta.com, audience: x, jwksFile: /none, algorithms: [ES256], consumer: sub, roles: [r, s] }
  c: { preset: auth0, tenant: acme.eu.auth0.com, audience: x, jwksFile: /none }
  d: { preset: cognito, tenant: cn-north-1_AbC, clientIds: y, jwksFile: /none }
  e: { preset: entra-id, tenant: `+id+`, audience: x, jwksFile: /none }
  f: { preset: entra-id, issuer: "https://login.microsoftonline.us/{tenantid}/v2.0", tenant: `+id+`, audience: x, jwksFile: /none }
  g: { preset: keycloak, issuer: http://127.0.0.1:8080/auth/realms/acme, audience: [o, p], jwksFile: /none }
  h: { issuer: https://login.example.com/, audience: x, jwksFile: /none }
upstreams: { b: [http://127.0.0.1:9000] }
routes: [{ path: /, upstream: b, auth: none }]
`)
	defer s.Release()
	for i, want := range []string{
		"https://acme.okta.com/oauth2/default [] [RS256] [cid] [uid] [groups]",
		"https://acme.okta.com/oauth2/default [] [ES256] [sub] [uid] [r s]",
		"https://acme.eu.auth0.com/ [] [RS256 PS256] [azp client_id] [sub] [permissions]",
		"https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC [] [RS256] [client_id] [sub] [cognito:groups]",
		"https://login.microsoftonline.com/" + id + "/v2.0 [{https://login.microsoftonline.com/" + id + "/v2.0 " + id + "} {https://sts.windows.net/" + id + "/ " + id + "}] [RS256] [appid azp] [tid oid] [roles groups]",
		"https://login.microsoftonline.us/" + id + "/v2.0 [{https://login.microsoftonline.us/" + id + "/v2.0 " + id + "}] [RS256] [appid azp] [tid oid] [roles groups]",
		"http://127.0.0.1:8080/auth/realms/acme [] [RS256 PS256 ES256 EdDSA] [azp] [sub] [realm_access.roles resource_access.o.roles resource_access.p.roles]",
		"https://login.example.com/ [] [RS256 PS256 ES256 EdDSA] [azp client_id cid appid] [sub] []",
	} {
		iss := s.Issuers[i]
		if got := fmt.Sprint(iss.URL, " ", iss.Tenants, " ", iss.Algorithms, " ", iss.Consumer, " ", iss.Subject, " ", iss.Roles); got != want {
			t.Errorf("%s: %s\nwant %s", iss.Name, got, want)
		}
	}
}
