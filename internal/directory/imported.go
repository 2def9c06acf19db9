package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// Imported keys are those that callers had before Warder: any text, which
// somebody may have thought up. A bare hash of such a key could be tried out by
// whoever reads the store, so they are kept as HMAC-SHA-256 under a key that
// the first import makes. It is one record, sealed; without what opens it no
// guess can be tried.

// kindSecret is the kind of that record.
const (
	kindSecret = store.Kind("api-key-hmac")
	secretID   = "1"
	secretSize = 32 // bytes
)

// MaxImported bounds an imported key, in bytes.
const MaxImported = 256

// MostImported bounds one import, in keys.
const MostImported = store.MaxWrites - 2

// secretBody is the body of the record.
type secretBody struct {
	Sealed []byte `json:"sealed"`
	// Weak says that keys were imported that may be guessed.
	Weak bool `json:"weak,omitempty"`
}

// Unsealer opens the key of the imported keys, and nothing else.
type Unsealer interface {
	Unseal(sealed []byte) ([]byte, error)
}

// Sealer seals it, too.
type Sealer interface {
	Unsealer
	Seal(plain []byte) ([]byte, error)
}

// hasher makes the references of imported keys. Safe for concurrent use.
type hasher struct {
	pool sync.Pool // of *sum
	err  error     // why it cannot; nil: it can
}

type sum struct {
	mac hash.Hash
	out [sha256.Size]byte
}

func newHasher(key []byte) *hasher {
	h := &hasher{}
	h.pool.New = func() any { return &sum{mac: hmac.New(sha256.New, key)} }
	return h
}

// ref returns by what an imported key is found.
func (h *hasher) ref(key []byte) exchange.KeyRef {
	s := h.pool.Get().(*sum)
	s.mac.Reset()
	s.mac.Write(key)
	s.mac.Sum(s.out[:0])
	ref := exchange.KeyRef{Digest: s.out, Imported: true}
	h.pool.Put(s)
	// The id is shown and named on command lines: digits and letters, of the HMAC.
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n := binary.BigEndian.Uint64(ref.Digest[:])
	for i := range ref.ID {
		ref.ID[i] = digits[n%uint64(len(digits))]
		n /= uint64(len(digits))
	}
	return ref
}

// Unlock gives the memory what opens the key of the imported keys. It is called
// before Load; without it, or if it fails, imported keys are refused with 503.
func (m *Memory) Unlock(u Unsealer) { m.unsealer = u }

// hasher makes a hasher of the record.
func (m *Memory) hasher(r *store.Record) *hasher {
	var b secretBody
	err := decode(r.Body, &b)
	switch {
	case err != nil:
	case m.unsealer == nil:
		err = errors.New("nothing opens it")
	default:
		var key []byte
		if key, err = openSecret(m.unsealer, b.Sealed); err == nil {
			return newHasher(key)
		}
	}
	m.log.Error("the key under which imported API keys are kept cannot be opened; they are refused with 503", "error", err,
		"mend", "give this gateway the keys.kek and data-keys.sealed of the state folder that the keys were imported with, and restart it")
	return &hasher{err: err}
}

func openSecret(u Unsealer, sealed []byte) ([]byte, error) {
	key, err := u.Unseal(sealed)
	if err == nil && len(key) != secretSize {
		err = errors.New("what was sealed is no key of 32 bytes")
	}
	return key, err
}

// Imported returns by what a key is found that is not of our form. The code is
// KeyMalformed where no such key can be good: none was ever imported, or the
// text is longer than any.
func (d *Directory) Imported(key []byte) (exchange.KeyRef, fault.Code) {
	if d == nil || d.memory == nil {
		return exchange.KeyRef{}, fault.KeyMalformed
	}
	held := d.memory.held.Load()
	if held == nil {
		return exchange.KeyRef{}, fault.IdentityUnavailable
	}
	switch h := held.hasher.Load(); {
	case h == nil || len(key) == 0 || len(key) > MaxImported:
		return exchange.KeyRef{}, fault.KeyMalformed
	case h.err != nil:
		return exchange.KeyRef{}, fault.IdentityUnavailable
	default:
		return h.ref(key), fault.None
	}
}

// ToImport is a key that a caller has already.
type ToImport struct {
	Key     []byte
	Ours    exchange.KeyRef // by what it is found if we made it; zero: somebody else did
	Weak    bool            // it may be guessed
	Expires time.Time       // zero: never
}

// Clash says why one of the keys of an import cannot be added.
type Clash struct {
	At   int // its place, from 0
	Text string
}

// ImportKeys gives a consumer keys that it has already: all of them, or none.
// With clashes none was. At most MostImported at once, each of 1 to MaxImported
// bytes and no two the same.
func ImportKeys(ctx context.Context, s *store.Store, sealer Sealer, consumer string, keys []ToImport, now time.Time) (made []StoredKey, clashes []Clash, err error) {
	if len(keys) == 0 || len(keys) > MostImported {
		return nil, nil, fmt.Errorf("%d keys; expected 1 to %d at once", len(keys), MostImported)
	}
	_, version, err := getConsumer(ctx, s, consumer)
	if err != nil {
		return nil, nil, err
	}
	writes := []store.Write{store.Unchanged(kindConsumer, consumer, version)}
	h, write, err := secretFor(ctx, s, sealer, keys)
	if err != nil {
		return nil, nil, err
	}
	if h != nil {
		writes = append(writes, write)
	}
	for i := range keys {
		k := StoredKey{Ref: keys[i].Ours, Consumer: consumer, Created: now, Expires: keys[i].Expires, Weak: keys[i].Weak}
		if k.Ref == (exchange.KeyRef{}) {
			k.Ref = h.ref(keys[i].Key)
		}
		text, err := taken(ctx, s, &k)
		if err != nil {
			return nil, nil, err
		}
		if text != "" {
			clashes = append(clashes, Clash{i, text})
		}
		made = append(made, k)
		writes = append(writes, store.Create(k.record()))
	}
	if len(clashes) > 0 {
		return nil, clashes, nil
	}
	if _, err := s.Commit(ctx, writes...); errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) {
		return nil, nil, errors.New("the store was changed meanwhile; nothing was imported: try again")
	} else if err != nil {
		return nil, nil, err
	}
	return made, nil, nil
}

// secretFor returns what makes references of keys, and the write that goes with
// them; nil if no key needs it.
func secretFor(ctx context.Context, s *store.Store, sealer Sealer, keys []ToImport) (*hasher, store.Write, error) {
	needed, weak := false, false
	for i := range keys {
		needed = needed || keys[i].Ours == exchange.KeyRef{}
		weak = weak || keys[i].Weak
	}
	if !needed {
		return nil, store.Write{}, nil
	}
	r, err := s.Get(ctx, kindSecret, secretID)
	if errors.Is(err, store.ErrNotFound) {
		key := make([]byte, secretSize)
		rand.Read(key)
		sealed, err := sealer.Seal(key)
		if err != nil {
			return nil, store.Write{}, err
		}
		return newHasher(key), store.Create(store.Record{Kind: kindSecret, ID: secretID, Body: encode(secretBody{sealed, weak})}), nil
	} else if err != nil {
		return nil, store.Write{}, err
	}
	var b secretBody
	if err := decode(r.Body, &b); err != nil {
		return nil, store.Write{}, fmt.Errorf("the key under which imported keys are kept cannot be read: %w", err)
	}
	key, err := openSecret(sealer, b.Sealed)
	if err != nil {
		return nil, store.Write{}, fmt.Errorf("the key under which imported keys are kept was sealed with other keys (%w): use the state folder of the first import, or its keys.kek and data-keys.sealed", err)
	}
	if weak && !b.Weak {
		b.Weak = true
		r.Body = encode(b)
		return newHasher(key), store.Update(r), nil
	}
	return newHasher(key), store.Unchanged(kindSecret, secretID, r.Version), nil
}

// taken says why a key cannot be added; "" if it can.
func taken(ctx context.Context, s *store.Store, k *StoredKey) (string, error) {
	r, err := s.ByAlias(ctx, kindKey, string(k.Ref.Digest[:]))
	if err == nil {
		return fmt.Sprintf("consumer %s has this key already: %s", r.Owner, k.ID()), nil
	}
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.Get(ctx, kindKey, string(k.Ref.ID[:]))
		if err == nil {
			return "its id " + k.ID() + " is that of another key, by chance; give the caller a new key", nil
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return "", err
}

// EachWeakKey hands out the keys of the store that may be guessed, by their
// ids' order.
func EachWeakKey(ctx context.Context, s *store.Store, each func(StoredKey) error) error {
	r, err := s.Get(ctx, kindSecret, secretID)
	var b secretBody
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	if err := decode(r.Body, &b); err != nil || !b.Weak {
		return err
	}
	return EachKey(ctx, s, "", func(k StoredKey) error {
		if !k.Weak {
			return nil
		}
		return each(k)
	})
}
