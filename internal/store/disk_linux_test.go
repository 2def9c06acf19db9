package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

// diskVariable makes the test binary a process that mounts a small disk of its
// own and tries a store on it: see TestMain.
const diskVariable = "WARDER_TEST_STORE_DISK"

func TestSQLiteOnADiskThatIsFullOrReadOnly(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), diskVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3 {
		t.Skip("a mount namespace of our own is not permitted here")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func tryDisk(folder string) {
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=2m")); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	if err := onDisk(folder); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func onDisk(folder string) error {
	ctx := context.Background()
	c := store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: folder}
	s, err := store.Open(ctx, c)
	if err != nil {
		return err
	}
	put := func(i int) error {
		_, err := s.Commit(ctx, store.Create(store.Record{Kind: "key", ID: fmt.Sprint(i), Body: make([]byte, 10_000)}))
		return err
	}
	ballast := filepath.Join(folder, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		return err
	}
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = put(n)
	}
	n--
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is full") {
		return fmt.Errorf("a full disk is: %v", err)
	}
	if s.Status().Err == nil {
		return errors.New("on a full disk the store says it is up")
	}
	if _, err := s.Get(ctx, "key", fmt.Sprint(n-1)); err != nil {
		return fmt.Errorf("an acknowledged write is lost on a full disk: %w", err)
	}
	if _, err := s.Get(ctx, "key", fmt.Sprint(n)); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("a refused write: %v", err)
	}
	if err := errors.Join(os.Remove(ballast), put(n), s.Status().Err); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	report, err := s.Check(ctx)
	if err != nil || len(report.Problems) > 0 || report.Records["key"] != uint64(n+1) {
		return fmt.Errorf("check: %v, %+v", err, report)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	if _, err = store.Open(ctx, c); err == nil || !strings.Contains(err.Error(), "read-only") {
		return fmt.Errorf("a read-only disk is: %v", err)
	}
	c.Address = secret.New([]byte("sqlite:new.db"))
	if _, err = store.Open(ctx, c); err == nil || !strings.Contains(err.Error(), "read-only") {
		return fmt.Errorf("a new store on a read-only disk is: %v", err)
	}
	return nil
}
