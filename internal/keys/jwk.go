package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Bounds of a key set that is read.
const (
	maxSetBytes = 1 << 20
	maxSetKeys  = 100
	maxKeyID    = 256 // bytes
)

// ParseSet reads a JWK Set (RFC 7517 section 5) of at most 1 MiB and 100 keys,
// strictly. Keys that are of no use for checking signatures are left out:
// other types, symmetric ones, those for encryption. So are keys that nobody
// should trust: too small or too large, off their curve, published with their
// private part; left says why, for the operator. A set that is not well-formed
// is an error as a whole.
func ParseSet(data []byte) (list []*Key, left []string, err error) {
	if len(data) > maxSetBytes {
		return nil, nil, fmt.Errorf("the key set is larger than %d bytes", maxSetBytes)
	}
	doc, err := exchange.ParseClaims(data)
	if err != nil {
		return nil, nil, fmt.Errorf("the key set %w", err)
	}
	raw, ok := doc.Get("keys")
	if !ok || raw[0] != '[' {
		return nil, nil, errors.New(`the key set has no array "keys"`)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &elements); err != nil {
		return nil, nil, fmt.Errorf("the key set: %w", err)
	}
	if len(elements) > maxSetKeys {
		return nil, nil, fmt.Errorf("the key set holds %d keys; at most %d are read", len(elements), maxSetKeys)
	}
	for i, e := range elements {
		jwk, err := exchange.ParseClaims(e)
		if err != nil {
			return nil, nil, fmt.Errorf("key %d of the set %w", i, err)
		}
		key, err := parseKey(jwk)
		if err != nil {
			left = append(left, fmt.Sprintf("key %d (%q): %v", i, text(jwk, "kid"), err))
			continue
		}
		list = append(list, key)
	}
	return list, left, nil
}

// parseKey reads one JWK.
func parseKey(jwk exchange.Claims) (*Key, error) {
	for _, name := range [...]string{"kid", "alg", "use", "issuer"} {
		if raw, ok := jwk.Get(name); ok && raw[0] != '"' {
			return nil, fmt.Errorf("its %s is not a string", name)
		}
	}
	if len(text(jwk, "kid")) > maxKeyID {
		return nil, fmt.Errorf("its kid is longer than %d bytes", maxKeyID)
	}
	if _, ok := jwk.Get("use"); ok && text(jwk, "use") != "sig" {
		return nil, errors.New("its use is not sig")
	}
	if raw, ok := jwk.Get("key_ops"); ok {
		ops, ok := jwk.Strings("key_ops")
		if !ok || raw[0] != '[' || !slices.Contains(ops, "verify") {
			return nil, errors.New("its key_ops do not hold verify")
		}
	}
	kty := text(jwk, "kty")
	if _, ok := jwk.Get("d"); ok && kty != "oct" {
		return nil, errors.New("its private part is published: anybody can sign with it")
	}
	switch kty {
	case "RSA":
		return parseRSA(jwk)
	case "EC":
		return parseEC(jwk)
	case "OKP":
		return parseOKP(jwk)
	}
	return nil, fmt.Errorf("its kty %q is not one that verifies", kty)
}

func parseRSA(jwk exchange.Claims) (*Key, error) {
	n, err := number(jwk, "n", maxRSA/8+1) // some libraries put a zero octet in front
	if err != nil {
		return nil, err
	}
	e, err := number(jwk, "e", 4)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil, errors.New("its exponent is too large")
	}
	return newKey(jwk, &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())})
}

func parseEC(jwk exchange.Claims) (*Key, error) {
	var curve elliptic.Curve
	switch crv := text(jwk, "crv"); crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("its crv %q is not supported", crv)
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed, SEC 1 section 2.3.3
	for _, name := range [...]string{"x", "y"} {
		c, err := number(jwk, name, size)
		if err != nil {
			return nil, err
		}
		if len(c) != size { // RFC 7518 section 6.2.1.2
			return nil, fmt.Errorf("its %s has not the length of the curve", name)
		}
		point = append(point, c...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("its point is not on the curve")
	}
	return newKey(jwk, public)
}

func parseOKP(jwk exchange.Claims) (*Key, error) {
	if crv := text(jwk, "crv"); crv != "Ed25519" {
		return nil, fmt.Errorf("its crv %q is not supported", crv)
	}
	x, err := number(jwk, "x", ed25519.PublicKeySize)
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, errors.New("its x has not the length of the curve")
	}
	return newKey(jwk, ed25519.PublicKey(x))
}

func newKey(jwk exchange.Claims, public any) (*Key, error) {
	k, err := NewKey(text(jwk, "kid"), text(jwk, "alg"), public)
	if err == nil {
		k.Issuer = text(jwk, "issuer")
	}
	return k, err
}

// text returns the string member called name, or "".
func text(jwk exchange.Claims, name string) string {
	s, _ := jwk.String(name)
	return s
}

// number returns the octets of a member in base64url without padding (RFC
// 7515 section 2), of which there are at most limit.
func number(jwk exchange.Claims, name string, limit int) ([]byte, error) {
	s := text(jwk, name)
	if s == "" || len(s) > base64.RawURLEncoding.EncodedLen(limit) {
		return nil, fmt.Errorf("its %s is missing or has the wrong length", name)
	}
	for i := range len(s) {
		if c := s[i]; c == '\r' || c == '\n' { // the decoder would skip them
			return nil, fmt.Errorf("its %s is not base64url", name)
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("its %s is not base64url", name)
	}
	return b, nil
}
