package secret_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/warder-gateway/warder/internal/secret"
)

// onDisk runs f with a small disk of its own at dir, which nobody else sees.
func onDisk(t *testing.T, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	skip := make(chan error)
	go func() {
		defer close(skip)
		// The thread is never given back: it ends with the goroutine, and its
		// mounts with it.
		runtime.LockOSThread()
		if err := syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_FS); err != nil {
			skip <- err
			return
		}
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			skip <- err
			return
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32k"); err != nil {
			skip <- err
			return
		}
		f(dir)
	}()
	if err := <-skip; err != nil {
		t.Skip("no mounts of one's own are permitted here: ", err)
	}
}

// fill leaves no room on the disk.
func fill(t *testing.T, dir string) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1024))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is not full: %v", err)
	}
}

func TestOnAFullDiskNothingIsHalfWrittenAndNothingIsLost(t *testing.T) {
	t.Parallel()
	onDisk(t, func(dir string) { keepsWhatIsThere(t, dir, func() { fill(t, dir) }, syscall.ENOSPC) })
}

func TestInAReadOnlyFolderNothingIsHalfWrittenAndNothingIsLost(t *testing.T) {
	t.Parallel()
	onDisk(t, func(dir string) {
		keepsWhatIsThere(t, dir, func() {
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Error(err)
			}
		}, syscall.EROFS)
	})
}

// keepsWhatIsThere breaks the disk and tries to write.
func keepsWhatIsThere(t *testing.T, dir string, breakIt func(), want syscall.Errno) {
	old, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "fresh")
	if err := secret.CreatePrivate(old, []byte("old")); err != nil {
		t.Error(err)
	}
	breakIt()
	before, _ := os.ReadDir(dir)
	if err := secret.CreatePrivate(fresh, make([]byte, 8<<10)); !errors.Is(err, want) || strings.Contains(err.Error(), dir) {
		t.Errorf("created: %v, want %v", err, want)
	}
	if err := secret.ReplacePrivate(old, make([]byte, 8<<10)); !errors.Is(err, want) {
		t.Errorf("replaced: %v, want %v", err, want)
	}
	if b, err := secret.ReadPrivate(old, 100); err != nil || string(b) != "old" {
		t.Errorf("what was there is %q, %v", b, err)
	}
	if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is there: %v", err)
	}
	if after, _ := os.ReadDir(dir); len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
}
