package jwt_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

func TestASignatureIsVerifiedOnceAndTheRestEveryTime(t *testing.T) {
	t.Parallel()
	iss := issuer()
	parts := build(t, nil, iss)
	token := "Bearer " + sign(t, access(claims{"nbf": now.Unix() - 10}))
	at := func(now time.Time) fault.Code {
		_, v := parts.Authenticate.Authenticate(request(token), &pipeline.World{Now: now, Remote: true})
		return v.Code()
	}
	if code := at(now); code != fault.None {
		t.Fatal(code)
	}
	if code := at(now); code != fault.None {
		t.Fatal(code)
	}
	if c := iss.Verdicts.Counts(); c.Hits != 1 || c.Misses != 1 || c.Entries != 1 {
		t.Errorf("%+v", c)
	}
	if code := at(now.Add(-time.Minute)); code != fault.TokenNotYetValid {
		t.Errorf("before nbf: %v", code)
	}
	if code := at(now.Add(5*time.Minute + 29*time.Second)); code != fault.None {
		t.Errorf("within the skew: %v", code)
	}
	if code := at(now.Add(5*time.Minute + 30*time.Second)); code != fault.TokenExpired {
		t.Errorf("after exp: %v", code)
	}
	if c := iss.Verdicts.Counts(); c.Entries != 0 {
		t.Errorf("the verdict outlived exp: %+v", c)
	}
}

func TestAKnownTokenIsNotOlderThanTheClock(t *testing.T) {
	t.Parallel()
	iss := issuer()
	parts := build(t, nil, iss)
	token := "Bearer " + sign(t, access())
	for _, c := range []struct {
		now  time.Time
		want fault.Code
	}{{now, fault.None}, {now.Add(-90 * time.Second), fault.None}, {now.Add(-91 * time.Second), fault.TokenNotYetValid}} { // iat is a minute ago
		if _, v := parts.Authenticate.Authenticate(request(token), &pipeline.World{Now: c.now, Remote: true}); v.Code() != c.want {
			t.Errorf("at %v: %v, want %v", c.now, v.Code(), c.want)
		}
	}
	if c := iss.Verdicts.Counts(); c.Hits != 2 {
		t.Errorf("%+v", c)
	}
}

func TestAVerdictDiesWithItsKey(t *testing.T) {
	t.Parallel()
	set := keySet()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Keys = set }))
	token := "Bearer " + sign(t, access())
	if _, code := judge(t, parts, token); code != fault.None {
		t.Fatal(code)
	}
	set.Replace(mustKey("es256", "", material().ec256.Public()))
	if _, code := judge(t, parts, token); code != fault.TokenKeyUnknown {
		t.Errorf("the key is gone: %v", code)
	}
	set.Replace(mustKey("rsa", "", material().otherRSA.Public()))
	if _, code := judge(t, parts, token); code != fault.TokenSignatureInvalid {
		t.Errorf("another key has its name: %v", code)
	}
}

func TestAVerdictHoldsOnlyUnderTheRulesItWasMadeUnder(t *testing.T) {
	t.Parallel()
	verdicts, set := keys.NewVerdicts(), keySet()
	token := "Bearer " + sign(t, access())
	base := func(i *pipeline.Issuer) { i.Verdicts, i.Keys = verdicts, set }
	if _, code := judge(t, build(t, nil, issuer(base)), token); code != fault.None {
		t.Fatal(code)
	}
	if _, code := judge(t, build(t, nil, issuer(base)), token); code != fault.None || verdicts.Counts().Hits != 1 {
		t.Errorf("a reload that changes nothing: %v %+v", code, verdicts.Counts())
	}
	for name, c := range map[string]struct {
		change func(*pipeline.Issuer)
		want   fault.Code
	}{
		"another iss":       {func(i *pipeline.Issuer) { i.URL = "https://x/" }, fault.TokenIssuerUnknown},
		"another audience":  {func(i *pipeline.Issuer) { i.Audience = []string{"x"} }, fault.TokenAudienceWrong},
		"fewer algorithms":  {func(i *pipeline.Issuer) { i.Algorithms = []string{"ES256"} }, fault.TokenAlgorithmRefused},
		"another tokenType": {func(i *pipeline.Issuer) { i.TokenType = "at+jwt" }, fault.TokenTypeWrong},
		"another key set":   {func(i *pipeline.Issuer) { i.Keys = keys.NewStatic() }, fault.TokenKeyUnknown},
		"client ids":        {func(i *pipeline.Issuer) { i.ClientIDs = []string{"x"} }, fault.TokenAudienceWrong},
	} {
		if _, code := judge(t, build(t, nil, issuer(base, c.change)), token); code != c.want {
			t.Errorf("%s: %v, want %v", name, code, c.want)
		}
	}
	id, _ := judge(t, build(t, nil, issuer(base, func(i *pipeline.Issuer) { i.Consumer = []string{"sub"} })), token)
	if id == nil || id.Client != "alice" {
		t.Errorf("other consumer claims: %+v", id)
	}
}

func TestRefusedTokensAreNotRemembered(t *testing.T) {
	t.Parallel()
	iss := issuer()
	parts := build(t, nil, iss)
	good := sign(t, access())
	for _, token := range []string{"garbage", good + "AAAA", sign(t, access(claims{"aud": "x"})), sign(t, access(claims{"exp": 1})), sign(t, access(claims{"nonce": "n"}))} {
		judge(t, parts, "Bearer "+token)
	}
	if c := iss.Verdicts.Counts(); c.Entries != 0 {
		t.Errorf("%+v", c)
	}
}

func TestANamedConsumerIsLookedUpForEveryRequest(t *testing.T) {
	t.Parallel()
	iss := issuer()
	token := "Bearer " + sign(t, access())
	acme, zeta := &exchange.Consumer{Name: "acme"}, &exchange.Consumer{Name: "zeta"}
	for _, c := range []struct {
		dir  consumers
		want string
	}{{nil, "corp/mobile"}, {consumers{"corp/mobile": acme}, "acme"}, {consumers{"corp/mobile": zeta}, "zeta"}, {consumers{}, "corp/mobile"}} {
		id, code := judge(t, build(t, c.dir, iss), token)
		if code != fault.None || id.Consumer != c.want || (id.Named != nil) != (len(c.dir) > 0) {
			t.Errorf("%v: %v %+v", c.dir, code, id)
		}
	}
}

func TestAKnownTokenCostsNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	parts := build(t, consumers{"corp/mobile": {Name: "acme"}}, issuer())
	x := request("Bearer " + sign(t, access()))
	if n := testing.AllocsPerRun(100, func() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := parts.Authenticate.Authenticate(x, world); !v.Passed() {
			t.Fatal(v.Code())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKnownToken(b *testing.B) {
	parts := build(b, consumers{"corp/mobile": {Name: "acme"}}, issuer())
	token := sign(b, access(claims{"email": "alice@example.com", "groups": []string{"a-group-of-people", "another-group"}}))
	x := request("Bearer " + token)
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := parts.Authenticate.Authenticate(x, world); !v.Passed() {
			b.Fatal(v.Code())
		}
	}
}

// BenchmarkKnownTokens takes 10,000 tokens of as many clients at random, first
// alone and then with other work between them that leaves nothing in the
// nearer caches. What is measured is the policy's own time.
func BenchmarkKnownTokens(b *testing.B) {
	parts := build(b, consumers{"corp/somebody-else": {Name: "acme"}}, issuer())
	all := make([]*exchange.Exchange, 10_000)
	for i := range all {
		all[i] = request("Bearer " + sign(b, access(claims{
			"sub": fmt.Sprintf("user-%05d", i), "client_id": fmt.Sprintf("client-%05d", i), "jti": fmt.Sprintf("a-token-%05d", i),
		}), claims{"alg": "ES256", "kid": "es256"}))
		if _, v := parts.Authenticate.Authenticate(all[i], world); !v.Passed() {
			b.Fatal(v.Code())
		}
	}
	x := request("")
	for _, c := range []struct {
		name  string
		other int // bytes of other work between two requests
	}{{"alone", 0}, {"between other work", 2 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			other := make([]byte, 16<<20)
			at, seen := 0, byte(0)
			took := make([]time.Duration, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				// The request is hot, as one that was just read is.
				x.Req.Fields[0].Value = append(x.Req.Fields[0].Value[:0], all[rand.IntN(len(all))].Req.Fields[0].Value...)
				for range c.other / 64 {
					at = (at + 64) % len(other)
					other[at]++
				}
				for _, c := range x.Req.Fields[0].Value {
					seen |= c
				}
				x.Trail.Reset()
				x.Trail.Begin(0)
				start := time.Now()
				id, v := parts.Authenticate.Authenticate(x, world)
				if !v.Passed() || !id.HasScope("orders:read") || len(id.Consumer)+len(id.Client)+len(id.Subject) == 0 {
					b.Fatal(v.Code())
				}
				for _, text := range [...]string{id.Proof, id.Consumer, id.Client, id.Subject, id.Scopes[1]} { // as the log reads them
					seen |= text[0]
				}
				took = append(took, time.Since(start))
			}
			if seen == 0 {
				b.Fatal("nothing was read")
			}
			slices.Sort(took) // the median: others share the machine
			b.ReportMetric(float64(took[len(took)/2]), "own-ns/op")
		})
	}
}

func BenchmarkUnknownToken(b *testing.B) {
	parts := build(b, nil, issuer(func(i *pipeline.Issuer) { i.Verdicts = nil }))
	x := request("Bearer " + sign(b, access()))
	b.ReportAllocs()
	for b.Loop() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := parts.Authenticate.Authenticate(x, world); !v.Passed() {
			b.Fatal(v.Code())
		}
	}
}

// Whoever sends forged tokens has them verified two at a time from then on;
// nobody is locked out, and a good token from the same address still passes.
func TestForgedTokensLockNobodyOut(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	good := sign(t, access(nil))
	end := strings.LastIndexByte(good, '.') + 1
	forged := good[:end] + strings.Repeat("A", len(good)-end)
	for range 100 {
		if _, code := judge(t, parts, "Bearer "+forged); code != fault.TokenSignatureInvalid {
			t.Fatal(code)
		}
	}
	var refused atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, code := judge(t, parts, "Bearer "+forged); code != fault.TokenSignatureInvalid {
					refused.Add(1)
				}
			}
		})
	}
	for i := range 20 {
		if _, code := judge(t, parts, "Bearer "+sign(t, access(claims{"jti": fmt.Sprint(i)}))); code != fault.None {
			t.Errorf("a good token is refused: %s", code)
		}
	}
	all.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d forged tokens were refused unseen", n)
	}
}

// taken says so of every token.
type taken fault.Code

func (d *taken) Revoked(id *exchange.Identity, _ time.Time) fault.Code {
	if id.Token == nil || id.Whose == (exchange.Mark{}) {
		return fault.InternalError
	}
	return fault.Code(*d)
}

func (*taken) RevokedBy(*exchange.Identity, time.Time) string { return "" }

// A token says what it may be revoked by, which is judged last: of a token
// that is known as of one that is not.
func TestARevokedTokenIsRefusedHoweverWellItIsKnown(t *testing.T) {
	t.Parallel()
	for _, code := range []fault.Code{fault.TokenRevoked, fault.KeysStale, fault.IdentityUnavailable} {
		d := taken(fault.None)
		parts := build(t, consumers{}, issuer())
		chain := pipeline.NewChain([]pipeline.Parts{parts}, &d, &exchange.Legend{})
		judge := func(token string) (*exchange.Identity, fault.Code) {
			x := request(token)
			v := chain.Run(x, world)
			return x.Identity, v.Code()
		}
		token := "Bearer " + sign(t, access())
		id, got := judge(token)
		if got != fault.None {
			t.Fatal(got)
		}
		want := exchange.NewToken(exchange.TokenDigest([]byte(strings.TrimPrefix(token, "Bearer "))), corpURL, "t1", "alice", now.Unix()-60, 30)
		if want.Client = exchange.MarkOf(exchange.RevokedConsumer, "corp/mobile"); *id.Token != want {
			t.Errorf("%+v, want %+v", *id.Token, want)
		}
		if id.Whose != exchange.MarkOf(exchange.RevokedConsumer, "corp/mobile") {
			t.Error("the token is not known as its consumer's")
		}
		if id.Signer == nil || !id.Signer.Alive() {
			t.Error("the token is not known as its key's")
		}
		d = taken(code)
		if _, got := judge(token); got != code {
			t.Errorf("known: %v, want %v", got, code)
		}
		if _, got := judge("Bearer " + sign(t, access(claims{"jti": "t2"}))); got != code {
			t.Errorf("not known: %v, want %v", got, code)
		}
		if _, got := judge("Bearer " + sign(t, access(claims{"aud": "x"}))); got != fault.TokenAudienceWrong {
			t.Errorf("of another audience: %v", got)
		}
		d = taken(fault.None)
		if _, got := judge(token); got != fault.None {
			t.Errorf("undone: %v", got)
		}
	}
}

// Of every signature by ECDSA there is a second one that holds as well, and
// anybody can write it down: a token that was revoked stays so under both.
func TestARevokedTokenHasNoTwin(t *testing.T) {
	t.Parallel()
	token := sign(t, access(), claims{"alg": "ES256", "kid": "es256"})
	end := strings.LastIndexByte(token, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(token[end:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	twin := token[:end] + base64.RawURLEncoding.EncodeToString(signature)
	parts := build(t, consumers{}, issuer())
	one, code := judge(t, parts, "Bearer "+token)
	if code != fault.None {
		t.Fatal(code)
	}
	two, code := judge(t, parts, "Bearer "+twin)
	if code != fault.None {
		t.Fatalf("the other signature: %v; the test is of no use", code)
	}
	if one.Token.Itself != two.Token.Itself {
		t.Error("the token under its other signature is not revoked with it")
	}
}
