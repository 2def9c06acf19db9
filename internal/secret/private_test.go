package secret_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/warder-gateway/warder/internal/secret"
)

func TestAPrivateFileIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if _, err := secret.ReadPrivate(path, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	var wg sync.WaitGroup
	made := make(chan string, 8)
	for _, who := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		wg.Go(func() {
			switch err := secret.CreatePrivate(path, []byte(who)); {
			case err == nil:
				made <- who
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Fatalf("%d have made it, want 1", len(made))
	}
	if b, err := secret.ReadPrivate(path, 10); err != nil || string(b) != <-made {
		t.Errorf("%q, %v", b, err)
	}
	if err := secret.ReplacePrivate(path, []byte("next")); err != nil {
		t.Fatal(err)
	}
	if b, err := secret.ReadPrivate(path, 10); err != nil || string(b) != "next" {
		t.Errorf("%q, %v", b, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
}

func TestAFileThatIsNotPrivateIsRefused(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]string{
		0o604: "(mode 0604)", 0o640: "(mode 0640)", 0o620: "(mode 0620)", 0o602: "(mode 0602)", 0o601: "(mode 0601)", 0o610: "(mode 0610)",
		0o600: "", 0o400: "",
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.ReadPrivate(path, 10); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := secret.CreatePrivate(path, []byte("0123456789a")); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.ReadPrivate(path, 10); err == nil || !strings.Contains(err.Error(), "larger than 10 bytes") {
		t.Errorf("too large: %v", err)
	}
	if _, err := secret.ReadPrivate(filepath.Dir(path), 10); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a file that is somebody else's")
	}
	if err := os.Chown(path, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.ReadPrivate(path, 100); err == nil || !strings.Contains(err.Error(), "it belongs to user 4711") {
		t.Errorf("somebody else's: %v", err)
	}
}

func TestAFileWhoseWriterFailsIsNotThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	want := errors.New("half way")
	err := secret.CreatePrivateFrom(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, want)
	})
	if !errors.Is(err, want) {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
