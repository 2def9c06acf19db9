package jwt_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// proofFor makes a DPoP proof with the key es256 for the request that called
// makes, and the cnf of tokens bound to it.
func proofFor(t testing.TB, token string) (proof string, cnf claims) {
	t.Helper()
	return proofAt(t, token, now.Unix())
}

// proofAt is proofFor with another iat.
func proofAt(t testing.TB, token string, iat int64) (proof string, cnf claims) {
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
		"jti": rand.Text(), "htm": "GET", "htu": "http://api.example.com/orders", "iat": iat, "ath": b64(sum[:]),
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

// suspectBy reports whether a budget has the network of x wait.
func suspectBy(b *guessing.Budget, x *exchange.Exchange) bool {
	x.Cancel(context.Canceled) // who waits for nobody
	for range 8 {
		e, ok := b.Enter(x, x.Client, nil, now)
		if !ok {
			return true
		}
		defer e.Leave(false)
	}
	return false
}

// The owner of a token may not be the one who sends it: what a proof costs to
// refuse is bounded also when the token is known.
func TestBadProofsForAKnownTokenComeOutOfTheBudget(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	token := sign(t, access(claims{"cnf": cnf}))
	for name, c := range map[string]struct {
		spared guessing.Spared
		remote bool
		want   bool
	}{
		"served":    {nil, true, true},
		"spared":    {guessing.Spared{netip.MustParsePrefix("192.0.2.1/32")}, true, false},
		"explained": {nil, false, false},
	} {
		guard := guessing.NewGuard()
		parts, err := compileWith(pipeline.Env{Guard: guard, Spared: c.spared}, issuer())
		if err != nil {
			t.Fatal(err)
		}
		w := serving()
		ask := func(proof string) fault.Code {
			x := called("DPoP "+token, proof)
			x.Client = netip.MustParseAddr("192.0.2.1")
			_, v := parts.Authenticate.Authenticate(x, w)
			return v.Code()
		}
		proof, _ := proofFor(t, token)
		if code := ask(proof); code != fault.None {
			t.Fatalf("%s: %v", name, code)
		}
		w.Remote = c.remote
		cut := proof[:len(proof)-6] + "AAAAAA"
		for range 30 {
			if code := ask(cut); code != fault.DPoPProofInvalid {
				t.Fatalf("%s: %v", name, code)
			}
		}
		x := request()
		x.Client = netip.MustParseAddr("192.0.2.1")
		if got := suspectBy(guard.Signatures, x); got != c.want {
			t.Errorf("%s: suspect %t", name, got)
		}
	}
}

// A client whose clock is wrong is told a nonce, and comes again: its token was
// not verified in vain, and is not verified again.
func TestATokenThatComesBackWithANonceIsKnown(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	guard, iss := guessing.NewGuard(), issuer()
	iss.Verdicts = keys.NewVerdicts()
	parts, err := compileWith(pipeline.Env{Guard: guard, Nonces: binding.NewNonces()}, iss)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		token := sign(t, access(claims{"cnf": cnf, "jti": fmt.Sprint(i)}))
		proof, _ := proofAt(t, token, now.Unix()-3600)
		for range 2 {
			id, v := parts.Authenticate.Authenticate(called("DPoP "+token, proof), serving())
			if v.Code() != fault.DPoPNonceRequired || id != nil {
				t.Fatalf("%v, %v", v.Code(), id)
			}
		}
	}
	if c := iss.Verdicts.Counts(); c.Hits != 30 || c.Misses != 30 {
		t.Errorf("%+v", c)
	}
	if suspectBy(guard.Signatures, request()) {
		t.Error("asking for a nonce makes a suspect")
	}
}

// A nonce is asked for before it is looked whom the token names. One that names
// nobody was sent in vain all the same, and is not kept.
func TestATokenOfNobodyIsInVainAlsoWhereANonceIsAskedFor(t *testing.T) {
	t.Parallel()
	_, cnf := proofFor(t, "")
	guard, iss := guessing.NewGuard(), issuer()
	parts, err := compileWith(pipeline.Env{Guard: guard, Nonces: binding.NewNonces()}, iss)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, access(claims{"cnf": cnf, "client_id": 1}))
	for range 30 {
		proof, _ := proofAt(t, token, now.Unix()-3600)
		if id, v := parts.Authenticate.Authenticate(called("DPoP "+token, proof), serving()); v.Code() != fault.DPoPNonceRequired || id != nil {
			t.Fatalf("%v, %v", v.Code(), id)
		}
	}
	if c := iss.Verdicts.Counts(); c.Entries != 0 {
		t.Errorf("%+v", c)
	}
	if !suspectBy(guard.Signatures, request()) {
		t.Error("who sends tokens of nobody is no suspect")
	}
}

func TestWhatABoundTokenHoldsInMemoryIsCounted(t *testing.T) {
	t.Parallel()
	size := func(more claims) int {
		iss, token, scheme, proof := issuer(), sign(t, access(more)), "Bearer ", ""
		if more != nil {
			scheme = "DPoP "
			proof, _ = proofFor(t, token)
		}
		if _, v := build(t, nil, iss).Authenticate.Authenticate(called(scheme+token, proof), serving()); !v.Passed() {
			t.Fatal(v.Code())
		}
		return iss.Verdicts.Counts().Bytes
	}
	_, cnf := proofFor(t, "")
	if free, bound := size(nil), size(claims{"cnf": cnf}); bound < free+binding.MaxSize {
		t.Errorf("%d bytes, bound %d", free, bound)
	}
}

// Tokens of a network that sends bad ones are verified a few at a time.
func TestATokenThatMayNotBeVerifiedNowIsNotJudged(t *testing.T) {
	t.Parallel()
	guard := guessing.NewGuard()
	parts, err := compileWith(pipeline.Env{Guard: guard}, issuer())
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, access())
	for range 30 {
		judge(t, parts, "Bearer "+good[:len(good)-6]+"AAAAAA")
	}
	for range 8 {
		busy := request()
		busy.Cancel(context.Canceled) // it does not wait
		if e, ok := guard.Signatures.Enter(busy, busy.Client, nil, now); ok {
			defer e.Leave(false)
		}
	}
	x := request("Bearer " + good)
	x.Cancel(context.Canceled)
	if id, v := parts.Authenticate.Authenticate(x, world); v != pipeline.Refuse(fault.Overloaded) || id != nil || x.RetryAfter == 0 {
		t.Errorf("%v, %v, again after %v", v.Code(), id, x.RetryAfter)
	}
}

func TestWithoutAGuardTokensAreJudgedAllTheSame(t *testing.T) {
	t.Parallel()
	parts, err := compileWith(pipeline.Env{}, issuer())
	if err != nil {
		t.Fatal(err)
	}
	if _, code := judge(t, parts, "Bearer "+sign(t, access())); code != fault.None {
		t.Error(code)
	}
	if _, code := judge(t, parts, "Bearer "+sign(t, access(claims{"aud": "x"}))); code != fault.TokenAudienceWrong {
		t.Error(code)
	}
}
