package introspect

import (
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/tokens"
)

// known is what is kept of the issuer's word on a token: numbers and texts
// from which the rest is judged for every request. It does not change, except
// that its identity learns the consumer's name.
type known struct {
	keys.Place
	refusal fault.Code // None: the token is active, of this issuer, an access token
	because string     // of the refusal, for the operator
	have    string     // of the refusal, where something else was wanted

	exp, nbf int64                 // Unix seconds; nbf 0: there is none
	aud      []string              // nil: there is none
	audOK    bool                  // aud is absent, or as it must be
	clientID string                // member client_id
	marked   bool                  // something beside its audience says that it is an access token
	cnf      *binding.Confirmation // nil: the token is not bound
	consumer string                // as printed, while no named consumer claims its client
	identity atomic.Pointer[exchange.Identity]
}

// conclude makes of an answer about the token of this digest what is remembered
// of it.
func (p *policy) conclude(digest [sha256.Size]byte, active bool, answer exchange.Claims) keys.Conclusion {
	k := &known{}
	size := 1024
	if !active {
		k.refusal, k.because = fault.TokenInactive, "the issuer says so"
	} else {
		k.read(p, answer)
		if id := k.identity.Load(); id != nil {
			iat, _ := answer.Get("iat")
			issued, _ := iat.Seconds() // 0: it does not say
			t := exchange.NewToken(digest, p.URL, id.TokenID, id.Subject, issued, p.Skew)
			t.Client = exchange.MarkOf(exchange.RevokedConsumer, id.Consumer)
			id.Token, id.Whose = &t, t.Client
		}
		for i := range answer {
			size += 2*len(answer[i].Raw) + 64
		}
		if k.cnf != nil {
			size += binding.MaxSize
		}
	}
	return keys.Conclusion{Value: k, Good: k.refusal == fault.None, Expires: time.Unix(k.exp, 0), Size: size}
}

// read takes from an answer what can be judged once.
func (k *known) read(p *policy, c exchange.Claims) {
	k.refusal = fault.CredentialMalformed
	if raw, there := c.Get("iss"); there {
		if iss, ok := raw.Text(); !ok || iss != p.URL {
			k.refusal, k.have = fault.TokenIssuerUnknown, "(an iss that is no string)"
			if ok {
				k.have = iss
			}
			return
		}
	}
	tokenType, reason := typeOf(c)
	if reason != "" {
		k.refusal, k.because = fault.TokenTypeWrong, reason
		return
	}
	if p.TokenType != tokens.TypeAny {
		if k.because = tokens.MarksOfOthers(c, ""); k.because != "" {
			k.refusal = fault.TokenTypeWrong
			return
		}
	}
	k.marked = tokenType != "" || tokens.Marked(c)
	if k.because = k.times(c); k.because != "" {
		return
	}
	k.aud, k.audOK = tokens.Audience(c)
	k.clientID, _ = tokens.Text(c, "client_id")
	k.bind(c, tokenType)
	id, reason := k.identify(p, c)
	if k.because = reason; reason != "" {
		return
	}
	k.identity.Store(id)
	k.refusal = fault.None
}

// typeOf returns token_type, empty if there is none. Names of types are not
// case-sensitive (RFC 6749 section 5.1).
func typeOf(c exchange.Claims) (name, reason string) {
	raw, there := c.Get("token_type")
	if !there || raw == "null" {
		return "", ""
	}
	name, ok := raw.Text()
	if name = strings.ToLower(name); !ok || name != "bearer" && name != "dpop" {
		return "", "token_type is neither Bearer nor DPoP"
	}
	return name, ""
}

// times reads the moments, or says what is wrong with them.
func (k *known) times(c exchange.Claims) (reason string) {
	for _, m := range [...]struct {
		name string
		to   *int64
	}{{"exp", &k.exp}, {"nbf", &k.nbf}} {
		switch there, reason := tokens.Moment(c, m.name, m.to); {
		case reason != "":
			return reason
		case !there && m.name == "exp":
			return "the issuer's answer has no exp"
		}
	}
	return ""
}

// bind reads what the token is bound to (RFC 7800). Whatever is not understood
// is a binding that cannot be proved.
func (k *known) bind(c exchange.Claims, tokenType string) {
	raw, there := c.Get("cnf")
	switch {
	case !there && tokenType == "dpop":
		k.cnf = &binding.Confirmation{} // to a key of which nothing is said
	case there:
		k.cnf = binding.Parse(raw)
		if tokenType == "dpop" && !k.cnf.ToKey() {
			k.cnf = &binding.Confirmation{}
		}
	}
}

// identify makes the identity that the answer proves, without the named
// consumer that may claim it. A member that says who somebody is but is not of
// its type makes the answer no proof at all: to pass over it would make the
// bearer somebody else.
func (k *known) identify(p *policy, c exchange.Claims) (id *exchange.Identity, reason string) {
	id = &exchange.Identity{Method: "introspect", Proof: "introspection", Issuer: p.Name, Expires: time.Unix(k.exp, 0), Claims: c}
	if id.Subject, reason = tokens.Says(c, "sub"); reason != "" {
		return nil, reason
	}
	if id.TokenID, reason = tokens.Says(c, "jti"); reason != "" {
		return nil, reason
	}
	id.Proof = tokens.WithID(id.Proof, id.TokenID)
	if id.Client, reason = p.ClientOf(c); reason != "" {
		return nil, reason
	}
	if raw, ok := c.Get("scope"); ok && raw != "null" {
		scope, ok := raw.Text()
		if !ok {
			return nil, "scope is not a string"
		}
		id.Scopes = tokens.Words(nil, scope)
	}
	if id.Roles, reason = p.RolesOf(c); reason != "" {
		return nil, reason
	}
	k.consumer = p.ConsumerOf(id)
	id.Consumer = k.consumer
	return id, ""
}
