package introspect_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/introspect"
)

// An opaque token of a key needs a proof each time, however well it is known,
// and bad proofs come out of the budget of their network.
func TestAnOpaqueTokenOfAKeyNeedsAProofEachTime(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	print := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, b64(public)))
	prove := func(token string) string {
		sum := sha256.Sum256([]byte(token))
		p := golangjwt.NewWithClaims(golangjwt.SigningMethodEdDSA, golangjwt.MapClaims{
			"jti": rand.Text(), "htm": "GET", "htu": "http://api.example.com/orders", "iat": now.Unix(), "ath": b64(sum[:]),
		})
		p.Header["typ"], p.Header["jwk"] = "dpop+jwt", members{"kty": "OKP", "crv": "Ed25519", "x": b64(public)}
		text, err := p.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	i := newIssuer(t, false)
	i.says("opaque", answer(t, members{"token_type": "DPoP", "cnf": members{"jkt": b64(print[:])}}))
	guard, iss := guessing.NewGuard(), corp(asker(t, i))
	parts, err := introspect.New("corp", pipeline.Env{Guard: guard, Issuer: func(string) (*pipeline.Issuer, error) { return iss, nil }})
	if err != nil {
		t.Fatal(err)
	}
	w := world()
	w.Replays = counters.NewMemory(1 << 12)
	ask := func(authorization string, proofs ...string) fault.Code {
		x := request(authorization)
		x.Req.Method, x.Req.Authority, x.Req.Path = []byte("GET"), []byte("api.example.com"), []byte("/orders")
		for _, p := range proofs {
			x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("DPoP"), Value: []byte(p), ID: exchange.HeaderDPoP})
		}
		_, code := judge(t, parts.Authenticate, w, x)
		return code
	}
	suspect := func() bool {
		x := request()
		x.Cancel(context.Canceled) // who waits for nobody
		for range 8 {
			e, ok := guard.Signatures.Enter(x, x.Client, nil, now)
			if !ok {
				return true
			}
			defer e.Leave(false)
		}
		return false
	}
	for range 3 {
		proof := prove("opaque")
		for _, c := range []struct {
			what string
			code fault.Code
			want fault.Code
		}{
			{"no proof", ask("DPoP opaque"), fault.DPoPProofInvalid},
			{"of another token", ask("DPoP opaque", prove("other")), fault.DPoPProofInvalid},
			{"as bearer", ask("Bearer opaque", proof), fault.TokenBindingFailed},
			{"good", ask("DPoP opaque", proof), fault.None},
			{"again", ask("DPoP opaque", proof), fault.DPoPReplayed},
			{"good, and another beside it", ask("DPoP opaque", prove("opaque"), prove("opaque")), fault.DPoPProofInvalid},
		} {
			if c.code != c.want {
				t.Errorf("%s: %v, want %v", c.what, c.code, c.want)
			}
		}
	}
	if i.asked.Load() != 1 || suspect() {
		t.Errorf("the issuer was asked %d times, suspect %t", i.asked.Load(), suspect())
	}
	proof := prove("opaque")
	for _, served := range []bool{false, true} { // explained, then served
		w.Remote = served
		for range 30 {
			ask("DPoP opaque", proof[:len(proof)-6]+"AAAAAA")
		}
		if suspect() != served {
			t.Errorf("served %t: bad proofs are counted: %t", served, suspect())
		}
	}
}
