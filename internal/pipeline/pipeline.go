// Package pipeline says what a policy is, in which order policies are asked,
// and how a decision is reached.
//
// The order of the phases is fixed here: screen, authenticate, authorize,
// limit, and, of a request that may pass, transform. An operator chooses
// policies, never their order. A policy has parts, one narrow interface per
// phase; it is compiled once from its Config and never changes afterwards.
package pipeline

import (
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Verdict is what a part of a policy says of a request. The zero Verdict
// refuses with internal_error. What the part saw it notes on the exchange's
// trail, where the pipeline has opened a step for it.
type Verdict struct {
	outcome exchange.Outcome
	code    fault.Code
}

// Pass lets the request go on.
var Pass = Verdict{outcome: exchange.Passed}

// NotMine is said by an Authenticator when the request carries no credential
// of its kind, so that the next one may try.
var NotMine = Verdict{outcome: exchange.Skipped}

// Unclaimed is said by an Authenticator of a credential that is of its kind but
// of nobody it knows: a token of another issuer. Another method of the route
// may know it; if none does, the request is refused with code.
func Unclaimed(code fault.Code) Verdict { return Verdict{exchange.Skipped, code} }

// Refuse turns the request away.
func Refuse(code fault.Code) Verdict { return Verdict{exchange.Refused, code} }

// CannotTell is the answer of a part that the world could not answer (a key
// set not to be fetched while explaining). It refuses when serving.
func CannotTell(code fault.Code) Verdict { return Verdict{exchange.Unknown, code} }

// Code returns the code of a refusal; fault.None of a pass.
func (v Verdict) Code() fault.Code {
	if v.outcome == exchange.Passed {
		return fault.None
	}
	return v.code
}

// Passed reports whether v lets the request go on.
func (v Verdict) Passed() bool { return v.outcome == exchange.Passed }

// World is what a decision may ask of the world outside the request: the
// clock, the counters, and whether remote answers may be fetched. It is the
// same for every policy of one decision, and used by one at a time; whoever
// decides often keeps one, so that a decision allocates nothing.
type World struct {
	Now      time.Time
	Counters Taker
	Replays  binding.Replays // what must occur once; nil: nobody remembers it
	Remote   bool            // false: only what is in memory may be used (explain)

	charges Charges
}

// Taker decides over several charges at once; see counters.Counters. Serving
// takes, explaining only looks.
type Taker interface {
	Take(now time.Time, charges []counters.Charge, states []counters.State) (refused int, err error)
}

// Look makes a Taker that reads counters and charges nothing.
func Look(c counters.Counters) Taker { return look{c} }

type look struct{ c counters.Counters }

func (l look) Take(now time.Time, charges []counters.Charge, states []counters.State) (int, error) {
	return l.c.Look(now, charges, states)
}

// Parts is what a policy consists of, nil where it has no part in a phase.
type Parts struct {
	Screen       Limiter // limits keyed by the client's address alone; run before authentication
	Authenticate Authenticator
	Authorize    Authorizer
	Limit        Limiter
	Transform    Transformer // of requests that pass; when serving only

	// Sets are the request fields that Transform puts in towards the upstream:
	// all of them, however rarely. What clients send under these names, or such
	// as look alike, is removed on every route.
	Sets []SetField
	// Asserts says that Transform signs assertions: their keys are published.
	Asserts bool

	// Check names the policy in the legend: what explain prints.
	Check exchange.Check
	// Challenge is the WWW-Authenticate challenge of an Authenticator.
	Challenge Challenge
	// Scope is what a scope policy asks for, for the challenge of scope_missing.
	Scope string
	// Scoped says that the identities of an Authenticator carry scopes.
	Scoped bool
	// Roleless says that they never carry roles; AsksRoles that the policy asks
	// for some.
	Roleless, AsksRoles bool
	// Issuers are the names of the issuers whose word an Authenticator takes,
	// where its Config is a list of them (scalar.List[string]). Several such
	// proofs of one kind on a route become one that takes the word of all: a
	// credential is judged once.
	Issuers []string
	// Missing is the code of a request without a credential of an
	// Authenticator's kind; zero: credential_missing.
	Missing fault.Code
	// Revoked is told, while the exchange is judged, that the identity which the
	// Authenticator gave it was taken back: it may say where to begin anew.
	Revoked func(x *exchange.Exchange, w *World, id *exchange.Identity)
	// Credentials are the request fields (lower case) this policy reads as
	// credentials: never logged, and removed towards the upstream unless
	// Forward is set and the credential was verified for this request: then the
	// first may go on.
	Credentials []string
	Forward     bool
	// Parameters are the names of query parameters this policy reads as
	// credentials: never logged, and taken out of the request by the policy
	// itself, before others read it.
	Parameters []string
	// Doubt is what speaks against a Config that is allowed; "": nothing.
	Doubt string
	// Consumers are those that the policy names, whether they are known or not.
	Consumers []string
	// Reads are the other request fields (lower case) the policy reads.
	Reads []string
}

// Sources says in words where the credentials are read from: fields by their
// names, and query parameters.
func (p *Parts) Sources() []string {
	all := slices.Clone(p.Credentials)
	for _, name := range p.Parameters {
		all = append(all, "query parameter "+name)
	}
	return all
}

// SetField is a request field that a policy sets, and where its Config says
// so, as in Problem.
type SetField struct{ Name, At string }

// Challenge is an authentication challenge (RFC 9110 section 11.6.1).
type Challenge struct {
	Scheme string // "Bearer"; empty: none
	Params string // `realm="corp"`, constants and configuration only
	Errors bool   // the scheme defines error="…" (RFC 6750)
	// Proofs are the algorithms of DPoP proofs (RFC 9449 section 7.1), where
	// the credential may come by scheme DPoP, beside Scheme; "": it may not.
	Proofs string
}

// Authenticator proves who the caller is.
type Authenticator interface {
	// Authenticate returns NotMine when the request carries no credential of
	// its kind, and Unclaimed when it cannot tell whose it is. Every other
	// verdict is final: a bad credential never falls through to the next
	// method. With Pass the identity is not nil.
	Authenticate(x *exchange.Exchange, w *World) (*exchange.Identity, Verdict)
}

// Authorizer decides whether the proved identity may do what it asks.
type Authorizer interface {
	Authorize(x *exchange.Exchange, w *World) Verdict
}

// Limiter proposes charges for a request; the pipeline takes all of a phase
// in one call, or none.
type Limiter interface {
	Limit(x *exchange.Exchange, c *Charges)
}

// Transformer changes what the upstream gets of a request that may pass: the
// edits of its head, x.ReqEdit, and nothing else. It sets no field that is not
// among its policy's Sets.
type Transformer interface {
	// Transform passes, or refuses with transform_failed or identity_unavailable.
	Transform(x *exchange.Exchange, w *World) Verdict
}

// MaxCharges bounds the limits that one route may run in one phase.
const MaxCharges = 8

// Charges collects the charges of one phase.
type Charges struct {
	n      int
	list   [MaxCharges]counters.Charge
	states [MaxCharges]counters.State
	labels [MaxCharges]string
	check  [MaxCharges]uint32
	open   uint32
}

// Add proposes a charge. label is how the limit was written; it must live as
// long as the policy. Compile sees to it that a phase never has more than
// MaxCharges.
func (c *Charges) Add(ch counters.Charge, label string) {
	c.list[c.n] = ch
	c.labels[c.n] = label
	c.check[c.n] = c.open
	c.n++
}
