package introspect

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
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

// typeAny is the tokenType of issuers whose tokens are not told apart.
const typeAny = "any"

// subjectMark stands between an issuer and the subject of a token without a
// client, where the name of a consumer is printed.
const subjectMark = "subject:"

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
			t := exchange.NewToken(digest, p.URL, id.TokenID, id.Subject, issued, p.skew)
			id.Token, id.Whose = &t, exchange.MarkOf(exchange.RevokedConsumer, id.Consumer)
		}
		for i := range answer {
			size += 2*len(answer[i].Raw) + 64
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
	if p.TokenType != typeAny {
		if k.because = marksOfOthers(c); k.because != "" {
			k.refusal = fault.TokenTypeWrong
			return
		}
	}
	k.marked = tokenType != "" || topString(c, "token_use") == "access" || isPresented(topString(c, "typ"))
	if k.because = k.times(c); k.because != "" {
		return
	}
	k.aud, k.audOK = audience(c)
	k.clientID = topString(c, "client_id")
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

// marksOfOthers says what marks the answer as being about an ID token, a
// refresh token, a logout token or an event.
func marksOfOthers(c exchange.Claims) string {
	presented := isPresented(topString(c, "typ"))
	if has(c, "typ") && !presented {
		return "typ is that of another kind of token"
	}
	if has(c, "token_use") && topString(c, "token_use") != "access" {
		return "token_use is not access"
	}
	for _, name := range [...]string{"at_hash", "c_hash", "s_hash", "events"} {
		if has(c, name) {
			return name + " marks another kind of token"
		}
	}
	if has(c, "nonce") && !presented {
		return "nonce marks an ID token"
	}
	return ""
}

func isPresented(typ string) bool { return typ == "Bearer" || typ == "DPoP" }

// times reads the moments, or says what is wrong with them.
func (k *known) times(c exchange.Claims) (reason string) {
	for _, m := range [...]struct {
		name string
		to   *int64
	}{{"exp", &k.exp}, {"nbf", &k.nbf}} {
		raw, ok := c.Get(m.name)
		if !ok {
			if m.name == "exp" {
				return "the issuer's answer has no exp"
			}
			continue
		}
		if *m.to, ok = raw.Seconds(); !ok {
			return m.name + " is not an integer from 0 to 2^53"
		}
	}
	return ""
}

// audience returns aud; ok is false when it is there but neither a string nor
// an array of strings that is not empty.
func audience(c exchange.Claims) (aud []string, ok bool) {
	raw, there := c.Get("aud")
	if !there {
		return nil, true
	}
	aud, ok = raw.Texts()
	if !ok || len(aud) == 0 {
		return nil, false
	}
	return aud, true
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
	for _, m := range [...]struct {
		name string
		to   *string
	}{{"sub", &id.Subject}, {"jti", &id.TokenID}} {
		if !has(c, m.name) {
			continue
		}
		if *m.to = topString(c, m.name); *m.to == "" {
			return nil, m.name + " is not a string that says something"
		}
	}
	if id.Client, reason = p.clientOf(c); reason != "" {
		return nil, reason
	}
	if raw, ok := c.Get("scope"); ok && raw != "null" {
		scope, ok := raw.Text()
		if !ok {
			return nil, "scope is not a string"
		}
		for word := range strings.SplitSeq(scope, " ") {
			if word != "" && !slices.Contains(id.Scopes, word) {
				id.Scopes = append(id.Scopes, word)
			}
		}
	}
	for _, path := range p.Roles {
		raw, ok := c.Lookup(path)
		if !ok || raw == "null" {
			continue
		}
		texts, ok := raw.Texts()
		if !ok {
			return nil, path + " is neither a string nor a list of strings"
		}
		for _, text := range texts {
			if text != "" && !slices.Contains(id.Roles, text) {
				id.Roles = append(id.Roles, text)
			}
		}
	}
	k.consumer = p.Name + "/" + id.Client
	if id.Client == "" {
		k.consumer = p.Name + "/" + subjectMark + id.Subject
	}
	id.Consumer = k.consumer
	return id, ""
}

// clientOf returns the calling application: the first of the issuer's claims
// that is there.
func (p *policy) clientOf(c exchange.Claims) (client, reason string) {
	for _, name := range p.Consumer {
		raw, ok := c.Lookup(name)
		if !ok {
			continue
		}
		client, ok := raw.Text()
		switch {
		case !ok || client == "":
			return "", name + " is not a string that says something"
		case strings.HasPrefix(client, subjectMark):
			return "", name + " reads like a subject, which no client may"
		}
		return client, ""
	}
	return "", ""
}

// has reports whether the answer has a member, whatever its value: enough to
// refuse.
func has(c exchange.Claims, name string) bool {
	_, ok := c.Get(name)
	return ok
}

// topString returns a member that is a string, empty if there is none. Unlike
// Claims.String it knows no paths.
func topString(c exchange.Claims, name string) string {
	raw, _ := c.Get(name)
	text, _ := raw.Text()
	return text
}
