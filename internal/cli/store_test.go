package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/secret"
)

// Ctrl-C amid a backup leaves nothing behind.
func TestAnInterruptedBackupLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	err := interruptible(func(ctx context.Context) error {
		return secret.CreatePrivateFrom(filepath.Join(dir, "all.backup"), func(w io.Writer) error {
			if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
				t.Errorf("%d files while it is written, %v", len(files), err)
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
				t.Error("the signal was not heard")
			}
			return ctx.Err()
		})
	})
	if err == nil || err.Error() != "interrupted; nothing was written" {
		t.Errorf("it ends with %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("it leaves %v, %v", files, err)
	}
}
