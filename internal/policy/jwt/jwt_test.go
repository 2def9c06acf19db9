package jwt_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/jwt"
)

type tokenCase struct {
	name  string
	token string
	want  fault.Code // None: accepted
}

func runTokens(t *testing.T, parts pipeline.Parts, cases []tokenCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, round := range []string{"first", "again"} { // the second may meet the memory
				x := request("Bearer " + c.token)
				_, v := parts.Authenticate.Authenticate(x, world)
				if v.Code() != c.want {
					t.Errorf("%s: %v, want %v; saw %v", round, v.Code(), c.want, x.Trail.Steps()[0].Operands())
				}
			}
		})
	}
}

// Rule 1: one Authorization field, scheme Bearer or DPoP, token68.
func TestOneAuthorizationFieldWithABearerToken(t *testing.T) {
	t.Parallel()
	good := sign(t, access())
	parts := build(t, nil, issuer())
	for _, c := range []struct {
		name   string
		fields []string
		want   fault.Code
	}{
		{"a bearer token", []string{"Bearer " + good}, fault.None},
		{"the scheme in any case", []string{"bEARER " + good}, fault.None},
		{"several spaces", []string{"Bearer   " + good}, fault.None},
		{"no field", nil, fault.CredentialMissing},
		{"an empty field", []string{""}, fault.CredentialMissing},
		{"another scheme", []string{"Basic dTpw"}, fault.CredentialMissing},
		{"another scheme of four letters", []string{"Hoba " + good}, fault.CredentialMissing},
		{"a scheme that begins like ours", []string{"BearerX " + good}, fault.CredentialMissing},
		{"two fields", []string{"Bearer " + good, "Bearer " + good}, fault.CredentialAmbiguous},
		{"two fields of two schemes", []string{"Bearer " + good, "Basic dTpw"}, fault.CredentialAmbiguous},
		{"the scheme alone", []string{"Bearer"}, fault.CredentialMalformed},
		{"the scheme and a space", []string{"Bearer "}, fault.CredentialMalformed},
		{"a tab", []string{"Bearer\t" + good}, fault.CredentialMalformed},
		{"a quoted token", []string{`Bearer "` + good + `"`}, fault.CredentialMalformed},
		{"two tokens", []string{"Bearer " + good + "," + good}, fault.CredentialMalformed},
		{"a token and a parameter", []string{"Bearer " + good + " x=y"}, fault.CredentialMalformed},
		{"only padding", []string{"Bearer =="}, fault.CredentialMalformed},
		{"a token with padding", []string{"Bearer " + good + "="}, fault.CredentialMalformed},
		{"garbage", []string{"Bearer garbage"}, fault.CredentialMalformed},
		{"DPoP with a token that is not bound", []string{"DPoP " + good}, fault.TokenBindingFailed},
		{"DPoP with an expired token", []string{"DPoP " + sign(t, access(claims{"exp": 1}))}, fault.TokenExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, code := judge(t, parts, c.fields...); code != c.want {
				t.Errorf("%v, want %v", code, c.want)
			}
		})
	}
}

// The operator reads which rule it was, also where others would have refused
// after it.
func TestTheTrailSaysWhatIsWrongWithTheForm(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	good := sign(t, access())
	for field, want := range map[string]string{
		"Bearer":              "the Authorization field holds no token",
		"Bearer ":             "the Authorization field holds no token",
		"Bearer\t" + good:     "the Authorization field holds no token",
		"Bearer garbage":      "the token does not have three parts",
		"Bearer a.b.c.d.e":    "the token does not have three parts",
		"Bearer e3\n0.e30.AA": "the token's header is not base64url",
		"Bearer W10.e30.AA":   "the token's header is not a JSON object",
		"Bearer e30.W10.AA":   "the token's header has no alg",
		"Bearer !!.e30.AA":    "the token's header is not base64url",
		"Bearer e30.!!.AA":    "the token's payload is not base64url",
		"Bearer e30.e30.!":    "the token's signature is not base64url",
	} {
		x := request(field)
		if _, v := parts.Authenticate.Authenticate(x, world); v.Code() != fault.CredentialMalformed || operand(x, "because") != want {
			t.Errorf("%q: %v %q", field, v.Code(), operand(x, "because"))
		}
	}
}

func TestTheTrailSaysWhatIsWrongWithTheScheme(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	bound := sign(t, access(claims{"cnf": claims{"jkt": "x"}}))
	for field, want := range map[string]string{
		"Basic dTpw":                "the Authorization field is of another scheme than Bearer",
		"Bearer " + bound:           "the token is bound (cnf) to what cannot be checked here",
		"DPoP " + bound:             "the token is bound (cnf) to what cannot be checked here",
		"DPoP " + sign(t, access()): "a token that is not bound to a key (cnf.jkt) was presented by scheme DPoP",
	} {
		x := request(field)
		if parts.Authenticate.Authenticate(x, world); operand(x, "because") != want {
			t.Errorf("%q: %q", field, operand(x, "because"))
		}
	}
	x := request()
	if _, v := parts.Authenticate.Authenticate(x, world); v != pipeline.NotMine || operand(x, "because") != "" {
		t.Errorf("no field: %v %q", v, operand(x, "because"))
	}
}

// Where nothing may be fetched, a key at hand is enough.
func TestAKeyAtHandNeedsNoFetch(t *testing.T) {
	t.Parallel()
	x := request("Bearer " + sign(t, access()))
	if _, v := build(t, nil, issuer()).Authenticate.Authenticate(x, &pipeline.World{Now: now}); !v.Passed() {
		t.Error(v.Code())
	}
}

// The tokens that people try first.
func TestTokensThatMustNotPass(t *testing.T) {
	t.Parallel()
	m := material()
	good := sign(t, access())
	parts := strings.Split(good, ".")
	other := func() string {
		input := parts[0] + "." + parts[1]
		sig, _ := golangjwt.SigningMethodRS256.Sign(input, m.otherRSA)
		return input + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	// RS256 turned into HS256, with the public key as the secret.
	confused := func(secret []byte) string {
		input := b64(`{"alg":"HS256","kid":"rsa"}`) + "." + parts[1]
		sig, _ := golangjwt.SigningMethodHS256.Sign(input, secret)
		return input + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	der, _ := x509.MarshalPKIXPublicKey(m.rsa.Public())
	last := parts[2][len(parts[2])-1]
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	altered := parts[2][:len(parts[2])-1] + string(alphabet[strings.IndexByte(alphabet, last)|1])
	runTokens(t, build(t, nil, issuer()), []tokenCase{
		{"good", good, fault.None},
		{"empty parts", "..", fault.CredentialMalformed},
		{"two parts", parts[0] + "." + parts[1], fault.CredentialMalformed},
		{"four parts", good + ".x", fault.CredentialMalformed},
		{"five parts, as of an encrypted token", "a.b.c.d.e", fault.CredentialMalformed},
		{"too long", good + strings.Repeat("A", 16<<10), fault.CredentialMalformed},
		{"expired", sign(t, access(claims{"exp": now.Unix() - 31})), fault.TokenExpired},
		{"wrong audience", sign(t, access(claims{"aud": "payments-api"})), fault.TokenAudienceWrong},
		{"wrong issuer", sign(t, access(claims{"iss": "https://evil.example/"})), fault.TokenIssuerUnknown},
		{"issuer without its slash", sign(t, access(claims{"iss": strings.TrimSuffix(corpURL, "/")})), fault.TokenIssuerUnknown},
		{"issuer in another case", sign(t, access(claims{"iss": strings.ToUpper(corpURL)})), fault.TokenIssuerUnknown},
		{"issuer in a list", sign(t, access(claims{"iss": []string{corpURL}})), fault.TokenIssuerUnknown},
		{"no issuer", sign(t, access(claims{"iss": gone})), fault.TokenIssuerUnknown},
		{"signed by another key", other(), fault.TokenSignatureInvalid},
		{"no signature", parts[0] + "." + parts[1] + ".", fault.TokenSignatureInvalid},
		{"another payload", parts[0] + "." + b64(`{"iss":"`+corpURL+`"}`) + "." + parts[2], fault.TokenSignatureInvalid},
		{"last bits of the signature altered", parts[0] + "." + parts[1] + "." + altered, fault.CredentialMalformed},
		{"alg none", b64(`{"alg":"none"}`) + "." + parts[1] + ".", fault.TokenAlgorithmRefused},
		{"alg None", b64(`{"alg":"None"}`) + "." + parts[1] + ".", fault.TokenAlgorithmRefused},
		{"alg none with the signature", b64(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2], fault.TokenAlgorithmRefused},
		{"HS256 with the key's DER as secret", confused(der), fault.TokenAlgorithmRefused},
		{"HS256 with an empty secret", confused(nil), fault.TokenAlgorithmRefused},
		{"alg in lower case", b64(`{"alg":"rs256","kid":"rsa"}`) + "." + parts[1] + "." + parts[2], fault.TokenAlgorithmRefused},
		{"an algorithm that is not listed", sign(t, access(), claims{"alg": "RS512"}), fault.TokenAlgorithmRefused},
		{"a kid of a key of another type", sign(t, access(), claims{"kid": "es256"}), fault.TokenKeyUnknown},
		{"a kid that nobody has", sign(t, access(), claims{"kid": "../../dev/null"}), fault.TokenKeyUnknown},
		{"no kid and two keys that fit", sign(t, access(), claims{"kid": gone, "alg": "RS256"}), fault.None}, // one RSA key here
		{"ID token in place of the access token", sign(t, claims{"iss": corpURL, "aud": "orders-api", "sub": "alice", "azp": "orders-api",
			"nonce": "n", "iat": now.Unix(), "exp": now.Unix() + 300, "email": "a@example.com"}), fault.TokenTypeWrong},
	})
}

func TestEverySupportedAlgorithmVerifies(t *testing.T) {
	t.Parallel()
	all := map[string]string{"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "es256", "ES384": "es384", "ES512": "es512", "EdDSA": "ed"}
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) {
		i.Algorithms = nil
		for alg := range all {
			i.Algorithms = append(i.Algorithms, alg)
		}
	}))
	for alg, kid := range all {
		id, code := judge(t, parts, "Bearer "+sign(t, access(), claims{"alg": alg, "kid": kid}))
		if code != fault.None {
			t.Errorf("%s: %v", alg, code)
		} else if want := alg + " kid " + kid + " jti t1"; id.Proof != want {
			t.Errorf("proof %q, want %q", id.Proof, want)
		}
		if _, code := judge(t, parts, "Bearer "+sign(t, access(), claims{"alg": alg, "kid": "other"})); code != fault.TokenKeyUnknown {
			t.Errorf("%s, unknown kid: %v", alg, code)
		}
	}
}

// What golang-jwt lets through with its natural options, and we must not.
func TestLibraryContract(t *testing.T) {
	t.Parallel()
	head := `{"alg":"RS256","kid":"rsa","typ":"JWT"}`
	body := fmt.Sprintf(`"iss":%q,"aud":"orders-api","sub":"alice","scope":"x","exp":%d`, corpURL, now.Unix()+300)
	raw := func(header, payload string) string { return signParts(t, header, payload, "RS256") }
	big := fmt.Sprintf(`{"alg":"RS256","kid":"rsa","x":%q}`, strings.Repeat("x", 2048))
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	runTokens(t, build(t, nil, issuer()), []tokenCase{
		{"as it should be", raw(head, "{"+body+"}"), fault.None},
		{"no exp", sign(t, access(claims{"exp": gone})), fault.CredentialMalformed},
		{"crit", raw(`{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}`, "{"+body+"}"), fault.CredentialMalformed},
		{"an empty crit", raw(`{"alg":"RS256","kid":"rsa","crit":[]}`, "{"+body+"}"), fault.CredentialMalformed},
		{"b64 false", raw(`{"alg":"RS256","kid":"rsa","b64":false}`, "{"+body+"}"), fault.CredentialMalformed},
		{"b64 true", raw(`{"alg":"RS256","kid":"rsa","b64":true}`, "{"+body+"}"), fault.CredentialMalformed},
		{"aud twice", raw(head, `{"aud":"payments",`+body+`}`), fault.CredentialMalformed},
		{"aud twice, once by escape", raw(head, `{"\u0061ud":"payments",`+body+`}`), fault.CredentialMalformed},
		{"AUD beside aud does not replace it", raw(head, `{"AUD":"payments",`+body+`}`), fault.None},
		{"AUD in place of aud", raw(head, strings.Replace("{"+body+"}", `"aud"`, `"AUD"`, 1)), fault.TokenAudienceWrong},
		{"EXP in place of exp", raw(head, strings.Replace("{"+body+"}", `"exp"`, `"EXP"`, 1)), fault.CredentialMalformed},
		{"a member twice, far down", raw(head, `{"x":[{"y":{"z":1,"z":1}}],`+body+`}`), fault.CredentialMalformed},
		{"alg twice", raw(`{"alg":"none","alg":"RS256","kid":"rsa"}`, "{"+body+"}"), fault.CredentialMalformed},
		{"ALG beside alg", raw(`{"ALG":"none","alg":"RS256","kid":"rsa"}`, "{"+body+"}"), fault.None},
		{"only ALG", raw(`{"ALG":"RS256","kid":"rsa"}`, "{"+body+"}"), fault.CredentialMalformed},
		{"invalid UTF-8", raw(head, "{\"x\":\"\xff\","+body+"}"), fault.CredentialMalformed},
		{"half a surrogate pair", raw(head, `{"x":"\ud800",`+body+`}`), fault.CredentialMalformed},
		{"too deep", raw(head, `{"x":`+deep+`,`+body+`}`), fault.CredentialMalformed},
		{"something behind the payload", raw(head, "{"+body+"}{}"), fault.CredentialMalformed},
		{"a payload that is no object", raw(head, `["x"]`), fault.CredentialMalformed},
		{"a header that is no object", raw(`"RS256"`, "{"+body+"}"), fault.CredentialMalformed},
		{"a header that is too long", raw(big, "{"+body+"}"), fault.CredentialMalformed},
		{"a kid that is too long", sign(t, access(), claims{"kid": strings.Repeat("k", 257)}), fault.CredentialMalformed},
		{"a kid that is a number", sign(t, access(), claims{"kid": 7}), fault.CredentialMalformed},
		{"an alg that is a list", raw(`{"alg":["RS256"],"kid":"rsa"}`, "{"+body+"}"), fault.CredentialMalformed},
		{"a typ that is null", raw(`{"alg":"RS256","kid":"rsa","typ":null}`, "{"+body+"}"), fault.CredentialMalformed},
		{"ES256 with a key on another curve", sign(t, access(), claims{"alg": "ES384", "kid": "es256"}), fault.TokenAlgorithmRefused},
		{"standard base64 in place of base64url", strings.NewReplacer("-", "+", "_", "/").Replace(raw(head, `{"x":"???>>>~~~",`+body+`}`)), fault.CredentialMalformed},
		{"keys that the token brings along", raw(`{"alg":"RS256","kid":"nobody","jku":"https://evil.example/","x5u":"https://evil.example/","jwk":{"kty":"RSA"},"x5c":["x"]}`, "{"+body+"}"), fault.TokenKeyUnknown},
		{"and they do not matter", raw(`{"alg":"RS256","kid":"rsa","jku":"https://evil.example/","jwk":{"kty":"oct","k":"AA"}}`, "{"+body+"}"), fault.None},
	})
}

// Rule 2: iss, exp, nbf, iat.
func TestTimes(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	n := now.Unix()
	raw := func(member string) string {
		return signRaw(t, fmt.Sprintf(`{"iss":%q,"aud":"orders-api","sub":"a","scope":"x",%s}`, corpURL, member))
	}
	runTokens(t, parts, []tokenCase{
		{"expired within the skew", sign(t, access(claims{"exp": n - 29})), fault.None},
		{"expired as long ago as the skew", sign(t, access(claims{"exp": n - 30})), fault.TokenExpired},
		{"expired at the beginning of time", sign(t, access(claims{"exp": 0})), fault.TokenExpired},
		{"not before, within the skew", sign(t, access(claims{"nbf": n + 30})), fault.None},
		{"not before, later than the skew", sign(t, access(claims{"nbf": n + 31})), fault.TokenNotYetValid},
		{"issued within the skew", sign(t, access(claims{"iat": n + 30})), fault.None},
		{"issued later than the skew", sign(t, access(claims{"iat": n + 31})), fault.TokenNotYetValid},
		{"no iat", sign(t, access(claims{"iat": gone})), fault.None},
		{"exp of 2^53", raw(`"exp":9007199254740992`), fault.None},
		{"exp beyond 2^53", raw(`"exp":9007199254740993`), fault.CredentialMalformed},
		{"exp as text", raw(fmt.Sprintf(`"exp":"%d"`, n+300)), fault.CredentialMalformed},
		{"exp with a fraction", raw(fmt.Sprintf(`"exp":%d.0`, n+300)), fault.CredentialMalformed},
		{"exp with an exponent", raw(`"exp":9e12`), fault.CredentialMalformed},
		{"exp negative", raw(`"exp":-1`), fault.CredentialMalformed},
		{"exp null", raw(`"exp":null`), fault.CredentialMalformed},
		{"nbf as text", raw(fmt.Sprintf(`"exp":%d,"nbf":"0"`, n+300)), fault.CredentialMalformed},
		{"iat null", raw(fmt.Sprintf(`"exp":%d,"iat":null`, n+300)), fault.CredentialMalformed},
	})
	x := request("Bearer " + sign(t, access(claims{"exp": n - 180})))
	parts.Authenticate.Authenticate(x, world)
	if got := operand(x, "because"); got != "expired 3m0s ago" {
		t.Errorf("the operator reads %q", got)
	}
}

func TestWithoutAClockNothingPasses(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	x := request("Bearer " + sign(t, access()))
	if _, v := parts.Authenticate.Authenticate(x, &pipeline.World{}); v.Code() != fault.InternalError {
		t.Errorf("%v", v.Code())
	}
}

// Rule 3: aud and client ids.
func TestAudience(t *testing.T) {
	t.Parallel()
	byClient := func(i *pipeline.Issuer) { i.Audience, i.ClientIDs = nil, []string{"mobile", "batch"} }
	both := func(i *pipeline.Issuer) { i.ClientIDs = []string{"mobile"} }
	use := claims{"token_use": "access"}
	for _, c := range []struct {
		name   string
		issuer func(*pipeline.Issuer)
		change claims
		want   fault.Code
	}{
		{"one of a list", nil, claims{"aud": []string{"x", "orders-api"}}, fault.None},
		{"none", nil, claims{"aud": gone}, fault.TokenAudienceWrong},
		{"null", nil, claims{"aud": nil}, fault.TokenAudienceWrong},
		{"an empty list", nil, claims{"aud": []string{}}, fault.TokenAudienceWrong},
		{"a list with a number", nil, claims{"aud": []any{"orders-api", 1}}, fault.TokenAudienceWrong},
		{"an object", nil, claims{"aud": claims{"orders-api": true}}, fault.TokenAudienceWrong},
		{"a prefix", nil, claims{"aud": "orders-api/v2"}, fault.TokenAudienceWrong},
		{"another case", nil, claims{"aud": "Orders-API"}, fault.TokenAudienceWrong},
		{"a listed client", byClient, claims{"aud": gone, "token_use": "access"}, fault.None},
		{"a listed client, any aud", byClient, claims{"aud": "x", "token_use": "access"}, fault.None},
		{"a listed client without token_use", byClient, claims{"aud": gone}, fault.TokenAudienceWrong},
		{"a listed client, an empty aud", byClient, claims{"aud": []string{}, "token_use": "access"}, fault.TokenAudienceWrong},
		{"an unlisted client", byClient, claims{"client_id": "other", "token_use": "access"}, fault.TokenAudienceWrong},
		{"azp never stands for client_id", byClient, claims{"client_id": gone, "azp": "mobile", "token_use": "access"}, fault.TokenAudienceWrong},
		{"an ID token of a listed client", byClient, claims{"client_id": gone, "aud": "mobile", "token_use": "id"}, fault.TokenTypeWrong},
		{"both asked, both right", both, use, fault.None},
		{"both asked, no aud", both, claims{"aud": gone, "token_use": "access"}, fault.None},
		{"both asked, wrong aud", both, claims{"aud": "x", "token_use": "access"}, fault.TokenAudienceWrong},
		{"both asked, wrong client", both, claims{"client_id": "x", "token_use": "access"}, fault.TokenAudienceWrong},
		{"both asked, malformed aud", both, claims{"aud": 1, "token_use": "access"}, fault.TokenAudienceWrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			iss := issuer()
			if c.issuer != nil {
				c.issuer(iss)
			}
			runTokens(t, build(t, nil, iss), []tokenCase{{"token", sign(t, access(c.change)), c.want}})
		})
	}
}

// Binding: a token with cnf is always checked. What proofs are judged by is
// tested where it is done, in package binding; that they are, in binding_test.go.
func TestABoundTokenIsNotABearerToken(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	for name, cnf := range map[string]any{"jkt": claims{"jkt": "x"}, "x5t#S256": claims{"x5t#S256": "x"}, "null": nil, "text": "x"} {
		for _, s := range []string{"Bearer ", "DPoP "} {
			if _, code := judge(t, parts, s+sign(t, access(claims{"cnf": cnf}))); code != fault.TokenBindingFailed {
				t.Errorf("%s %s: %v", s, name, code)
			}
		}
	}
}

// holds judges every certificate to be in one state.
type holds struct{ state exchange.CertState }

func (h *holds) JudgeCert(_ context.Context, shown []*x509.Certificate, now time.Time) (exchange.CertVerdict, time.Time) {
	return exchange.CertVerdict{State: h.state, Chains: [][]*x509.Certificate{shown}}, now.Add(time.Hour)
}

// Binding: x5t#S256 is the certificate of this connection.
func TestATokenBoundToACertificateIsThatOfWhoShowsIt(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	cert, other := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("another")}
	sum := sha256.Sum256(cert.Raw)
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		scheme string
		cnf    claims
		shown  *x509.Certificate
		state  exchange.CertState
		want   fault.Code
	}{
		"shown":                    {"Bearer ", claims{"x5t#S256": thumbprint}, cert, exchange.CertVerified, fault.None},
		"by scheme DPoP":           {"DPoP ", claims{"x5t#S256": thumbprint}, cert, exchange.CertVerified, fault.TokenBindingFailed},
		"another shown":            {"Bearer ", claims{"x5t#S256": thumbprint}, other, exchange.CertVerified, fault.TokenBindingFailed},
		"none shown":               {"Bearer ", claims{"x5t#S256": thumbprint}, nil, exchange.CertVerified, fault.TokenBindingFailed},
		"shown, and does not hold": {"Bearer ", claims{"x5t#S256": thumbprint}, cert, exchange.CertUntrusted, fault.TokenBindingFailed},
		"shown, and was revoked":   {"Bearer ", claims{"x5t#S256": thumbprint}, cert, exchange.CertRevoked, fault.TokenBindingFailed},
		"nobody knows":             {"Bearer ", claims{"x5t#S256": thumbprint}, cert, exchange.CertUnknown, fault.IdentityUnavailable},
		"padded":                   {"Bearer ", claims{"x5t#S256": thumbprint + "="}, cert, exchange.CertVerified, fault.TokenBindingFailed},
		"to a key too":             {"Bearer ", claims{"x5t#S256": thumbprint, "jkt": "x"}, cert, exchange.CertVerified, fault.TokenBindingFailed},
		"by SHA-1":                 {"Bearer ", claims{"x5t": thumbprint}, cert, exchange.CertVerified, fault.TokenBindingFailed},
	} {
		token := sign(t, access(claims{"cnf": c.cnf, "jti": name}))
		for range 2 { // the second time by heart
			x := request(c.scheme + token)
			x.Conn, x.CertJudge = &exchange.Conn{}, &holds{c.state}
			if c.shown != nil {
				x.Conn.SetTLS(tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.shown}})
			}
			if _, v := parts.Authenticate.Authenticate(x, world); v.Code() != c.want {
				t.Errorf("%s: %v, want %v", name, v.Code(), c.want)
			}
		}
	}
}

func TestTheFirstFailureInTheFixedOrderDecides(t *testing.T) {
	t.Parallel()
	everything := claims{"aud": "x", "exp": 1, "nonce": "n", "cnf": claims{}}
	runTokens(t, build(t, nil, issuer()), []tokenCase{
		{"form before algorithm", "a." + b64("{}") + ".c", fault.CredentialMalformed},
		{"algorithm before issuer", sign(t, access(everything, claims{"iss": "x"}), claims{"alg": "HS256"}), fault.TokenAlgorithmRefused},
		{"issuer before key", sign(t, access(everything, claims{"iss": "x"}), claims{"kid": "x"}), fault.TokenIssuerUnknown},
		{"key before signature", sign(t, access(everything), claims{"kid": "x"}), fault.TokenKeyUnknown},
		{"signature before type", sign(t, access(everything)) + "AAAA", fault.TokenSignatureInvalid},
		{"type before time", sign(t, access(everything)), fault.TokenTypeWrong},
		{"time before audience", sign(t, access(everything, claims{"nonce": gone})), fault.TokenExpired},
		{"audience before binding", sign(t, access(claims{"aud": "x", "cnf": claims{}})), fault.TokenAudienceWrong},
		{"binding", sign(t, access(claims{"cnf": claims{}})), fault.TokenBindingFailed},
	})
}

func TestNothingOfTheClaimsIsToldBeforeTheSignatureHolds(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	for _, change := range []claims{nil, {"exp": 1}, {"aud": "x"}, {"nonce": "n"}, {"iss": "x"}, {"cnf": claims{}}, {"exp": gone}} {
		token := sign(t, access(change))
		token = token[:len(token)-4] + "AAAA"
		_, code := judge(t, parts, "Bearer "+token)
		if code.Public() != fault.TokenInvalid || code.Status() != 401 {
			t.Errorf("%v: the caller is told %v", change, code.Public())
		}
	}
}

func TestTheIssuerIsChosenByIssAmongThoseOfTheRoute(t *testing.T) {
	t.Parallel()
	other := issuer(func(i *pipeline.Issuer) {
		i.Name, i.URL, i.Audience, i.Algorithms = "other", "https://other.example/", []string{"other-api"}, []string{"ES256"}
	})
	parts := build(t, nil, issuer(), other)
	id, code := judge(t, parts, "Bearer "+sign(t, access(claims{"iss": other.URL, "aud": "other-api"}), claims{"alg": "ES256", "kid": "es256"}))
	if code != fault.None || id.Issuer != "other" || id.Consumer != "other/mobile" {
		t.Errorf("%v %+v", code, id)
	}
	runTokens(t, parts, []tokenCase{
		{"audience of the other issuer", sign(t, access(claims{"aud": "other-api"})), fault.TokenAudienceWrong},
		{"algorithm of the other issuer", sign(t, access(claims{"iss": other.URL, "aud": "other-api"})), fault.TokenAlgorithmRefused},
	})
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	acme := &exchange.Consumer{Name: "acme"}
	dir := consumers{"corp/mobile": acme, "corp/": acme, "corp/subject:alice": acme}
	parts := build(t, dir, issuer(func(i *pipeline.Issuer) { i.Roles = []string{"realm_access.roles"} }))
	ignore := cmpopts.IgnoreFields(exchange.Identity{}, "Claims", "Method", "Proof", "Issuer", "Expires", "TokenID", "Token", "Whose", "Signer")
	for _, c := range []struct {
		name   string
		change claims
		want   exchange.Identity
	}{
		{"a named consumer", nil, exchange.Identity{Subject: "alice", Client: "mobile", Consumer: "acme", Named: acme, Scopes: []string{"orders:read", "profile"}}},
		{"a client that nobody claims", claims{"client_id": "tv"}, exchange.Identity{Subject: "alice", Client: "tv", Consumer: "corp/tv", Scopes: []string{"orders:read", "profile"}}},
		{"a client called like a consumer is not that consumer", claims{"client_id": "acme"}, exchange.Identity{Subject: "alice", Client: "acme", Consumer: "corp/acme", Scopes: []string{"orders:read", "profile"}}},
		{"no client", claims{"client_id": gone}, exchange.Identity{Subject: "alice", Consumer: "corp/subject:alice", Scopes: []string{"orders:read", "profile"}}},
		{"azp comes first", claims{"azp": "web"}, exchange.Identity{Subject: "alice", Client: "web", Consumer: "corp/web", Scopes: []string{"orders:read", "profile"}}},
		{"scp as a list, roles", claims{"scope": gone, "scp": []string{"a", "b"}, "realm_access": claims{"roles": []string{"buyer", "seller"}}},
			exchange.Identity{Subject: "alice", Client: "mobile", Consumer: "acme", Named: acme, Scopes: []string{"a", "b"}, Roles: []string{"buyer", "seller"}}},
		{"scope and scp", claims{"scope": "a  b", "scp": "b c"}, exchange.Identity{Subject: "alice", Client: "mobile", Consumer: "acme", Named: acme, Scopes: []string{"a", "b", "c"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := sign(t, access(c.change))
			for range 2 {
				id, code := judge(t, parts, "Bearer "+token)
				if code != fault.None {
					t.Fatal(code)
				}
				if d := cmp.Diff(c.want, *id, ignore); d != "" {
					t.Error(d)
				}
			}
		})
	}
	id, _ := judge(t, parts, "Bearer "+sign(t, access()))
	if id.Method != "jwt" || id.Proof != "RS256 kid rsa jti t1" || id.Issuer != "corp" || id.TokenID != "t1" || !id.Expires.Equal(now.Add(5*time.Minute)) {
		t.Errorf("%+v", id)
	}
	if tenant, ok := id.Claims.String("iss"); !ok || tenant != corpURL {
		t.Errorf("claims: %v", id.Claims)
	}
	runTokens(t, parts, []tokenCase{
		{"a sub that is a number", sign(t, access(claims{"sub": 7})), fault.CredentialMalformed},
		{"an empty sub", sign(t, access(claims{"sub": ""})), fault.CredentialMalformed},
		{"a client in a list is not passed over", sign(t, access(claims{"azp": []string{"x"}})), fault.CredentialMalformed},
		{"a client that reads like a subject", sign(t, access(claims{"client_id": "subject:bob"})), fault.CredentialMalformed},
		{"a scope that is an object", sign(t, access(claims{"scope": claims{}})), fault.CredentialMalformed},
		{"roles that are an object", sign(t, access(claims{"realm_access": claims{"roles": claims{}}})), fault.CredentialMalformed},
	})
}

func TestNewRefusesWhatWouldBeUnsafe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		issuers []*pipeline.Issuer
		want    string
	}{
		{"no issuer", nil, "names no issuer"},
		{"one twice", []*pipeline.Issuer{issuer(), issuer()}, "twice"},
		{"two of one iss", []*pipeline.Issuer{issuer(), issuer(func(i *pipeline.Issuer) { i.Name = "b" })}, "same iss"},
		{"no audience", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Audience = nil })}, "neither audience"},
		{"an empty audience", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Audience = []string{""} })}, "empty audience"},
		{"no algorithm", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Algorithms = nil })}, "no algorithm"},
		{"none", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Algorithms = []string{"none"} })}, `"none"`},
		{"HS256", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Algorithms = []string{"HS256"} })}, `"HS256"`},
		{"too much skew", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.ClockSkew = 61 * time.Second })}, "clock skew"},
		{"an unknown type", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.TokenType = "Access" })}, "tokenType"},
		{"no keys", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.Keys = nil })}, "no keys"},
		{"no iss", []*pipeline.Issuer{issuer(func(i *pipeline.Issuer) { i.URL = "" })}, "no URL"},
	} {
		if _, err := compile(nil, c.issuers...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	_, err := jwt.New(jwt.Config{"nope"}, pipeline.Env{Issuer: func(string) (*pipeline.Issuer, error) { return nil, fmt.Errorf("there is no such issuer") }})
	if err == nil || !strings.Contains(err.Error(), "no such issuer") {
		t.Error(err)
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	if d := cmp.Diff(exchange.Check{Phase: "authenticate", Name: "jwt corp", Want: "audience orders-api"}, parts.Check); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true, Proofs: "ES256 EdDSA PS256 RS256"}, parts.Challenge); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"authorization", "dpop"}, parts.Credentials); d != "" || !parts.Forward {
		t.Error(d, parts.Forward)
	}
}

func TestTheTrailNamesWhatTheMendNeeds(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	for _, c := range []tokenCase{
		{"issuer kid", sign(t, access(), claims{"kid": "x"}), fault.TokenKeyUnknown},
		{"issuer", sign(t, access()) + "AAAA", fault.TokenSignatureInvalid},
		{"alg", sign(t, access(), claims{"alg": "HS256"}), fault.TokenAlgorithmRefused},
		{"want have", sign(t, access(claims{"aud": "x"})), fault.TokenAudienceWrong},
		{"proof subject consumer expiresIn", sign(t, access()), fault.None},
	} {
		x := request("Bearer " + c.token)
		if _, v := parts.Authenticate.Authenticate(x, world); v.Code() != c.want {
			t.Errorf("%v, want %v", v.Code(), c.want)
		}
		for _, name := range strings.Fields(c.name) {
			if operand(x, name) == "" {
				t.Errorf("%v: nothing seen of %s", c.want, name)
			}
		}
	}
}

var _ keys.Set = (*keys.Static)(nil)
