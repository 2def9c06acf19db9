package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/jwt"
)

var now = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

const corpURL = "https://login.example.com/"

// material is made once: RSA keys are slow to make.
var material = sync.OnceValue(func() (m struct {
	rsa, otherRSA *rsa.PrivateKey
	ec256, ec384  *ecdsa.PrivateKey
	ec521         *ecdsa.PrivateKey
	ed            ed25519.PrivateKey
}) {
	m.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	m.otherRSA, _ = rsa.GenerateKey(rand.Reader, 2048)
	m.ec256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.ec384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	m.ec521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, m.ed, _ = ed25519.GenerateKey(rand.Reader)
	return m
})

func mustKey(id, alg string, public crypto.PublicKey) *keys.Key {
	k, err := keys.NewKey(id, alg, public)
	if err != nil {
		panic(err)
	}
	return k
}

func keySet() *keys.Static {
	m := material()
	return keys.NewStatic(
		mustKey("rsa", "", m.rsa.Public()), mustKey("es256", "", m.ec256.Public()),
		mustKey("es384", "", m.ec384.Public()), mustKey("es512", "", m.ec521.Public()),
		mustKey("ed", "", m.ed.Public()),
	)
}

// issuer is corp as the tests know it; change what the case is about.
func issuer(change ...func(*pipeline.Issuer)) *pipeline.Issuer {
	iss := &pipeline.Issuer{
		Name: "corp", URL: corpURL, Audience: []string{"orders-api"},
		Algorithms: []string{"RS256", "PS256", "ES256", "EdDSA"},
		ClockSkew:  30 * time.Second, TokenType: "access",
		Consumer: []string{"azp", "client_id", "cid", "appid"},
		Keys:     keySet(), Verdicts: keys.NewVerdicts(),
	}
	for _, c := range change {
		c(iss)
	}
	return iss
}

type claims = map[string]any

// access is the payload of a good access token; change what the case is about.
func access(changes ...claims) claims {
	c := claims{
		"iss": corpURL, "aud": "orders-api", "sub": "alice", "client_id": "mobile", "scope": "orders:read profile",
		"iat": now.Unix() - 60, "exp": now.Unix() + 300, "jti": "t1",
	}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == gone })
	return c
}

// gone deletes a claim.
var gone any = struct{ gone bool }{}

// sign makes a token of a payload, with kid rsa and RS256 unless header says otherwise.
func sign(t testing.TB, payload claims, header ...claims) string {
	t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return signRaw(t, string(body), header...)
}

func signRaw(t testing.TB, payload string, header ...claims) string {
	t.Helper()
	head := claims{"alg": "RS256", "kid": "rsa", "typ": "JWT"}
	for _, h := range header {
		maps.Copy(head, h)
	}
	maps.DeleteFunc(head, func(_ string, v any) bool { return v == gone })
	b, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	alg, _ := head["alg"].(string)
	return signParts(t, string(b), payload, alg)
}

// signParts signs a header and a payload as they are.
func signParts(t testing.TB, header, payload, alg string) string {
	t.Helper()
	m := material()
	input := b64(header) + "." + b64(payload)
	var key any
	switch {
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		key = m.rsa
	case alg == "ES256":
		key = m.ec256
	case alg == "ES384":
		key = m.ec384
	case alg == "ES512":
		key = m.ec521
	case alg == "EdDSA":
		key = m.ed
	default:
		return input + "." + b64("signature")
	}
	sig, err := golangjwt.GetSigningMethod(alg).Sign(input, key)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// consumers is a directory of named consumers by "issuer/client".
type consumers map[string]*exchange.Consumer

func (c consumers) Key(exchange.KeyRef, time.Time, bool) (exchange.KeyRecord, fault.Code) {
	return exchange.KeyRecord{}, fault.KeyUnknown
}

func (c consumers) Imported([]byte) (exchange.KeyRef, fault.Code) {
	return exchange.KeyRef{}, fault.KeyMalformed
}
func (c consumers) Client(iss, client string) (*exchange.Consumer, bool) {
	n, ok := c[iss+"/"+client]
	return n, ok
}
func (c consumers) Consumer(string) (*exchange.Consumer, bool) { return nil, false }
func (c consumers) Password([]byte) (*password.Hash, *exchange.Consumer) {
	return &password.Hash{}, nil
}

func (c consumers) Certificate(*exchange.CertFacts) (record, rival *exchange.CertRecord) {
	return nil, nil
}

func build(t testing.TB, dir pipeline.Directory, issuers ...*pipeline.Issuer) pipeline.Parts {
	t.Helper()
	parts, err := compile(dir, issuers...)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func compile(dir pipeline.Directory, issuers ...*pipeline.Issuer) (pipeline.Parts, error) {
	return compileWith(pipeline.Env{Directory: dir, Guard: guessing.NewGuard()}, issuers...)
}

func compileWith(env pipeline.Env, issuers ...*pipeline.Issuer) (pipeline.Parts, error) {
	byName := map[string]*pipeline.Issuer{}
	var cfg jwt.Config
	for _, iss := range issuers {
		byName[iss.Name] = iss
		cfg = append(cfg, iss.Name)
	}
	env.Issuer = func(name string) (*pipeline.Issuer, error) { return byName[name], nil }
	return jwt.New(cfg, env)
}

// request makes an exchange whose Authorization fields are given.
func request(authorization ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Req.Reset()
	for _, v := range authorization {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: []byte(v), ID: exchange.HeaderAuthorization})
	}
	x.Trail.Begin(0)
	return x
}

var world = &pipeline.World{Now: now, Remote: true}

// judge asks the policy and returns the identity, or the code of the refusal.
func judge(t testing.TB, parts pipeline.Parts, authorization ...string) (*exchange.Identity, fault.Code) {
	t.Helper()
	x := request(authorization...)
	id, v := parts.Authenticate.Authenticate(x, world)
	if v == pipeline.NotMine {
		return nil, fault.CredentialMissing
	}
	if v.Passed() != (id != nil) {
		t.Fatalf("verdict %v with identity %v", v, id)
	}
	return id, v.Code()
}

// operand returns what the trail's last step saw under name.
func operand(x *exchange.Exchange, name string) string {
	steps := x.Trail.Steps()
	ops := steps[len(steps)-1].Operands()
	for i := range ops {
		if ops[i].Name == name {
			return ops[i].String()
		}
	}
	return ""
}
