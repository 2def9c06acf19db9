package cli

import (
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
	if got, err := firstConfig(here, system); err == nil {
		t.Errorf("took %q of another user", got)
	}
}
