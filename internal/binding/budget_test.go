package binding_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
)

// hurried waits for nobody.
type hurried struct{}

func (hurried) Context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// occupy takes all that a network may have verified at a time. Of one that is
// no suspect there is no end to it.
func occupy(b *guessing.Budget, network netip.Addr) (free func(), suspect bool) {
	var all []guessing.Entry
	for range 8 {
		e, ok := b.Enter(hurried{}, network, nil, now)
		if !ok {
			suspect = true
			break
		}
		all = append(all, e)
	}
	return func() {
		for _, e := range all {
			e.Leave(false)
		}
	}, suspect
}

func suspected(b *guessing.Budget, network netip.Addr) bool {
	free, suspect := occupy(b, network)
	free()
	return suspect
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.1")
)

// from is a request of a network.
func from(network netip.Addr, proofs ...string) *exchange.Exchange {
	x := request(proofs...)
	x.Client = network
	return x
}

// What is verified in vain comes out of the budget of its network, and nothing
// else does.
func TestBadProofsComeOutOfTheirNetworksBudget(t *testing.T) {
	t.Parallel()
	forged := maker{alg: "ES256", private: material().other, header: members{"jwk": jwkOf(material().ec.Public())}}.make(t)
	replayed := counters.NewMemory(1 << 16)
	good := maker{}.make(t)
	if code, _ := judge(request(good), func(p *binding.Presented) { p.Replays = replayed }); code != fault.None {
		t.Fatal(code)
	}
	for name, c := range map[string]struct {
		proof  string
		change func(*binding.Presented)
		want   fault.Code
		counts bool
	}{
		"forged":                   {forged, nil, fault.DPoPProofInvalid, true},
		"replayed":                 {good, func(p *binding.Presented) { p.Replays = replayed }, fault.DPoPReplayed, true},
		"forged, from one spared":  {forged, func(p *binding.Presented) { p.Spared = guessing.Spared{netip.PrefixFrom(here, 32)} }, fault.DPoPProofInvalid, false},
		"good":                     {good, nil, fault.None, false},
		"only explained":           {good, func(p *binding.Presented) { p.Look = true }, fault.None, false},
		"of a wrong clock":         {maker{payload: members{"iat": 1}}.make(t), nil, fault.DPoPNonceRequired, false},
		"forged, of a wrong clock": {maker{alg: "ES256", private: material().other, header: members{"jwk": jwkOf(material().ec.Public())}, payload: members{"iat": 1}}.make(t), nil, fault.DPoPNonceRequired, false},
		"of another key":           {maker{alg: "ES256", private: material().other}.make(t), nil, fault.DPoPProofInvalid, false},
		"while counters are gone":  {good, func(p *binding.Presented) { p.Replays = nil }, fault.IdentityUnavailable, false},
	} {
		b := guessing.NewGuard().Signatures
		for range 30 {
			code, reason := judge(from(here, c.proof), func(p *binding.Presented) {
				p.Budget = b
				if c.change != nil {
					c.change(p)
				}
			})
			if code != c.want {
				t.Fatalf("%s: %v, %s", name, code, reason)
			}
		}
		if got := suspected(b, here); got != c.counts {
			t.Errorf("%s: counted %t", name, got)
		}
	}
}

// A network that sent bad proofs has to wait for its turn, and then its good
// ones are taken; others are none the wiser.
func TestAGoodProofFromASuspectNetworkWaitsItsTurn(t *testing.T) {
	t.Parallel()
	forged := maker{alg: "ES256", private: material().other, header: members{"jwk": jwkOf(material().ec.Public())}}.make(t)
	b := guessing.NewGuard().Signatures
	come := func(x *exchange.Exchange) fault.Code {
		code, _ := judge(x, func(p *binding.Presented) { p.Budget = b })
		return code
	}
	for range 30 {
		come(from(here, forged))
	}
	free, _ := occupy(b, here)
	x := from(here, maker{}.make(t))
	x.Cancel(context.Canceled)
	if code := come(x); code != fault.Overloaded || x.RetryAfter == 0 {
		t.Errorf("while its turn has not come: %v, retry after %v", code, x.RetryAfter)
	}
	if code := come(from(there, maker{}.make(t))); code != fault.None {
		t.Errorf("from elsewhere: %v", code)
	}
	free()
	if code := come(from(here, maker{}.make(t))); code != fault.None {
		t.Errorf("when its turn has come: %v", code)
	}
}
