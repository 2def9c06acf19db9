package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration that is not named is the one here, else the system's.
func TestTheFirstConfigurationIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here, system := filepath.Join(dir, "warder.yaml"), filepath.Join(dir, "etc.yaml")
	expect := func(want string) {
		t.Helper()
		if got, err := firstConfig(here, system); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	put := func(path string) {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect("")
	put(system)
	expect(system)
	put(here)
	expect(here)
}

// One here is not taken where another user may decide what it holds: it is
// theirs, a link of theirs leads to it, or they may change or replace it.
func TestNoConfigurationIsTakenThatOthersHaveASayIn(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	for _, c := range []struct {
		name    string
		by      func(dir, here string) error
		give    bool // which only root can
		refused bool
	}{
		{name: "my own", by: func(dir, here string) error { return os.WriteFile(here, nil, 0o600) }},
		{name: "a link of mine to a file of mine", by: func(dir, here string) error {
			return errors.Join(os.WriteFile(dir+"/other", nil, 0o600), os.Symlink("other", here))
		}},
		{name: "my own, in a folder that all use", by: func(dir, here string) error {
			return errors.Join(os.WriteFile(here, nil, 0o600), os.Chmod(dir, 0o777|fs.ModeSticky))
		}},
		{name: "one that everybody may write to", refused: true, by: func(dir, here string) error {
			return errors.Join(os.WriteFile(here, nil, 0o600), os.Chmod(here, 0o666))
		}},
		{name: "one that everybody may replace", refused: true, by: func(dir, here string) error {
			return errors.Join(os.WriteFile(here, nil, 0o600), os.Chmod(dir, 0o777))
		}},
		{name: "one of another user", give: true, refused: true, by: func(dir, here string) error {
			return errors.Join(os.WriteFile(here, nil, 0o600), os.Chown(here, nobody, nobody))
		}},
		{name: "a link of another user to a file of mine", give: true, refused: true, by: func(dir, here string) error {
			return errors.Join(os.WriteFile(dir+"/other", nil, 0o600), os.Symlink("other", here), os.Lchown(here, nobody, nobody))
		}},
		{name: "my own, in a folder of another user", give: true, refused: true, by: func(dir, here string) error {
			return errors.Join(os.WriteFile(here, nil, 0o600), os.Chown(dir, nobody, nobody))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.give && os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			dir := t.TempDir()
			here := filepath.Join(dir, "warder.yaml")
			if err := c.by(dir, here); err != nil {
				t.Fatal(err)
			}
			got, err := firstConfig(here, filepath.Join(dir, "etc.yaml"))
			switch {
			case c.refused && (err == nil || !strings.Contains(err.Error(), "-c "+here)):
				t.Errorf("took %q: %v", got, err)
			case !c.refused && (err != nil || got != here):
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
