// Package introspect is the policy that authenticates by an opaque access
// token, presented as a bearer token (RFC 6750): the issuer is asked what it
// stands for (RFC 7662).
//
// A token says nothing of itself. What the issuer says of it is held against
// the same rules as the claims of a JWT: issuer, type, time, audience,
// binding, in this order, and the first that fails decides. The answer is
// remembered for seconds; time, audience, binding and the named consumer are
// judged for every request. When the issuer cannot be asked, nobody passes.
package introspect

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

// Config is the name of the issuer that is asked. There is one: a token that
// says nothing of itself would have to be shown to all of several.
type Config string

// UnmarshalText takes the name.
func (c *Config) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("names no issuer; name one of those under issuers")
	}
	*c = Config(text)
	return nil
}

// Unknown tokens that one address may send.
const (
	unknownEvery = time.Second / 20
	unknownBurst = 20
)

// New compiles auth.introspect.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	written, err := env.Issuer(string(cfg))
	if err != nil {
		return pipeline.Parts{}, pipeline.Complain("", "%v", err)
	}
	p, err := compile(written)
	if err != nil {
		return pipeline.Parts{}, pipeline.Complain("", "issuer %s: %v", cfg, err)
	}
	p.directory, p.nonces, p.guard, p.spared = env.Directory, env.Nonces, env.Guard, env.Spared
	return pipeline.Parts{
		Authenticate: p,
		Check:        exchange.Check{Phase: "authenticate", Name: "introspect " + p.Name, Want: "audience " + p.Want},
		Challenge:    tokens.Challenge(p.Name, p.Binding != binding.ToKey),
		Credentials:  []string{"authorization", "dpop"},
		Forward:      true,
		Scoped:       true,
		Roleless:     len(p.Roles) == 0,
	}, nil
}

// policy is auth.introspect, compiled. Immutable.
type policy struct {
	tokens.Rules
	directory pipeline.Directory
	nonces    *binding.Nonces
	guard     *guessing.Guard // nil: what bad proofs cost is not bounded
	spared    guessing.Spared
	unknown   counters.Charge
}

func compile(written *pipeline.Issuer) (*policy, error) {
	if written.Introspector == nil {
		return nil, errors.New("cannot be asked about tokens; give it introspection: { clientId: …, clientSecret: … }")
	}
	rules, err := tokens.Compile(written)
	if err != nil {
		return nil, err
	}
	return &policy{
		Rules:   rules,
		unknown: counters.Charge{Key: counters.KeyOf("introspect", rules.Name), Period: unknownEvery, Burst: unknownBurst},
	}, nil
}

// text names what is there, for the operator.
func text(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return fmt.Sprintf("%.200s", strings.Join(list, " "))
}
