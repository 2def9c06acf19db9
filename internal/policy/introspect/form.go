package introspect

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/exchange"
)

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

// scheme is how a token was presented.
type scheme uint8

const (
	other  scheme = iota // not a token: nothing of ours
	broken               // one of our schemes, but no token behind it
	bearer               // RFC 6750
	dpop                 // RFC 9449
)

// credential takes the token out of the value of an Authorization field:
// scheme, spaces, token68 (RFC 9110 section 11.4).
func credential(value []byte) (scheme, []byte) {
	how, rest := bearer, []byte(nil)
	switch {
	case len(value) >= 6 && exchange.EqualFold(value[:6], "bearer"):
		rest = value[6:]
	case len(value) >= 4 && exchange.EqualFold(value[:4], "dpop"):
		how, rest = dpop, value[4:]
	default:
		return other, nil
	}
	if len(rest) > 0 && tchar[rest[0]] {
		return other, nil // a scheme with a longer name
	}
	token := bytes.TrimLeft(rest, " ")
	if len(token) == len(rest) || !isToken68(token) {
		return broken, nil
	}
	return how, token
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

func isToken68(token []byte) bool {
	body := bytes.TrimRight(token, "=")
	for _, c := range body {
		if !token68[c] {
			return false
		}
	}
	return len(body) > 0
}

// structured reports whether a token is three base64url parts: a JWS, which
// the issuer's keys can judge.
func structured(token []byte) bool {
	dots := 0
	for _, c := range token {
		if c == '.' {
			dots++
		} else if !base64URL[c] {
			return false
		}
	}
	return dots == 2
}
