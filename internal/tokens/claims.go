package tokens

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// SubjectMark stands between an issuer and the subject of a token without a
// client, where the name of a consumer is printed.
const SubjectMark = "subject:"

// Has reports whether there is a member, whatever its value: enough to refuse.
func Has(c exchange.Claims, name string) bool {
	_, ok := c.Get(name)
	return ok
}

// Text returns a member that is a string. Unlike Claims.String it knows no
// paths: registered names hold no dots, and none may be found elsewhere.
func Text(c exchange.Claims, name string) (string, bool) {
	raw, _ := c.Get(name)
	return raw.Text()
}

// Says returns a member that must be a string with something in it, if it is
// there.
func Says(c exchange.Claims, name string) (text, reason string) {
	if !Has(c, name) {
		return "", ""
	}
	text, _ = Text(c, name)
	if text == "" {
		return "", name + " is not a string that says something"
	}
	return text, ""
}

// Audience returns aud; ok is false when it is there but neither a string nor
// an array of strings that is not empty.
func Audience(c exchange.Claims) (aud []string, ok bool) {
	raw, there := c.Get("aud")
	if !there {
		return nil, true
	}
	if aud, _ = raw.Texts(); len(aud) == 0 {
		return nil, false
	}
	return aud, true
}

// presented reports whether typ is that of an access token.
func presented(c exchange.Claims) bool {
	typ, _ := Text(c, "typ")
	return typ == "Bearer" || typ == "DPoP"
}

// Marked reports whether typ or token_use marks an access token.
func Marked(c exchange.Claims) bool {
	use, _ := Text(c, "token_use")
	return use == "access" || presented(c)
}

// MarksOfOthers says what marks an ID token, a refresh token, a logout token
// or an event; empty if nothing does. where says where these members stand, if
// there is another typ than theirs: " in the payload".
func MarksOfOthers(c exchange.Claims, where string) (reason string) {
	if Has(c, "typ") && !presented(c) {
		return "typ" + where + " is that of another kind of token"
	}
	if use, _ := Text(c, "token_use"); Has(c, "token_use") && use != "access" {
		return "token_use is not access"
	}
	for _, name := range [...]string{"at_hash", "c_hash", "s_hash", "events"} {
		if Has(c, name) {
			return name + " marks another kind of token"
		}
	}
	if Has(c, "nonce") && !presented(c) {
		return "nonce marks an ID token"
	}
	return ""
}

// Moment puts the time that a member says, in Unix seconds, into to; there is
// false if there is no such member.
func Moment(c exchange.Claims, name string, to *int64) (there bool, reason string) {
	raw, there := c.Get(name)
	if !there {
		return false, ""
	}
	n, ok := raw.Seconds()
	if !ok {
		return true, name + " is not an integer from 0 to 2^53"
	}
	*to = n
	return true, ""
}

// Span writes a number of seconds for people.
func Span(seconds int64) string {
	const century = 100 * 365 * 24 * 3600
	if seconds > century {
		return "more than a century"
	}
	return (time.Duration(seconds) * time.Second).String()
}

// ClientOf returns the calling application: the first of the issuer's claims
// that is there.
func (r *Rules) ClientOf(c exchange.Claims) (client, reason string) {
	for _, name := range r.Consumer {
		raw, ok := c.Lookup(name)
		if !ok {
			continue
		}
		client, _ := raw.Text()
		switch {
		case client == "":
			return "", name + " is not a string that says something"
		case strings.HasPrefix(client, SubjectMark):
			return "", name + " reads like a subject, which no client may"
		}
		return client, ""
	}
	return "", ""
}

// ConsumerOf is how the caller is printed while no named consumer claims its
// client.
func (r *Rules) ConsumerOf(id *exchange.Identity) string {
	if id.Client == "" {
		return r.Name + "/" + SubjectMark + id.Subject
	}
	return r.Name + "/" + id.Client
}

// Named returns id, which kept holds, with the named consumer that claims its
// client now; unclaimed is what is printed if none does. Consumers change while
// a token is remembered, so it is looked up every time; the identity is made
// anew, for kept too, only when the answer is another one.
func Named(of pipeline.Directory, kept *atomic.Pointer[exchange.Identity], id *exchange.Identity, unclaimed string) *exchange.Identity {
	var named *exchange.Consumer
	if id.Client != "" && of != nil {
		named, _ = of.Client(id.Issuer, id.Client)
	}
	if named == id.Named {
		return id
	}
	fresh := *id
	fresh.Named, fresh.Consumer = named, unclaimed
	if named != nil {
		fresh.Consumer = named.Name
	}
	fresh.Whose = exchange.MarkOf(exchange.RevokedConsumer, fresh.Consumer)
	kept.Store(&fresh)
	return &fresh
}

// RolesOf returns the roles or groups at the issuer's claim paths.
func (r *Rules) RolesOf(c exchange.Claims) (list []string, reason string) {
	for _, path := range r.Roles {
		raw, ok := c.Lookup(path)
		if !ok || raw == "null" {
			continue
		}
		texts, ok := raw.Texts()
		if !ok {
			return nil, path + " is neither a string nor a list of strings"
		}
		for _, text := range texts {
			list = add(list, text)
		}
	}
	return list, ""
}

// Words adds to a list the words of a text, each once.
func Words(list []string, text string) []string {
	for word := range strings.SplitSeq(text, " ") {
		list = add(list, word)
	}
	return list
}

func add(list []string, text string) []string {
	if text == "" || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// WithID adds to the words of a proof the token's id, to revoke it by; not one
// that is longer than 64 bytes or of more than visible ASCII, which nobody could
// copy.
func WithID(proof, jti string) string {
	const longest = 64
	if jti == "" || len(jti) > longest || strings.ContainsFunc(jti, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return proof
	}
	return proof + " jti " + jti
}
