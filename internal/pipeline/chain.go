package pipeline

import (
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Chain is what a route runs: the compiled parts of its policies in the order
// of the phases. It is immutable. The zero Chain lets nobody in.
type Chain struct {
	authenticate part[Authenticator]
	combination  *combination // instead of authenticate
	revocations  Revocations  // what identities are judged by, whatever proved them
	revoked      revoked
	missing      fault.Code        // when the request carries no credential for authenticate
	forward      exchange.HeaderID // field whose credential goes on once authenticate has proved it
	authorize    []part[Authorizer]
	screen       []part[Limiter]
	limit        []part[Limiter]
	transform    []part[Transformer]

	bare, scope []string // challenges when nothing was presented, when a scope is missing
	challenged
}

type part[T any] struct {
	run   T
	check uint32 // index in the legend
}

// NewChain puts parts in order. Their checks are appended to legend. Without
// revocations whoever comes by a token or a session is refused.
func NewChain(parts []Parts, revocations Revocations, legend *exchange.Legend) *Chain {
	c := &Chain{revocations: revocations}
	for i := range parts {
		c.add(&parts[i], legend)
	}
	if len(c.bare) > 0 {
		for i := range parts {
			if parts[i].Authenticate != nil {
				c.scope = scopeChallenge(&parts[i].Challenge, parts)
			}
		}
	}
	return c
}

// NewCombinedChain is NewChain for a route with a combination of proofs; no
// other part proves anything.
func NewCombinedChain(proofs *Combination, parts []Parts, revocations Revocations, legend *exchange.Legend) *Chain {
	if !proofs.whole() {
		return &Chain{} // which lets nobody in
	}
	c := &Chain{combination: proofs.compile(revocations, legend)}
	for i := range parts {
		c.add(&parts[i], legend)
	}
	return c
}

func (c *Chain) add(p *Parts, legend *exchange.Legend) {
	check := uint32(len(legend.Checks))
	legend.Checks = append(legend.Checks, p.Check)
	if p.Screen != nil {
		c.screen = append(c.screen, part[Limiter]{p.Screen, check})
	}
	if p.Authenticate != nil {
		c.authenticate = part[Authenticator]{p.Authenticate, check}
		c.missing, c.forward, c.revoked = p.missing(), p.forwards(), p.Revoked
		c.challenge(&p.Challenge)
	}
	if p.Authorize != nil {
		c.authorize = append(c.authorize, part[Authorizer]{p.Authorize, check})
	}
	if p.Limit != nil {
		c.limit = append(c.limit, part[Limiter]{p.Limit, check})
	}
	if p.Transform != nil {
		c.transform = append(c.transform, part[Transformer]{p.Transform, check})
	}
}

// unsaid is the code where none is given.
const unsaid fault.Code = 0

// missing returns the code of a request without a credential of p's kind.
func (p *Parts) missing() fault.Code {
	if p.Missing == unsaid {
		return fault.CredentialMissing
	}
	return p.Missing
}

// forwards returns the field whose credential goes on once p has proved it;
// HeaderOther: none.
func (p *Parts) forwards() exchange.HeaderID {
	if p.Forward && len(p.Credentials) > 0 {
		return exchange.IdentifyString(p.Credentials[0])
	}
	return exchange.HeaderOther
}

func (c *Chain) challenge(ch *Challenge) {
	c.bare = ch.to(c.bare, "")
	c.challenged.add(ch, true)
}

// challenged are challenges by what is wrong with a credential that was
// presented.
type challenged struct {
	bad, ambiguous []string
	proof, nonce   []string // a proof of possession is bad, or has no nonce of ours
}

// add adds those of a method: the one that refuses, or another that the route
// accepts.
func (c *challenged) add(ch *Challenge, refuses bool) {
	for _, f := range [...]struct {
		list    *[]string
		problem string
	}{{&c.bad, "invalid_token"}, {&c.ambiguous, "invalid_request"}, {&c.proof, badProof}, {&c.nonce, noNonce}} {
		if !refuses {
			f.problem = ""
		}
		*f.list = ch.to(*f.list, f.problem)
	}
}

// of returns those that go with a refusal; none for most codes.
func (c *challenged) of(code fault.Code) []string {
	switch {
	case code == fault.CredentialAmbiguous:
		return c.ambiguous
	case code == fault.DPoPProofInvalid || code == fault.DPoPReplayed:
		return c.proof
	case code == fault.DPoPNonceRequired:
		return c.nonce
	case code.Status() == 401:
		return c.bad
	}
	return nil
}

// Errors that only scheme DPoP has (RFC 9449 sections 7.1 and 9).
const (
	badProof = "invalid_dpop_proof"
	noNonce  = "use_dpop_nonce"
)

// to adds the challenge to list, with an error if there is one and the scheme
// has such errors.
func (ch *Challenge) to(list []string, problem string) []string {
	if ch.Scheme != "" {
		text := ch.bare()
		if ch.Errors && problem != "" && problem != badProof && problem != noNonce {
			if ch.Params != "" {
				text += ","
			}
			text += ` error="` + problem + `"`
		}
		list = append(list, text)
	}
	if ch.Proofs != "" {
		text := "DPoP "
		if problem != "" {
			text += `error="` + problem + `", `
		}
		list = append(list, text+`algs="`+ch.Proofs+`"`)
	}
	return list
}

// bare returns the challenge of Scheme without an error.
func (ch *Challenge) bare() string {
	return strings.TrimSuffix(ch.Scheme+" "+ch.Params, " ")
}

// scopeChallenge says which scopes to ask for, all of conditions together.
func scopeChallenge(ch *Challenge, conditions []Parts) []string {
	var scopes []string
	for i := range conditions {
		if s := conditions[i].Scope; s != "" {
			scopes = append(scopes, s)
		}
	}
	only := *ch // of those that one method has, the first
	if ch.Scheme == "" && ch.Proofs != "" {
		only = Challenge{Scheme: "DPoP", Params: `algs="` + ch.Proofs + `"`}
	}
	if len(scopes) == 0 || only.Scheme == "" {
		return nil
	}
	text := only.bare()
	if only.Params != "" {
		text += ","
	}
	return []string{text + ` error="insufficient_scope", scope="` + strings.Join(scopes, " ") + `"`}
}

// challenges returns the values of WWW-Authenticate that go with a refusal,
// as a view; none for most codes.
func (c *Chain) challenges(code fault.Code) []string {
	switch {
	case code == fault.ScopeMissing:
		return c.scope
	case code == c.missing && code.Status() == 401:
		return c.bare
	}
	return c.challenged.of(code)
}

// Run asks the policies in order and returns the first verdict that is not a
// pass. x.Identity is set once it is proved, x.Verified if its credential may
// go on, and x.Challenges if the caller is refused and told how to come back.
func (c *Chain) Run(x *exchange.Exchange, w *World) Verdict {
	v := c.run(x, w)
	if !v.Passed() && x.Challenges == nil {
		x.Challenges = c.challenges(v.code)
	}
	return v
}

func (c *Chain) run(x *exchange.Exchange, w *World) Verdict {
	if c.authenticate.run == nil && c.combination == nil {
		return Refuse(fault.InternalError)
	}
	if v := take(c.screen, x, w); !v.Passed() {
		return v
	}
	var id *exchange.Identity
	var v Verdict
	if c.combination != nil {
		id, v = c.combination.run(x, w)
	} else {
		x.Trail.Begin(c.authenticate.check)
		id, v = c.authenticate.run.Authenticate(x, w)
		if v.Passed() && id != nil {
			if v = standing(c.revocations, id, c.revoked, x, w); v.Passed() {
				x.Verified = c.forward
			}
		} else {
			v = c.refusal(v)
		}
		x.Trail.End(v.outcome, v.code)
	}
	if !v.Passed() {
		return v
	}
	x.Identity = id
	for i := range c.authorize {
		p := &c.authorize[i]
		x.Trail.Begin(p.check)
		v := p.run.Authorize(x, w)
		x.Trail.End(v.outcome, v.code)
		if !v.Passed() {
			return v
		}
	}
	return take(c.limit, x, w)
}

// Transform makes the request that Run has passed what the upstream is to get,
// as far as policies say so. It is no part of the decision: nothing is explained
// by it, and nobody is let in. A request without an identity is refused.
func (c *Chain) Transform(x *exchange.Exchange, w *World) Verdict {
	if x.Identity == nil || c.authenticate.run == nil && c.combination == nil {
		return Refuse(fault.InternalError)
	}
	for i := range c.transform {
		p := &c.transform[i]
		x.Trail.Begin(p.check)
		v := p.run.Transform(x, w)
		x.Trail.End(v.outcome, v.code)
		if !v.Passed() {
			return v
		}
	}
	return Pass
}

// refusal returns what an Authenticator that stands alone has said by v, which
// gave no identity.
func (c *Chain) refusal(v Verdict) Verdict {
	switch {
	case v == NotMine:
		return Refuse(c.missing)
	case v.outcome == exchange.Skipped:
		return Refuse(v.code) // there is no other method that might know it
	case v.Passed():
		return Refuse(fault.InternalError)
	}
	return v
}

// take lets the limiters of a phase propose their charges and takes all of
// them, or none.
func take(limiters []part[Limiter], x *exchange.Exchange, w *World) Verdict {
	if len(limiters) == 0 {
		return Pass
	}
	c := &w.charges
	c.n = 0
	for i := range limiters {
		c.open = limiters[i].check
		limiters[i].run.Limit(x, c)
	}
	if c.n == 0 {
		return Pass
	}
	refused, err := w.Counters.Take(w.Now, c.list[:c.n], c.states[:c.n])
	if err != nil {
		x.Trail.Begin(c.check[0])
		x.Trail.Saw("error", err.Error())
		x.Trail.End(exchange.Refused, fault.LimitsUnavailable)
		x.RetryAfter = time.Second
		return Refuse(fault.LimitsUnavailable)
	}
	tightest := 0
	for i := 0; i < c.n; i++ {
		if c.states[i].Remaining < c.states[tightest].Remaining {
			tightest = i
		}
	}
	if refused >= 0 {
		tightest = refused
		for i := range c.n {
			// The longest wait: coming back earlier would only meet the next refusal.
			x.RetryAfter = max(x.RetryAfter, c.states[i].RetryIn)
		}
	}
	x.Trail.Begin(c.check[tightest])
	x.Trail.Saw("limit", c.labels[tightest])
	x.Trail.SawNumber("remaining", c.states[tightest].Remaining)
	announce(x, c.list[tightest].Burst, c.states[tightest].Remaining, c.states[tightest].ResetIn)
	if refused >= 0 {
		x.Trail.Saw("retry", x.RetryAfter.Round(time.Millisecond).String())
		x.Trail.End(exchange.Refused, fault.RateLimited)
		return Refuse(fault.RateLimited)
	}
	x.Trail.End(exchange.Passed, 0)
	return Pass
}

// announce sets the RateLimit fields of the response. The limits of
// the later phase write over those of the earlier one.
func announce(x *exchange.Exchange, limit, remaining int64, reset time.Duration) {
	b := x.Alloc(60)[:0]
	seconds := int64((reset + time.Second - 1) / time.Second)
	b = strconv.AppendInt(b, limit, 10)
	n1 := len(b)
	b = strconv.AppendInt(b, max(remaining, 0), 10)
	n2 := len(b)
	b = strconv.AppendInt(b, seconds, 10)
	x.RespEdit.Set("RateLimit-Limit", b[:n1:n1])
	x.RespEdit.Set("RateLimit-Remaining", b[n1:n2:n2])
	x.RespEdit.Set("RateLimit-Reset", b[n2:])
}
