package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/warder-gateway/warder/internal/password"
)

type passwordCmd struct {
	Hash passwordHashCmd `cmd:"" help:"Hash a password for the configuration. It is asked for on the terminal, or read from standard input; never an argument, which other users of the machine can see."`
}

type passwordHashCmd struct{ outputFlag }

// passwordOut is the hash of a password.
type passwordOut struct {
	Hash string `json:"hash"`
}

// leastPassword is the length of the shortest password that is hashed, in
// characters: whoever gets hold of the hash can try shorter ones at leisure.
const leastPassword = 8

func (c passwordHashCmd) Run(e *env) error {
	typed, err := readPassword(e)
	if err != nil {
		return err
	}
	prepared, err := password.Prepare(typed)
	if err != nil {
		return usageError(err.Error())
	}
	if utf8.RuneCount(prepared) < leastPassword {
		return usageError(fmt.Sprintf("the password is shorter than %d characters", leastPassword))
	}
	out := passwordOut{Hash: password.New(prepared)}
	if c.Output == "json" {
		return e.json(out)
	}
	fmt.Fprintf(e.out, "for the configuration, under consumers: NAME:\n  password: \"%s\"\n", out.Hash)
	return nil
}

// readPassword asks on a terminal, twice and without echo, or reads the first
// line of whatever else standard input is.
func readPassword(e *env) ([]byte, error) {
	if isTerminal(e.in) {
		fd := int(e.in.(*os.File).Fd())
		ask := func(prompt string) ([]byte, error) {
			fmt.Fprint(e.err, prompt)
			defer fmt.Fprintln(e.err)
			return term.ReadPassword(fd)
		}
		first, err := ask("Password: ")
		if err != nil {
			return nil, err
		}
		again, err := ask("The same again: ")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(first, again) {
			return nil, errors.New("these are two different passwords")
		}
		return first, nil
	}
	// A byte more than a password may have, and the end of its line.
	line, err := bufio.NewReader(io.LimitReader(e.in, password.MaxBytes+3)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return nil, err
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(line) == 0 {
		return nil, usageError("no password on standard input; run it on a terminal, or pipe one in from a file")
	}
	return line, nil
}
