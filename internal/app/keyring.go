package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/secret"
)

// signerName is under which the key of the authorization server is kept.
const signerName = "authserver"

// maxSealed bounds a file of the state folder that holds something sealed, in
// bytes.
const maxSealed = 2 << 20

// keyring opens what everything else is sealed with, when it is first needed.
type keyring struct {
	state *State // nil: nothing is kept

	opened     *keys.DataKeys // nil: not yet
	passphrase secret.Value   // that opened it
}

// open opens the keys as the document says. Errors are config.Problems.
func (k *keyring) open(doc *config.Document) error {
	var passphrase secret.Value
	if doc.Keys != nil {
		passphrase = doc.Keys.Passphrase
	} else if doc.AuthorizationServer == nil && !doc.Logins() && !doc.Proofs() && !doc.Asserts() {
		return nil // nobody needs them
	}
	// A document with problems may lack the very passphrase: nothing is made
	// on its word.
	if len(doc.Problems()) > 0 {
		return nil
	}
	if !passphrase.IsZero() {
		if err := keys.CheckPassphrase(passphrase); err != nil {
			return config.Problems{doc.Complain("keys.passphrase", err.Error(), "")}
		}
	}
	if k.state == nil || k.opened != nil && same(passphrase, k.passphrase) {
		return nil
	}
	// Another passphrase has to fit as well: the next start will need it.
	opened, err := openKeys(context.Background(), k.state, passphrase)
	if err != nil {
		return blameKeys(doc, err)
	}
	k.passphrase = passphrase
	if k.opened == nil {
		k.opened = opened
	}
	return nil
}

func blameKeys(doc *config.Document, err error) error {
	return config.Problems{doc.Complain("keys", err.Error(), "")}
}

func same(a, b secret.Value) bool {
	return a.IsZero() && b.IsZero() || a.Equal(b.Reveal())
}

// openKeys opens the key file of a state folder and the data keys under it, and
// makes both if there are none. Where there are data keys a key file is never
// made: they could not be opened with it.
func openKeys(ctx context.Context, s *State, passphrase secret.Value) (*keys.DataKeys, error) {
	return openKeysIn(ctx, s, s, passphrase)
}

// openKeysIn opens the key file of s and the data keys in sealed.
func openKeysIn(ctx context.Context, s *State, sealed keys.Storage, passphrase secret.Value) (*keys.DataKeys, error) {
	wrapper, err := openKeyFile(ctx, s, sealed, passphrase)
	if err != nil {
		return nil, err
	}
	opened, err := keys.OpenDataKeys(ctx, wrapper, sealed)
	if errors.Is(err, keys.ErrKeyGone) || errors.Is(err, keys.ErrAltered) {
		// Somebody may have rotated the keys since the file was read: once more.
		if wrapper, err = openKeyFile(ctx, s, sealed, passphrase); err != nil {
			return nil, err
		}
		opened, err = keys.OpenDataKeys(ctx, wrapper, sealed)
	}
	if errors.Is(err, keys.ErrKeyGone) {
		return nil, fmt.Errorf("key file %s is of another installation, or an older copy (%w): put back the one that belongs to this state folder", s.Path(keyFile), err)
	}
	if errors.Is(err, keys.ErrAltered) {
		return nil, fmt.Errorf("%s is damaged, or was sealed with another key file (%w): put it back from a backup", s.Path(sealedFile("data-keys")), err)
	}
	return opened, err
}

func openKeyFile(ctx context.Context, s *State, sealed keys.Storage, passphrase secret.Value) (*keys.Embedded, error) {
	path := s.Path(keyFile)
	wrapper, err := keys.OpenEmbedded(path, passphrase)
	if !errors.Is(err, fs.ErrNotExist) {
		return wrapper, err
	}
	has, err := keys.HasDataKeys(ctx, sealed)
	if err != nil {
		return nil, err
	}
	if has {
		return nil, fmt.Errorf("key file %s is missing, and %s was sealed with it: put it back from a backup", path, s.Path(sealedFile("data-keys")))
	}
	return keys.CreateEmbedded(path, passphrase)
}

// openSigner opens the key of the authorization server.
func openSigner(ctx context.Context, opened *keys.DataKeys, s *State) (keys.Signer, error) {
	signer, err := keys.OpenSigner(ctx, opened, s, signerName)
	if errors.Is(err, keys.ErrAltered) || errors.Is(err, keys.ErrKeyGone) {
		return nil, fmt.Errorf("%w: put %s back from a backup, or remove it for a new key, by which tokens signed with the old one are refused", err, s.Path(sealedFile(signerName)))
	}
	return signer, err
}

// RotateKEK puts a new key-encryption key and a new data key before those of a
// state folder. The key file is opened with the old passphrase and then locked
// with the new one; the zero Value is no passphrase. A running gateway goes on
// with the keys it has opened.
func RotateKEK(dir string, old, new secret.Value) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	s, err := OpenState(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	// Of two at once one would lose the other's key.
	turn, err := os.OpenFile(s.Path("rotate.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer turn.Close() // which ends the turn
	if err := syscall.Flock(int(turn.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another process rotates the keys of %s: try again when it has ended", dir)
	}
	// Everything that is there must open before anything is changed.
	if _, err := os.Stat(s.Path(keyFile)); err != nil {
		return fmt.Errorf("there is no key file to rotate: %w", err)
	}
	if _, err := openKeys(ctx, s, old); err != nil {
		return err
	}
	wrapper, err := keys.RotateEmbedded(s.Path(keyFile), old, new)
	if err != nil {
		return err
	}
	if err := keys.RotateDataKeys(ctx, wrapper, s); err != nil {
		return err
	}
	opened, err := keys.OpenDataKeys(ctx, wrapper, s)
	if err != nil {
		return err
	}
	if _, err := s.Load(ctx, signerName); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err = openSigner(ctx, opened, s)
	return err
}

func sealedFile(name string) string { return name + ".sealed" }

// Load implements keys.Storage.
func (s *State) Load(_ context.Context, name string) ([]byte, error) {
	path := s.Path(sealedFile(name))
	b, err := secret.ReadPrivate(path, maxSealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Swap implements keys.Storage. Processes that replace take turns.
func (s *State) Swap(ctx context.Context, name string, old, next []byte) error {
	path := s.Path(sealedFile(name))
	if old == nil {
		if err := secret.CreatePrivate(path, next); err != nil {
			return fmt.Errorf("%s cannot be written: %w", path, err)
		}
		return nil
	}
	turn, err := os.OpenFile(s.Path("sealed.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer turn.Close() // which ends the turn
	if err := syscall.Flock(int(turn.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", turn.Name(), err)
	}
	now, err := s.Load(ctx, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return fs.ErrExist
	}
	if err := secret.ReplacePrivate(path, next); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}
