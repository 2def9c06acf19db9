package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// authObject is one object of auth, compiled: a proof and its conditions.
type authObject struct {
	node       config.Node
	path       string // of the proof in the catalog
	config     any    // of the proof
	proof      pipeline.Parts
	conditions []condition
}

type condition struct {
	path   string
	config any
	pipeline.Parts
}

// combine compiles the proofs of a route's anyOf or allOf; nil means that
// problems were reported.
func (b *build) combine(f *config.FlatRoute, r *Route, env pipeline.Env) *pipeline.Combination {
	c := &pipeline.Combination{All: f.AllProofs}
	before := len(b.problems)
	var objects []authObject
	for i := range f.Proofs {
		o, ok := b.authObject(&f.Proofs[i], f.ForwardToken, env)
		if !ok {
			continue
		}
		for j := range objects {
			b.apart(c, &objects[j], j, &o)
		}
		objects = append(objects, o)
	}
	if len(b.problems) > before || len(objects) < len(f.Proofs) {
		return nil
	}
	var ranks []int // in the catalog, of c.Proofs
	for i := range objects {
		o := &objects[i]
		branch := pipeline.Branch{Proof: len(c.Proofs), Issuers: o.proof.Issuers, Label: o.proof.Check.Name}
		if o.proof.Authorize != nil { // what a method asks of its own callers
			branch.Conditions = append(branch.Conditions, pipeline.Parts{Authorize: o.proof.Authorize, Check: o.proof.Check})
		}
		wants := []string{o.proof.Check.Want}
		for j := range o.conditions {
			branch.Conditions = append(branch.Conditions, o.conditions[j].Parts)
			wants = append(wants, o.conditions[j].Check.Want)
		}
		first := slices.IndexFunc(objects, func(other authObject) bool { return judgesWith(&other, o) })
		if first < i {
			branch.Proof = c.Branches[first].Proof
		} else {
			p, ok := b.unite(objects[i:], env)
			if !ok {
				return nil
			}
			p.Forward = p.Forward && f.ForwardToken
			c.Proofs = append(c.Proofs, p)
			ranks = append(ranks, b.rank(o.path))
		}
		c.Branches = append(c.Branches, branch)
		r.Policies = append(r.Policies, Policy{exchange.Check{
			Phase: fmt.Sprintf("%s[%d]", c.Title(), i), Name: branch.Label, Want: strings.Join(slices.DeleteFunc(wants, func(s string) bool { return s == "" }), " · "),
		}, f.Proofs[i].From, phase(&o.proof)})
	}
	if n := len(c.Proofs) + len(c.Branches); n > pipeline.MaxAttempts {
		b.problems = append(b.problems, f.Node.Complain("auth."+c.Title(), fmt.Sprintf("lists %d objects with %d kinds of credential; together they may be %d", len(c.Branches), len(c.Proofs), pipeline.MaxAttempts), "one jwt object may name several issuers; or part the callers by routes"))
		return nil
	}
	inOrder(c, ranks)
	return c
}

// inOrder puts proofs in the order of the catalog, in which they are asked,
// whatever the order of the branches: what judges from memory comes before what
// asks another machine.
func inOrder(c *pipeline.Combination, ranks []int) {
	order := make([]int, len(c.Proofs)) // new place -> old place
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(ranks[x], ranks[y]) })
	proofs := make([]pipeline.Parts, len(order))
	for i, old := range order {
		proofs[i] = c.Proofs[old]
	}
	c.Proofs = proofs
	for i := range c.Branches {
		c.Branches[i].Proof = slices.Index(order, c.Branches[i].Proof)
	}
}

// authObject compiles one object of a list; false means that a problem was
// reported, maybe where the value was decoded.
func (b *build) authObject(f *config.FlatProof, forward bool, env pipeline.Env) (o authObject, ok bool) {
	o.node = f.Node
	policies := slices.Clone(f.Policies)
	slices.SortFunc(policies, func(x, y config.FlatPolicy) int { return cmp.Compare(b.rank(x.Path), b.rank(y.Path)) })
	asks := asked{}
	ok = true
	for _, p := range policies {
		part, built := b.compilePolicy(p, env)
		if !built {
			ok = false
			continue
		}
		part.Forward = part.Forward && forward
		b.note(&part, p.Node)
		asks.add(&part, p)
		switch {
		case part.Authenticate != nil:
			o.path, o.config, o.proof = p.Path, b.decoded[p.Node], part
		case part.Authorize == nil || part.Screen != nil || part.Limit != nil:
			b.problems = append(b.problems, p.Node.Complain("", "is no condition on one proof: it cannot stand in a list", ""))
			ok = false
		default:
			o.conditions = append(o.conditions, condition{p.Path, b.decoded[p.Node], part})
		}
	}
	if ok && o.proof.Authenticate == nil {
		b.problems = append(b.problems, f.Node.Complain("", "names conditions but no proof", proofMend))
		return o, false
	}
	return o, ok && asks.judge(b)
}

// asked is what the conditions of one object of auth need of its proof.
type asked struct {
	proofs           int
	scoped, roleless bool
	scope, role      *config.FlatPolicy
}

func (a *asked) add(p *pipeline.Parts, from config.FlatPolicy) {
	if p.Authenticate != nil {
		a.proofs++
		a.scoped, a.roleless = p.Scoped, p.Roleless
	}
	if p.Scope != "" {
		a.scope = &from
	}
	if p.AsksRoles {
		a.role = &from
	}
}

// judge complains of conditions that nobody could meet.
func (a *asked) judge(b *build) bool {
	before := len(b.problems)
	if a.scope != nil && a.proofs > 0 && !a.scoped {
		b.problems = append(b.problems, a.scope.Node.Complain("", "asks for scopes, which this proof does not carry", "scopes come with tokens: use jwt, or name consumers instead"))
	}
	if a.role != nil && a.proofs > 0 && a.roleless {
		b.problems = append(b.problems, a.role.Node.Complain("", "asks for roles, which no token of these issuers carries", "say in which claim they stand: roles: PATH at the issuer"))
	}
	return len(b.problems) == before
}

// apart complains of two objects of one list, the other standing before o,
// that a request could not tell apart or could not bring both.
func (b *build) apart(c *pipeline.Combination, other *authObject, at int, o *authObject) {
	before := fmt.Sprintf("%s[%d]", c.Title(), at)
	switch shared := share(&other.proof, &o.proof); {
	case c.All && (o.path == other.path && len(o.proof.Sources()) == 0 || shared != ""):
		where := "one proof"
		if shared != "" {
			where = "the " + shared
		}
		b.problems = append(b.problems, o.node.Complain("", "is read from "+where+", as "+before+" is: no request can bring both", "ask for the two in anyOf, or for one of them"))
	case c.All:
	case sameProof(other, o) && covers(other, o):
		b.problems = append(b.problems, o.node.Complain("", "is never asked: "+before+" already lets in everybody whom it would", "remove it, or add to "+before+" what tells the two apart"))
	case o.path == other.path && !judgesWith(other, o) && (shared != "" || len(o.proof.Sources()) == 0):
		b.problems = append(b.problems, o.node.Complain("", "judges the same credential as "+before+", but by other rules", "a route has one proof of this kind: write the same in both"))
	}
}

// share returns where both proofs read their credential from, in words; "" if
// that is not one place.
func share(a, b *pipeline.Parts) string {
	for _, field := range a.Credentials {
		if slices.Contains(b.Credentials, field) {
			return "field " + field
		}
	}
	for _, name := range a.Parameters {
		if slices.Contains(b.Parameters, name) {
			return "query parameter " + name
		}
	}
	return ""
}

func sameProof(a, b *authObject) bool {
	return a.path == b.path && reflect.DeepEqual(a.config, b.config)
}

// covers reports whether whoever meets the conditions of b meets those of a.
func covers(a, b *authObject) bool {
	for i := range a.conditions {
		if !slices.ContainsFunc(b.conditions, func(c condition) bool {
			return c.path == a.conditions[i].path && reflect.DeepEqual(c.config, a.conditions[i].config)
		}) {
			return false
		}
	}
	return true
}

// judgesWith reports whether one proof judges the credentials of both: they
// are the same, or each takes the word of issuers.
func judgesWith(a, b *authObject) bool {
	return sameProof(a, b) || a.path == b.path && issuersOf(a) != nil && issuersOf(b) != nil
}

func issuersOf(o *authObject) *scalar.List[string] {
	if list, ok := o.config.(*scalar.List[string]); ok && o.proof.Issuers != nil {
		return list
	}
	return nil
}

// unite makes the proof that judges credentials for the first object and for
// those behind it that share it.
func (b *build) unite(objects []authObject, env pipeline.Env) (pipeline.Parts, bool) {
	first := &objects[0]
	if issuersOf(first) == nil {
		return first.proof, true
	}
	var all scalar.List[string]
	proof := first.proof
	for i := range objects {
		o := &objects[i]
		if !judgesWith(first, o) {
			continue
		}
		more := false
		for _, name := range *issuersOf(o) {
			if !slices.Contains(all, name) {
				all, more = append(all, name), true
			}
		}
		if !more || i == 0 {
			continue
		}
		var err error
		if proof, err = b.Catalog[b.rank(first.path)].Build(&all, env); err != nil {
			text := err.Error()
			if at := (*pipeline.Problem)(nil); errors.As(err, &at) {
				text = at.Text // its place is one in the list of all
			}
			b.blame(o.node, pipeline.Complain(strings.TrimPrefix(first.path, "auth."), "%s", text))
			return pipeline.Parts{}, false
		}
	}
	return proof, true
}

const proofMend = "say how callers prove who they are: jwt: ISSUER or apiKey: true"
