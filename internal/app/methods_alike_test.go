package app_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
)

// alike is what must not be told apart from outside, by groups. The inner code
// tells that each is what it says.
var alike = map[string][]try{
	"key": {
		{when: "unknown", code: fault.KeyUnknown, ask: key("/key", "unknown")},
		{when: "expired", code: fault.KeyExpired, ask: key("/key", "expired")},
		{when: "revoked", code: fault.KeyRevoked, ask: key("/key", "revoked")},
		{when: "malformed", code: fault.KeyMalformed, ask: func(s *stage) *reply { return s.get("/key", "X-Api-Key", "wk_garbage") }},
	},
	"password": {
		{when: "wrong", code: fault.PasswordWrong, ask: userPassword("acme", "wrong")},
		{when: "of nobody", code: fault.PasswordWrong, ask: userPassword("nobody", rightPassword)},
		{when: "empty", code: fault.PasswordWrong, ask: userPassword("acme", "")},
		{when: "right, while locked", code: fault.AccountLocked, ask: lockedOut},
	},
	"signed token": {
		{when: "wrong signature", code: fault.TokenSignatureInvalid, ask: func(s *stage) *reply { return s.bearer("/jwt", altered(s.token())) }},
		{when: "unknown key", code: fault.TokenKeyUnknown, ask: func(s *stage) *reply {
			return s.bearer("/jwt", forged(s.t, map[string]any{"alg": "EdDSA", "kid": "other"}))
		}},
		{when: "algorithm", code: fault.TokenAlgorithmRefused, ask: func(s *stage) *reply {
			return s.bearer("/jwt", forged(s.t, map[string]any{"alg": "HS256", "kid": "k"}))
		}},
		{when: "unknown issuer", code: fault.TokenIssuerUnknown, ask: tokenWith("/jwt", "iss", "https://other.example/")},
		{when: "not yet valid", code: fault.TokenNotYetValid, ask: tokenWith("/jwt", "nbf", ahead)},
		{when: "revoked", code: fault.TokenRevoked, ask: tokenWith("/jwt", "jti", "revoked")},
		{when: "malformed", code: fault.CredentialMalformed, ask: func(s *stage) *reply { return s.get("/jwt", "Authorization", "Bearer ?") }},
	},
	"opaque token": {
		{when: "inactive", code: fault.TokenInactive, ask: func(s *stage) *reply { return s.bearer("/introspect", s.says("active", false)) }},
		{when: "opaque, of another issuer", code: fault.TokenIssuerUnknown, ask: func(s *stage) *reply { return s.bearer("/introspect", s.says("iss", "https://other.example/")) }},
		{when: "opaque, revoked here", code: fault.TokenRevoked, ask: func(s *stage) *reply { return s.bearer("/introspect", s.says("jti", "revoked")) }},
		{when: "malformed", code: fault.CredentialMalformed, ask: func(s *stage) *reply { return s.get("/introspect", "Authorization", "Bearer ?") }},
	},
	"proof of a key": {
		{when: "none", code: fault.DPoPProofInvalid, ask: func(s *stage) *reply { return s.get("/dpop", "Authorization", "DPoP "+s.bound()) }},
		{when: "of another key", code: fault.DPoPProofInvalid, ask: func(s *stage) *reply {
			token := s.bound()
			return s.prove(s.well, token, newMe(s.t).proof(s.well.url+"/dpop", token, nil))
		}},
		{when: "sent before", code: fault.DPoPReplayed, ask: func(s *stage) *reply {
			token := s.bound()
			proof := s.client.proof(s.well.url+"/dpop", token, nil)
			s.prove(s.well, token, proof)
			return s.prove(s.well, token, proof)
		}},
	},
	"certificate": {
		{when: "of a stranger", code: fault.CertificateUntrusted, ask: certificateOf("partners", "a stranger's")},
		{when: "of nobody", code: fault.CertificateUntrusted, ask: certificateOf("partners", "nobody's")},
		{when: "revoked", code: fault.CertificateRevoked, ask: certificateOf("partners", "revoked")},
	},
	"forwarded certificate": {
		{when: "of a stranger", code: fault.CertificateUntrusted, ask: forwarded("a stranger's")},
		{when: "of nobody", code: fault.CertificateUntrusted, ask: forwarded("nobody's")},
		{when: "revoked", code: fault.CertificateRevoked, ask: forwarded("revoked")},
		{when: "no certificate", code: fault.CertificateUntrusted, ask: func(s *stage) *reply { return s.over("front", "", "/mtls", "Client-Cert", "x") }},
	},
	"session": {
		{when: "made up", code: fault.SessionExpired, ask: session(strings.Repeat("A", 80))},
		{when: "not base64", code: fault.SessionExpired, ask: session("?")},
		{when: "that ended", code: fault.SessionExpired, ask: func(s *stage) *reply {
			s.logIn(same)
			_, value := s.browser.session()
			s.page("POST", "/.warder/login/web/logout", "Sec-Fetch-Site", "same-origin")
			r := session(value)(s)
			for over := time.Now().Add(10 * time.Second); r.status == 503 && time.Now().Before(over); { // the store has 100 ms
				r = session(value)(s)
			}
			return r
		}},
	},
}

// session asks with a session cookie of this value.
func session(value string) func(*stage) *reply {
	return func(s *stage) *reply {
		return s.get("/app", append([]string{"Cookie", s.session + "=" + value}, xhr...)...)
	}
}

// Whoever tries what he has found learns from the answer only that it is no
// good: byte for byte the same in HTTP/1.1, field for field in HTTP/2.
func TestRefusalsThatMustNotBeToldApart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	own := regexp.MustCompile(`[0-9a-f]{32}|(?m)^Date: .*$`)
	for _, s.raw = range []bool{true, false} {
		for what, tries := range alike {
			first, firstOf := "", ""
			for _, c := range tries {
				s.row++
				r := c.ask(s)
				if rec := r.record(t); rec.Code != c.code.String() {
					t.Errorf("%s, %s: %s, want %s", what, c.when, rec.Code, c.code)
				}
				all := r.body
				if !s.raw {
					r.header.Del("Date")
					all = fmt.Sprint(r.proto, r.status, r.header, r.body)
				}
				if want := map[bool]string{true: "HTTP/1.1", false: "HTTP/2.0"}[s.raw]; r.proto != want {
					t.Errorf("%s, %s: %s, want %s", what, c.when, r.proto, want)
				}
				got := own.ReplaceAllString(all, "-")
				if first == "" {
					first, firstOf = got, c.when
				}
				if got != first {
					t.Errorf("%s: %s is answered by\n%s\nand %s by\n%s", what, c.when, got, firstOf, first)
				}
			}
		}
	}
}
