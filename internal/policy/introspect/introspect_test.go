package introspect_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/introspect"
)

func TestWhatTheIssuerSaysIsHeldAgainstTheRules(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	byClient := func(p *pipeline.Issuer) { p.ClientIDs, p.Audience = []string{"mobile"}, nil }
	both := func(p *pipeline.Issuer) { p.ClientIDs = []string{"mobile"} }
	groups := func(p *pipeline.Issuer) { p.Roles = []string{"realm.groups"} }
	anyType := func(p *pipeline.Issuer) { p.TokenType = "any" }
	for n, c := range []struct {
		what   string
		rules  func(*pipeline.Issuer)
		change members
		want   fault.Code
	}{
		{"a good token", nil, nil, fault.None},
		{"not active", nil, members{"active": false}, fault.TokenInactive},
		{"active is text", nil, members{"active": "true"}, fault.IdentityUnavailable},
		{"active is a number", nil, members{"active": 1}, fault.IdentityUnavailable},
		{"active is null", nil, members{"active": nil}, fault.IdentityUnavailable},
		{"active is missing", nil, members{"active": gone}, fault.IdentityUnavailable},
		{"Active is another name", nil, members{"active": gone, "Active": true}, fault.IdentityUnavailable},
		{"no iss", nil, members{"iss": gone}, fault.None},
		{"another iss", nil, members{"iss": "https://login.example.com"}, fault.TokenIssuerUnknown},
		{"an iss that is no string", nil, members{"iss": []string{"https://login.example.com/"}}, fault.TokenIssuerUnknown},
		{"no token_type", nil, members{"token_type": gone}, fault.None},
		{"token_type is null", nil, members{"token_type": nil}, fault.None},
		{"scope is null", nil, members{"scope": nil}, fault.None},
		{"token_type in small letters", nil, members{"token_type": "bearer"}, fault.None},
		{"token_type of something else", nil, members{"token_type": "refresh_token"}, fault.TokenTypeWrong},
		{"token_type that is no string", nil, members{"token_type": true}, fault.TokenTypeWrong},
		{"a refresh token of Keycloak", nil, members{"typ": "Refresh"}, fault.TokenTypeWrong},
		{"an ID token by token_use", nil, members{"token_use": "id"}, fault.TokenTypeWrong},
		{"an ID token by nonce", nil, members{"nonce": "n"}, fault.TokenTypeWrong},
		{"an ID token by at_hash", nil, members{"at_hash": "h"}, fault.TokenTypeWrong},
		{"a logout token", nil, members{"events": members{}}, fault.TokenTypeWrong},
		{"a nonce where types are not told apart", anyType, members{"nonce": "n"}, fault.None},
		{"no exp", nil, members{"exp": gone}, fault.CredentialMalformed},
		{"exp is text", nil, members{"exp": "1893456000"}, fault.CredentialMalformed},
		{"exp is a fraction", nil, members{"exp": 1893456000.5}, fault.CredentialMalformed},
		{"exp is beyond numbers", nil, members{"exp": uint64(1) << 60}, fault.CredentialMalformed},
		{"exp is now", nil, members{"exp": now.Unix()}, fault.TokenExpired},
		{"exp is within the skew", nil, members{"exp": now.Unix() - 10}, fault.TokenExpired},
		{"exp is a second away", nil, members{"exp": now.Unix() + 1}, fault.None},
		{"nbf is to come", nil, members{"nbf": now.Unix() + 60}, fault.TokenNotYetValid},
		{"nbf is within the skew", nil, members{"nbf": now.Unix() + 29}, fault.None},
		{"one of several audiences", nil, members{"aud": []string{"x", "orders-api"}}, fault.None},
		{"another audience", nil, members{"aud": "invoices-api"}, fault.TokenAudienceWrong},
		{"no audience", nil, members{"aud": gone}, fault.TokenAudienceWrong},
		{"an empty audience", nil, members{"aud": []string{}}, fault.TokenAudienceWrong},
		{"an audience that is no string", nil, members{"aud": []any{"orders-api", 1}}, fault.TokenAudienceWrong},
		{"no audience, by client", byClient, members{"aud": gone}, fault.None},
		{"any audience, by client", byClient, members{"aud": "invoices-api"}, fault.None},
		{"another client", byClient, members{"aud": gone, "client_id": "other"}, fault.TokenAudienceWrong},
		{"no client", byClient, members{"aud": gone, "client_id": gone}, fault.TokenAudienceWrong},
		{"azp is no client_id", byClient, members{"aud": gone, "client_id": gone, "azp": "mobile"}, fault.TokenAudienceWrong},
		{"a refresh token of oidc-provider, by client", byClient, members{"aud": gone, "token_type": gone}, fault.TokenAudienceWrong},
		{"by client, marked by token_use", byClient, members{"aud": gone, "token_type": gone, "token_use": "access"}, fault.None},
		{"by client, an audience that is no string", byClient, members{"aud": 1}, fault.TokenAudienceWrong},
		{"both rules, and no audience", both, members{"aud": gone}, fault.None},
		{"both rules, both hold", both, nil, fault.None},
		{"both rules, the audience does not", both, members{"aud": "invoices-api"}, fault.TokenAudienceWrong},
		{"both rules, the client does not", both, members{"client_id": "other"}, fault.TokenAudienceWrong},
		{"bound to a DPoP key", nil, members{"cnf": members{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, fault.TokenBindingFailed},
		{"bound to a DPoP key that is not named", nil, members{"token_type": "DPoP"}, fault.TokenBindingFailed},
		{"bound to a certificate", nil, members{"cnf": members{"x5t#S256": thumbprint("somebody's")}}, fault.TokenBindingFailed},
		{"bound to nothing", nil, members{"cnf": members{}}, fault.TokenBindingFailed},
		{"bound to null", nil, members{"cnf": nil}, fault.TokenBindingFailed},
		{"bound to what is not known", nil, members{"cnf": members{"kid": "k"}}, fault.TokenBindingFailed},
		{"scope is a list", nil, members{"scope": []string{"orders:read"}}, fault.CredentialMalformed},
		{"no scope", nil, members{"scope": gone}, fault.None},
		{"sub is a number", nil, members{"sub": 1}, fault.CredentialMalformed},
		{"sub is empty", nil, members{"sub": ""}, fault.CredentialMalformed},
		{"the client is a number", nil, members{"client_id": 1}, fault.CredentialMalformed},
		{"the client reads like a subject", nil, members{"client_id": "subject:alice"}, fault.CredentialMalformed},
		{"roles are numbers", groups, members{"realm": members{"groups": []int{1}}}, fault.CredentialMalformed},
		{"jti is a list", nil, members{"jti": []string{"t"}}, fault.CredentialMalformed},
	} {
		token := fmt.Sprint("token-", n)
		i.says(token, answer(t, c.change))
		rules := c.rules
		if rules == nil {
			rules = func(*pipeline.Issuer) {}
		}
		a := build(t, nil, corp(asker(t, i), rules))
		w := world()
		for _, call := range []string{"asked", "remembered"} {
			x := request("Bearer " + token)
			if _, code := judge(t, a, w, x); code != c.want {
				t.Errorf("%s, %s: %v, want %v (%s)", c.what, call, code, c.want, seen(x))
			} else if strings.Contains(seen(x), token) {
				t.Errorf("%s: the token is told: %s", c.what, seen(x))
			}
		}
	}
}

func thumbprint(cert string) string {
	sum := sha256.Sum256([]byte(cert))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestTheIdentityIsWhatTheIssuerSays(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.says("opaque", answer(t, members{"realm": members{"groups": []string{"buyer"}}, "scope": "orders:read  profile orders:read", "iat": now.Unix() - 60}))
	i.says("nobody", answer(t, members{"client_id": gone}))
	acme := &exchange.Consumer{Name: "acme"}
	a := build(t, consumers{"corp/mobile": acme}, corp(asker(t, i), func(p *pipeline.Issuer) { p.Roles = []string{"realm.groups"} }))
	id, code := judge(t, a, world(), request("Bearer opaque"))
	if code != fault.None || id.Method != "introspect" || id.Issuer != "corp" || id.Subject != "alice" || id.Client != "mobile" || id.TokenID != "t1" ||
		id.Consumer != "acme" || id.Named != acme || fmt.Sprint(id.Scopes) != "[orders:read profile]" || fmt.Sprint(id.Roles) != "[buyer]" || !id.Expires.Equal(now.Add(5*time.Minute)) {
		t.Errorf("%v %+v", code, id)
	}
	revocable := exchange.NewToken(sha256.Sum256([]byte("opaque")), "https://login.example.com/", "t1", "alice", now.Unix()-60, 30)
	revocable.Client = exchange.MarkOf(exchange.RevokedConsumer, "corp/mobile")
	if id.Token == nil || *id.Token != revocable || id.Whose != exchange.MarkOf(exchange.RevokedConsumer, "acme") {
		t.Errorf("to be revoked by %+v of %x", id.Token, id.Whose)
	}
	if id, code := judge(t, a, world(), request("Bearer nobody")); code != fault.None || id.Consumer != "corp/subject:alice" || id.Named != nil {
		t.Errorf("%v %+v", code, id)
	}
}

func TestTheOperatorIsToldWhichIssuerATokenIsOf(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	a := build(t, nil, corp(asker(t, i)))
	for token, c := range map[string]struct {
		iss  any
		want string
	}{"other": {"https://other.example/", "have https://other.example/ "}, "list": {[]string{"x"}, "have (an iss that is no string) "}} {
		i.says(token, answer(t, members{"iss": c.iss}))
		x := request("Bearer " + token)
		if _, code := judge(t, a, world(), x); code != fault.TokenIssuerUnknown || !strings.Contains(seen(x), c.want) {
			t.Errorf("%s: %v, %s", token, code, seen(x))
		}
	}
}

func TestTheOperatorIsToldWhomATokenIsFor(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	byClient := func(p *pipeline.Issuer) { p.ClientIDs = []string{"web"} }
	none := func(*pipeline.Issuer) {}
	for token, c := range map[string]struct {
		rules  func(*pipeline.Issuer)
		change members
		want   string
	}{
		"audience": {none, members{"aud": "invoices-api", "token_type": gone}, "have invoices-api, client mobile ·"},
		"nobody":   {none, members{"aud": "invoices-api", "client_id": gone}, "have invoices-api ·"},
		"odd":      {none, members{"aud": 1}, "have an aud that is neither a string nor a list of strings, client mobile ·"},
		"marked":   {byClient, members{"aud": gone}, "have no aud, client mobile ·"},
		"unmarked": {byClient, members{"aud": gone, "token_type": gone}, "have no aud, client mobile, and nothing that marks an access token (token_type) ·"},
	} {
		i.says(token, answer(t, c.change))
		x := request("Bearer " + token)
		if _, code := judge(t, build(t, nil, corp(asker(t, i), c.rules)), world(), x); code != fault.TokenAudienceWrong || !strings.Contains(seen(x), c.want) {
			t.Errorf("%s: %v, %s", token, code, seen(x))
		}
	}
}

func TestWhatABoundTokenHoldsInMemoryIsCounted(t *testing.T) {
	t.Parallel()
	size := func(change members) int {
		claims, err := exchange.ParseClaims([]byte(answer(t, change)))
		if err != nil {
			t.Fatal(err)
		}
		return introspect.Size(corp(nil), claims)
	}
	if free, bound := size(nil), size(members{"cnf": members{"jkt": strings.Repeat("A", 43)}}); bound < free+binding.MaxSize {
		t.Errorf("%d bytes, bound %d", free, bound)
	}
}

func TestOnlyOpaqueTokensAreAskedAbout(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	for _, c := range []struct {
		what, authorization string
		jwt                 bool
		want                fault.Code
		asked               int64
	}{
		{"an opaque token", "Bearer opaque", false, fault.TokenInactive, 1},
		{"in another case, with more spaces", "bEARER   opaque", false, fault.TokenInactive, 1},
		{"all that token68 allows", "Bearer a-._~+/z==", false, fault.TokenInactive, 1},
		{"a JWT", "Bearer eyJh.eyJp.c2ln", false, fault.CredentialMissing, 0},
		{"a JWT without a signature", "Bearer eyJh.eyJp.", false, fault.CredentialMissing, 0},
		{"a JWT with padding", "Bearer eyJh.eyJp.c2ln=", false, fault.CredentialMissing, 0},
		{"a JWT where those are asked about", "Bearer eyJh.eyJp.c2ln", true, fault.TokenInactive, 1},
		{"three parts that are not base64url", "Bearer a.b.c~", false, fault.TokenInactive, 1},
		{"five parts, as of a JWE", "Bearer a.b.c.d.e", false, fault.TokenInactive, 1},
		{"another scheme", "Basic b3BhcXVl", false, fault.CredentialMissing, 0},
		{"a scheme with a longer name", "BearerX opaque", false, fault.CredentialMissing, 0},
		{"no token", "Bearer ", false, fault.CredentialMalformed, 0},
		{"only padding", "Bearer ==", false, fault.CredentialMalformed, 0},
		{"a token with a space", "Bearer a b", false, fault.CredentialMalformed, 0},
		{"a token with an ampersand", "Bearer a&token=b", false, fault.CredentialMalformed, 0},
		{"bytes that are no text", "Bearer \xff\x00", false, fault.CredentialMalformed, 0},
		{"16 KiB", "Bearer " + strings.Repeat("a", 16<<10), false, fault.TokenInactive, 1},
		{"one byte more", "Bearer " + strings.Repeat("a", 16<<10+1), false, fault.CredentialMalformed, 0},
	} {
		before := i.asked.Load()
		a := build(t, nil, corp(asker(t, i), func(p *pipeline.Issuer) { p.IntrospectJWT = c.jwt }))
		if _, code := judge(t, a, world(), request(c.authorization)); code != c.want || i.asked.Load()-before != c.asked {
			t.Errorf("%s: %v after %d calls, want %v after %d", c.what, code, i.asked.Load()-before, c.want, c.asked)
		}
	}
	a := build(t, nil, corp(asker(t, i)))
	if _, code := judge(t, a, world(), request("Bearer a", "Bearer b")); code != fault.CredentialAmbiguous {
		t.Errorf("two fields: %v", code)
	}
	if _, code := judge(t, a, world(), request()); code != fault.CredentialMissing {
		t.Errorf("no field: %v", code)
	}
	if _, code := judge(t, a, &pipeline.World{Remote: true}, request("Bearer a")); code != fault.InternalError {
		t.Errorf("without a clock: %v", code)
	}
}

// certified holds every certificate to be good.
type certified struct{}

func (*certified) JudgeCert(_ context.Context, shown []*x509.Certificate, now time.Time) (exchange.CertVerdict, time.Time) {
	return exchange.CertVerdict{State: exchange.CertVerified, Chains: [][]*x509.Certificate{shown}}, now.Add(time.Hour)
}

func TestABoundTokenNeedsItsProof(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.says("to-cert", answer(t, members{"cnf": members{"x5t#S256": thumbprint("mine")}}))
	i.says("to-cert-and-key", answer(t, members{"cnf": members{"x5t#S256": thumbprint("mine"), "jkt": "k"}}))
	i.says("to-cert-padded", answer(t, members{"cnf": members{"x5t#S256": thumbprint("mine") + "="}}))
	i.says("to-cert-and-dpop", answer(t, members{"token_type": "DPoP", "cnf": members{"x5t#S256": thumbprint("mine")}}))
	i.says("unbound", answer(t))
	a := build(t, nil, corp(asker(t, i)))
	w := world()
	for _, c := range []struct {
		what, authorization, shown string
		judged                     bool
		want                       fault.Code
	}{
		{"with its certificate", "Bearer to-cert", "mine", true, fault.None},
		{"with another", "Bearer to-cert", "stolen", true, fault.TokenBindingFailed},
		{"with none", "Bearer to-cert", "", true, fault.TokenBindingFailed},
		{"with its certificate, which nobody verified", "Bearer to-cert", "mine", false, fault.TokenBindingFailed},
		{"by scheme DPoP", "DPoP to-cert", "mine", true, fault.TokenBindingFailed},
		{"to a key as well", "Bearer to-cert-and-key", "mine", true, fault.TokenBindingFailed},
		{"with another spelling", "Bearer to-cert-padded", "mine", true, fault.TokenBindingFailed},
		{"of type DPoP", "Bearer to-cert-and-dpop", "mine", true, fault.TokenBindingFailed},
		{"not bound, by scheme DPoP", "DPoP unbound", "", true, fault.TokenBindingFailed},
		{"not bound, beside a certificate", "Bearer unbound", "mine", true, fault.None},
	} {
		x := request(c.authorization)
		if c.shown != "" {
			x.Conn.SetTLS(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(c.shown)}}})
		}
		if c.judged {
			x.CertJudge = &certified{}
		}
		if _, code := judge(t, a, w, x); code != c.want {
			t.Errorf("%s: %v, want %v (%s)", c.what, code, c.want, seen(x))
		}
	}
}

func TestExplainingAsksNobody(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.says("opaque", answer(t))
	a := build(t, nil, corp(asker(t, i)))
	w := world()
	look := &pipeline.World{Now: now}
	if _, v := a.Authenticate(request("Bearer opaque"), look); v != pipeline.CannotTell(fault.IdentityUnavailable) || i.asked.Load() != 0 {
		t.Errorf("an unknown token: %v after %d calls", v, i.asked.Load())
	}
	if _, code := judge(t, a, w, request("Bearer opaque")); code != fault.None {
		t.Fatal(code)
	}
	if _, code := judge(t, a, look, request("Bearer opaque")); code != fault.None || i.asked.Load() != 1 {
		t.Errorf("a known one: %v after %d calls", code, i.asked.Load())
	}
}

func TestUnknownTokensAreCountedByAddress(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.says("good", answer(t))
	a := build(t, nil, corp(asker(t, i)))
	w := world()
	from := func(address, token string) fault.Code {
		x := request("Bearer " + token)
		x.Client = netip.MustParseAddr(address)
		_, code := judge(t, a, w, x)
		if code == fault.RateLimited && x.RetryAfter <= 0 {
			t.Error("429 without a time to come again")
		}
		return code
	}
	if code := from("192.0.2.1", "good"); code != fault.None {
		t.Fatal(code)
	}
	for n := range 19 {
		if code := from("192.0.2.1", fmt.Sprint("guess", n)); code != fault.TokenInactive {
			t.Fatalf("guess %d: %v", n, code)
		}
	}
	if code := from("192.0.2.1", "one-more"); code != fault.RateLimited || i.asked.Load() != 20 {
		t.Errorf("the 21st unknown token: %v after %d calls", code, i.asked.Load())
	}
	if code := from("192.0.2.1", "good"); code != fault.None {
		t.Errorf("a known token from the same address: %v", code)
	}
	if code := from("192.0.2.1", "guess1"); code != fault.TokenInactive {
		t.Errorf("a token known to be bad: %v", code)
	}
	if code := from("192.0.2.2", "one-more"); code != fault.TokenInactive {
		t.Errorf("another address: %v", code)
	}
	if code := from("::ffff:192.0.2.1", "and-one"); code != fault.RateLimited {
		t.Errorf("the same address, written as IPv6: %v", code)
	}
	for n := range 20 {
		from(fmt.Sprintf("2001:db8::%x", n), fmt.Sprint("six", n))
	}
	if code := from("2001:db8::ffff:1", "six-more"); code != fault.RateLimited {
		t.Errorf("one IPv6 network: %v", code)
	}
	w.Now = now.Add(time.Second)
	if code := from("192.0.2.1", "later"); code != fault.TokenInactive {
		t.Errorf("a second later: %v", code)
	}
	w.Counters = broken{}
	if code := from("192.0.2.9", "uncounted"); code != fault.IdentityUnavailable {
		t.Errorf("without counters: %v", code)
	}
}

func TestWhatDoesNotCompile(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	for what, change := range map[string]func(*pipeline.Issuer){
		"nobody to ask":         func(p *pipeline.Issuer) { p.Introspector = nil },
		"no audience":           func(p *pipeline.Issuer) { p.Audience = nil },
		"an empty audience":     func(p *pipeline.Issuer) { p.Audience = []string{""} },
		"an empty client id":    func(p *pipeline.Issuer) { p.ClientIDs = []string{""} },
		"no URL":                func(p *pipeline.Issuer) { p.URL = "" },
		"nothing but its name ": func(p *pipeline.Issuer) { *p = pipeline.Issuer{Name: "corp"} },
	} {
		iss := corp(asker(t, i), change)
		if _, err := introspect.New("corp", pipeline.Env{Issuer: func(string) (*pipeline.Issuer, error) { return iss, nil }}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := introspect.New("x", pipeline.Env{Issuer: func(string) (*pipeline.Issuer, error) { return nil, errors.New("there is none") }}); err == nil {
		t.Error("an unknown issuer: accepted")
	}
}

// What the issuer says of a token's binding is checked as that of a JWT. That a
// proof of the key is accepted is tested with a real issuer.
func TestAnIntrospectedTokenBoundToAKeyNeedsAProof(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	jkt := members{"cnf": members{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}
	i.says("bound", answer(t, jkt))
	i.says("typed", answer(t, jkt, members{"token_type": "DPoP"}))
	i.says("unbound", answer(t))
	i.says("certified", answer(t, members{"token_type": "DPoP", "cnf": members{"x5t#S256": thumbprint("x")}}))
	rule := binding.AsIssued
	for _, c := range []struct {
		authorization string
		rule          binding.Rule
		want          fault.Code
	}{
		{"DPoP bound", rule, fault.DPoPProofInvalid},
		{"DPoP typed", rule, fault.DPoPProofInvalid},
		{"Bearer typed", rule, fault.TokenBindingFailed},
		{"DPoP unbound", rule, fault.TokenBindingFailed},
		{"DPoP certified", rule, fault.TokenBindingFailed},
		{"Bearer unbound", rule, fault.None},
		{"Bearer unbound", binding.ToKey, fault.TokenBindingFailed},
		{"Bearer unbound", binding.ToCertificate, fault.TokenBindingFailed},
	} {
		a := build(t, nil, corp(asker(t, i), func(p *pipeline.Issuer) { p.Binding = c.rule }))
		w := world()
		for _, call := range []string{"asked", "remembered"} {
			if _, code := judge(t, a, w, request(c.authorization)); code != c.want {
				t.Errorf("%s, rule %v, %s: %v, want %v", c.authorization, c.rule, call, code, c.want)
			}
		}
	}
}
