// Package jwt is the policy that authenticates by an access token: a JWT
// (RFC 7519) signed by one of the issuers that the route names, presented as
// a bearer token (RFC 6750) or with a proof of possession (RFC 9449).
//
// The checks have one order, and the first that fails decides: form, algorithm,
// issuer, key, signature, type, time, audience, binding; the pipeline then asks
// whether the token was revoked. What a token says of itself is believed only
// after its signature held. An access token is told from every other token that
// the same issuer signs with the same keys: what was made for a login is no
// proof for an API.
//
// A signature is verified once, and an audience once under the same rules;
// time and binding are judged for every request.
package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/tokens"
)

// Config is the names of the issuers whose tokens a route accepts: one, or a
// list.
type Config = scalar.List[string]

const mostIssuers = 16

// New compiles auth.jwt.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	switch {
	case len(cfg) == 0:
		return pipeline.Parts{}, pipeline.Complain("", "names no issuer; name one of issuers:")
	case len(cfg) > mostIssuers:
		return pipeline.Parts{}, pipeline.Complain("", "names %d issuers; at most %d are allowed", len(cfg), mostIssuers)
	}
	p := &policy{directory: env.Directory, guard: env.Guard, spared: env.Spared, nonces: env.Nonces}
	var wants []string
	roleless, byBearer := true, false
	for i, name := range cfg {
		path := fmt.Sprintf("[%d]", i)
		if len(cfg) == 1 {
			path = "" // it may have been written without a list
		}
		if slices.Contains(cfg[:i], name) {
			return pipeline.Parts{}, pipeline.Complain(path, "names issuer %s twice", name)
		}
		written, err := env.Issuer(name)
		if err != nil {
			return pipeline.Parts{}, pipeline.Complain(path, "%v", err)
		}
		iss, err := compile(written)
		if err != nil {
			return pipeline.Parts{}, pipeline.Complain(path, "issuer %s: %v", name, err)
		}
		for _, other := range p.issuers {
			if overlap(other, iss) {
				return pipeline.Parts{}, pipeline.Complain(path, "issuers %s and %s have the same iss: a token of one could not be told from the other's", other.Name, name)
			}
		}
		p.issuers = append(p.issuers, iss)
		byBearer = byBearer || iss.Binding != binding.ToKey
		roleless = roleless && len(iss.Roles) == 0
		wants = append(wants, iss.Want)
	}
	return pipeline.Parts{
		Authenticate: p,
		Check: exchange.Check{
			Phase: "authenticate",
			Name:  "jwt " + strings.Join(cfg, ", "),
			Want:  "audience " + strings.Join(wants, "; "),
		},
		Challenge:   tokens.Challenge(strings.Join(cfg, " "), byBearer),
		Credentials: []string{"authorization", "dpop"},
		Forward:     true,
		Scoped:      true,
		Roleless:    roleless,
		Issuers:     slices.Clone(cfg),
	}, nil
}

// policy is auth.jwt, compiled. Immutable.
type policy struct {
	issuers   []*issuer
	directory pipeline.Directory
	guard     *guessing.Guard // nil: what unknown tokens cost is not bounded
	spared    guessing.Spared
	nonces    *binding.Nonces
}

// issuer is an issuer whose keys vouch for its tokens. Immutable.
type issuer struct{ tokens.Rules }

func compile(written *pipeline.Issuer) (*issuer, error) {
	if written.Keys == nil {
		return nil, errors.New("has no keys")
	}
	rules, err := tokens.Compile(written)
	if err != nil {
		return nil, err
	}
	if len(rules.Algorithms) == 0 {
		return nil, errors.New("lists no algorithm")
	}
	for _, alg := range rules.Algorithms {
		if !keys.Supported(alg) {
			return nil, fmt.Errorf("lists algorithm %q, which is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA", alg)
		}
	}
	return &issuer{rules}, nil
}

// overlap reports whether iss of one token could be that of both.
func overlap(a, b *issuer) bool {
	return slices.ContainsFunc(a.urls(), b.Accepts)
}

// urls lists what iss may be.
func (iss *issuer) urls() (list []string) {
	if len(iss.Tenants) == 0 {
		return []string{iss.URL}
	}
	for _, t := range iss.Tenants {
		list = append(list, t.URL)
	}
	return list
}
