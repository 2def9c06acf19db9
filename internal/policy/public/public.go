// Package public is the policy of routes that anybody may call: auth: none.
package public

import (
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is what stands at auth.none. Only true can be meant.
type Config bool

// New compiles the policy.
func New(cfg Config, _ pipeline.Env) (pipeline.Parts, error) {
	if !cfg {
		return pipeline.Parts{}, pipeline.Complain("", "can only be true; leave none out and name the proof that is asked for")
	}
	return pipeline.Parts{
		Authenticate: anybody{},
		Check:        exchange.Check{Phase: "authenticate", Name: "none"},
	}, nil
}

type anybody struct{}

// Authenticate implements pipeline.Authenticator. It reads nothing of the
// request: a credential that comes along is neither checked nor believed.
func (anybody) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return exchange.Anonymous, pipeline.Pass
}
