package keys

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/fault"
)

// Verify checks that key signed token, a JWS in compact form (RFC 7515
// section 7.1) with algorithm in its header and a JSON object as its payload,
// and that the times in its payload allow now, give or take skew. The form of
// the token is for the caller to check, more strictly than is done here.
//
// Errors are *fault.Error. With token_signature_invalid nothing of the token
// may be believed; with token_expired, token_not_yet_valid and
// credential_malformed the signature held.
func Verify(key *Key, token, algorithm string, now time.Time, skew time.Duration) error {
	if !key.Alive() || !key.Fits(algorithm) {
		return fault.New(fault.TokenSignatureInvalid, "the key is not one for this signature")
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{algorithm}),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(skew),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	_, err := parser.Parse(token, func(t *jwt.Token) (any, error) {
		if !key.SaltFits(algorithm, token[:strings.LastIndexByte(token, '.')], t.Signature) {
			return nil, errors.New("a PSS signature whose salt has not the length of the hash")
		}
		return key.Public, nil
	})
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, jwt.ErrTokenInvalidClaims):
		return fault.New(fault.TokenSignatureInvalid, "").Because(err)
	case errors.Is(err, jwt.ErrTokenExpired):
		return fault.New(fault.TokenExpired, "").Because(err)
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return fault.New(fault.TokenNotYetValid, "").Because(err)
	}
	return fault.New(fault.CredentialMalformed, "").Because(err)
}

// SaltFits reports whether signature over input, if it is of RSASSA-PSS, is k's
// with a salt as long as the hash (RFC 7518 section 3.5). The library takes any
// salt. Of other algorithms it says nothing, and is true.
func (k *Key) SaltFits(algorithm, input string, signature []byte) bool {
	var hash crypto.Hash
	switch algorithm {
	case "PS256":
		hash = crypto.SHA256
	case "PS384":
		hash = crypto.SHA384
	case "PS512":
		hash = crypto.SHA512
	default:
		return true
	}
	public, ok := k.Public.(*rsa.PublicKey)
	if !ok {
		return false
	}
	h := hash.New()
	h.Write([]byte(input))
	return rsa.VerifyPSS(public, hash, h.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}
