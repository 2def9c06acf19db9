package app_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/fault"
)

// methods is the table. A new method, and a new thing that can be said back,
// has its line here.
func methods() []method {
	return []method{
		apiKeys, basic, jwts, introspection, dpopTokens, certTokens, mutualTLS, forwardedCerts, logins, anyOf, allOf,
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	keyChallenge   = `ApiKey header="x-api-key"`
	basicChallenge = `Basic realm="warder", charset="UTF-8"`
	algs           = `algs="ES256 EdDSA PS256 RS256"`
)

// challenges of a route that takes bearer tokens of an issuer, bound or not.
func bearerBare(issuer string) string { return fmt.Sprintf(`Bearer realm="%s", DPoP %s`, issuer, algs) }

func bearerError(issuer, code string) string {
	return fmt.Sprintf(`Bearer realm="%s", error="%s", DPoP error="%[2]s", %s`, issuer, code, algs)
}

func key(path, which string) func(*stage) *reply {
	return func(s *stage) *reply { return s.get(path, "X-Api-Key", s.keys[which]) }
}

var apiKeys = method{
	name: "API key", config: "auth: { apiKey: true }",
	proves: "A secret of 256 bits that names its consumer, of the configuration or of the store. Both hold its SHA-256 only.",
	send:   "curl -H 'X-Api-Key: wk_…'",
	real: []proved{
		{"curl, and a file of an operator", "TestAPIKeysFromTheFile"},
		{"SQLite and PostgreSQL, with the revocation of keys", "TestARevocationReachesEveryRequestAndStreamOfEveryGateway"},
	},
	tries: []try{
		{when: "a key of a consumer", code: fault.None, ask: key("/key", "good")},
		{when: "nothing", code: fault.CredentialMissing, challenge: keyChallenge, ask: func(s *stage) *reply { return s.get("/key") }},
		{when: "a key that nobody has", code: fault.KeyUnknown, challenge: keyChallenge, ask: key("/key", "unknown")},
		{when: "a key that is over", code: fault.KeyExpired, challenge: keyChallenge, ask: key("/key", "expired")},
		{when: "a key that was taken back", code: fault.KeyRevoked, challenge: keyChallenge, ask: key("/key", "revoked")},
		{when: "a key with a letter changed", code: fault.KeyMalformed, challenge: keyChallenge, ask: func(s *stage) *reply {
			return s.get("/key", "X-Api-Key", altered(s.keys["good"]))
		}},
		{when: "two keys", code: fault.CredentialAmbiguous, challenge: keyChallenge, ask: func(s *stage) *reply {
			return s.get("/key", "X-Api-Key", s.keys["good"], "X-Api-Key", s.keys["good"])
		}},
		{when: "a key that is good from other addresses", code: fault.AddressDenied, ask: key("/key", "elsewhere")},
		{when: "a key that is good on other routes", code: fault.CredentialNotAllowedHere, ask: key("/key", "other route")},
		{when: "an unknown key while the store has never answered", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			return s.ask(s.ill, "/key", "X-Api-Key", s.keys["unknown"])
		}},
		{when: "a key of the store, of which nothing was heard for longer than freshness.revocations", code: fault.KeysStale, by: "TestNeverLoadedAndTooOldAreOurOutage"},
	},
}

func userPassword(user, secret string) func(*stage) *reply {
	return func(s *stage) *reply {
		return s.get("/basic", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+secret)))
	}
}

// lockedOut guesses until it is locked out, and then sends the right password.
func lockedOut(s *stage) (r *reply) {
	for over := time.Now().Add(20 * time.Second); time.Now().Before(over); {
		if userPassword("hasty", "wrong")(s).record(s.t).Code != fault.AccountLocked.String() {
			continue
		}
		if r = userPassword("hasty", rightPassword)(s); r.status != 200 {
			return r
		}
		s.row++ // the time was over just then, on a slow machine
	}
	return r
}

var basic = method{
	name: "Basic", config: "auth: { basic: true }",
	proves: "The name of a consumer and its password, of which the configuration holds an Argon2id hash.",
	send:   "curl -u ops-tool",
	real:   []proved{{"curl", "TestClientCertificatesOfARealCA"}},
	tries: []try{
		{when: "name and password", code: fault.None, ask: userPassword("acme", rightPassword)},
		{when: "nothing", code: fault.CredentialMissing, challenge: basicChallenge, ask: func(s *stage) *reply { return s.get("/basic") }},
		{when: "nothing, by a script in a page", code: fault.CredentialMissing, ask: func(s *stage) *reply { return s.get("/basic", "Sec-Fetch-Mode", "cors") }},
		{when: "a wrong password", code: fault.PasswordWrong, challenge: basicChallenge, ask: userPassword("acme", "wrong")},
		{when: "a user that there is not", code: fault.PasswordWrong, challenge: basicChallenge, ask: userPassword("nobody", rightPassword)},
		{when: "what is not base64", code: fault.PasswordWrong, challenge: basicChallenge, ask: func(s *stage) *reply { return s.get("/basic", "Authorization", "Basic ?") }},
		{when: "the right password after too many wrong ones", code: fault.AccountLocked, challenge: basicChallenge, ask: lockedOut},
		{when: "two Authorization fields", code: fault.CredentialAmbiguous, challenge: basicChallenge, ask: func(s *stage) *reply {
			return s.get("/basic", "Authorization", "Basic eDp5", "Authorization", "Basic eDp5")
		}},
		{when: "a password that could not be worked out in time: too many wait", code: fault.Overloaded, by: "TestAFullQueueMakesRoomForWhoIsServedSooner"},
	},
}

var (
	invalidToken = bearerError("corp", "invalid_token")
	past         = time.Now().Add(-time.Hour).Unix()
	ahead        = time.Now().Add(time.Hour).Unix()
)

func tokenWith(path string, claims ...any) func(*stage) *reply {
	return func(s *stage) *reply { return s.bearer(path, s.token(claims...)) }
}

// forged is a token of three parts with a signature of nobody.
func forged(t *testing.T, header map[string]any) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64(mustJSON(t, header)) + "." + b64(mustJSON(t, map[string]any{"iss": corpURL, "aud": "api", "exp": ahead, "scope": "write"})) + "." + b64(make([]byte, 64))
}

var jwts = method{
	name: "JWT", config: "auth: { jwt: corp }",
	proves: "An access token that the issuer signed for this API. It says who calls; its signature is verified once, its times, audience, binding and revocation for every request.",
	send:   "curl -H 'Authorization: Bearer eyJ…'",
	real: []proved{
		{"oidc-provider", "TestMainJob"}, {"oauth2-mock-server", "TestIdPCheckAndInitWithRealProviders"}, {"rotation of oidc-provider's keys under load", "TestKeyRotationUnderLoad"},
		{"the shapes of Okta, Auth0, Cognito, Entra ID and Keycloak", "TestPresetsOverTheWire"}, {"the vectors of Wycheproof", "TestWycheproofSignatures"},
	},
	tries: []try{
		{when: "an access token", code: fault.None, ask: tokenWith("/jwt")},
		{when: "nothing", code: fault.CredentialMissing, challenge: bearerBare("corp"), ask: func(s *stage) *reply { return s.get("/jwt") }},
		{when: "another scheme", code: fault.CredentialMissing, challenge: bearerBare("corp"), ask: func(s *stage) *reply { return s.get("/jwt", "Authorization", "Basic eDp5") }},
		{when: "what is no token", code: fault.CredentialMalformed, challenge: invalidToken, ask: func(s *stage) *reply { return s.bearer("/jwt", "garbage") }},
		{when: "two Authorization fields", code: fault.CredentialAmbiguous, challenge: bearerError("corp", "invalid_request"), ask: func(s *stage) *reply {
			return s.get("/jwt", "Authorization", "Bearer "+s.token(), "Authorization", "Bearer "+s.token())
		}},
		{when: "a token with its signature changed", code: fault.TokenSignatureInvalid, challenge: invalidToken, ask: func(s *stage) *reply { return s.bearer("/jwt", altered(s.token())) }},
		{when: "a token that a stranger signed", code: fault.TokenSignatureInvalid, challenge: invalidToken, ask: func(s *stage) *reply {
			return s.bearer("/jwt", s.foreign(golangjwt.MapClaims{"sub": "alice"}))
		}},
		{when: "a token of a key that the issuer does not publish", code: fault.TokenKeyUnknown, challenge: invalidToken, ask: func(s *stage) *reply {
			return s.bearer("/jwt", forged(s.t, map[string]any{"alg": "EdDSA", "kid": "other", "typ": "at+jwt"}))
		}},
		{when: "a token without a signature (alg none)", code: fault.TokenAlgorithmRefused, challenge: invalidToken, ask: func(s *stage) *reply {
			return s.bearer("/jwt", forged(s.t, map[string]any{"alg": "none", "kid": "k"}))
		}},
		{when: "a token of another issuer", code: fault.TokenIssuerUnknown, challenge: invalidToken, ask: tokenWith("/jwt", "iss", corpURL+"/")},
		{when: "a token that is over", code: fault.TokenExpired, challenge: invalidToken, ask: tokenWith("/jwt", "exp", past)},
		{when: "a token for later", code: fault.TokenNotYetValid, challenge: invalidToken, ask: tokenWith("/jwt", "nbf", ahead-1800)},
		{when: "a token for another API", code: fault.TokenAudienceWrong, challenge: invalidToken, ask: tokenWith("/jwt", "aud", "other")},
		{when: "an ID token", code: fault.TokenTypeWrong, challenge: invalidToken, ask: tokenWith("/jwt", "nonce", "n")},
		{when: "a token that was taken back", code: fault.TokenRevoked, challenge: invalidToken, ask: tokenWith("/jwt", "jti", "revoked")},
		{when: "a token that is bound to what cannot be checked", code: fault.TokenBindingFailed, challenge: invalidToken, ask: tokenWith("/jwt", "cnf", map[string]any{"kid": "x"})},
		{when: "a token while the issuer's keys were never loaded", code: fault.IdentityUnavailable, ask: tokenWith("/jwt-down", "iss", deadURL)},
		{when: "a token while the store's revocations were never loaded", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			return s.ask(s.ill, "/jwt", "Authorization", "Bearer "+s.token())
		}},
		{when: "a token while the issuer's keys are older than freshness.jwks", code: fault.KeysStale, by: "TestAnOutageOfTheIssuerIsNeverTheCallersFault"},
		{when: "a new token while too many of networks that sent bad ones wait", code: fault.Overloaded, by: "TestForgedTokensLockNobodyOut"},
	},
}

var askedInvalid = bearerError("asked", "invalid_token")

func opaqueWith(claims ...any) func(*stage) *reply {
	return func(s *stage) *reply { return s.bearer("/introspect", s.says(claims...)) }
}

var introspection = method{
	name: "Introspection", config: "auth: { introspect: corp }",
	proves: "An opaque token that its issuer, when asked (RFC 7662), calls active and meant for this API. The answer is believed for seconds.",
	send:   "curl -H 'Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA'",
	real:   []proved{{"oidc-provider, asked by every kind of client authentication", "TestOpaqueTokens"}},
	tries: []try{
		{when: "a token that the issuer calls active", code: fault.None, ask: opaqueWith()},
		{when: "nothing", code: fault.CredentialMissing, challenge: bearerBare("asked"), ask: func(s *stage) *reply { return s.get("/introspect") }},
		{when: "a JWT", code: fault.CredentialMissing, challenge: bearerBare("asked"), ask: tokenWith("/introspect")},
		{when: "an empty token", code: fault.CredentialMalformed, challenge: askedInvalid, ask: func(s *stage) *reply { return s.get("/introspect", "Authorization", "Bearer ?") }},
		{when: "two Authorization fields", code: fault.CredentialAmbiguous, challenge: bearerError("asked", "invalid_request"), ask: func(s *stage) *reply {
			return s.get("/introspect", "Authorization", "Bearer a", "Authorization", "Bearer b")
		}},
		{when: "a token that the issuer does not call active", code: fault.TokenInactive, challenge: askedInvalid, ask: opaqueWith("active", false)},
		{when: "a token of another issuer", code: fault.TokenIssuerUnknown, challenge: askedInvalid, ask: opaqueWith("iss", "https://other.example/")},
		{when: "a token that is over, though called active", code: fault.TokenExpired, challenge: askedInvalid, ask: opaqueWith("exp", past)},
		{when: "a token for later, though called active", code: fault.TokenNotYetValid, challenge: askedInvalid, ask: opaqueWith("nbf", ahead-1800)},
		{when: "a token for another API", code: fault.TokenAudienceWrong, challenge: askedInvalid, ask: opaqueWith("aud", "other")},
		{when: "a token that is no access token", code: fault.TokenTypeWrong, challenge: askedInvalid, ask: opaqueWith("token_type", "N_A")},
		{when: "a token that was taken back here", code: fault.TokenRevoked, challenge: askedInvalid, ask: opaqueWith("jti", "revoked")},
		{when: "a token that is bound to a key, as a bearer token", code: fault.TokenBindingFailed, challenge: askedInvalid, ask: opaqueWith("cnf", map[string]any{"jkt": strings.Repeat("A", 43)})},
		{when: "an unknown token while the issuer is down", code: fault.IdentityUnavailable, ask: func(s *stage) *reply { return s.bearer("/introspect-down", "unknown") }},
		{when: "more than 20 unknown tokens a second", code: fault.RateLimited, ask: func(s *stage) *reply {
			for over := time.Now().Add(10 * time.Second); ; {
				r := s.bearer("/introspect", s.says("active", false))
				if r.status != 401 || time.Now().After(over) {
					return r
				}
			}
		}},
		{when: "a token while the store's revocations are older than freshness.revocations", code: fault.KeysStale, by: "TestRevocationsNeverLoadedOrTooOldAreOurOutage"},
	},
}

var dpopProof, dpopInvalid = "DPoP error=\"invalid_dpop_proof\", " + algs, "DPoP error=\"invalid_token\", " + algs

// bound is a token that is bound to the client's key.
func (s *stage) bound() string { return s.token("cnf", map[string]any{"jkt": s.client.thumb}) }

func (s *stage) prove(at *running, token, proof string) *reply {
	return s.ask(at, "/dpop", "Authorization", "DPoP "+token, "DPoP", proof)
}

var dpopTokens = method{
	name: "DPoP", config: "auth: { jwt: corp }, and at the issuer tokenBinding: asIssued or dpop",
	proves: "A token that is bound to a key (RFC 9449), and a proof of that key for this request, which is good once. The same for opaque tokens.",
	send:   "curl -H 'Authorization: DPoP eyJ…' -H 'DPoP: eyJ…'",
	real:   []proved{{"oidc-provider, with Redis between two gateways", "TestTokensBoundToAKey"}, {"the example of RFC 9449", "TestTheExampleOfRFC9449"}},
	tries: []try{
		{when: "token and proof", code: fault.None, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.well, token, s.client.proof(s.well.url+"/dpop", token, nil))
		}},
		{when: "nothing", code: fault.CredentialMissing, challenge: "DPoP " + algs, ask: func(s *stage) *reply { return s.get("/dpop") }},
		{when: "a token without a proof", code: fault.DPoPProofInvalid, challenge: dpopProof, ask: func(s *stage) *reply {
			return s.get("/dpop", "Authorization", "DPoP "+s.bound())
		}},
		{when: "a thief's proof", code: fault.DPoPProofInvalid, challenge: dpopProof, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.well, token, newMe(s.t).proof(s.well.url+"/dpop", token, nil))
		}},
		{when: "a proof for another URI", code: fault.DPoPProofInvalid, challenge: dpopProof, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.well, token, s.client.proof(s.well.url+"/other", token, nil))
		}},
		{when: "a proof that came before", code: fault.DPoPReplayed, challenge: dpopProof, ask: func(s *stage) *reply {
			token := s.bound()
			proof := s.client.proof(s.well.url+"/dpop", token, nil)
			s.prove(s.well, token, proof)
			r := s.prove(s.well, token, proof)
			r.letIn = 1
			return r
		}},
		{when: "a proof of a clock that is wrong", code: fault.DPoPNonceRequired, challenge: "DPoP error=\"use_dpop_nonce\", " + algs, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.well, token, s.client.proof(s.well.url+"/dpop", token, golangjwt.MapClaims{"iat": past}))
		}},
		{when: "a bound token as a bearer token", code: fault.TokenBindingFailed, challenge: dpopInvalid, ask: func(s *stage) *reply { return s.bearer("/dpop", s.bound()) }},
		{when: "a token that is not bound, where it must be", code: fault.TokenBindingFailed, challenge: dpopInvalid, ask: tokenWith("/dpop")},
		{when: "token and proof while the counters are out of reach", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.ill, token, s.client.proof(s.ill.url+"/dpop", token, nil))
		}},
	},
}

// boundTo is a token that is bound to a certificate.
func (s *stage) boundTo(cert string) string {
	return s.token("cnf", map[string]any{"x5t#S256": thumbprint(s.certs[cert].Leaf)})
}

func shown(listener, cert, of string) func(*stage) *reply {
	return func(s *stage) *reply {
		return s.over(listener, cert, "/cert", "Authorization", "Bearer "+s.boundTo(of))
	}
}

var certTokens = method{
	name: "Certificate-bound token", config: "auth: { jwt: corp }, and at the issuer tokenBinding: asIssued or mtls",
	proves: "A token that is bound to a certificate (RFC 8705), over a connection that shows it. The same for opaque tokens.",
	send:   "curl --cert client.crt --key client.key -H 'Authorization: Bearer eyJ…'",
	real:   []proved{{"tokens of oidc-provider, certificates of openssl, curl", "TestClientCertificatesOfARealCA"}},
	tries: []try{
		{when: "a token over a connection that shows its certificate", code: fault.None, ask: shown("partners", "good", "good")},
		{when: "a token over a connection that shows none", code: fault.TokenBindingFailed, challenge: bearerError("cert", "invalid_token"), ask: shown("partners", "", "good")},
		{when: "a token over a connection that shows another", code: fault.TokenBindingFailed, challenge: bearerError("cert", "invalid_token"), ask: shown("partners", "nobody's", "good")},
		{when: "a token with its certificate, which the CA has revoked", code: fault.TokenBindingFailed, challenge: bearerError("cert", "invalid_token"), ask: shown("partners", "revoked", "revoked")},
		{when: "a token that is not bound, where it must be", code: fault.TokenBindingFailed, challenge: bearerError("cert", "invalid_token"), ask: func(s *stage) *reply {
			return s.over("partners", "good", "/cert", "Authorization", "Bearer "+s.token())
		}},
		{when: "a token while nobody says whether its certificate was revoked", code: fault.IdentityUnavailable, ask: shown("unsure", "good", "good")},
	},
}

func certificateOf(listener, cert string) func(*stage) *reply {
	return func(s *stage) *reply { return s.over(listener, cert, "/mtls") }
}

var mutualTLS = method{
	name: "Client certificate (mTLS)", config: "auth: { mtls: true }, and at the listener clientAuth: { caFile: …, mode: optional or required }",
	proves: "A certificate of a CA of the listener, that a consumer lists. It is judged again for every request, with its lists and responders. With `mode: required` a connection with a bad one is closed in its handshake.",
	send:   "curl --cert client.crt --key client.key",
	real:   []proved{{"certificates, lists and OCSP answers of openssl, curl", "TestClientCertificatesOfARealCA"}, {"the certificates of NIST's PKITS", "TestPKITS"}},
	tries: []try{
		{when: "a certificate of a consumer", code: fault.None, ask: certificateOf("partners", "good")},
		{when: "nothing", code: fault.CertificateMissing, ask: certificateOf("partners", "")},
		{when: "a certificate of a CA that is not the listener's", code: fault.CertificateUntrusted, ask: certificateOf("partners", "a stranger's")},
		{when: "a certificate that no consumer lists", code: fault.CertificateUntrusted, ask: certificateOf("partners", "nobody's")},
		{when: "a certificate that its CA has revoked", code: fault.CertificateRevoked, ask: certificateOf("partners", "revoked")},
		{when: "a certificate while nobody says whether it was revoked", code: fault.IdentityUnavailable, ask: certificateOf("unsure", "good")},
	},
}

func forwarded(cert string) func(*stage) *reply {
	return func(s *stage) *reply {
		return s.over("front", "good", "/mtls", "Client-Cert", ":"+base64.StdEncoding.EncodeToString(s.certs[cert].Leaf.Raw)+":")
	}
}

var forwardedCerts = method{
	name: "Forwarded certificate", config: "auth: { mtls: true }, and at the listener clientCertHeader: { form: client-cert or xfcc, from: … }",
	proves: "A certificate that a proxy of yours has taken from its client and forwards (RFC 9440, or Envoy's field). It is verified here as if it had been shown here; the proxy's own certificate speaks for nobody.",
	send:   "curl --cert client.crt --key client.key, to the proxy",
	real:   []proved{{"nginx, that forwards the certificates of curl", "TestClientCertificatesOfARealCA"}},
	tries: []try{
		{when: "a certificate of a consumer", code: fault.None, ask: forwarded("good")},
		{when: "nothing but the proxy's own certificate", code: fault.CertificateMissing, ask: certificateOf("front", "good")},
		{when: "a certificate of a CA that is not the listener's", code: fault.CertificateUntrusted, ask: forwarded("a stranger's")},
		{when: "a certificate that no consumer lists", code: fault.CertificateUntrusted, ask: forwarded("nobody's")},
		{when: "a field that is not in the form of RFC 9440", code: fault.CertificateUntrusted, ask: func(s *stage) *reply { return s.over("front", "", "/mtls", "Client-Cert", "batch.acme.example") }},
		{when: "a certificate that its CA has revoked", code: fault.CertificateRevoked, ask: forwarded("revoked")},
		{when: "a certificate on the word of who is no proxy", code: fault.CertificateMissing, ask: func(s *stage) *reply {
			return s.over("partners", "", "/mtls", "Client-Cert", ":"+base64.StdEncoding.EncodeToString(s.certs["good"].Leaf.Raw)+":")
		}},
	},
}

const webChallenge = `Cookie realm="web"`

// page asks as a browser with the cookies it has.
func (s *stage) page(method, at string, fields ...string) *reply {
	s.t.Helper()
	s.browser.t = s.t
	resp, body := s.browser.ask(method, at, fields...)
	return &reply{at: s.well, status: resp.StatusCode, header: resp.Header, body: body}
}

func (s *stage) at(path string) string { return fmt.Sprint(path, "?row=", s.row) }

// logIn has the browser log in anew, and returns the answer of the callback.
func (s *stage) logIn(change func(callback string) string) *reply {
	s.t.Helper()
	clear(s.browser.cookies)
	begun := s.page("GET", "/.warder/login/web/start?return="+url.QueryEscape(s.at("/app")))
	return s.page("GET", change(s.idp.approve(begun.header.Get("Location"))))
}

func same(callback string) string { return callback }

var logins = method{
	name: "Login", config: "auth: { login: corp }",
	proves: "A session of a browser, that began with a login at the issuer (OpenID Connect). Its cookie is bound to host, issuer and client.",
	send:   "a browser",
	real:   []proved{{"Chromium and oidc-provider", "TestLoginInChromium"}, {"a client of cookies and forms, with logouts by oidc-provider", "TestLoginAtARealProvider"}},
	tries: []try{
		{when: "a session", code: fault.None, ask: func(s *stage) *reply {
			s.logIn(same)
			return s.page("GET", s.at("/app"))
		}},
		{when: "nothing, by a script", code: fault.LoginRequired, challenge: webChallenge, ask: func(s *stage) *reply {
			clear(s.browser.cookies)
			return s.page("GET", s.at("/app"), xhr...)
		}},
		{when: "a session that has ended", code: fault.SessionExpired, challenge: webChallenge, ask: func(s *stage) *reply {
			s.logIn(same)
			name, value := s.browser.session()
			s.page("POST", "/.warder/login/web/logout", "Sec-Fetch-Site", "same-origin")
			s.browser.cookies[name] = value
			r := s.page("GET", s.at("/app"), xhr...)
			for over := time.Now().Add(10 * time.Second); r.status == 503 && time.Now().Before(over); { // the store has 100 ms
				r = s.page("GET", s.at("/app"), xhr...)
			}
			return r
		}},
		{when: "a callback with another state", code: fault.LoginFailed, challenge: webChallenge, ask: func(s *stage) *reply {
			return s.logIn(func(at string) string { return strings.Replace(at, "state=", "state=x", 1) })
		}},
		{when: "a callback in which the issuer says no", code: fault.LoginFailed, challenge: webChallenge, ask: func(s *stage) *reply {
			return s.logIn(func(at string) string { return at + "&error=access_denied" })
		}},
		{when: "an ID token that is not for this login", code: fault.LoginFailed, challenge: webChallenge, ask: func(s *stage) *reply {
			s.idp.set(func() { s.idp.claims = func(c golangjwt.MapClaims) { c["nonce"] = "x" } })
			defer s.idp.set(func() { s.idp.claims = nil })
			return s.logIn(same)
		}},
		{when: "a change that no page of this site makes", code: fault.CSRFRefused, ask: func(s *stage) *reply {
			s.logIn(same)
			return s.page("POST", s.at("/app"), "Origin", "https://evil.example")
		}},
		{when: "a session and an Authorization field", code: fault.CredentialAmbiguous, challenge: webChallenge, ask: func(s *stage) *reply {
			s.logIn(same)
			return s.page("GET", s.at("/app"), "Authorization", "Bearer x")
		}},
		{when: "a login while the issuer is down", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			return s.page("GET", "/.warder/login/gone/start?return=/")
		}},
		{when: "a login while the issuer's token endpoint is out of order", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			s.idp.set(func() { s.idp.status = 500 })
			defer s.idp.set(func() { s.idp.status = 0 })
			return s.logIn(same)
		}},
		{when: "a session while the store has never answered", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			s.logIn(same)
			name, value := s.browser.session()
			return s.ask(s.ill, "/app", append([]string{"Cookie", name + "=" + value}, xhr...)...)
		}},
		{when: "any request but HTTPS, from other machines", code: fault.TransportInsecure, by: "TestTransportInsecureUnlessAProxySaysHTTPS"},
	},
}

var anyChallenge = func(bearer string) string { return bearer + ", " + keyChallenge }

var anyOf = method{
	name: "anyOf", config: "auth: { anyOf: [{ jwt: corp, scopes: [write], roles: [buyer] }, { apiKey: true }, { mtls: true }] }",
	proves: "One of several proofs, with what is asked beside it. Every credential that comes is verified first, and a bad one refuses, also beside a good one.",
	send:   "curl -H 'X-Api-Key: wk_…'",
	real:   []proved{{"curl, with certificates of openssl", "TestClientCertificatesOfARealCA"}},
	tries: []try{
		{when: "a key", code: fault.None, ask: key("/any", "good")},
		{when: "a token with scope and role", code: fault.None, ask: tokenWith("/any", "groups", []string{"buyer"})},
		{when: "a certificate, over HTTP/2", code: fault.None, ask: func(s *stage) *reply { return s.over("partners", "good", "/any") }},
		{when: "nothing", code: fault.CredentialMissing, challenge: anyChallenge(bearerBare("corp")), ask: func(s *stage) *reply { return s.get("/any") }},
		{when: "a token that is over, and a good key", code: fault.TokenExpired, challenge: anyChallenge(invalidToken), ask: func(s *stage) *reply {
			return s.get("/any", "Authorization", "Bearer "+s.token("exp", past), "X-Api-Key", s.keys["good"])
		}},
		{when: "a good token, and a key that nobody has", code: fault.KeyUnknown, challenge: anyChallenge(bearerBare("corp")), ask: func(s *stage) *reply {
			return s.get("/any", "Authorization", "Bearer "+s.token("groups", []string{"buyer"}), "X-Api-Key", s.keys["unknown"])
		}},
		{when: "a good key over a connection with a certificate of a stranger", code: fault.CertificateUntrusted, ask: func(s *stage) *reply {
			return s.over("partners", "a stranger's", "/any", "X-Api-Key", s.keys["good"])
		}},
		{when: "a token of an issuer that no object names", code: fault.TokenIssuerUnknown, challenge: anyChallenge(invalidToken), ask: tokenWith("/any", "iss", "https://other.example/")},
		{when: "a token without the scope", code: fault.ScopeMissing, challenge: `Bearer realm="corp", error="insufficient_scope", scope="write"`, ask: tokenWith("/any", "scope", "read")},
		{when: "a token without the role", code: fault.RoleMissing, ask: tokenWith("/any")},
		{when: "a key while nobody says whether the certificate beside it was revoked", code: fault.IdentityUnavailable, ask: func(s *stage) *reply {
			return s.over("unsure", "good", "/any", "X-Api-Key", s.keys["good"])
		}},
	},
}

// all presents a key, a token and a certificate, by their names; the token is
// of an application.
func all(which, app, cert string, claims ...any) func(*stage) *reply {
	return func(s *stage) *reply {
		fields := []string{"Authorization", "Bearer " + s.token(append(claims, "client_id", app)...)}
		if which != "" {
			fields = append(fields, "X-Api-Key", s.keys[which])
		}
		return s.over("partners", cert, "/all", fields...)
	}
}

var allOf = method{
	name: "allOf", config: "auth: { allOf: [{ apiKey: true }, { jwt: corp, scopes: [write] }, { mtls: true }] }",
	proves: "All of several proofs, each with what is asked beside it. Those that name a consumer must name the same one.",
	send:   "curl --cert client.crt --key client.key -H 'X-Api-Key: wk_…' -H 'Authorization: Bearer eyJ…'",
	real:   []proved{{"curl, with certificates of openssl", "TestClientCertificatesOfARealCA"}},
	tries: []try{
		{when: "key, token and certificate of one consumer, over HTTP/2", code: fault.None, ask: all("good", "acme-app", "good")},
		{when: "nothing", code: fault.CredentialMissing, challenge: keyChallenge + ", " + bearerBare("corp"), ask: func(s *stage) *reply { return s.get("/all") }},
		{when: "all but the key", code: fault.CredentialMissing, challenge: keyChallenge + ", " + bearerBare("corp"), ask: all("", "acme-app", "good")},
		{when: "all but the certificate", code: fault.CertificateMissing, ask: all("good", "acme-app", "")},
		{when: "a key that was taken back", code: fault.KeyRevoked, challenge: keyChallenge + ", " + bearerBare("corp"), ask: all("revoked", "acme-app", "good")},
		{when: "a token that is over", code: fault.TokenExpired, challenge: keyChallenge + ", " + invalidToken, ask: all("good", "acme-app", "good", "exp", past)},
		{when: "a certificate that its CA has revoked", code: fault.CertificateRevoked, ask: all("good", "acme-app", "revoked")},
		{when: "a token of another consumer's application", code: fault.ConsumerNotAllowed, ask: all("good", "globex-app", "good")},
		{when: "a token without the scope", code: fault.ScopeMissing, challenge: `Bearer realm="corp", error="insufficient_scope", scope="write"`, ask: all("good", "acme-app", "good", "scope", "read")},
	},
}
