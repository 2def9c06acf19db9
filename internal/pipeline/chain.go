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
	authorize    []part[Authorizer]
	screen       []part[Limiter]
	limit        []part[Limiter]

	// Challenges by what went wrong: nothing was presented, the credential was
	// bad, there was more than one, a scope is missing.
	bare, bad, ambiguous, scope []string

	verified string // field whose credential may go on
}

type part[T any] struct {
	run   T
	check uint32 // index in the legend
}

// NewChain puts parts in order. Their checks are appended to legend.
func NewChain(parts []Parts, legend *exchange.Legend) *Chain {
	c := &Chain{}
	for _, p := range parts {
		check := uint32(len(legend.Checks))
		legend.Checks = append(legend.Checks, p.Check)
		if p.Screen != nil {
			c.screen = append(c.screen, part[Limiter]{p.Screen, check})
		}
		if p.Authenticate != nil {
			c.authenticate = part[Authenticator]{p.Authenticate, check}
			c.challenge(p.Challenge)
		}
		if p.Authorize != nil {
			c.authorize = append(c.authorize, part[Authorizer]{p.Authorize, check})
		}
		if p.Limit != nil {
			c.limit = append(c.limit, part[Limiter]{p.Limit, check})
		}
		if p.Forward && len(p.Credentials) == 1 {
			c.verified = p.Credentials[0]
		}
	}
	var scopes []string
	for _, p := range parts {
		if p.Scope != "" {
			scopes = append(scopes, p.Scope)
		}
	}
	if len(scopes) > 0 && len(c.bare) > 0 {
		c.scope = []string{c.bare[0] + `, error="insufficient_scope", scope="` + strings.Join(scopes, " ") + `"`}
	}
	return c
}

func (c *Chain) challenge(ch Challenge) {
	if ch.Scheme == "" {
		return
	}
	text := ch.Scheme
	if ch.Params != "" {
		text += " " + ch.Params
	}
	c.bare = append(c.bare, text)
	bad, ambiguous := text, text
	if ch.Errors {
		bad += `, error="invalid_token"`
		ambiguous += `, error="invalid_request"`
	}
	c.bad, c.ambiguous = append(c.bad, bad), append(c.ambiguous, ambiguous)
}

// Challenges returns the values of WWW-Authenticate that go with a refusal,
// as a view; none for most codes.
func (c *Chain) Challenges(code fault.Code) []string {
	switch {
	case code == fault.CredentialMissing:
		return c.bare
	case code == fault.CredentialAmbiguous:
		return c.ambiguous
	case code == fault.ScopeMissing:
		return c.scope
	case code.Status() == 401:
		return c.bad
	}
	return nil
}

// Run asks the policies in order and returns the first verdict that is not a
// pass. x.Identity is set once it is proved.
func (c *Chain) Run(x *exchange.Exchange, w *World) Verdict {
	if c.authenticate.run == nil {
		return Refuse(fault.InternalError)
	}
	if v := take(c.screen, x, w); !v.Passed() {
		return v
	}
	x.Trail.Begin(c.authenticate.check)
	id, v := c.authenticate.run.Authenticate(x, w)
	if v == NotMine {
		v = Refuse(fault.CredentialMissing)
	} else if v.Passed() && id == nil {
		v = Refuse(fault.InternalError)
	}
	x.Trail.End(v.outcome, v.code)
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

// Forwards returns the field whose credential was verified and may go on;
// empty if there is none.
func (c *Chain) Forwards() string { return c.verified }
