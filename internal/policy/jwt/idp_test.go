package jwt_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// shape is what one identity provider gives: a configuration that accepts its
// access tokens, and its tokens. All are signed with the same key.
type shape struct {
	name    string
	issuer  func(*pipeline.Issuer)
	client  string
	subject string
	scopes  []string
	typ     any    // of the access token's header; gone: none
	access  claims // accepted
	refused map[string]refusal

	preset string   // the configuration by preset, as YAML
	person string   // subject under the preset, where it is another
	roles  []string // under the preset
}

// ways returns the configurations that the shape is tried with: written out,
// and by preset.
func (s *shape) ways(t *testing.T) map[string]way {
	t.Helper()
	ways := map[string]way{"by preset": {fromYAML(t, s.preset), cmp.Or(s.person, s.subject), s.roles}}
	if s.issuer != nil {
		ways["written out"] = way{s.issuer, s.subject, nil}
	}
	return ways
}

type way struct {
	issuer  func(*pipeline.Issuer)
	subject string
	roles   []string // nil: not compared
}

// fromYAML makes an issuer of what stands in a configuration.
func fromYAML(t *testing.T, issuer string) func(*pipeline.Issuer) {
	t.Helper()
	doc, problems := config.Decode("warder.yaml", []byte("issuers: { corp: "+issuer+" }\nupstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ path: /, upstream: b, auth: none }]\n"), config.Vocabulary{})
	if problems != nil {
		t.Fatal(problems)
	}
	c := doc.Issuers[0].Value
	return func(i *pipeline.Issuer) {
		i.URL, i.Audience, i.ClientIDs, i.Algorithms = c.Issuer, c.Audience, c.ClientIDs, append([]string{"EdDSA"}, c.Algorithms...)
		i.ClockSkew, i.Consumer, i.Subject, i.Roles, i.TokenType = c.ClockSkew.Std(), c.Consumer, c.Subject(), c.Roles, c.TokenType
		for _, tenant := range c.Accepted() {
			i.Tenants = append(i.Tenants, pipeline.Tenant(tenant))
		}
	}
}

type refusal struct {
	token  claims
	header claims
	want   fault.Code
}

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	api    = "66666666-7777-8888-9999-000000000000"
	app    = "0f0f0f0f-aaaa-bbbb-cccc-121212121212"
)

func life(more claims) claims {
	c := claims{"iat": now.Unix() - 60, "exp": now.Unix() + 3600}
	maps.Copy(c, more)
	return c
}

func with(base, change claims) claims {
	c := maps.Clone(base)
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == gone })
	return c
}

func at(url string, audience ...string) func(*pipeline.Issuer) {
	return func(i *pipeline.Issuer) { i.URL, i.Audience = url, audience }
}

// logout is a back-channel logout token (OpenID Connect Back-Channel Logout
// 1.0 section 2.4) as far as it is the same everywhere.
func logout(iss, aud string) claims {
	return life(claims{"iss": iss, "aud": aud, "sub": "u1", "jti": "l1", "sid": "s1",
		"events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}})
}

func shapes() []shape {
	var list []shape
	add := func(s shape, foreign ...claims) {
		s.refused["an access token for another audience"] = refusal{with(s.access, claims{"aud": "somebody-else", "client_id": "somebody-else"}), nil, fault.TokenAudienceWrong}
		for i, f := range foreign {
			s.refused[fmt.Sprintf("another tenant (%d)", i)] = refusal{with(s.access, f), nil, fault.TokenIssuerUnknown}
		}
		list = append(list, s)
	}

	okta := "https://acme.okta.com/oauth2/default"
	add(shape{name: "okta", preset: `{ preset: okta, tenant: acme.okta.com, audience: "api://default" }`, person: "00u1", roles: []string{"buyers"},
		issuer: at(okta, "api://default"), client: "0oa1", subject: "alice@example.com", scopes: []string{"orders:read", "openid"}, typ: gone,
		access: life(claims{"iss": okta, "aud": "api://default", "ver": 1, "jti": "AT.x", "cid": "0oa1", "uid": "00u1", "scp": []string{"orders:read", "openid"}, "sub": "alice@example.com", "groups": []string{"buyers"}, "auth_time": 1}),
		refused: map[string]refusal{
			"ID token": {life(claims{"iss": okta, "aud": "0oa1", "ver": 1, "jti": "ID.x", "sub": "00u1", "amr": []string{"pwd"}, "idp": "00o1", "nonce": "n", "at_hash": "h", "auth_time": 1}), nil, fault.TokenTypeWrong},
			"ID token with the API as its client, no nonce": {life(claims{"iss": okta, "aud": "api://default", "sub": "00u1", "idp": "00o1"}), nil, fault.TokenTypeWrong},
			"logout token": {logout(okta, "api://default"), nil, fault.TokenTypeWrong},
		}}, claims{"iss": "https://evil.okta.com/oauth2/default"}, claims{"iss": "https://acme.okta.com"})
	add(shape{name: "okta, client credentials", preset: `{ preset: okta, issuer: https://acme.okta.com/oauth2/aus1, audience: "api://orders" }`,
		client: "0oa1", subject: "0oa1", scopes: []string{"orders.read"}, typ: gone,
		access:  life(claims{"iss": "https://acme.okta.com/oauth2/aus1", "aud": "api://orders", "ver": 1, "jti": "AT.x", "cid": "0oa1", "scp": []string{"orders.read"}, "sub": "0oa1"}),
		refused: map[string]refusal{}}, claims{"iss": okta})

	auth0 := "https://acme.eu.auth0.com/"
	auth0ID := life(claims{"iss": auth0, "aud": "spa1", "sub": "auth0|1", "sid": "s", "nonce": "n", "name": "A", "azp": "spa1"})
	add(shape{name: "auth0, profile auth0", preset: `{ preset: auth0, tenant: acme.eu.auth0.com, audience: https://orders/ }`, roles: []string{"orders:read"},
		issuer: at(auth0, "https://orders/"), client: "spa1", subject: "auth0|1", scopes: []string{"openid", "orders:read"}, typ: "JWT",
		access: life(claims{"iss": auth0, "sub": "auth0|1", "aud": []string{"https://orders/", auth0 + "userinfo"}, "azp": "spa1", "scope": "openid orders:read", "permissions": []string{"orders:read"}}),
		refused: map[string]refusal{
			"ID token":                             {auth0ID, nil, fault.TokenTypeWrong},
			"ID token without nonce":               {with(auth0ID, claims{"nonce": gone}), nil, fault.TokenTypeWrong},
			"ID token whose client is called like": {with(auth0ID, claims{"nonce": gone, "aud": "https://orders/", "azp": "https://orders/"}), nil, fault.TokenTypeWrong},
			"logout token":                         {logout(auth0, "https://orders/"), claims{"typ": "logout+jwt"}, fault.TokenTypeWrong},
		}}, claims{"iss": "https://evil.eu.auth0.com/"}, claims{"iss": "https://acme.eu.auth0.com"})
	add(shape{name: "auth0, profile rfc9068", preset: `{ preset: auth0, issuer: https://acme.eu.auth0.com/, audience: https://orders/ }`,
		issuer: at(auth0, "https://orders/"), client: "spa1", subject: "auth0|1", scopes: []string{"orders:read"}, typ: "at+jwt",
		access:  life(claims{"iss": auth0, "sub": "auth0|1", "aud": "https://orders/", "client_id": "spa1", "scope": "orders:read", "jti": "j"}),
		refused: map[string]refusal{"ID token": {auth0ID, claims{"typ": "JWT"}, fault.TokenTypeWrong}}},
		claims{"iss": "https://evil.eu.auth0.com/"})

	cognito := "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc"
	add(shape{name: "cognito", preset: `{ preset: cognito, tenant: eu-west-1_abc, clientIds: 7abc }`, roles: []string{"g"},
		issuer: func(i *pipeline.Issuer) { i.URL, i.Audience, i.ClientIDs = cognito, nil, []string{"7abc"} }, client: "7abc", subject: "u1", scopes: []string{"orders/read"}, typ: gone,
		access: life(claims{"iss": cognito, "sub": "u1", "token_use": "access", "client_id": "7abc", "scope": "orders/read", "version": 2, "jti": "j", "origin_jti": "o", "event_id": "e", "username": "alice", "cognito:groups": []string{"g"}}),
		refused: map[string]refusal{
			"ID token":                         {life(claims{"iss": cognito, "sub": "u1", "aud": "7abc", "token_use": "id", "email": "a@example.com", "cognito:username": "alice", "origin_jti": "o"}), nil, fault.TokenTypeWrong},
			"access token of another client":   {life(claims{"iss": cognito, "sub": "u1", "token_use": "access", "client_id": "other", "scope": "orders/read"}), nil, fault.TokenAudienceWrong},
			"a token without token_use at all": {life(claims{"iss": cognito, "sub": "u1", "client_id": "7abc", "scope": "orders/read"}), nil, fault.TokenAudienceWrong},
		}}, claims{"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_evil"})
	add(shape{name: "cognito, bound to a resource", preset: `{ preset: cognito, tenant: eu-west-1_abc, clientIds: 7abc, audience: "https://orders" }`,
		client: "7abc", subject: "u1", scopes: []string{"orders/read"}, typ: gone,
		access: life(claims{"iss": cognito, "sub": "u1", "aud": "https://orders", "token_use": "access", "client_id": "7abc", "scope": "orders/read", "version": 2, "jti": "j"}),
		refused: map[string]refusal{
			"for another resource": {life(claims{"iss": cognito, "sub": "u1", "aud": "https://other", "token_use": "access", "client_id": "7abc", "scope": "orders/read"}), nil, fault.TokenAudienceWrong},
		}})

	const entra = `{ preset: entra-id, tenant: ` + tenant + `, audience: ["api://orders", ` + api + `] }`
	v1 := "https://sts.windows.net/" + tenant + "/"
	add(shape{name: "entra v1", preset: entra, person: tenant + "/o1", roles: []string{"buyer"},
		issuer: at(v1, "api://orders", api), client: app, subject: "pairwise", scopes: []string{"orders.read"}, typ: "JWT",
		access: life(claims{"iss": v1, "aud": "api://orders", "nbf": now.Unix() - 60, "appid": app, "appidacr": "1", "oid": "o1", "sub": "pairwise", "tid": tenant, "scp": "orders.read", "ver": "1.0", "uti": "u", "roles": []string{"buyer"}}),
		refused: map[string]refusal{
			"ID token":                        {life(claims{"iss": v1, "aud": app, "sub": "p2", "tid": tenant, "nonce": "n", "ver": "1.0", "oid": "o1"}), nil, fault.TokenTypeWrong},
			"ID token of the API as a client": {life(claims{"iss": v1, "aud": api, "sub": "p2", "tid": tenant, "ver": "1.0", "oid": "o1", "roles": []string{"admin"}}), nil, fault.TokenTypeWrong},
		}}, claims{"iss": "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"})
	v2 := "https://login.microsoftonline.com/" + tenant + "/v2.0"
	add(shape{name: "entra v2", preset: entra, person: tenant + "/o1",
		issuer: at(v2, api), client: app, subject: "pairwise", scopes: []string{"orders.read"}, typ: "JWT",
		access: life(claims{"iss": v2, "aud": api, "nbf": now.Unix() - 60, "azp": app, "azpacr": "1", "oid": "o1", "sub": "pairwise", "tid": tenant, "scp": "orders.read", "ver": "2.0", "uti": "u"}),
		refused: map[string]refusal{
			"ID token": {life(claims{"iss": v2, "aud": api, "sub": "p2", "tid": tenant, "ver": "2.0", "oid": "o1", "preferred_username": "a"}), nil, fault.TokenTypeWrong},
		}}, claims{"iss": "https://login.microsoftonline.com/99999999-2222-3333-4444-555555555555/v2.0"}, claims{"iss": "https://login.microsoftonline.com/common/v2.0"})
	add(shape{name: "entra v2, application only", preset: entra, person: tenant + "/o1", roles: []string{"orders.all"},
		issuer: at(v2, api), client: app, subject: "o1", typ: "JWT",
		access:  life(claims{"iss": v2, "aud": api, "azp": app, "azpacr": "1", "oid": "o1", "sub": "o1", "tid": tenant, "roles": []string{"orders.all"}, "ver": "2.0"}),
		refused: map[string]refusal{}})
	const second, third = "22222222-2222-3333-4444-555555555555", "33333333-2222-3333-4444-555555555555"
	guest := life(claims{"iss": "https://login.microsoftonline.com/" + second + "/v2.0", "aud": api, "azp": app, "azpacr": "1", "oid": "o2", "sub": "pairwise", "tid": second, "scp": "orders.read", "groups": []string{"g1"}, "ver": "2.0"})
	add(shape{name: "entra, several tenants", preset: `{ preset: entra-id, tenants: [` + tenant + `, ` + second + `], audience: ` + api + ` }`, person: second + "/o2", roles: []string{"g1"},
		client: app, scopes: []string{"orders.read"}, typ: "JWT", access: guest,
		refused: map[string]refusal{
			"iss of one tenant, tid of another": {with(guest, claims{"tid": tenant}), nil, fault.TokenIssuerUnknown},
			"no tid":                            {with(guest, claims{"tid": gone}), nil, fault.TokenIssuerUnknown},
			"iss is the template":               {with(guest, claims{"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}), nil, fault.TokenIssuerUnknown},
			"ID token":                          {with(guest, claims{"azp": gone, "azpacr": gone, "scp": gone, "nonce": "n"}), nil, fault.TokenTypeWrong},
		}}, claims{"iss": "https://login.microsoftonline.com/" + third + "/v2.0", "tid": third})

	realm := "https://sso.example.com/realms/acme"
	keycloakRefused := func() map[string]refusal {
		return map[string]refusal{
			"ID token":      {life(claims{"iss": realm, "aud": "web", "sub": "u1", "typ": "ID", "azp": "web", "nonce": "n", "at_hash": "h", "sid": "s"}), nil, fault.TokenTypeWrong},
			"refresh token": {life(claims{"iss": realm, "aud": realm, "sub": "u1", "typ": "Refresh", "azp": "web", "scope": "openid"}), nil, fault.TokenTypeWrong},
			"offline token": {life(claims{"iss": realm, "aud": realm, "sub": "u1", "typ": "Offline", "azp": "web", "scope": "openid offline_access"}), nil, fault.TokenTypeWrong},
			"logout token":  {with(logout(realm, "orders"), claims{"typ": "Logout"}), nil, fault.TokenTypeWrong},
		}
	}
	const keycloak = `{ preset: keycloak, issuer: https://sso.example.com/realms/acme, audience: orders }`
	roles := func(i *pipeline.Issuer) {
		i.URL, i.Audience, i.Roles = realm, []string{"orders"}, []string{"realm_access.roles"}
	}
	old := life(claims{"iss": realm, "aud": []string{"orders", "account"}, "sub": "u1", "typ": "Bearer", "azp": "web", "nonce": "n", "session_state": "s", "acr": "1",
		"scope": "openid orders:read", "realm_access": claims{"roles": []string{"buyer"}}, "resource_access": claims{"account": claims{"roles": []string{"admin"}}, "orders": claims{"roles": []string{"approver"}}}})
	add(shape{name: "keycloak, old", preset: keycloak, roles: []string{"buyer", "approver"}, issuer: roles, client: "web", subject: "u1", scopes: []string{"openid", "orders:read"}, typ: "JWT", access: old, refused: keycloakRefused()},
		claims{"iss": "https://sso.example.com/realms/evil"})
	add(shape{name: "keycloak, new", preset: keycloak, roles: []string{"buyer", "approver"}, issuer: roles, client: "web", subject: "u1", scopes: []string{"openid", "orders:read"}, typ: "JWT",
		access: with(old, claims{"nonce": gone, "session_state": gone, "sid": "s", "jti": "onrtac:1"}), refused: keycloakRefused()})
	add(shape{name: "keycloak, lightweight", preset: keycloak, issuer: roles, client: "web", typ: "JWT", scopes: []string{"openid"},
		access: life(claims{"iss": realm, "aud": "orders", "typ": "Bearer", "azp": "web", "sid": "s", "scope": "openid"}), refused: keycloakRefused()})
	return list
}

// The matrix: access tokens are accepted; ID, refresh and logout tokens, those
// for another audience and those of another tenant are refused, though the
// same keys signed them.
func TestIdentityProviders(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		for how, way := range s.ways(t) {
			t.Run(s.name+" "+how, func(t *testing.T) {
				parts := build(t, nil, issuer(way.issuer))
				id, code := judge(t, parts, "Bearer "+sign(t, s.access, claims{"typ": s.typ}))
				if code != fault.None {
					t.Fatalf("access token: %v", code)
				}
				if id.Client != s.client || id.Subject != way.subject || !slices.Equal(id.Scopes, s.scopes) || how == "by preset" && !slices.Equal(id.Roles, way.roles) {
					t.Errorf("%+v", id)
				}
				for name, r := range s.refused {
					x := request("Bearer " + sign(t, r.token, claims{"typ": s.typ}, r.header))
					if _, v := parts.Authenticate.Authenticate(x, world); v.Code() != r.want {
						// typ at+jwt in the header would make an ID token an access token; no issuer does that.
						t.Errorf("%s: %v, want %v; saw %v", name, v.Code(), r.want, x.Trail.Steps()[0].Operands())
					}
				}
				// Refresh tokens that are no JWT: opaque, and encrypted (Cognito).
				for _, token := range []string{"v1.MRrT0pAqu3", "eyJhbGciOiJSU0EtT0FFUCJ9.AAAA.AAAA.AAAA.AAAA"} {
					if _, code := judge(t, parts, "Bearer "+token); code != fault.CredentialMalformed {
						t.Errorf("refresh token %s: %v", token, code)
					}
				}
			})
		}
	}
}

// An accepted token with any one member deleted, duplicated, written in
// another case or given another type is never accepted as somebody else.
func TestAChangedMemberNeverMakesAnotherIdentity(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		for how, way := range s.ways(t) {
			t.Run(s.name+" "+how, func(t *testing.T) {
				t.Parallel()
				// Signing dominates; Ed25519 is quick.
				parts := build(t, nil, issuer(way.issuer))
				header := claims{"typ": s.typ, "alg": "EdDSA", "kid": "ed"}
				original, code := judge(t, parts, "Bearer "+sign(t, s.access, header))
				if code != fault.None {
					t.Fatal(code)
				}
				accepted := 0
				for name, value := range s.access {
					for change, payload := range changes(t, s.access, name, value) {
						id, code := judge(t, parts, "Bearer "+signRaw(t, payload, header))
						if code == fault.None {
							accepted++
							if why := differs(original, id); why != "" {
								t.Errorf("%s %s: accepted with %s", name, change, why)
							}
						}
					}
				}
				if accepted == 0 {
					t.Error("no changed token was accepted: the test proves nothing")
				}
			})
		}
	}
}

// A key that is published for one tenant signs for no other, whatever iss and
// tid say.
func TestAKeyOfOneTenantSignsForNoOther(t *testing.T) {
	t.Parallel()
	const second = "22222222-2222-3333-4444-555555555555"
	payload := func(iss string) claims {
		return life(claims{"iss": iss, "aud": api, "azp": app, "azpacr": "1", "oid": "o1", "sub": "p", "tid": tenant, "scp": "orders.read"})
	}
	for name, c := range map[string]struct {
		of   string // issuer of the JWK
		want fault.Code
	}{
		"not said":       {"", fault.None},
		"any tenant":     {"https://login.microsoftonline.com/{tenantid}/v2.0", fault.None},
		"this tenant":    {"https://login.microsoftonline.com/" + tenant + "/v2.0", fault.None},
		"another tenant": {"https://login.microsoftonline.com/" + second + "/v2.0", fault.TokenIssuerUnknown},
		"not listed":     {"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", fault.TokenIssuerUnknown},
		"another cloud":  {"https://login.microsoftonline.us/{tenantid}/v2.0", fault.TokenIssuerUnknown},
	} {
		key := mustKey("ed", "", material().ed.Public())
		key.Issuer = c.of
		parts := build(t, nil, issuer(fromYAML(t, `{ preset: entra-id, tenants: [`+tenant+`, `+second+`], audience: `+api+` }`),
			func(i *pipeline.Issuer) { i.Keys = keys.NewStatic(key) }))
		for _, iss := range []string{"https://login.microsoftonline.com/" + tenant + "/v2.0", "https://sts.windows.net/" + tenant + "/"} {
			if _, code := judge(t, parts, "Bearer "+sign(t, payload(iss), claims{"alg": "EdDSA", "kid": "ed"})); code != c.want {
				t.Errorf("%s, %s: %v, want %v", name, iss, code, c.want)
			}
		}
	}
}

// A claim that says who somebody is, or which token this is, and is not of its
// type is never passed over.
func TestClaimsOfIdentityThatAreNotOfTheirType(t *testing.T) {
	t.Parallel()
	okta := issuer(fromYAML(t, `{ preset: okta, tenant: acme.okta.com, audience: a }`))
	parts := build(t, nil, okta)
	base := life(claims{"iss": okta.URL, "aud": "a", "cid": "c1", "scp": []string{"x"}, "uid": "u1", "sub": "alice", "jti": "j"})
	for _, name := range []string{"jti", "sub", "uid", "cid"} {
		for _, value := range []any{7, "", nil, []string{"u1"}} {
			if _, code := judge(t, parts, "Bearer "+sign(t, with(base, claims{name: value}))); code != fault.CredentialMalformed {
				t.Errorf("%s %v: %v", name, value, code)
			}
		}
	}
}

// A list that is null is not there.
func TestScopesAndRolesThatAreNull(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Roles = []string{"roles"} }))
	id, code := judge(t, parts, "Bearer "+sign(t, access(claims{"scope": nil, "roles": nil})))
	if code != fault.None || len(id.Scopes)+len(id.Roles) != 0 {
		t.Errorf("%v %+v", code, id)
	}
}

// A tenant without an id is nobody's.
func TestATokenWithoutATenantIsOfNone(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Tenants = []pipeline.Tenant{{URL: corpURL}} }))
	for _, token := range []string{sign(t, access()), sign(t, access(claims{"tid": ""}))} {
		if _, code := judge(t, parts, "Bearer "+token); code != fault.TokenIssuerUnknown {
			t.Error(code)
		}
	}
}

// An iss that is missing or no text is that of no tenant either.
func TestATokenWithoutAnIssuerIsOfNone(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Tenants = []pipeline.Tenant{{ID: "x"}} }))
	for _, iss := range []any{gone, nil, 7, []string{""}} {
		x := request("Bearer " + sign(t, access(claims{"iss": iss, "tid": "x"})))
		if _, v := parts.Authenticate.Authenticate(x, world); v.Code() != fault.TokenIssuerUnknown || operand(x, "have") != "(no iss)" || operand(x, "want") != corpURL {
			t.Error(iss, v.Code(), operand(x, "have"), operand(x, "want"))
		}
	}
}

// Under a preset, sub stands for the subject only where it is the client
// itself: whose name it is otherwise cannot be known.
func TestSubStandsForNobodyElse(t *testing.T) {
	t.Parallel()
	okta := issuer(fromYAML(t, `{ preset: okta, tenant: acme.okta.com, audience: a }`))
	parts := build(t, nil, okta)
	base := life(claims{"iss": okta.URL, "aud": "a", "cid": "c1", "scp": []string{"x"}, "uid": "u1", "sub": "alice"})
	for name, c := range map[string]struct {
		change claims
		want   string
	}{
		"both":                  {claims{}, "u1"},
		"sub is somebody":       {claims{"uid": gone}, ""},
		"sub is the client's":   {claims{"sub": "c1"}, "u1"},
		"sub is the client":     {claims{"uid": gone, "sub": "c1"}, "c1"},
		"no client, and no uid": {claims{"uid": gone, "cid": gone}, ""},
	} {
		id, code := judge(t, parts, "Bearer "+sign(t, with(base, c.change)))
		if code != fault.None || id.Subject != c.want {
			t.Errorf("%s: %v %+v", name, code, id)
		}
	}
}

// changes returns the payload with one member changed in every way.
func changes(t *testing.T, payload claims, name string, value any) map[string]string {
	t.Helper()
	object := func(c claims) string {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	whole := object(payload)
	without := with(payload, claims{name: gone})
	renamed := func(to string) string { c := maps.Clone(without); c[to] = value; return object(c) }
	retyped := func(to any) string { c := maps.Clone(without); c[name] = to; return object(c) }
	member := object(claims{name: value})
	out := map[string]string{
		"deleted":                object(without),
		"duplicated in front":    member[:len(member)-1] + "," + whole[1:],
		"duplicated behind":      whole[:len(whole)-1] + "," + member[1:],
		"duplicated otherwise":   whole[:len(whole)-1] + fmt.Sprintf(`,%q:"mallory"}`, name),
		"in capitals":            renamed(strings.ToUpper(name)),
		"with a capital":         renamed(strings.ToUpper(name[:1]) + name[1:]),
		"beside one in capitals": whole[:len(whole)-1] + fmt.Sprintf(`,%q:"mallory"}`, strings.ToUpper(name)),
		"null":                   retyped(nil),
		"a boolean":              retyped(true),
		"a number":               retyped(7),
		"a list of it":           retyped([]any{value}),
		"an object of it":        retyped(claims{name: value}),
		"an empty list":          retyped([]any{}),
		"an empty object":        retyped(claims{}),
		"empty":                  retyped(""),
	}
	switch value.(type) {
	case int, int64:
		out["as text"] = retyped(fmt.Sprint(value))
	}
	return out
}

// differs says in what id is more than original, or somebody else.
func differs(original, id *exchange.Identity) string {
	less := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	consumer := id.Issuer + "/" + id.Client
	if id.Client == "" {
		consumer = id.Issuer + "/subject:" + id.Subject
	}
	switch {
	case id.Issuer != original.Issuer:
		return "issuer " + id.Issuer
	case id.Subject != "" && id.Subject != original.Subject:
		return "subject " + id.Subject
	case id.Client != "" && id.Client != original.Client:
		return "client " + id.Client
	case id.Consumer != consumer || id.Named != nil:
		return "consumer " + id.Consumer
	case !less(id.Scopes, original.Scopes):
		return "scopes " + strings.Join(id.Scopes, " ")
	case !less(id.Roles, original.Roles):
		return "roles " + strings.Join(id.Roles, " ")
	case id.Expires.After(original.Expires.Add(time.Second)):
		return "expires " + id.Expires.String()
	}
	return ""
}
