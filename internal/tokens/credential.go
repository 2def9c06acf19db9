package tokens

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

const maxToken = 16 << 10 // bytes

// Credential is a token as it came. What it is made of has not been looked at.
type Credential struct {
	Token []byte // 1 to 16 KiB; as long as the request
	DPoP  bool   // by scheme DPoP (RFC 9449), not Bearer (RFC 6750)
}

// Presented returns the token that a request carries: in the one Authorization
// field there is, behind a scheme of ours and spaces (RFC 9110 section 11.4).
// Any verdict but Pass says that there is none to judge; why is on the trail.
func Presented(x *exchange.Exchange, w *pipeline.World) (Credential, pipeline.Verdict) {
	value, n := x.Req.Get(exchange.HeaderAuthorization)
	switch {
	case n == 0:
		return Credential{}, pipeline.NotMine
	case n > 1:
		x.Trail.Saw("because", "there is more than one Authorization field")
		return Credential{}, pipeline.Refuse(fault.CredentialAmbiguous)
	case w.Now.IsZero():
		// Without a clock every token would be fresh.
		return Credential{}, pipeline.Refuse(fault.InternalError)
	}
	c, mine := read(value)
	switch {
	case !mine:
		x.Trail.Saw("because", "the Authorization field is of another scheme than Bearer")
		return Credential{}, pipeline.NotMine
	case len(c.Token) == 0:
		return Credential{}, Malformed(x, "the Authorization field holds no token")
	case len(c.Token) > maxToken:
		return Credential{}, Malformed(x, "the token is longer than 16 KiB")
	}
	return c, pipeline.Pass
}

// Malformed refuses a token and says why to the operator.
func Malformed(x *exchange.Exchange, reason string) pipeline.Verdict {
	x.Trail.Saw("because", reason)
	return pipeline.Refuse(fault.CredentialMalformed)
}

// read takes the value of an Authorization field apart. It is not mine if the
// scheme is another one; it holds no token if nothing, or no space, follows it.
func read(value []byte) (c Credential, mine bool) {
	var rest []byte
	switch {
	case len(value) >= 6 && exchange.EqualFold(value[:6], "bearer"):
		rest = value[6:]
	case len(value) >= 4 && exchange.EqualFold(value[:4], "dpop"):
		rest, c.DPoP = value[4:], true
	default:
		return Credential{}, false
	}
	if len(rest) > 0 && tchar[rest[0]] {
		return Credential{}, false // a scheme with a longer name
	}
	if token := bytes.TrimLeft(rest, " "); len(token) < len(rest) {
		c.Token = token
	}
	return c, true
}

var (
	base64URL = set("-_")
	token68   = set("-._~+/")
	tchar     = set("!#$%&'*+-.^_`|~")
)

// set makes a set of the ASCII letters, the digits and more.
func set(more string) (t [256]bool) {
	for c := range t {
		t[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for i := range len(more) {
		t[more[i]] = true
	}
	return t
}

// Base64URL reports whether b holds only what base64url without padding may.
func Base64URL(b []byte) bool { return all(b, &base64URL) }

// Token68 reports whether b is a token68 (RFC 9110 section 11.2): what may
// stand behind a scheme, whatever the kind of token.
func Token68(b []byte) bool {
	body := bytes.TrimRight(b, "=")
	return len(body) > 0 && all(body, &token68)
}

func all(b []byte, in *[256]bool) bool {
	for _, c := range b {
		if !in[c] {
			return false
		}
	}
	return true
}

// Challenge asks for a token (RFC 6750 section 3, RFC 9449 section 7.1) of the
// issuers named by realm; by scheme Bearer only if tokens may come so.
func Challenge(realm string, byBearer bool) pipeline.Challenge {
	c := pipeline.Challenge{Proofs: binding.Algorithms}
	if byBearer {
		c.Scheme, c.Params, c.Errors = "Bearer", "realm="+quote(realm), true
	}
	return c
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
