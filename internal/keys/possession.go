package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Thumbprint is the SHA-256 thumbprint of a JWK (RFC 7638).
type Thumbprint [sha256.Size]byte

// ParseThumbprint reads a thumbprint in base64url without padding, as which
// cnf.jkt (RFC 9449) and cnf.x5t#S256 (RFC 8705) are written. It has one
// spelling only.
func ParseThumbprint(text string) (t Thumbprint, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(len(t)) || strings.ContainsAny(text, "\r\n") {
		return t, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(t[:], []byte(text))
	return t, err == nil && n == len(t)
}

// ParsePresented reads a public key that somebody shows of himself, and
// returns its thumbprint. That it speaks for anybody has to follow from
// elsewhere. A JWK with any private member is refused.
func ParsePresented(jwk exchange.Claims) (key *Key, t Thumbprint, err error) {
	for _, private := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := jwk.Get(private); ok {
			return nil, t, errors.New("it holds a private part")
		}
	}
	if key, err = parseKey(jwk); err != nil {
		return nil, t, err
	}
	// Values are base64url or names we know, so nothing in them needs escapes.
	var canonical string
	switch kty := text(jwk, "kty"); kty {
	case "RSA":
		canonical = `{"e":"` + text(jwk, "e") + `","kty":"RSA","n":"` + text(jwk, "n") + `"}`
	case "EC":
		canonical = `{"crv":"` + text(jwk, "crv") + `","kty":"EC","x":"` + text(jwk, "x") + `","y":"` + text(jwk, "y") + `"}`
	case "OKP":
		canonical = `{"crv":"` + text(jwk, "crv") + `","kty":"OKP","x":"` + text(jwk, "x") + `"}`
	default:
		return nil, t, fmt.Errorf("its kty %q has no thumbprint", kty)
	}
	return key, sha256.Sum256([]byte(canonical)), nil
}

// Signed reports whether signature over input is k's, made with algorithm.
func (k *Key) Signed(algorithm, input string, signature []byte) bool {
	if !k.Alive() || !k.Fits(algorithm) {
		return false
	}
	if strings.HasPrefix(algorithm, "PS") {
		return k.SaltFits(algorithm, input, signature) // which can only be told by verifying all of it
	}
	method := jwt.GetSigningMethod(algorithm)
	return method != nil && method.Verify(input, signature, k.Public) == nil
}
