package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A configuration that is not named is the one here, else the system's; one
// here that another user has put there is not taken.
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
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := os.Chown(here, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	refuse := func(what string) {
		t.Helper()
		if got, err := firstConfig(here, system); err == nil {
			t.Errorf("took %q, %s", got, what)
		}
	}
	refuse("which is another user's")
	link := func(to string) {
		if err := errors.Join(os.Remove(here), os.Symlink(to, here)); err != nil {
			t.Fatal(err)
		}
	}
	link(system)
	expect(here) // a link of one's own to a file of one's own
	if err := os.Lchown(here, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	refuse("a link that another user put there")
	theirs := filepath.Join(dir, "theirs.yaml")
	put(theirs)
	if err := os.Chown(theirs, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	link(theirs)
	refuse("a link to another user's file")
}
