// Package roles is the policy that asks which roles the caller was given: one
// of auth.roles, or all of auth.allRoles.
package roles

import (
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is one role or a list of them.
type Config = scalar.List[string]

// New compiles auth.roles: one role of the list is enough.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	parts, err := grants().OneOf(cfg, env)
	parts.AsksRoles = err == nil
	return parts, err
}

// NewAll compiles auth.allRoles: every role of the list is needed.
func NewAll(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	parts, err := grants().AllOf(cfg, env)
	parts.AsksRoles = err == nil
	return parts, err
}

func grants() pipeline.Grants {
	return pipeline.Grants{
		One:     "role",
		Many:    "roles",
		Form:    "printable characters",
		Formed:  printable,
		Public:  "a public route knows no roles of its callers",
		Between: ", ",
		Has:     (*exchange.Identity).HasRole,
		Lacks:   lacks,
	}
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

func lacks(x *exchange.Exchange) pipeline.Verdict {
	if id := x.Identity; id != nil {
		x.Trail.Saw("consumer", id.Consumer)
		x.Trail.Saw("method", id.Method)
		x.Trail.Saw("have", strings.Join(id.Roles, ", "))
	}
	return pipeline.Refuse(fault.RoleMissing)
}
