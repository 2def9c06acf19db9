package jwt

import (
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/tokens"
)

// identify makes the identity that a token proves, without the named consumer
// that may claim it. A claim that says who somebody is but is not of its type
// makes the token no proof at all: to pass over it would make its bearer
// somebody else. It then says why, and t keeps no identity.
func (iss *issuer) identify(t *accepted, f *form) (reason string) {
	id := exchange.Identity{
		Method:  "jwt",
		Proof:   f.alg,
		Issuer:  iss.Name,
		Expires: time.Unix(t.times.exp, 0),
		Claims:  f.claims,
	}
	if f.kid != "" {
		id.Proof += " kid " + f.kid
	}
	if id.TokenID, reason = tokens.Says(f.claims, "jti"); reason != "" {
		return reason
	}
	id.Proof = tokens.WithID(id.Proof, id.TokenID)
	if id.Client, reason = iss.ClientOf(f.claims); reason != "" {
		return reason
	}
	if id.Subject, reason = iss.subjectOf(f.claims, id.Client); reason != "" {
		return reason
	}
	if id.Scopes, reason = scopes(f.claims); reason != "" {
		return reason
	}
	if id.Roles, reason = iss.RolesOf(f.claims); reason != "" {
		return reason
	}
	id.Consumer = iss.ConsumerOf(&id)
	id.Scopes = append(t.scopes[:0], id.Scopes...)
	together(&id)
	t.first = id
	t.identity.Store(&t.first)
	return ""
}

// together moves the texts of an identity that requests read into one.
func together(id *exchange.Identity) {
	texts := append(make([]*string, 0, 16), &id.Consumer, &id.Client, &id.Subject, &id.Proof, &id.TokenID)
	for i := range id.Scopes {
		texts = append(texts, &id.Scopes[i])
	}
	size := 0
	for _, text := range texts {
		size += len(*text)
	}
	var b strings.Builder
	b.Grow(size)
	for _, text := range texts {
		b.WriteString(*text)
	}
	rest := b.String()
	for _, text := range texts {
		*text, rest = rest[:len(*text)], rest[len(*text):]
	}
}

// subjectOf returns who the token is about: the issuer's claims, all of them,
// parted by slashes. Where one is missing, nobody: another claim in its place
// could be the name of somebody else. Only a client that calls for itself is
// known by sub wherever that is its own id.
func (iss *issuer) subjectOf(c exchange.Claims, client string) (subject, reason string) {
	sub, reason := tokens.Says(c, "sub")
	if reason != "" {
		return "", reason
	}
	for _, name := range iss.Subject {
		text, reason := tokens.Says(c, name)
		switch {
		case reason != "":
			return "", reason
		case text == "" && sub == client:
			return sub, ""
		case text == "":
			return "", ""
		case subject != "":
			subject += "/"
		}
		subject += text
	}
	return subject, ""
}

// scopes returns what was granted: scope (RFC 8693 section 4.2) and scp, each
// a string of words or an array of them.
func scopes(c exchange.Claims) (list []string, reason string) {
	for _, name := range [...]string{"scope", "scp"} {
		raw, ok := c.Get(name)
		if !ok || raw == "null" {
			continue
		}
		texts, ok := raw.Texts()
		if !ok {
			return nil, name + " is neither a string nor a list of strings"
		}
		for _, text := range texts {
			list = tokens.Words(list, text)
		}
	}
	return list, ""
}
