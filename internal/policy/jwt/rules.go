package jwt

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

// accepted is what is kept of a token whose signature held and whose type was
// right: numbers and texts from which the rest is judged for every request.
// It does not change, except that its identity learns the consumer's name.
//
// What every request reads lies in this struct and in one text, side by side:
// with thousands of callers each place further away is waited for.
type accepted struct {
	keys.Place
	set      keys.Set // that vouched for it
	times    times
	meant    bool                  // for the API behind us; follows from the rules it was judged under
	cnf      *binding.Confirmation // nil: it is not bound
	identity atomic.Pointer[exchange.Identity]
	first    exchange.Identity // the identity while no named consumer claims its client
	token    exchange.Token
	scopes   [4]string // room for first's
	presents *presents
}

// presents is what a token says of whom it is made for.
type presents struct {
	aud      []string // nil: there is none
	audOK    bool     // aud is absent, or as it must be
	clientID string   // claim client_id
	tokenUse string   // claim token_use
}

// wrongTenant says why a token is not of the tenant that its iss names, where
// the issuer has tenants; empty if it is. All tenants of a provider may share
// its keys; a key that is published for one of them signs for no other.
func (iss *issuer) wrongTenant(c exchange.Claims, key *keys.Key) string {
	if len(iss.Tenants) == 0 {
		return ""
	}
	name, _ := tokens.Text(c, "iss")
	tid, _ := tokens.Text(c, "tid")
	if tid == "" || !slices.Contains(iss.Tenants, pipeline.Tenant{URL: name, ID: tid}) {
		return "tid is not the tenant that iss names"
	}
	if key.Issuer == "" {
		return ""
	}
	// Of v1 tokens, too, keys name the v2 issuer.
	vouches := strings.ReplaceAll(key.Issuer, "{tenantid}", tid)
	if !slices.Contains(iss.Tenants, pipeline.Tenant{URL: vouches, ID: tid}) {
		return "the key is published for another issuer"
	}
	return ""
}

// wrongType says why a token is no access token; empty if it is one.
func (iss *issuer) wrongType(f *form, aud []string) string {
	if iss.TokenType == tokens.TypeAny {
		return ""
	}
	typ := strings.TrimPrefix(strings.ToLower(f.typ), "application/")
	switch {
	case iss.TokenType == tokens.TypeHeader && typ == tokens.TypeHeader:
		return ""
	case iss.TokenType == tokens.TypeHeader:
		return "the header's typ is not at+jwt"
	case f.typed && typ != "jwt" && typ != tokens.TypeHeader:
		return "the header's typ is that of another kind of token"
	}
	if reason := tokens.MarksOfOthers(f.claims, " in the payload"); reason != "" || typ == tokens.TypeHeader {
		return reason
	}
	if !marked(f.claims, aud) {
		return "nothing in the payload marks an access token; ID tokens look like this"
	}
	if ownAudience(f.claims, aud) {
		return "aud is only the client itself, as in an ID token"
	}
	return ""
}

// marked reports whether something in the payload marks an access token.
func marked(c exchange.Claims, aud []string) bool {
	if tokens.Marked(c) {
		return true
	}
	for _, name := range [...]string{"scope", "scp", "client_id", "cid", "appid", "appidacr", "azpacr", "gty"} {
		if holds(c, name) {
			return true
		}
	}
	azp, ok := tokens.Text(c, "azp")
	return ok && !slices.Contains(aud, azp)
}

// ownAudience reports whether aud is only the caller's own client id while
// nothing else marks an access token.
func ownAudience(c exchange.Claims, aud []string) bool {
	for _, name := range [...]string{"scope", "scp", "appidacr", "azpacr", "token_use", "typ"} {
		if holds(c, name) {
			return false
		}
	}
	if len(aud) == 0 {
		return false
	}
	for _, a := range aud {
		own := false
		for _, name := range tokens.ConsumerClaims {
			client, ok := tokens.Text(c, name)
			own = own || ok && client == a
		}
		if !own {
			return false
		}
	}
	return true
}

// meantFor reports whether the token was made for the API behind us. azp never
// stands for client_id: ID tokens have it too.
func (t *presents) meantFor(iss *issuer) bool {
	if !t.audOK {
		return false
	}
	if len(iss.ClientIDs) > 0 {
		if t.tokenUse != "access" || !slices.Contains(iss.ClientIDs, t.clientID) {
			return false
		}
		if t.aud == nil || len(iss.Audience) == 0 {
			return true
		}
	}
	for _, a := range t.aud {
		if slices.Contains(iss.Audience, a) {
			return true
		}
	}
	return false
}

// audienceText is what the token says, for the operator.
func (t *presents) audienceText() string {
	text := "no aud"
	switch {
	case !t.audOK:
		text = "an aud that is neither a string nor a list of strings"
	case t.aud != nil:
		text = strings.Join(t.aud, " ")
	}
	if t.clientID != "" {
		text += ", client " + t.clientID
	}
	return text
}

// times are the moments in a token, in Unix seconds.
type times struct {
	exp, nbf, iat int64 // nbf, iat: 0 if absent, which refuses nothing
}

// read takes the times from the payload, or says what is wrong with them.
func (t *times) read(c exchange.Claims) (reason string) {
	for _, m := range [...]struct {
		name string
		to   *int64
	}{{"exp", &t.exp}, {"nbf", &t.nbf}, {"iat", &t.iat}} {
		switch there, reason := tokens.Moment(c, m.name, m.to); {
		case reason != "":
			return reason
		case !there && m.name == "exp":
			return "the token has no exp"
		}
	}
	return ""
}

// moment is where a moment lies in a token's time.
type moment uint8

const (
	outside moment = iota
	inTime
	expired
	beforeNbf
	beforeIat
)

// check says where now lies, give or take skew; all in seconds.
func (t *times) check(now, skew int64) moment {
	switch {
	case now >= t.exp+skew:
		return expired
	case now < t.nbf-skew:
		return beforeNbf
	case now < t.iat-skew:
		return beforeIat
	}
	return inTime
}

func untimely(x *exchange.Exchange, iss *issuer, t *times, when moment, now int64) pipeline.Verdict {
	x.Trail.Saw("issuer", iss.Name)
	switch when {
	case beforeNbf:
		x.Trail.Saw("because", "valid (nbf) only "+tokens.Span(t.nbf-now)+" from now")
		return pipeline.Refuse(fault.TokenNotYetValid)
	case beforeIat:
		x.Trail.Saw("because", "issued (iat) "+tokens.Span(t.iat-now)+" from now")
		return pipeline.Refuse(fault.TokenNotYetValid)
	}
	x.Trail.Saw("because", "expired "+tokens.Span(now-t.exp)+" ago")
	return pipeline.Refuse(fault.TokenExpired)
}

// holds reports whether the payload has a member that says something: null
// is not enough to accept.
func holds(c exchange.Claims, name string) bool {
	raw, ok := c.Get(name)
	return ok && raw != "null"
}
