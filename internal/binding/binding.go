// Package binding holds whoever presents an access token to what the token is
// bound to (cnf, RFC 7800): a key of which a proof comes with each request
// (DPoP, RFC 9449), the certificate of the connection (RFC 8705), or both.
//
// It is one room for all policies that take tokens, however these learned of
// the binding. A binding that is not understood cannot be proved.
package binding

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
)

// Rule is what an issuer's tokens have to be bound to. A binding that a token
// has is checked under every rule.
type Rule uint8

// The rules.
const (
	AsIssued Rule = iota // whatever the token says
	ToKey                // a key, proved by DPoP
	ToCertificate
)

// Algorithms are those that proofs may be signed with, as the challenge names
// them (RFC 9449 section 7.1).
const Algorithms = "ES256 EdDSA PS256 RS256"

// Confirmation is what a token is bound to. A nil Confirmation is that of a
// token that is not bound; the zero Confirmation cannot be proved. Safe for
// concurrent use. It takes MaxSize bytes at most.
type Confirmation struct {
	toKey, toCert bool
	key, cert     keys.Thumbprint

	// known is the key of the last proof that held. It saves reading the key,
	// never checking a proof.
	known atomic.Pointer[shownKey]
}

// MaxSize is how much memory a Confirmation takes at most, about, in bytes.
const MaxSize = 2 << 10

// maxKnown is how long a jwk may be for its key to be kept, in bytes: RSA keys
// of 4096 bits are.
const maxKnown = 1 << 10

// Parse reads the value of cnf. What is not understood, in part or as a whole,
// makes a binding that cannot be proved.
func Parse(cnf exchange.JSON) *Confirmation {
	members, err := exchange.ParseClaims([]byte(cnf))
	if err != nil {
		return &Confirmation{}
	}
	c := &Confirmation{}
	for i := range members {
		value, _ := members[i].Raw.Text()
		var ok bool
		switch members[i].Name {
		case "jkt":
			c.key, ok = keys.ParseThumbprint(value)
			c.toKey = ok
		case "x5t#S256":
			c.cert, ok = keys.ParseThumbprint(value)
			c.toCert = ok
		}
		if !ok {
			return &Confirmation{}
		}
	}
	return c
}

// ToKey reports whether the token is bound to a key that can be proved.
func (c *Confirmation) ToKey() bool { return c != nil && c.toKey }

// Replays remembers what must occur once; see counters.Counters.
type Replays interface {
	Once(now time.Time, key counters.Key, keep time.Duration) (first bool, err error)
}

// Presented is a token as it came, and what its proof is judged by.
type Presented struct {
	Token   []byte
	DPoP    bool // by scheme DPoP; else by Bearer
	Now     time.Time
	Nonces  *Nonces // nil: none are given out
	Replays Replays // nil: nobody could tell a replay, so that no proof holds
	Look    bool    // nothing is remembered: who explains must use up nobody's proof
	// Budget is what the networks whose proofs were wrong may have verified,
	// but for those Spared. nil: no bound, or the caller entered one already.
	Budget *guessing.Budget
	Spared guessing.Spared
}

// retryUnavailable is when a caller may come again while a replay, or whether
// a certificate was taken back, cannot be told.
const retryUnavailable = 5 * time.Second

// Check says why whoever sent x is not the one the token was given to;
// fault.None if he is. The reason is for the operator. On the way it may ask
// for a nonce in the response's fields. A proof that holds is used up: nothing
// about the token may be left to check that is known already.
func (c *Confirmation) Check(x *exchange.Exchange, rule Rule, p *Presented) (code fault.Code, reason string) {
	switch {
	case c != nil && !c.toKey && !c.toCert:
		return fault.TokenBindingFailed, "the token is bound (cnf) to what cannot be checked here"
	case p.DPoP && (c == nil || !c.toKey):
		return fault.TokenBindingFailed, "a token that is not bound to a key (cnf.jkt) was presented by scheme DPoP"
	case rule == ToKey && (c == nil || !c.toKey):
		return fault.TokenBindingFailed, "the token is not bound to a key (cnf.jkt), and the issuer's tokenBinding is dpop"
	case rule == ToCertificate && (c == nil || !c.toCert):
		return fault.TokenBindingFailed, "the token is not bound to a certificate (cnf.x5t#S256), and the issuer's tokenBinding is mtls"
	case c == nil:
		return fault.None, ""
	case c.toKey && !p.DPoP:
		return fault.TokenBindingFailed, "the token is bound to a key (cnf.jkt) and was presented by scheme Bearer"
	}
	if c.toCert {
		if code, reason = c.shown(x); code != fault.None {
			return code, reason
		}
	}
	if c.toKey {
		return c.proved(x, p)
	}
	return fault.None, ""
}

// shown says why the certificate of the connection is not the token's.
func (c *Confirmation) shown(x *exchange.Exchange) (fault.Code, string) {
	cert := x.ClientCert()
	switch {
	case cert.State == exchange.CertUnknown:
		x.RetryAfter = retryUnavailable
		return fault.IdentityUnavailable, cert.Reason
	case cert.Facts == nil:
		return fault.TokenBindingFailed, "the token is bound to a certificate (cnf.x5t#S256), and the client showed none that holds"
	case keys.Thumbprint(cert.Facts.Thumbprint) != c.cert:
		return fault.TokenBindingFailed, "the token is bound to another certificate (cnf.x5t#S256) than the client showed"
	}
	return fault.None, ""
}

// replayed is where the keys of proofs that were seen begin.
var replayed = counters.KeyOf("dpop")

// proved says why the proof that came with x does not prove possession of the
// token's key. What costs little is looked at first. A proof counts as seen
// only when all else about it holds, so that nobody can use up somebody else's.
func (c *Confirmation) proved(x *exchange.Exchange, p *Presented) (code fault.Code, reason string) {
	value, n := x.Req.Get(exchange.HeaderDPoP)
	switch {
	case n == 0:
		return fault.DPoPProofInvalid, "there is no DPoP field"
	case n > 1:
		return fault.DPoPProofInvalid, "there is more than one DPoP field"
	}
	known := c.known.Load()
	f, err := parseProof(value, known)
	if err != nil {
		return fault.DPoPProofInvalid, err.Error()
	}
	if f.shown.thumbprint != c.key {
		return fault.DPoPProofInvalid, "the proof is of another key than the token's (cnf.jkt)"
	}
	if reason := f.about(x, p.Token); reason != "" {
		return fault.DPoPProofInvalid, reason
	}
	until, code, reason := f.timely(x, p)
	if code != fault.None {
		return code, reason
	}
	entry, ok := p.Budget.Enter(x, x.Client, p.Spared, p.Now)
	if !ok {
		x.RetryAfter = retryUnavailable
		return fault.Overloaded, "too many proofs of networks that sent bad ones wait to be verified"
	}
	defer func() { entry.Leave(code != fault.None && code.Status() != 503) }() // which is our outage
	if !f.shown.key.Signed(f.alg, f.input, f.signature) {
		return fault.DPoPProofInvalid, "the proof's signature is not that of its key"
	}
	if f.shown != known && len(f.shown.jwk) <= maxKnown {
		kept := *f.shown
		kept.jwk = exchange.JSON(strings.Clone(string(kept.jwk))) // and not all of the proof
		c.known.Store(&kept)
	}
	if p.Look {
		return fault.None, ""
	}
	return c.first(x, p, f.jti, until)
}

// first uses up a proof, which has to be remembered until then, and says why
// it may not be the first of its jti.
func (c *Confirmation) first(x *exchange.Exchange, p *Presented, jti string, until time.Time) (fault.Code, string) {
	if p.Replays == nil {
		x.RetryAfter = retryUnavailable
		return fault.IdentityUnavailable, "there is nothing by which a replayed proof could be told"
	}
	first, err := p.Replays.Once(p.Now, replayed.With(1, c.key[:]).With(2, []byte(jti)), until.Sub(p.Now))
	switch {
	case err != nil:
		x.RetryAfter = retryUnavailable
		return fault.IdentityUnavailable, "whether the proof was seen before cannot be told: " + err.Error()
	case !first:
		return fault.DPoPReplayed, "the proof (jti) was presented before"
	}
	return fault.None, ""
}
