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
	if id.TokenID, reason = says(f.claims, "jti"); reason != "" {
		return reason
	}
	if id.Client, reason = iss.clientOf(f.claims); reason != "" {
		return reason
	}
	if id.Subject, reason = iss.subjectOf(f.claims, id.Client); reason != "" {
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

// says returns a member that must be a string with something in it, if it is
// there.
func says(c exchange.Claims, name string) (text, reason string) {
	if !has(c, name) {
		return "", ""
	}
	text, _ = topString(c, name)
	if text == "" {
		return "", name + " is not a string that says something"
	}
	return text, ""
}

// subjectOf returns who the token is about: the issuer's claims, all of them,
// parted by slashes. Where one is missing, nobody: another claim in its place
// could be the name of somebody else. Only a client that calls for itself is
// known by sub wherever that is its own id.
func (iss *issuer) subjectOf(c exchange.Claims, client string) (subject, reason string) {
	sub, reason := says(c, "sub")
	if reason != "" {
		return "", reason
	}
	for _, name := range iss.Subject {
		text, reason := says(c, name)
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

// clientOf returns the calling application: the first of the issuer's claims
// that is there.
func (iss *issuer) clientOf(c exchange.Claims) (client, reason string) {
	for _, name := range iss.Consumer {
		raw, ok := c.Lookup(name)
		if !ok {
			continue
		}
		client, _ := raw.Text()
		switch {
		case client == "":
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

// roles returns the roles or groups at the issuer's claim paths.
func (iss *issuer) roles(c exchange.Claims) (list []string, reason string) {
	for _, path := range iss.Roles {
		raw, ok := c.Lookup(path)
		if !ok || raw == "null" {
			continue
		}
		texts, ok := raw.Texts()
		if !ok {
			return nil, path + " is neither a string nor a list of strings"
		}
		for _, text := range texts {
			if text != "" && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	return list, ""
}
