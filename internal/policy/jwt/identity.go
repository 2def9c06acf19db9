package jwt

import (
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// subjectMark stands between an issuer and the subject of a token without a
// client, where the name of a consumer is printed.
const subjectMark = "subject:"

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
	for _, m := range [...]struct {
		name string
		to   *string
	}{{"sub", &id.Subject}, {"jti", &id.TokenID}} {
		if !has(f.claims, m.name) {
			continue
		}
		text, ok := topString(f.claims, m.name)
		if !ok || text == "" {
			return m.name + " is not a string that says something"
		}
		*m.to = text
	}
	if id.Client, reason = iss.clientOf(f.claims); reason != "" {
		return reason
	}
	if id.Scopes, reason = scopes(f.claims); reason != "" {
		return reason
	}
	if id.Roles, reason = iss.roles(f.claims); reason != "" {
		return reason
	}
	id.Consumer = iss.Name + "/" + id.Client
	if id.Client == "" {
		id.Consumer = iss.Name + "/" + subjectMark + id.Subject
	}
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

// clientOf returns the calling application: the first of the issuer's claims
// that is there.
func (iss *issuer) clientOf(c exchange.Claims) (client, reason string) {
	for _, name := range iss.Consumer {
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
			for word := range strings.SplitSeq(text, " ") {
				if word != "" && !slices.Contains(list, word) {
					list = append(list, word)
				}
			}
		}
	}
	return list, ""
}

// roles returns the roles or groups at the issuer's claim path.
func (iss *issuer) roles(c exchange.Claims) (list []string, reason string) {
	if iss.Roles == "" {
		return nil, ""
	}
	raw, ok := c.Lookup(iss.Roles)
	if !ok || raw == "null" {
		return nil, ""
	}
	list, ok = raw.Texts()
	if !ok {
		return nil, iss.Roles + " is neither a string nor a list of strings"
	}
	return list, ""
}
