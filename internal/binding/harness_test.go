package binding_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// now lies in the middle of a minute, where a generation of nonces begins.
var now = time.Date(2026, 11, 2, 12, 0, 30, 0, time.UTC)

const token = "an.access.token"

type members = map[string]any

// gone deletes a member.
var gone any = struct{ gone bool }{}

var material = sync.OnceValue(func() (m struct {
	ec, other *ecdsa.PrivateKey
	ec384     *ecdsa.PrivateKey
	rsa       *rsa.PrivateKey
	ed        ed25519.PrivateKey
}) {
	m.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.other, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.ec384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	m.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	_, m.ed, _ = ed25519.GenerateKey(rand.Reader)
	return m
})

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkOf(public crypto.PublicKey) members {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		point, _ := public.Bytes()
		return members{"kty": "EC", "crv": public.Curve.Params().Name, "x": text(point[1 : 1+size]), "y": text(point[1+size:])}
	case *rsa.PublicKey:
		return members{"kty": "RSA", "n": text(public.N.Bytes()), "e": text(big.NewInt(int64(public.E)).Bytes())}
	case ed25519.PublicKey:
		return members{"kty": "OKP", "crv": "Ed25519", "x": text(public)}
	}
	panic("no such key")
}

// jwkWith is jwkOf with one member more.
func jwkWith(public crypto.PublicKey, name, value string) members {
	jwk := jwkOf(public)
	jwk[name] = value
	return jwk
}

// hashOfToken is the ath of proofs for token.
func hashOfToken() string {
	sum := sha256.Sum256([]byte(token))
	return text(sum[:])
}

// thumbprint is that of RFC 7638, worked out by another way than the one
// under test: encoding/json sorts members.
func thumbprint(jwk members) string {
	b, _ := json.Marshal(jwk)
	sum := sha256.Sum256(b)
	return text(sum[:])
}

// maker makes proofs: good ones, but for what is changed.
type maker struct {
	alg             string
	private         crypto.Signer
	header, payload members
}

func (m maker) make(t testing.TB) string {
	t.Helper()
	if m.private == nil {
		m.alg, m.private = "ES256", material().ec
	}
	header := members{"typ": "dpop+jwt", "alg": m.alg, "jwk": jwkOf(m.private.Public())}
	payload := members{"jti": "-BwC3ESc6acc2lTc", "htm": "GET", "htu": "https://api.example.com/orders/1", "iat": now.Unix(), "ath": hashOfToken()}
	maps.Copy(header, m.header)
	maps.Copy(payload, m.payload)
	for _, part := range []members{header, payload} {
		maps.DeleteFunc(part, func(_ string, v any) bool { return v == gone })
	}
	h, _ := json.Marshal(header)
	p, _ := json.Marshal(payload)
	return m.sign(t, string(h), string(p))
}

func (m maker) sign(t testing.TB, header, payload string) string {
	t.Helper()
	if m.private == nil {
		m.alg, m.private = "ES256", material().ec
	}
	input := text([]byte(header)) + "." + text([]byte(payload))
	sig, err := golangjwt.GetSigningMethod(m.alg).Sign(input, m.private)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + text(sig)
}

// request is one for https://api.example.com/orders/1 with DPoP fields.
func request(proofs ...string) *exchange.Exchange {
	x := &exchange.Exchange{Secure: true, Conn: &exchange.Conn{}}
	x.Req.Reset()
	x.Req.Method, x.Req.Path = []byte("GET"), []byte("/orders/1")
	x.Req.Authority = []byte("api.example.com")
	for _, p := range proofs {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("DPoP"), Value: []byte(p), ID: exchange.HeaderDPoP})
	}
	x.Trail.Begin(0)
	return x
}

var nonces = binding.NewNonces()

func presented() *binding.Presented {
	return &binding.Presented{Token: []byte(token), DPoP: true, Now: now, Nonces: nonces, Replays: counters.NewMemory(1 << 10)}
}

// bound is a token bound to the key of a signer.
func bound(private crypto.Signer) *binding.Confirmation {
	return binding.Parse(exchange.JSON(`{"jkt":"` + thumbprint(jwkOf(private.Public())) + `"}`))
}

func judge(x *exchange.Exchange, change ...func(*binding.Presented)) (fault.Code, string) {
	p := presented()
	for _, c := range change {
		c(p)
	}
	return bound(material().ec).Check(x, binding.AsIssued, p)
}

func field(x *exchange.Exchange, name string) (found string) {
	x.RespEdit.Each(func(n string, v []byte) {
		if n == name {
			found = string(v)
		}
	})
	return found
}
