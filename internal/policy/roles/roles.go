// Package roles is the policy that asks which roles the caller was given: one
// of auth.roles, or all of auth.allRoles.
package roles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is one role or a list of them.
type Config = scalar.List[string]

const (
	most    = 32  // roles of one list
	longest = 256 // bytes of one role
)

// New compiles auth.roles: one role of the list is enough.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if err := check(cfg, env); err != nil {
		return pipeline.Parts{}, err
	}
	return pipeline.Parts{
		Authorize: oneOf{slices.Clone(cfg), strings.Join(cfg, " or ")},
		Check:     exchange.Check{Phase: "roles", Want: "any role of [" + strings.Join(cfg, ", ") + "]"},
		AsksRoles: true,
	}, nil
}

// NewAll compiles auth.allRoles: every role of the list is needed.
func NewAll(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if err := check(cfg, env); err != nil {
		return pipeline.Parts{}, err
	}
	return pipeline.Parts{
		Authorize: all(slices.Clone(cfg)),
		Check:     exchange.Check{Phase: "roles", Want: "roles [" + strings.Join(cfg, ", ") + "]"},
		AsksRoles: true,
	}, nil
}

func check(cfg Config, env pipeline.Env) error {
	switch {
	case env.Public:
		return pipeline.Complain("", "a public route knows no roles of its callers; ask for a proof under auth, or leave the roles out")
	case len(cfg) == 0:
		return pipeline.Complain("", "an empty list asks for nothing; name a role or leave the key out")
	case len(cfg) > most:
		return pipeline.Complain("", "names %d roles; at most %d are allowed", len(cfg), most)
	}
	for i, role := range cfg {
		path := fmt.Sprintf("[%d]", i)
		if role == "" || len(role) > longest || strings.ContainsFunc(role, func(r rune) bool { return !strconv.IsPrint(r) }) {
			return pipeline.Complain(path, "is not a role: 1 to %d printable characters", longest)
		}
		if slices.Contains(cfg[:i], role) {
			return pipeline.Complain(path, "names role %s twice", role)
		}
	}
	return nil
}

type all []string

// Authorize implements pipeline.Authorizer.
func (want all) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	for _, role := range want {
		if x.Identity == nil || !x.Identity.HasRole(role) {
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
	for _, role := range want {
		if id == nil || !id.HasRole(role) {
			missing = append(missing, role)
		}
	}
	return strings.Join(missing, ", ")
}

type oneOf struct {
	want    []string
	missing string // all of them, for the operator
}

// Authorize implements pipeline.Authorizer.
func (p oneOf) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	for _, role := range p.want {
		if x.Identity != nil && x.Identity.HasRole(role) {
			return pipeline.Pass
		}
	}
	return refuse(x, p.missing)
}

func refuse(x *exchange.Exchange, missing string) pipeline.Verdict {
	x.Trail.Saw("missing", missing)
	if id := x.Identity; id != nil {
		x.Trail.Saw("consumer", id.Consumer)
		x.Trail.Saw("method", id.Method)
		x.Trail.Saw("have", strings.Join(id.Roles, ", "))
	}
	return pipeline.Refuse(fault.RoleMissing)
}
