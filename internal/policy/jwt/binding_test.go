package jwt_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// proofFor makes a DPoP proof with the key es256 for the request that called
// makes, and the cnf of tokens bound to it.
func proofFor(t testing.TB, token string) (proof string, cnf claims) {
	t.Helper()
	private := material().ec256
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	x, y := b64(point[1:33]), b64(point[33:])
	print := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, x, y))
	sum := sha256.Sum256([]byte(token))
	p := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, golangjwt.MapClaims{
		"jti": rand.Text(), "htm": "GET", "htu": "http://api.example.com/orders", "iat": now.Unix(), "ath": b64(sum[:]),
	})
	p.Header["typ"], p.Header["jwk"] = "dpop+jwt", claims{"kty": "EC", "crv": "P-256", "x": x, "y": y}
	if proof, err = p.SignedString(private); err != nil {
		t.Fatal(err)
	}
	return proof, claims{"jkt": b64(print[:])}
}

// called is a request with a token and a proof.
func called(authorization, proof string) *exchange.Exchange {
	x := request(authorization)
	x.Req.Method, x.Req.Authority, x.Req.Path = []byte("GET"), []byte("api.example.com"), []byte("/orders")
	if proof != "" {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("DPoP"), Value: []byte(proof), ID: exchange.HeaderDPoP})
	}
	return x
}

func serving() *pipeline.World {
	return &pipeline.World{Now: now, Remote: true, Replays: counters.NewMemory(1 << 16)}
}

// A verdict that is remembered never stands for a proof.
func TestEachRequestWithABoundTokenNeedsAProof(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	token := sign(t, access(claims{"cnf": cnf}))
	for _, remembered := range []bool{false, true} {
		iss := issuer()
		if !remembered {
			iss.Verdicts = nil
		}
		parts, w := build(t, nil, iss), serving()
		for range 3 {
			proof, _ := proofFor(t, token)
			ofAnother, _ := proofFor(t, "another")
			for _, c := range []struct {
				name, scheme, proof string
				want                fault.Code
			}{
				{"no proof", "DPoP ", "", fault.DPoPProofInvalid},
				{"for another token", "DPoP ", ofAnother, fault.DPoPProofInvalid},
				{"as bearer", "Bearer ", proof, fault.TokenBindingFailed},
				{"good", "DPoP ", proof, fault.None},
				{"again", "DPoP ", proof, fault.DPoPReplayed},
			} {
				if _, v := parts.Authenticate.Authenticate(called(c.scheme+token, c.proof), w); v.Code() != c.want {
					t.Errorf("remembered %t, %s: %v, want %v", remembered, c.name, v.Code(), c.want)
				}
			}
		}
	}
}

func TestATokenThatIsRefusedUsesUpNoProof(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	for name, change := range map[string]claims{"of another audience": {"aud": "x"}, "of another type": {"nonce": "n"}} {
		token := sign(t, access(claims{"cnf": cnf}, change))
		proof, _ := proofFor(t, token)
		w := serving()
		if _, v := build(t, nil, issuer()).Authenticate.Authenticate(called("DPoP "+token, proof), w); v.Passed() || v.Code().String()[:5] != "token" {
			t.Errorf("%s: %v", name, v.Code())
		}
		lax := issuer(func(i *pipeline.Issuer) { i.TokenType, i.Audience = "any", []string{"x", "orders-api"} })
		if _, v := build(t, nil, lax).Authenticate.Authenticate(called("DPoP "+token, proof), w); !v.Passed() {
			t.Errorf("%s, where it is good: %v", name, v.Code())
		}
	}
}

func TestExplainingUsesUpNoProof(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	token := sign(t, access(claims{"cnf": cnf}))
	proof, _ := proofFor(t, token)
	parts, w := build(t, nil, issuer()), serving()
	for _, remote := range []bool{false, false, true} {
		w.Remote = remote
		if _, v := parts.Authenticate.Authenticate(called("DPoP "+token, proof), w); !v.Passed() {
			t.Errorf("remote %t: %v", remote, v.Code())
		}
	}
}

func TestTokenBindingRefusesTokensThatAreNotBound(t *testing.T) {
	t.Parallel()
	for _, rule := range []binding.Rule{binding.ToKey, binding.ToCertificate} {
		parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Binding = rule }))
		for range 2 { // judged, remembered
			if _, code := judge(t, parts, "Bearer "+sign(t, access())); code != fault.TokenBindingFailed {
				t.Errorf("%v: %v", rule, code)
			}
		}
		if (parts.Challenge.Scheme == "") != (rule == binding.ToKey) || parts.Challenge.Proofs == "" {
			t.Errorf("%v: challenge %+v", rule, parts.Challenge)
		}
	}
}
