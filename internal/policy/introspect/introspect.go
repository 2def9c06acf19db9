// Package introspect is the policy that authenticates by an opaque access
// token, presented as a bearer token (RFC 6750): the issuer is asked what it
// stands for (RFC 7662).
//
// A token says nothing of itself. What the issuer says of it is held against
// the same rules as the claims of a JWT: issuer, type, time, audience,
// binding, in this order, and the first that fails decides. The answer is
// remembered for seconds; time, audience, binding and the named consumer are
// judged for every request. When the issuer cannot be asked, nobody passes.
package introspect

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is the name of the issuer that is asked. There is one: a token that
// says nothing of itself would have to be shown to all of several.
type Config string

// UnmarshalText takes the name.
func (c *Config) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("names no issuer; name one of those under issuers")
	}
	*c = Config(text)
	return nil
}

// consumerClaims name the calling application where an issuer says nothing
// else.
var consumerClaims = []string{"azp", "client_id", "cid", "appid"}

// Unknown tokens that one address may send.
const (
	unknownEvery = time.Second / 20
	unknownBurst = 20
)

// New compiles auth.introspect.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	written, err := env.Issuer(string(cfg))
	if err != nil {
		return pipeline.Parts{}, pipeline.Complain("", "%v", err)
	}
	p, err := compile(written)
	if err != nil {
		return pipeline.Parts{}, pipeline.Complain("", "issuer %s: %v", cfg, err)
	}
	p.directory, p.nonces = env.Directory, env.Nonces
	challenge := pipeline.Challenge{Proofs: binding.Algorithms}
	if p.Binding != binding.ToKey {
		challenge.Scheme, challenge.Params, challenge.Errors = "Bearer", "realm="+quote(p.Name), true
	}
	return pipeline.Parts{
		Authenticate: p,
		Check:        exchange.Check{Phase: "authenticate", Name: "introspect " + p.Name, Want: "audience " + p.want},
		Challenge:    challenge,
		Credentials:  []string{"authorization", "dpop"},
		Forward:      true,
		Scoped:       true,
		Roleless:     len(p.Roles) == 0,
	}, nil
}

// policy is auth.introspect, compiled. Immutable.
type policy struct {
	pipeline.Issuer
	directory pipeline.Directory
	nonces    *binding.Nonces
	rules     [16]byte // digest of all of Issuer that a conclusion follows from
	skew      int64    // seconds
	want      string   // the audiences or client ids that are accepted
	unknown   counters.Charge
}

func compile(written *pipeline.Issuer) (*policy, error) {
	p := &policy{Issuer: *written, skew: int64(written.ClockSkew / time.Second)}
	switch {
	case p.Introspector == nil:
		return nil, errors.New("cannot be asked about tokens; give it introspection: { clientId: …, clientSecret: … }")
	case p.URL == "":
		return nil, errors.New("has no URL that iss could equal")
	case len(p.Audience) == 0 && len(p.ClientIDs) == 0:
		return nil, errors.New("says neither audience nor clientIds: tokens for any API would be accepted")
	case slices.Contains(p.Audience, "") || slices.Contains(p.ClientIDs, ""):
		return nil, errors.New("has an empty audience or client id")
	}
	if len(p.Consumer) == 0 {
		p.Consumer = consumerClaims
	}
	p.want = strings.Join(p.Audience, " or ")
	if len(p.ClientIDs) > 0 {
		p.want = strings.TrimPrefix(p.want+" and client "+strings.Join(p.ClientIDs, " or "), " and ")
	}
	p.rules = digest(&p.Issuer)
	p.unknown = counters.Charge{Key: counters.KeyOf("introspect", p.Name), Period: unknownEvery, Burst: unknownBurst}
	return p, nil
}

// digest tells the rules of issuers apart. Every list is preceded by its
// length and every text by its own, so that no two issuers are written alike.
func digest(iss *pipeline.Issuer) (sum [16]byte) {
	var b []byte
	for _, list := range [][]string{{iss.Name, iss.URL, iss.TokenType}, iss.Roles, iss.Audience, iss.ClientIDs, iss.Consumer} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	whole := sha256.Sum256(b)
	copy(sum[:], whole[:])
	return sum
}

// verdictID names what is concluded about a token.
func (p *policy) verdictID(token []byte) keys.VerdictID {
	return keys.VerdictID{Token: sha256.Sum256(token), Rules: p.rules}
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

// text names what is there, for the operator.
func text(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return fmt.Sprintf("%.200s", strings.Join(list, " "))
}
