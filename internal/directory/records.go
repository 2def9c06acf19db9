package directory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/store"
)

// The kinds of records in the store. A consumer's id is its name. A key's id
// is what may be shown of it, its alias the digest, its owner the consumer.
const (
	kindConsumer store.Kind = "consumer"
	kindKey      store.Kind = "api-key"
)

// afterlife is how long the store keeps a key that has expired or was revoked,
// so that whoever still uses it is told why it is refused.
const afterlife = 30 * 24 * time.Hour

// StoredConsumer is a consumer as the store has it.
type StoredConsumer struct {
	Name    string
	Created time.Time
}

// StoredKey is an API key as the store has it.
type StoredKey struct {
	Ref      exchange.KeyRef
	Consumer string
	Created  time.Time
	Expires  time.Time // zero: never
	Revoked  time.Time // zero: it was not
	Limits   *exchange.KeyLimits
	Weak     bool      // it was imported although it may be guessed
	Used     time.Time // about when it was last let in; zero: never. Only of EachKey

	version uint64
}

// ID returns what may be shown of the key: wk_ and eight characters; of an
// imported one ik_.
func (k *StoredKey) ID() string { return string(k.Ref.AppendID(nil)) }

// State says how a key is at that moment: active, expired, revoked.
func (k *StoredKey) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	}
	return "active"
}

// The bodies of records. Moments are Unix milliseconds, zero if there is none.
type (
	consumerBody struct {
		Created int64 `json:"created"`
	}
	keyBody struct {
		Created int64 `json:"created"`
		Expires int64 `json:"expires,omitempty"`
		Revoked int64 `json:"revoked,omitempty"`
		// Where it is good; empty: everywhere.
		From   []netip.Prefix `json:"from,omitempty"`
		Routes []string       `json:"routes,omitempty"`
		// It is not one of ours, and the alias is its HMAC.
		Imported bool `json:"imported,omitempty"`
		Weak     bool `json:"weak,omitempty"`
	}
)

// decode reads a body. A member that this build does not know is an error: it
// may say that less is allowed.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more than one value")
	}
	return nil
}

func encode(body any) []byte {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return b
}

func readConsumer(r *store.Record) (StoredConsumer, error) {
	var b consumerBody
	if err := decode(r.Body, &b); err != nil {
		return StoredConsumer{}, fmt.Errorf("consumer %q in the store cannot be read: %w", r.ID, err)
	}
	if err := CheckName(r.ID); err != nil {
		return StoredConsumer{}, err
	}
	return StoredConsumer{strings.Clone(r.ID), moment(b.Created)}, nil
}

func readKey(r *store.Record) (k StoredKey, err error) {
	var b keyBody
	if err := decode(r.Body, &b); err != nil {
		return k, fmt.Errorf("key %q in the store cannot be read: %w", r.ID, err)
	}
	if len(r.ID) != len(k.Ref.ID) || len(r.Alias) != len(k.Ref.Digest) || r.Owner == "" || b.Expires < 0 || b.Revoked < 0 {
		return k, fmt.Errorf("key %q in the store is not of this build's form", r.ID)
	}
	copy(k.Ref.ID[:], r.ID)
	copy(k.Ref.Digest[:], r.Alias)
	k.Ref.Imported, k.Weak = b.Imported, b.Weak
	k.Consumer, k.version = r.Owner, r.Version
	k.Created, k.Expires, k.Revoked = moment(b.Created), moment(b.Expires), moment(b.Revoked)
	if len(b.From)+len(b.Routes) > 0 {
		k.Limits = &exchange.KeyLimits{From: b.From, Routes: b.Routes}
	}
	return k, CheckLimits(k.Limits)
}

// maxLimits bounds the addresses and the routes of a key.
const maxLimits = 64

// CheckLimits says what is wrong with the limits of a key.
func CheckLimits(l *exchange.KeyLimits) error {
	if l == nil {
		return nil
	}
	if len(l.From) > maxLimits || len(l.Routes) > maxLimits {
		return fmt.Errorf("a key has at most %d ranges of addresses and %d routes", maxLimits, maxLimits)
	}
	for _, p := range l.From {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("%s is no range of addresses such as 203.0.113.0/24: bits behind the prefix are zero", p)
		}
	}
	for _, name := range l.Routes {
		if name == "" || len(name) > 256 {
			return errors.New("the name of a route is empty or longer than 256 bytes")
		}
	}
	return nil
}

func (k *StoredKey) record() store.Record {
	b := keyBody{Created: milli(k.Created), Expires: milli(k.Expires), Revoked: milli(k.Revoked), Imported: k.Ref.Imported, Weak: k.Weak}
	if k.Limits != nil {
		b.From, b.Routes = k.Limits.From, k.Limits.Routes
	}
	r := store.Record{Kind: kindKey, ID: string(k.Ref.ID[:]), Alias: string(k.Ref.Digest[:]), Owner: k.Consumer, Version: k.version,
		Body: encode(b)}
	if ends := k.ends(); !ends.IsZero() {
		r.Expires = ends.Add(afterlife)
	}
	return r
}

// ends returns when the key ceased to be good or will; zero: never.
func (k *StoredKey) ends() time.Time {
	if !k.Revoked.IsZero() {
		return k.Revoked
	}
	return k.Expires
}

func (k *StoredKey) entry(consumer, limits uint32) keyEntry {
	return keyEntry{ref: k.Ref, revoked: !k.Revoked.IsZero(), consumer: consumer, expires: milli(k.ends()), limits: limits}
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// CheckName says what is wrong with the name of a consumer: the rule of names
// in the configuration.
func CheckName(name string) error {
	fine := name != "" && len(name) <= 63
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		fine = fine && (letter || i > 0 && (c == '-' || c == '_' || c == '.'))
	}
	if !fine {
		return fmt.Errorf("%.80q cannot be the name of a consumer: names are up to 63 letters, digits, dots, dashes and underscores, and begin with a letter or digit", name)
	}
	return nil
}
