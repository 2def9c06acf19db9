// Package scopes is the policy that asks what a token was granted: all of
// auth.scopes, or any of auth.anyScope (RFC 6749 section 3.3).
package scopes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is one scope or a list of them.
type Config = scalar.List[string]

const (
	most    = 32  // scopes of one list
	longest = 256 // bytes of one scope
)

// New compiles auth.scopes: every scope of the list is needed.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if err := check(cfg, env); err != nil {
		return pipeline.Parts{}, err
	}
	return pipeline.Parts{
		Authorize: all(slices.Clone(cfg)),
		Check:     exchange.Check{Phase: "scopes", Want: "scopes [" + strings.Join(cfg, " ") + "]"},
		Scope:     strings.Join(cfg, " "),
	}, nil
}

// NewAny compiles auth.anyScope: one scope of the list is enough. The
// challenge names the first, so that nobody asks for more than is needed.
func NewAny(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if err := check(cfg, env); err != nil {
		return pipeline.Parts{}, err
	}
	return pipeline.Parts{
		Authorize: oneOf{slices.Clone(cfg), strings.Join(cfg, " or ")},
		Check:     exchange.Check{Phase: "scopes", Want: "any scope of [" + strings.Join(cfg, " ") + "]"},
		Scope:     cfg[0],
	}, nil
}

func check(cfg Config, env pipeline.Env) error {
	switch {
	case env.Public:
		return pipeline.Complain("", "a public route has no token that could carry scopes; ask for a proof under auth, or leave the scopes out")
	case len(cfg) == 0:
		return pipeline.Complain("", "an empty list asks for nothing; name a scope or leave the key out")
	case len(cfg) > most:
		return pipeline.Complain("", "names %d scopes; at most %d are allowed", len(cfg), most)
	}
	for i, scope := range cfg {
		path := fmt.Sprintf("[%d]", i)
		if !wellFormed(scope) {
			return pipeline.Complain(path, "is not a scope: 1 to %d printable ASCII characters without space, quote and backslash", longest)
		}
		if slices.Contains(cfg[:i], scope) {
			return pipeline.Complain(path, "names scope %s twice", scope)
		}
	}
	return nil
}

// wellFormed reports whether s is a scope-token: one or more NQCHAR.
func wellFormed(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= longest
}

type all []string

// Authorize implements pipeline.Authorizer.
func (want all) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	for _, scope := range want {
		if x.Identity == nil || !x.Identity.HasScope(scope) {
			return refuse(x, want.missing(x.Identity))
		}
	}
	if len(want) == 0 {
		return refuse(x, "")
	}
	return pipeline.Pass
}

func (want all) missing(id *exchange.Identity) string {
	var missing []string
	for _, scope := range want {
		if id == nil || !id.HasScope(scope) {
			missing = append(missing, scope)
		}
	}
	return strings.Join(missing, " ")
}

type oneOf struct {
	want    []string
	missing string // all of them, for the operator
}

// Authorize implements pipeline.Authorizer.
func (p oneOf) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	for _, scope := range p.want {
		if x.Identity != nil && x.Identity.HasScope(scope) {
			return pipeline.Pass
		}
	}
	return refuse(x, p.missing)
}

func refuse(x *exchange.Exchange, missing string) pipeline.Verdict {
	x.Trail.Saw("missing", missing)
	if id := x.Identity; id != nil {
		client := id.Client
		if client == "" {
			client = id.Consumer
		}
		x.Trail.Saw("client", client)
		x.Trail.Saw("issuer", id.Issuer)
		x.Trail.Saw("have", strings.Join(id.Scopes, " "))
	}
	return pipeline.Refuse(fault.ScopeMissing)
}
