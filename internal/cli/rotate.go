package cli

import (
	"bytes"
	"fmt"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/secret"
)

type rotateCmd struct {
	Kek rotateKEKCmd `cmd:"" name:"kek" help:"Put a new key before those that seal what Warder keeps, and lock the key file with a passphrase."`
}

type rotateKEKCmd struct {
	State             string `default:"${state}" help:"State folder." placeholder:"DIR"`
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
