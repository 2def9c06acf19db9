// Package keys holds the keys of signatures: remote key sets that are fetched
// and rotated at issuers, local keys that sign, and what a key has vouched for.
// It holds those of TLS listeners, too: the CAs that vouch for clients, and
// the keys that session tickets are sealed with. Where an issuer has no key to
// judge a token by it is asked, and what proves us to it is here as well.
//
// A key lives until its set says otherwise. Whatever was concluded with it,
// above all the verdict on a token, is good for as long as the key is alive
// and not a moment longer.
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Sizes of RSA keys that are accepted, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

// Set is a set of keys that somebody else may rotate at any time. Safe for
// concurrent use.
type Set interface {
	// Find returns the key that could have signed with algorithm under kid; a
	// kid of "" means that the token names none, which is enough only if
	// exactly one key fits. With fetch, an unknown kid may wait for a fetch
	// of at most two seconds. Errors are *fault.Error: token_key_unknown,
	// identity_unavailable, keys_stale. Without fetch, the first two say only
	// that the key is not at hand.
	Find(ctx context.Context, kid, algorithm string, fetch bool) (*Key, error)
}

// Key is a public key that may verify signatures. It never changes, except
// that it dies. The zero Key is dead and fits nothing.
type Key struct {
	ID        string
	Algorithm string // of the JWK; empty: any that fits the key
	Public    crypto.PublicKey
	Issuer    string // of the JWK, where several issuers share a set; empty: not said

	alive atomic.Bool
}

// NewKey returns a living key, or says why nobody should trust such a key. The
// algorithm may be empty.
func NewKey(id, algorithm string, public crypto.PublicKey) (*Key, error) {
	k := &Key{ID: id, Algorithm: algorithm, Public: public}
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits; from %d to %d are accepted", bits, minRSA, maxRSA)
		}
		if public.E < 3 || public.E%2 == 0 {
			return nil, errors.New("an RSA key with an exponent that is even or below 3")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, errors.New("a key of a kind that is not supported")
	}
	if algorithm != "" && !k.Fits(algorithm) {
		return nil, fmt.Errorf("a key that is not one of algorithm %s", algorithm)
	}
	k.alive.Store(true)
	return k, nil
}

// Alive reports whether the key may still be trusted. It costs one load; the
// death of a key is final.
func (k *Key) Alive() bool { return k != nil && k.alive.Load() }

// Fits reports whether a signature with algorithm can be this key's: type and
// curve are the algorithm's own (RFC 7518 section 3.1, RFC 8037), and so is
// the algorithm the key was published for, if any.
func (k *Key) Fits(algorithm string) bool {
	if k.Algorithm != "" && k.Algorithm != algorithm || !Supported(algorithm) {
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return algorithm == "ES256"
		case elliptic.P384():
			return algorithm == "ES384"
		case elliptic.P521():
			return algorithm == "ES512"
		}
	case ed25519.PublicKey:
		return algorithm == "EdDSA" && len(public) == ed25519.PublicKeySize
	}
	return false
}

// Supported reports whether signatures with algorithm can be verified with a
// public key here. Names are case-sensitive (RFC 7515 section 4.1.1).
func Supported(algorithm string) bool {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA":
		return true
	}
	return false
}

// Same reports whether both are one key under one name, be they of one set or of
// two.
func (k *Key) Same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && k.Issuer == other.Issuer && public.Equal(other.Public)
}
