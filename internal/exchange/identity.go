package exchange

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// Identity is who a request was proved to come from: the result of
// authentication. It is immutable and may be shared by many exchanges.
type Identity struct {
	Method   string // "jwt", "apiKey", "basic", "mtls", "none"
	Proof    string // how it was proved, for the operator: "RS256 kid 4f1c", "wk_1a2b3c4d"
	Issuer   string // the issuer's name in the configuration
	Subject  string
	Client   string // the calling application as the issuer names it
	Consumer string // as printed: a named consumer, "okta/0oa1…" or "okta/subject:alice"
	Named    *Consumer
	Scopes   []string
	Roles    []string
	TokenID  string    // jti
	Key      KeyRef    // the API key; zero: it was proved otherwise
	Password [32]byte  // digest of the stored hash of the password; zero: it was proved otherwise
	Token    *Token    // what the token may be revoked by; nil: it was proved otherwise
	Whose    Mark      // of Consumer, to revoke its tokens by
	Expires  time.Time // as the credential says; zero: never
	Claims   Claims
	// Proofs are what each credential proved by itself, where several were
	// asked for; nil: there was one.
	Proofs []*Identity
}

// HasScope reports whether the identity was granted scope.
func (id *Identity) HasScope(scope string) bool {
	for _, s := range id.Scopes {
		if s == scope {
			return true
		}
	}
	return false
}

// HasRole reports whether the identity has role.
func (id *Identity) HasRole(role string) bool {
	for _, r := range id.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Consumer is a named consumer: an application, partner or service that calls.
// Immutable.
type Consumer struct {
	Name  string
	Roles []string
}

// KeyRef tells an API key from all others without holding it.
type KeyRef struct {
	ID     [8]byte  // what may be shown of it: wk_ID
	Digest [32]byte // SHA-256 of the whole key
}

// KeyRecord is what is known of an API key: never the key itself. It never
// changes; safe for concurrent use.
type KeyRecord struct {
	Consumer *Consumer
	Expires  time.Time // zero: does not expire
	Stored   bool      // it is in the store, where it may be revoked any time

	proved atomic.Pointer[Identity]
}

// Identity returns whom the key proves: always the same, so that a good
// request makes nothing new. ref is what the record was found by.
func (r *KeyRecord) Identity(ref KeyRef) *Identity {
	if id := r.proved.Load(); id != nil {
		return id
	}
	id := &Identity{
		Method:   "apiKey",
		Proof:    "wk_" + string(ref.ID[:]),
		Consumer: r.Consumer.Name,
		Named:    r.Consumer,
		Roles:    r.Consumer.Roles,
		Key:      ref,
		Expires:  r.Expires,
	}
	if !r.proved.CompareAndSwap(nil, id) {
		return r.proved.Load()
	}
	return id
}

// CertRecord is what is known of a consumer's certificates: by what they are
// the consumer's. Immutable.
type CertRecord struct {
	Consumer *Consumer
	Name     string // "dns batch.acme.example"
}

// Anonymous is the identity of callers of public routes.
var Anonymous = &Identity{Method: "none"}

// RequestID is Warder's own id of a request: 128 random bits.
type RequestID [16]byte

// NewRequestID returns a fresh id.
func NewRequestID() (id RequestID) {
	rand.Read(id[:])
	return id
}

// Append appends the id as 32 hexadecimal digits.
func (id RequestID) Append(b []byte) []byte { return hex.AppendEncode(b, id[:]) }

func (id RequestID) String() string { return hex.EncodeToString(id[:]) }

// ParseRequestID reads the form that String writes.
func ParseRequestID(s string) (id RequestID, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}
