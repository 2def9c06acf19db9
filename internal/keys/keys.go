// Package keys holds the keys of signatures: remote key sets that are fetched
// and rotated at issuers, and local keys that sign.
package keys

import (
	"context"
	"crypto"
)

// Key is a public key that may verify signatures. Immutable.
type Key struct {
	ID        string
	Algorithm string // of the JWK; empty: any that fits the key
	Public    crypto.PublicKey
	// Generation changes whenever the key could mean something else; a cached
	// verdict holds only while its Key is alive.
	Dead func() bool
}

// Set is a set of keys that somebody else may rotate at any time. Safe for
// concurrent use.
type Set interface {
	// Find returns the keys that could have signed under kid; a kid of ""
	// means that the token names none. With fetch, an unknown kid may wait
	// for a fetch, within the budget of security.md. Errors are *fault.Error:
	// token_key_unknown, identity_unavailable, keys_stale.
	Find(ctx context.Context, kid, algorithm string, fetch bool) (*Key, error)
}
