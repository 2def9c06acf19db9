package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

// kindSealed is the kind of the records that hold something sealed.
const kindSealed = store.Kind("sealed")

// sealedIn keeps what is sealed in a store, for all gateways that share it.
type sealedIn struct{ *store.Store }

// Load implements keys.Storage.
func (s sealedIn) Load(ctx context.Context, name string) ([]byte, error) {
	r, err := s.Get(ctx, kindSealed, name)
	return r.Body, ofStorage(err)
}

// Swap implements keys.Storage.
func (s sealedIn) Swap(ctx context.Context, name string, old, next []byte) error {
	r := store.Record{Kind: kindSealed, ID: name, Body: next}
	if old == nil {
		_, err := s.Commit(ctx, store.Create(r))
		return ofStorage(err)
	}
	have, err := s.Get(ctx, kindSealed, name)
	if err != nil {
		return ofStorage(err)
	}
	if !bytes.Equal(have.Body, old) {
		return fs.ErrExist
	}
	r.Version = have.Version
	_, err = s.Commit(ctx, store.Update(r))
	return ofStorage(err)
}

// ofStorage says what an error of a store means to who seals.
func ofStorage(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fs.ErrNotExist
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return fs.ErrExist
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%w: %w", keys.ErrUnavailable, err)
	}
	return err
}

// importBinding is what the key of imported API keys is sealed for.
var importBinding = keys.Binding{Purpose: "api-key-hmac", Record: "1"}

// Unseal implements directory.Unsealer with the keys of the state folder, which
// are opened if nothing needed them before, and opened once more if they were
// rotated since. They are not made: those that would be could open nothing.
func (l *locals) Unseal(sealed []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx := context.Background()
	if opened := l.keyring.opened; opened != nil {
		plain, err := opened.Unseal(ctx, importBinding, sealed)
		if !errors.Is(err, keys.ErrKeyGone) {
			return plain, err
		}
	}
	state := l.keyring.state
	if state == nil {
		return nil, errors.New("there is no state folder")
	}
	if _, err := os.Stat(state.Path(keyFile)); err != nil {
		return nil, fmt.Errorf("there are no keys in the state folder: %w", err)
	}
	opened, err := openKeys(ctx, state, l.keyring.passphrase)
	if err != nil {
		return nil, err
	}
	if l.keyring.opened == nil {
		l.keyring.opened = opened
	}
	return opened.Unseal(ctx, importBinding, sealed)
}

// importSealer is the directory.Sealer of the command line.
type importSealer struct{ *keys.DataKeys }

func (s importSealer) Seal(plain []byte) ([]byte, error) {
	return s.DataKeys.Seal(context.Background(), importBinding, plain)
}

func (s importSealer) Unseal(sealed []byte) ([]byte, error) {
	return s.DataKeys.Unseal(context.Background(), importBinding, sealed)
}

// ImportSealer opens the keys of a state folder for an import of API keys, and
// makes them if there are none. Of the secrets of a configuration file, "" if
// there is none, only the passphrase is read.
func ImportSealer(file, state string) (directory.Sealer, error) {
	var passphrase secret.Value
	if file != "" {
		doc, err := control.ReadOnly(file, "keys", idleCompiler())
		if err != nil {
			return nil, err
		}
		if doc.Keys != nil {
			passphrase = doc.Keys.Passphrase
		}
	}
	if !passphrase.IsZero() {
		if err := keys.CheckPassphrase(passphrase); err != nil {
			return nil, fmt.Errorf("keys.passphrase %w", err)
		}
	}
	folder, err := OpenState(state)
	if err != nil {
		return nil, err
	}
	opened, err := openKeys(context.Background(), folder, passphrase)
	if err != nil {
		return nil, err
	}
	return importSealer{opened}, nil
}
