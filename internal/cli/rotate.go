package cli

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

type rotateCmd struct {
	APIKey rotateAPIKeyCmd `cmd:"" name:"api-key" help:"Give a consumer of the store a new API key, and let those it has expire."`
	Kek    rotateKEKCmd    `cmd:"" name:"kek" help:"Put a new key before those that seal what Warder keeps, and lock the key file with a passphrase."`
}

type rotateKEKCmd struct {
	State             string `default:"${state}" help:"State folder; default: ${where}." placeholder:"DIR"`
	PassphraseFile    string `help:"File with the passphrase that locks the key file now; default: none does." placeholder:"FILE"`
	NewPassphraseFile string `help:"File with the passphrase to lock it with; default: as now." placeholder:"FILE"`
}

func (c rotateKEKCmd) Run(e *env) error {
	old, err := passphrase(c.PassphraseFile)
	if err != nil {
		return err
	}
	next := old
	if c.NewPassphraseFile != "" {
		if next, err = passphrase(c.NewPassphraseFile); err != nil {
			return err
		}
	}
	if err := app.RotateKEK(c.State, old, next); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "rotated; a running gateway uses the new keys when it is started again")
	return nil
}

// passphrase reads a passphrase as ${file:…} of a configuration does.
func passphrase(path string) (v secret.Value, err error) {
	if path == "" {
		return v, nil
	}
	b, err := secret.ReadFile(path)
	if err != nil {
		return v, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return v, fmt.Errorf("%s is empty; expected a passphrase", path)
	}
	return secret.New(b), nil
}

type rotateAPIKeyCmd struct {
	Consumer string          `arg:"" help:"Consumer of the store."`
	Overlap  scalar.Duration `default:"7d" help:"How long the keys it has stay good; 0s: not at all; default: ${default}." placeholder:"TIME"`
	Expires  lifetime        `help:"When the new key ends: after a time such as 90d, or with a day; default: never." placeholder:"TIME"`
	storeFlags
	outputFlag
}

func (c *rotateAPIKeyCmd) Run(e *env) error {
	now := time.Now()
	expires := c.Expires.from(now)
	if !expires.IsZero() && !expires.After(now) {
		return usageError("--expires is in the past")
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		var made directory.StoredKey
		ending := 0
		key, err := freshKey(func(ref exchange.KeyRef) (err error) {
			made, ending, err = directory.RotateKeys(ctx, s, c.Consumer, ref, c.Overlap.Std(), expires, now)
			return err
		})
		if err != nil {
			return err
		}
		more := ""
		if expires.IsZero() {
			more = "\nit has no end, whatever those before it had; --expires gives one"
		}
		if ending > 0 {
			more += fmt.Sprintf("\n%s it had: good until %s", count(ending, "key"), day(now.Add(c.Overlap.Std())))
		}
		return printStored(e, c.Output, key, made, more)
	})
}
