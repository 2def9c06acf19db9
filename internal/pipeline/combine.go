package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Bounds of one route's auth: a trail has room for every step they can make.
const (
	MaxProofs   = 8  // methods that judge credentials
	MaxBranches = 8  // of anyOf, or members of allOf
	MaxAttempts = 12 // both together
)

// Combination is what a route's anyOf or allOf asks for, compiled piece by
// piece. It is put together once per route.
type Combination struct {
	All bool // every branch has to hold, not just one
	// Proofs are the methods that judge credentials, each once, in the order
	// in which they are asked: branches that ask for the same one share it. No
	// two of allOf read the same field.
	Proofs   []Parts
	Branches []Branch // challenges go in their order
}

// Branch is one object of the list: a proof, and what its identity must be.
type Branch struct {
	Proof      int      // index in Proofs
	Issuers    []string // only identities of these issuers; nil: whatever was proved
	Conditions []Parts
	Label      string // for the operator: "jwt corp"
}

// Title is the word for c in the configuration.
func (c *Combination) Title() string {
	if c.All {
		return "allOf"
	}
	return "anyOf"
}

// whole reports whether c can be judged: there is a branch, and every proof
// proves and every condition judges something.
func (c *Combination) whole() bool {
	sound := len(c.Branches) > 0 && len(c.Branches) <= MaxBranches && len(c.Proofs) <= MaxProofs && len(c.Proofs)+len(c.Branches) <= MaxAttempts
	fields := 0
	for i := range c.Proofs {
		sound = sound && c.Proofs[i].Authenticate != nil
		fields += len(c.Proofs[i].Sources())
	}
	sound = sound && fields <= 64 // a bit each
	for i := range c.Branches {
		b := &c.Branches[i]
		sound = sound && b.Proof >= 0 && b.Proof < len(c.Proofs)
		for j := range b.Conditions {
			sound = sound && b.Conditions[j].Authorize != nil
		}
	}
	return sound
}

// combination is a Combination made ready. Immutable.
type combination struct {
	all      bool
	standing Revocations // what every proof is judged by
	proofs   []proof
	branches []branch
	verdict  uint32   // check of what is said of all branches together
	bare     []string // challenges of a request that presented nothing
}

// proof is one method that judges a credential.
type proof struct {
	part[Authenticator]
	fields  uint64     // the credential fields that it reads, a bit each
	missing fault.Code // when there is no credential of its kind
	forward exchange.HeaderID
	revoked revoked

	challenged // when this proof refuses
}

// branch is one way to hold. Its steps on the trail are one.
type branch struct {
	proof      int
	issuers    []string
	conditions []part[Authorizer]
	check      uint32
	label      string
	scope      []string // challenge when a scope is missing
}

// compile makes c ready. Its checks are appended to legend.
func (c *Combination) compile(revocations Revocations, legend *exchange.Legend) *combination {
	add := func(check exchange.Check) uint32 {
		legend.Checks = append(legend.Checks, check)
		return uint32(len(legend.Checks) - 1)
	}
	k := &combination{all: c.All, standing: revocations}
	var fields, labels []string
	var order []int // of the proofs, as branches name them
	for i := range c.Branches {
		if p := c.Branches[i].Proof; !slices.Contains(order, p) {
			order = append(order, p)
			k.bare = c.Proofs[p].Challenge.to(k.bare, "")
		}
	}
	for i := range c.Proofs {
		p := &c.Proofs[i]
		one := proof{part: part[Authenticator]{p.Authenticate, add(p.Check)}, missing: p.missing(), forward: p.forwards(), revoked: p.Revoked}
		for _, name := range p.Sources() {
			at := slices.Index(fields, name)
			if at < 0 {
				at = len(fields)
				fields = append(fields, name)
			}
			one.fields |= 1 << at
		}
		for _, j := range order {
			one.challenged.add(&c.Proofs[j].Challenge, i == j)
		}
		k.proofs = append(k.proofs, one)
	}
	for i := range c.Branches {
		b := &c.Branches[i]
		at := fmt.Sprintf("%s[%d]", c.Title(), i)
		one := branch{
			proof: b.Proof, issuers: b.Issuers, label: b.Label,
			check: add(exchange.Check{Phase: at, Name: b.Label}),
			scope: scopeChallenge(&c.Proofs[b.Proof].Challenge, b.Conditions),
		}
		for j := range b.Conditions {
			check := b.Conditions[j].Check
			check.Name = strings.TrimSuffix(at+" "+check.Name, " ")
			one.conditions = append(one.conditions, part[Authorizer]{b.Conditions[j].Authorize, add(check)})
		}
		k.branches = append(k.branches, one)
		if !slices.Contains(labels, b.Label) {
			labels = append(labels, b.Label)
		}
	}
	word := " or "
	if c.All {
		word = " and "
	}
	k.verdict = add(exchange.Check{Phase: "authenticate", Name: c.Title(), Want: strings.Join(labels, word)})
	return k
}

// attempt is one request being judged by a combination.
type attempt struct {
	proved [MaxProofs]*exchange.Identity
	fields uint64 // whose credential was proved
	any    bool
}

// run proves every credential that was presented, then looks for branches
// that hold. The identity is that of the branch that won.
func (k *combination) run(x *exchange.Exchange, w *World) (*exchange.Identity, Verdict) {
	var a attempt
	if v := k.prove(&a, x, w); !v.Passed() {
		return nil, v
	}
	if k.all {
		return k.allHold(&a, x, w)
	}
	return k.oneHolds(&a, x, w)
}

// prove asks every proof. A bad credential refuses, whatever else was
// presented; and so does one that a proof takes for its kind but does not
// know, unless another proof has accepted it.
func (k *combination) prove(a *attempt, x *exchange.Exchange, w *World) Verdict {
	var strange [MaxProofs]struct {
		code fault.Code
		step int
	}
	for i := range k.proofs {
		p := &k.proofs[i]
		if p.fields&a.fields != 0 {
			continue // the credential was judged: it proves one thing
		}
		x.Trail.Begin(p.check)
		id, v := p.run.Authenticate(x, w)
		if v.Passed() && id != nil {
			v = standing(k.standing, id, p.revoked, x, w)
		}
		switch {
		case v.outcome == exchange.Skipped:
			strange[i].code, strange[i].step = v.code, len(x.Trail.Steps())-1
		case v.Passed() && id != nil:
			a.proved[i], a.any = id, true
			a.fields |= p.fields
		default:
			if v.Passed() {
				v = Refuse(fault.InternalError)
			}
			x.Trail.End(v.outcome, v.code)
			x.Challenges = p.challenged.of(v.code)
			return v
		}
		x.Trail.End(v.outcome, fault.None)
	}
	for i := range k.proofs {
		p := &k.proofs[i]
		if code := strange[i].code; code != unsaid && p.fields&a.fields == 0 {
			x.Trail.Conclude(strange[i].step, code)
			x.Challenges = p.challenged.of(code)
			return Refuse(code)
		}
	}
	return Pass
}

// oneHolds asks the branches in order; the first that holds wins. If none
// does, the refusal is that of the branch that met the most requirements, the
// first of several.
func (k *combination) oneHolds(a *attempt, x *exchange.Exchange, w *World) (*exchange.Identity, Verdict) {
	best := struct {
		met, step, branch int
		id                *exchange.Identity
		v                 Verdict
	}{}
	if a.any {
		for i := range k.branches {
			b := &k.branches[i]
			id := b.identity(a)
			x.Trail.Begin(b.check)
			if id == nil {
				x.Trail.End(exchange.Skipped, fault.None)
				continue
			}
			met, v := b.judge(id, x, w)
			x.Trail.End(v.outcome, v.code)
			if v.Passed() {
				x.Verified = k.proofs[b.proof].forward
				return id, v
			}
			if met > best.met {
				best.met, best.step, best.branch, best.id, best.v = met, len(x.Trail.Steps())-1, i, id, v
			}
		}
	}
	switch {
	case best.met == 0 && a.any: // proofs take the word of issuers that branches name, and of no other
		return nil, Refuse(fault.InternalError)
	case best.met == 0:
		return nil, k.refuseMissing(a, x)
	}
	x.Identity = best.id
	x.Trail.Conclude(best.step, best.v.code)
	if best.v.code == fault.ScopeMissing {
		x.Challenges = k.branches[best.branch].scope
	}
	return nil, best.v
}

// identity returns what was proved of b; nil if nothing was.
func (b *branch) identity(a *attempt) *exchange.Identity {
	id := a.proved[b.proof]
	if id != nil && b.issuers != nil && !slices.Contains(b.issuers, id.Issuer) {
		return nil
	}
	return id
}

// judge asks the conditions of a branch on its step of the trail, and says how
// many requirements were met, the proof among them.
func (b *branch) judge(id *exchange.Identity, x *exchange.Exchange, w *World) (met int, v Verdict) {
	x.Identity = id
	for i := range b.conditions {
		c := &b.conditions[i]
		x.Trail.Again(c.check)
		v := c.run.Authorize(x, w)
		if !v.Passed() {
			x.Identity = nil
			return i + 1, v
		}
	}
	if len(b.conditions) > 0 {
		x.Trail.Again(b.check)
	}
	x.Identity = nil
	return len(b.conditions) + 1, Pass
}

// refuseMissing refuses for want of credentials: what the caller can be
// challenged for comes first, because TLS cannot ask for a certificate.
func (k *combination) refuseMissing(a *attempt, x *exchange.Exchange) Verdict {
	code := fault.None
	for i := range k.branches {
		at := k.branches[i].proof
		p := &k.proofs[at]
		if a.proved[at] == nil && (code == fault.None || code.Status() != 401 && p.missing.Status() == 401) {
			code = p.missing
		}
	}
	switch {
	case code == fault.None: // every proof has an identity that no branch takes
		code = fault.InternalError
	case code.Status() == 401:
		x.Challenges = k.bare
	}
	x.Trail.Begin(k.verdict)
	for i := range k.branches {
		b := &k.branches[i]
		if k.all && a.proved[b.proof] == nil {
			x.Trail.Saw("missing", b.label)
		}
	}
	x.Trail.End(exchange.Refused, code)
	return Refuse(code)
}

// allHold asks that every member was proved, that each meets its conditions,
// and that all who name a consumer name the same one.
func (k *combination) allHold(a *attempt, x *exchange.Exchange, w *World) (*exchange.Identity, Verdict) {
	for i := range k.branches {
		if k.branches[i].identity(a) == nil {
			return nil, k.refuseMissing(a, x)
		}
	}
	var first, token *exchange.Identity // the first member; the first that has claims
	var named *exchange.Consumer
	forward := exchange.HeaderOther
	for i := range k.branches {
		b := &k.branches[i]
		id := b.identity(a)
		x.Trail.Begin(b.check)
		_, v := b.judge(id, x, w)
		if v.Passed() && named != nil && id.Named != nil && id.Named.Name != named.Name {
			x.Trail.Saw("consumer", id.Consumer)
			x.Trail.Saw("want", "consumer "+named.Name+", as the members before")
			v = Refuse(fault.ConsumerNotAllowed)
		}
		x.Trail.End(v.outcome, v.code)
		if !v.Passed() {
			x.Identity = id
			if v.code == fault.ScopeMissing {
				x.Challenges = b.scope
			}
			return nil, v
		}
		if first == nil {
			first = id
		}
		if token == nil && id.Claims != nil {
			token = id
		}
		if named == nil {
			named = id.Named
		}
		if forward == exchange.HeaderOther {
			forward = k.proofs[b.proof].forward
		}
	}
	if first == nil {
		return nil, Refuse(fault.InternalError)
	}
	x.Verified = forward
	if len(k.branches) == 1 {
		return first, Pass
	}
	if token == nil {
		token = first
	}
	return k.join(a, token, named), Pass
}

// join makes one identity of what all members proved: it is that of base, for
// the consumer that any of them names.
func (k *combination) join(a *attempt, base *exchange.Identity, named *exchange.Consumer) *exchange.Identity {
	id := *base
	if named != nil {
		id.Named, id.Consumer = named, named.Name
	}
	id.Proofs = make([]*exchange.Identity, len(k.branches))
	for i := range k.branches {
		one := k.branches[i].identity(a)
		id.Proofs[i] = one
		if !one.Expires.IsZero() && (id.Expires.IsZero() || one.Expires.Before(id.Expires)) {
			id.Expires = one.Expires
		}
	}
	return &id
}
