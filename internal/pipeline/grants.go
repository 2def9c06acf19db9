package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Bounds of what a policy may ask for.
const (
	mostGrants   = 32  // of one list
	longestGrant = 256 // bytes
)

// Grants are one kind of what callers are given, such as scopes. A policy is
// made of a list of them: callers must have all of it, or one.
type Grants struct {
	One, Many string            // "scope", "scopes"
	Form      string            // how one of 1 to 256 bytes is written, for the operator
	Formed    func(string) bool // reports whether one is written so
	Public    string            // why no caller of a public route has any
	Between   string            // stands between several, for the operator
	Has       func(*exchange.Identity, string) bool
	// Lacks notes who lacks them, and refuses.
	Lacks func(*exchange.Exchange) Verdict
}

// AllOf compiles a list of which every one is needed.
func (g Grants) AllOf(list []string, env Env) (Parts, error) {
	return g.compile(list, env, g.Many, "")
}

// OneOf compiles a list of which one is enough.
func (g Grants) OneOf(list []string, env Env) (Parts, error) {
	return g.compile(list, env, "any "+g.One+" of", strings.Join(list, " or "))
}

func (g Grants) compile(list []string, env Env, want, oneOf string) (Parts, error) {
	switch {
	case env.Public:
		return Parts{}, Complain("", "%s; ask for a proof under auth, or leave the %s out", g.Public, g.Many)
	case len(list) == 0:
		return Parts{}, Complain("", "an empty list asks for nothing; name a %s or leave the key out", g.One)
	case len(list) > mostGrants:
		return Parts{}, Complain("", "names %d %s; at most %d are allowed", len(list), g.Many, mostGrants)
	}
	for i, one := range list {
		path := fmt.Sprintf("[%d]", i)
		if one == "" || len(one) > longestGrant || !g.Formed(one) {
			return Parts{}, Complain(path, "is not a %s: 1 to %d %s", g.One, longestGrant, g.Form)
		}
		if slices.Contains(list[:i], one) {
			return Parts{}, Complain(path, "names %s %s twice", g.One, one)
		}
	}
	return Parts{
		Authorize: &granted{g, slices.Clone(list), oneOf},
		Check:     exchange.Check{Phase: g.Many, Want: want + " [" + strings.Join(list, g.Between) + "]"},
	}, nil
}

// granted is a list of grants, compiled. No list lets nobody in.
type granted struct {
	Grants
	want  []string
	oneOf string // all of them, for the operator, where one is enough; empty: all are needed
}

// Authorize implements Authorizer.
func (g *granted) Authorize(x *exchange.Exchange, _ *World) Verdict {
	has := 0
	for _, one := range g.want {
		if x.Identity != nil && g.Has(x.Identity, one) {
			has++
		}
	}
	if has > 0 && (has == len(g.want) || g.oneOf != "") {
		return Pass
	}
	x.Trail.Saw("missing", g.missing(x.Identity))
	return g.Lacks(x)
}

// missing says what is not there, for the operator.
func (g *granted) missing(id *exchange.Identity) string {
	if g.oneOf != "" {
		return g.oneOf
	}
	var missing []string
	for _, one := range g.want {
		if id == nil || !g.Has(id, one) {
			missing = append(missing, one)
		}
	}
	return strings.Join(missing, g.Between)
}
