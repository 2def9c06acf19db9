package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/warder-gateway/warder/internal/secret"
)

// Embedded is the Wrapper whose keys are in a file of this machine and, once
// opened, in this process. It is immutable and safe for concurrent use.
type Embedded struct{ keys family }

// OpenEmbedded opens the key file at path, with the passphrase that locks it,
// the zero Value if none does. fs.ErrNotExist says that there is no such file.
//
// A file that others than its owner may use, that is damaged, or that the
// passphrase does not fit is refused; it is never repaired and never replaced.
func OpenEmbedded(path string, passphrase secret.Value) (*Embedded, error) {
	data, err := secret.ReadPrivate(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	defer clear(data)
	keys, err := readKeyFile(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s %w", path, err)
	}
	return &Embedded{keys}, nil
}

// CreateEmbedded makes a key file with one new key and opens it. If there is
// one already, from another process that started at once, that one is opened.
func CreateEmbedded(path string, passphrase secret.Value) (*Embedded, error) {
	return createEmbedded(path, passphrase, usualCost)
}

func createEmbedded(path string, passphrase secret.Value, c cost) (*Embedded, error) {
	key, err := newSymmetric(randomKey())
	if err != nil {
		return nil, err
	}
	data, err := writeKeyFile(family{key}, passphrase, c)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	defer clear(data)
	err = secret.CreatePrivate(path, data)
	if errors.Is(err, fs.ErrExist) {
		return OpenEmbedded(path, passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s cannot be written: %w", path, err)
	}
	return &Embedded{family{key}}, nil
}

// RotateEmbedded puts a new key before those in the key file at path, which is
// opened with the old passphrase and then locked with the new one. The old keys
// stay, for what they have sealed.
func RotateEmbedded(path string, old, new secret.Value) (*Embedded, error) {
	return rotateEmbedded(path, old, new, usualCost)
}

func rotateEmbedded(path string, old, new secret.Value, c cost) (*Embedded, error) {
	e, err := OpenEmbedded(path, old)
	if err != nil {
		return nil, err
	}
	if len(e.keys) >= maxKeys {
		return nil, fmt.Errorf("key file %s holds %d keys already, which is as many as it may", path, len(e.keys))
	}
	key, err := newSymmetric(randomKey())
	if err != nil {
		return nil, err
	}
	keys := append(family{key}, e.keys...)
	data, err := writeKeyFile(keys, new, c)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	defer clear(data)
	if err := secret.ReplacePrivate(path, data); err != nil {
		return nil, fmt.Errorf("key file %s cannot be written: %w", path, err)
	}
	return &Embedded{keys}, nil
}

// Seal implements Wrapper.
func (e *Embedded) Seal(ctx context.Context, b Binding, plain []byte) ([]byte, error) {
	return e.keys.seal(b, plain, MaxWrap)
}

// Unseal implements Wrapper.
func (e *Embedded) Unseal(ctx context.Context, b Binding, sealed []byte) ([]byte, error) {
	return e.keys.unseal(b, sealed, MaxWrap)
}

// Rewrap implements Wrapper.
func (e *Embedded) Rewrap(ctx context.Context, b Binding, sealed []byte) ([]byte, error) {
	return e.keys.rewrap(b, sealed, MaxWrap)
}
