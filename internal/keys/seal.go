package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// What goes wrong with sealed data, told apart because each wants another
// answer. All errors of a Wrapper are one of these, or of its context.
var (
	// ErrAltered: it was changed, cut, or sealed for another purpose or record.
	// Trying again is of no use.
	ErrAltered = errors.New("the sealed data was altered, or was sealed for something else")
	// ErrKeyGone: the key that it was sealed with is not here. Only putting that
	// key back helps.
	ErrKeyGone = errors.New("the key that it was sealed with is not here")
	// ErrUnavailable: the keys cannot be reached now. Trying again may help.
	ErrUnavailable = errors.New("the keys cannot be reached now")
)

// Bounds of what is sealed.
const (
	MaxWrap   = 4 << 10 // bytes that any Wrapper seals
	maxRecord = 1 << 20 // bytes that DataKeys seals
	maxName   = 512     // bytes of Binding.Purpose and of Binding.Record
)

// Binding says what sealed data is for. What was sealed under one is not
// unsealed under any other, so that nothing sealed can be put in another's
// place. Neither part may be empty, or longer than 512 bytes. It is not secret.
type Binding struct {
	Purpose string // the kind: "signing-key"
	Record  string // which one of that kind
}

// Wrapper seals small secrets, above all the keys that seal everything else,
// with keys that stay where they are: in this process, or in a key management
// service. What Seal returns names the key and its version. Safe for concurrent
// use; each call may be a round trip.
type Wrapper interface {
	// Seal seals plain, of 1 to MaxWrap bytes, with the newest key.
	Seal(ctx context.Context, b Binding, plain []byte) ([]byte, error)
	// Unseal returns what was sealed, with any key that is still there.
	Unseal(ctx context.Context, b Binding, sealed []byte) ([]byte, error)
	// Rewrap returns the same content sealed with the newest key; sealed itself
	// if it is that already.
	Rewrap(ctx context.Context, b Binding, sealed []byte) ([]byte, error)
}

// Storage keeps what is sealed. Safe for concurrent use, by several processes.
type Storage interface {
	// Load returns what was put under name; fs.ErrNotExist if nothing was.
	Load(ctx context.Context, name string) ([]byte, error)
	// Swap puts next in the place of old, whole or not at all and for good when
	// it returns. A nil old means that there is nothing yet. If there is
	// something else, it stays, and the error is fs.ErrExist.
	Swap(ctx context.Context, name string, old, next []byte) error
}

// keyID names a symmetric key. It is made from the key, so that a wrong key
// cannot pass for it, and tells nothing of it.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

const (
	keySize   = 32
	nonceSize = 24
	tagSize   = 16

	sealVersion = 1
	sealHead    = 1 + len(keyID{}) + nonceSize
	// Overhead is how much longer sealed data is than plain, in bytes.
	Overhead = sealHead + tagSize
)

// symmetric is a key that seals: AES-256-GCM under a key of its own for every
// record, derived by HKDF-SHA256 (RFC 5869) from the first half of a nonce of
// 192 random bits. So many nonces do not collide: one key may seal 2^64 records
// and more, where plain GCM with random nonces ends at 2^32.
type symmetric struct {
	id  keyID
	key []byte
}

// newSymmetric makes a key of 32 bytes that it keeps.
func newSymmetric(key []byte) (*symmetric, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a key of %d bytes; it must have %d", len(key), keySize)
	}
	id, err := hkdf.Expand(sha256.New, key, "warder key id", len(keyID{}))
	if err != nil {
		return nil, err
	}
	return &symmetric{id: keyID(id), key: key}, nil
}

func randomKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return key
}

// aead returns the cipher of one record.
func (s *symmetric) aead(purpose string, nonce []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, s.key, "warder seal "+purpose+"\x00"+string(nonce), keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal returns version, key id, nonce, and the ciphertext with its tag.
func (s *symmetric) seal(b Binding, plain []byte, most int) ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if len(plain) == 0 || len(plain) > most {
		return nil, fmt.Errorf("%d bytes cannot be sealed; from 1 to %d can", len(plain), most)
	}
	out := make([]byte, sealHead, len(plain)+Overhead)
	out[0] = sealVersion
	copy(out[1:], s.id[:])
	nonce := out[1+len(s.id):]
	rand.Read(nonce)
	a, err := s.aead(b.Purpose, nonce[:12])
	if err != nil {
		return nil, err
	}
	return a.Seal(out, nonce[12:], plain, b.bytes(out[:sealHead])), nil
}

// unseal is for data whose head names s.
func (s *symmetric) unseal(b Binding, sealed []byte) ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	nonce := sealed[1+len(s.id) : sealHead]
	a, err := s.aead(b.Purpose, nonce[:12])
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, nonce[12:], sealed[sealHead:], b.bytes(sealed[:sealHead]))
	if err != nil {
		return nil, ErrAltered
	}
	return plain, nil
}

// sealer returns the id of the key that sealed something of at most so many
// bytes.
func sealer(sealed []byte, most int) (id keyID, err error) {
	if len(sealed) <= Overhead || len(sealed) > most+Overhead || sealed[0] != sealVersion {
		return id, ErrAltered
	}
	return keyID(sealed[1:]), nil
}

// family is several keys: the first seals, all unseal.
type family []*symmetric

func (f family) seal(b Binding, plain []byte, most int) ([]byte, error) {
	if len(f) == 0 {
		return nil, ErrKeyGone
	}
	return f[0].seal(b, plain, most)
}

func (f family) unseal(b Binding, sealed []byte, most int) ([]byte, error) {
	id, err := sealer(sealed, most)
	if err != nil {
		return nil, err
	}
	for _, s := range f {
		if s.id == id {
			return s.unseal(b, sealed)
		}
	}
	return nil, fmt.Errorf("%w (key %s)", ErrKeyGone, id)
}

func (f family) rewrap(b Binding, sealed []byte, most int) ([]byte, error) {
	plain, err := f.unseal(b, sealed, most)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if id, _ := sealer(sealed, most); id == f[0].id {
		return sealed, nil
	}
	return f[0].seal(b, plain, most)
}

func (b Binding) check() error {
	if b.Purpose == "" || b.Record == "" || len(b.Purpose) > maxName || len(b.Record) > maxName {
		return fmt.Errorf("sealed data is bound to a purpose and a record of 1 to %d bytes each", maxName)
	}
	return nil
}

// bytes writes head and b in one way only, as data that is authenticated.
func (b Binding) bytes(head []byte) []byte {
	out := make([]byte, 0, len(head)+8+len(b.Purpose)+len(b.Record))
	out = append(out, head...)
	for _, s := range []string{b.Purpose, b.Record} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	return out
}
