// Package jwt is the policy that authenticates by an access token: a JWT
// (RFC 7519) signed by one of the issuers that the route names, presented as
// a bearer token (RFC 6750) or with a proof of possession (RFC 9449).
//
// The checks have one order, and the first that fails decides: form,
// algorithm, issuer, key, signature, type, time, audience, binding,
// revocation. What a token says of itself is believed only after its signature held. An access
// token is told from every other token that the same issuer signs with the
// same keys: what was made for a login is no proof for an API.
//
// A signature is verified once, and an audience once under the same rules;
// time, binding and revocation are judged for every request.
package jwt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is the names of the issuers whose tokens a route accepts: one, or a
// list.
type Config = scalar.List[string]

const (
	mostIssuers = 16
	maxSkew     = 60 * time.Second
)

// Kinds of token that an issuer's rules may ask for.
const (
	typeAccess = "access" // told from other tokens by all rules
	typeHeader = "at+jwt" // told by the header alone (RFC 9068)
	typeAny    = "any"    // not told at all
)

// consumerClaims name the calling application where an issuer says nothing
// else.
var consumerClaims = []string{"azp", "client_id", "cid", "appid"}

// New compiles auth.jwt.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	switch {
	case len(cfg) == 0:
		return pipeline.Parts{}, pipeline.Complain("", "names no issuer; name one of issuers:")
	case len(cfg) > mostIssuers:
		return pipeline.Parts{}, pipeline.Complain("", "names %d issuers; at most %d are allowed", len(cfg), mostIssuers)
	}
	p := &policy{directory: env.Directory, guard: env.Guard, spared: env.Spared, nonces: env.Nonces}
	var wants []string
	roleless := true
	for i, name := range cfg {
		path := fmt.Sprintf("[%d]", i)
		if len(cfg) == 1 {
			path = "" // it may have been written without a list
		}
		if slices.Contains(cfg[:i], name) {
			return pipeline.Parts{}, pipeline.Complain(path, "names issuer %s twice", name)
		}
		written, err := env.Issuer(name)
		if err != nil {
			return pipeline.Parts{}, pipeline.Complain(path, "%v", err)
		}
		iss, err := compile(written)
		if err != nil {
			return pipeline.Parts{}, pipeline.Complain(path, "issuer %s: %v", name, err)
		}
		for _, other := range p.issuers {
			if overlap(other, iss) {
				return pipeline.Parts{}, pipeline.Complain(path, "issuers %s and %s have the same iss: a token of one could not be told from the other's", other.Name, name)
			}
		}
		p.issuers = append(p.issuers, iss)
		roleless = roleless && len(iss.Roles) == 0
		wants = append(wants, iss.want)
	}
	return pipeline.Parts{
		Authenticate: p,
		Check: exchange.Check{
			Phase: "authenticate",
			Name:  "jwt " + strings.Join(cfg, ", "),
			Want:  "audience " + strings.Join(wants, "; "),
		},
		Challenge:   p.challenge(strings.Join(cfg, " ")),
		Credentials: []string{"authorization", "dpop"},
		Forward:     true,
		Scoped:      true,
		Roleless:    roleless,
		Issuers:     slices.Clone(cfg),
	}, nil
}

// challenge names the schemes by which tokens may come.
func (p *policy) challenge(realm string) pipeline.Challenge {
	c := pipeline.Challenge{Proofs: binding.Algorithms}
	if slices.ContainsFunc(p.issuers, func(iss *issuer) bool { return iss.Binding != binding.ToKey }) {
		c.Scheme, c.Params, c.Errors = "Bearer", "realm="+quote(realm), true
	}
	return c
}

// policy is auth.jwt, compiled. Immutable.
type policy struct {
	issuers   []*issuer
	directory pipeline.Directory
	guard     *guessing.Guard // nil: what unknown tokens cost is not bounded
	spared    guessing.Spared
	nonces    *binding.Nonces
}

// issuer is an issuer with its rules made ready. Immutable.
type issuer struct {
	pipeline.Issuer
	rules [16]byte // digest of all of Issuer that a verdict follows from
	skew  int64    // seconds
	want  string   // the audiences or client ids that are accepted
}

func compile(written *pipeline.Issuer) (*issuer, error) {
	iss := &issuer{Issuer: *written, skew: int64(written.ClockSkew / time.Second)}
	switch {
	case iss.Keys == nil:
		return nil, errors.New("has no keys")
	case iss.URL == "":
		return nil, errors.New("has no URL that iss could equal")
	case len(iss.Audience) == 0 && len(iss.ClientIDs) == 0:
		return nil, errors.New("says neither audience nor clientIds: tokens for any API would be accepted")
	case slices.Contains(iss.Audience, "") || slices.Contains(iss.ClientIDs, ""):
		return nil, errors.New("has an empty audience or client id")
	case len(iss.Algorithms) == 0:
		return nil, errors.New("lists no algorithm")
	case written.ClockSkew < 0 || written.ClockSkew > maxSkew:
		return nil, fmt.Errorf("has a clock skew of %v; 0s to %v are allowed", written.ClockSkew, maxSkew)
	}
	for _, alg := range iss.Algorithms {
		if !keys.Supported(alg) {
			return nil, fmt.Errorf("lists algorithm %q, which is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA", alg)
		}
	}
	switch iss.TokenType {
	case "":
		iss.TokenType = typeAccess
	case typeAccess, typeHeader, typeAny:
	default:
		return nil, fmt.Errorf("has tokenType %q; access, at+jwt and any are known", iss.TokenType)
	}
	if len(iss.Consumer) == 0 {
		iss.Consumer = consumerClaims
	}
	if len(iss.Subject) == 0 {
		iss.Subject = []string{"sub"}
	}
	iss.want = strings.Join(iss.Audience, " or ")
	if len(iss.ClientIDs) > 0 {
		iss.want = strings.TrimPrefix(iss.want+" and client "+strings.Join(iss.ClientIDs, " or "), " and ")
	}
	iss.rules = digest(&iss.Issuer)
	return iss, nil
}

// overlap reports whether iss of one token could be that of both.
func overlap(a, b *issuer) bool {
	return slices.ContainsFunc(a.urls(), b.Accepts)
}

// urls lists what iss may be.
func (iss *issuer) urls() (list []string) {
	if len(iss.Tenants) == 0 {
		return []string{iss.URL}
	}
	for _, t := range iss.Tenants {
		list = append(list, t.URL)
	}
	return list
}

// digest tells the rules of issuers apart. Every list is preceded by its
// length and every text by its own, so that no two issuers are written alike.
func digest(iss *pipeline.Issuer) (sum [16]byte) {
	var b []byte
	var tenants []string
	for _, t := range iss.Tenants {
		tenants = append(tenants, t.URL, t.ID)
	}
	for _, list := range [][]string{{iss.Name, iss.URL, iss.TokenType}, iss.Audience, iss.ClientIDs, iss.Algorithms, iss.Consumer, iss.Subject, iss.Roles, tenants} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	b = binary.AppendVarint(b, int64(iss.ClockSkew))
	whole := sha256.Sum256(b)
	copy(sum[:], whole[:])
	return sum
}

// quote writes s as a quoted-string (RFC 9110 section 5.6.4); bytes that have
// no place in one are left out.
func quote(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c < 0x7f:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
