package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

// importBinding is what the key of imported API keys is sealed for.
var importBinding = keys.Binding{Purpose: "api-key-hmac", Record: "1"}

// Seal implements directory.Sealer. A gateway makes no such key.
func (l *locals) Seal([]byte) ([]byte, error) {
	return nil, errors.New("a gateway imports no keys")
}

// Unseal implements directory.Sealer with the keys of the state folder, which
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

// guessable says which keys of the store of a document can be guessed, if it can
// be opened as it is.
func guessable(doc *config.Document, state string) (all config.Problems) {
	if info, err := os.Stat(state); state == "" || err != nil || !info.IsDir() {
		return nil
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Address: doc.Store, Folder: state, AsIs: true})
	if err != nil {
		return nil
	}
	defer s.Close()
	count, last := map[string]int{}, map[string]string{}
	var consumers []string
	if err := directory.EachWeakKey(ctx, s, func(k directory.StoredKey) error {
		if k.State(time.Now()) != "active" {
			return nil
		}
		if count[k.Consumer]++; count[k.Consumer] == 1 {
			consumers = append(consumers, k.Consumer)
		}
		last[k.Consumer] = k.ID()
		return nil
	}); err != nil {
		return nil
	}
	for _, name := range consumers {
		all = append(all, doc.Complain("store", fmt.Sprintf("consumer %s has %s in the store that can be guessed, such as %s", name, plural(count[name], "imported key"), last[name]),
			"give it a key with `warder key new "+name+"`, then end the old one with `warder key revoke`"))
	}
	return all
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
