package exchange

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// Identity is who a request was proved to come from: the result of
// authentication. It is immutable and may be shared by many exchanges, but for
// what KeyIdentity says.
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
	Token    *Token    // what the token or session may be revoked by; nil: it was proved otherwise
	Signer   Signer    // the key that signed the token; nil: none did, or another has its word
	Whose    Mark      // of Consumer, to revoke its tokens and sessions by
	Expires  time.Time // as the credential says; zero: never
	Claims   Claims
	Session  Session // of a browser; nil: it was proved otherwise
	// Proofs are what each credential proved by itself, where several were
	// asked for; nil: there was one.
	Proofs []*Identity
}

// Signer is a key that somebody else may take back.
type Signer interface {
	// Alive reports whether it still vouches for what it signed; once it does
	// not, it never does again.
	Alive() bool
}

// Session is a browser session that an identity comes from.
type Session interface {
	// Ends returns when it will end if it is not used any more; the zero Time
	// if it was ended, by its user or by the issuer.
	Ends() time.Time
	// Ref names the session to operators, and opens nothing.
	Ref() string
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
	ID     [8]byte  // what may be shown of it
	Digest [32]byte // SHA-256 of the whole key; if Imported, its HMAC
	// Imported says that the key is not one that we made: it may be guessable,
	// and ID is of its HMAC.
	Imported bool
}

// AppendID appends what may be shown of the key: wk_ID, of an imported one
// ik_ID.
func (r *KeyRef) AppendID(b []byte) []byte {
	if r.Imported {
		b = append(b, "ik_"...)
	} else {
		b = append(b, "wk_"...)
	}
	return append(b, r.ID[:]...)
}

// KeyRecord is what is known of an API key: never the key itself. The zero
// record is of no key.
type KeyRecord struct {
	Consumer *Consumer
	Expires  time.Time // zero: does not expire
	Stored   bool      // it is in the store, where it may be revoked any time
	Limits   *KeyLimits
}

// KeyLimits say where a key is good. Immutable; nil: everywhere.
type KeyLimits struct {
	From   []netip.Prefix // addresses of clients; empty: all
	Routes []string       // names of routes; empty: all
}

// Admits reports whether a client may use the key from its address.
func (l *KeyLimits) Admits(client netip.Addr) bool {
	if l == nil || len(l.From) == 0 {
		return true
	}
	client = client.Unmap().WithZone("")
	for _, p := range l.From {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

// Opens reports whether the key is good on a route.
func (l *KeyLimits) Opens(route string) bool {
	return l == nil || len(l.Routes) == 0 || slices.Contains(l.Routes, route)
}

// keyIdentity is room for the identity that a key proves: keys are many, and
// none has memory of its own.
type keyIdentity struct {
	id    Identity
	proof [len("wk_") + len(KeyRef{}.ID)]byte
}

// KeyIdentity returns whom a key proves. It lives as long as the exchange:
// what is to live longer is kept with Keep.
func (x *Exchange) KeyIdentity(ref KeyRef, r KeyRecord) *Identity {
	k := &x.key
	if k.id.Named != nil && k.id.Key != ref { // a second key of the same request
		k = new(keyIdentity)
	}
	ref.AppendID(k.proof[:0])
	k.id = Identity{
		Method:   "apiKey",
		Proof:    unsafe.String(&k.proof[0], len(k.proof)), // which nobody writes to before Reset
		Consumer: r.Consumer.Name,
		Named:    r.Consumer,
		Roles:    r.Consumer.Roles,
		Key:      ref,
		Expires:  r.Expires,
	}
	return &k.id
}

// Keep returns the identity for use beyond the exchange.
func (id *Identity) Keep() *Identity {
	if id == nil {
		return nil
	}
	kept := *id
	kept.Proof = strings.Clone(id.Proof)
	kept.Proofs = slices.Clone(id.Proofs)
	for i, one := range kept.Proofs {
		kept.Proofs[i] = one.Keep()
	}
	return &kept
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
