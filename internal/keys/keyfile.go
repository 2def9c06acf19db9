package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"

	"github.com/warder-gateway/warder/internal/secret"
)

const (
	keyFileKind    = "warder key-encryption keys"
	keyFileVersion = 1
	maxKeyFile     = 16 << 10 // bytes
	maxKeys        = 64       // in one file
	minPassphrase  = 12       // bytes
)

// cost is what Argon2id (RFC 9106) is asked for.
type cost struct {
	Memory  uint32 `json:"memory"` // KiB
	Time    uint32 `json:"time"`
	Threads uint8  `json:"threads"`
}

// usualCost is the second recommended choice of RFC 9106 section 4, but with
// one lane, as Go computes lanes one by one where there is one core.
var usualCost = cost{Memory: 64 << 10, Time: 3, Threads: 1}

// Most that a key file may ask for: it is read before anybody has proved it.
const (
	mostMemory = 1 << 20 // KiB
	mostTime   = 64
)

// keyFile is the file of the embedded provider as it is written. Keys is the
// keys one after the other, the newest first: as they are, or sealed with a key
// made of a passphrase.
type keyFile struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Lock    *lock  `json:"lock,omitempty"` // nil: there is no passphrase
	Keys    []byte `json:"keys"`
	Check   []byte `json:"check,omitempty"` // SHA-256 of the keys, where nothing seals them
}

type lock struct {
	cost
	Salt []byte `json:"salt"`
}

var keyFileBinding = Binding{Purpose: "key-file", Record: "keys"}

// key makes the key that seals the file.
func (l *lock) key(passphrase secret.Value) (*symmetric, error) {
	plain := passphrase.Reveal()
	defer clear(plain)
	return newSymmetric(argon2.IDKey(plain, l.Salt, l.Time, l.Memory, l.Threads, keySize))
}

var (
	errCut    = errors.New("is damaged or cut short: put it back from a backup; nothing that was sealed with it can be read without it")
	errLocked = errors.New("is locked by a passphrase, and none was given: name it by keys.passphrase, for warder rotate by --passphrase-file")
	errOpen   = errors.New("is not locked by a passphrase, and one was given: leave it out, or lock the file with warder rotate kek")
	errWrong  = errors.New("is not opened by the configured passphrase: it is another one, or the file was altered")
)

// readKeyFile returns the keys in data. Errors say what the file is.
func readKeyFile(data []byte, passphrase secret.Value) (family, error) {
	var f keyFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, errCut
	}
	if _, err := d.Token(); err != io.EOF || f.Kind != keyFileKind {
		return nil, errCut
	}
	if f.Version != keyFileVersion {
		return nil, fmt.Errorf("is of version %d; this build reads version %d", f.Version, keyFileVersion)
	}
	plain := f.Keys
	if l := f.Lock; l != nil {
		if passphrase.IsZero() {
			return nil, errLocked
		}
		if len(l.Salt) < 16 || len(l.Salt) > 64 || l.Time < 1 || l.Time > mostTime || l.Memory < 8 || l.Memory > mostMemory || l.Threads < 1 || len(f.Check) > 0 {
			return nil, errCut
		}
		if id, err := sealer(f.Keys, maxKeys*keySize); err != nil {
			return nil, errCut
		} else if key, err := l.key(passphrase); err != nil {
			return nil, err
		} else if key.id != id {
			return nil, errWrong
		} else if plain, err = key.unseal(keyFileBinding, f.Keys); err != nil {
			return nil, errCut
		}
	} else {
		if sum := sha256.Sum256(f.Keys); !bytes.Equal(sum[:], f.Check) {
			return nil, errCut
		}
		if !passphrase.IsZero() {
			return nil, errOpen
		}
	}
	if len(plain) == 0 || len(plain)%keySize != 0 || len(plain) > maxKeys*keySize {
		return nil, errCut
	}
	var keys family
	for len(plain) > 0 {
		key, err := newSymmetric(plain[:keySize:keySize])
		if err != nil {
			return nil, err
		}
		keys, plain = append(keys, key), plain[keySize:]
	}
	return keys, nil
}

// writeKeyFile is the reverse.
func writeKeyFile(keys family, passphrase secret.Value, c cost) ([]byte, error) {
	plain := make([]byte, 0, len(keys)*keySize)
	for _, k := range keys {
		plain = append(plain, k.key...)
	}
	f := keyFile{Kind: keyFileKind, Version: keyFileVersion, Keys: plain}
	if passphrase.IsZero() {
		sum := sha256.Sum256(plain)
		f.Check = sum[:]
	} else {
		if err := CheckPassphrase(passphrase); err != nil {
			return nil, err
		}
		f.Lock = &lock{cost: c, Salt: make([]byte, 16)}
		rand.Read(f.Lock.Salt)
		key, err := f.Lock.key(passphrase)
		if err != nil {
			return nil, err
		}
		if f.Keys, err = key.seal(keyFileBinding, plain, maxKeys*keySize); err != nil {
			return nil, err
		}
		clear(plain)
	}
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// CheckPassphrase says why a passphrase locks nothing: it is too short.
func CheckPassphrase(v secret.Value) error {
	b := v.Reveal()
	defer clear(b)
	if len(b) < minPassphrase {
		return fmt.Errorf("a passphrase has at least %d bytes; 256 random bits are best", minPassphrase)
	}
	return nil
}
