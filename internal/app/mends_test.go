package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/warder-gateway/warder/internal/secret"
)

// stuck is a writer whose reader has stopped reading.
type stuck struct{ free chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return len(p), nil
}

// A log whose reader has stopped holds up neither a reload nor the end.
func TestAStuckLogReaderHoldsNothingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o outputs
		s := &stuck{make(chan struct{})}
		file, err := os.Create(filepath.Join(t.TempDir(), "old.log"))
		if err != nil {
			t.Fatal(err)
		}
		old := &outputSet{files: []*os.File{file}}
		old.to = append(old.to, s)
		o.replace(old)
		done := make(chan struct{})
		go func() {
			o.Write([]byte("x"))
			close(done)
		}()
		synctest.Wait()         // it is stuck
		o.replace(&outputSet{}) // and this returns
		close(s.free)
		<-done
		if _, err := file.WriteString("x"); err != nil {
			t.Errorf("the old file was closed under a write: %v", err)
		}
		o.Write([]byte("y"))
		if _, err := file.WriteString("x"); err == nil {
			t.Error("the old file is still open after the first write to the new outputs")
		}
	})
}

// What another user owns may hold anything: a token that he knows.
func TestAStateFolderOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("the folder of another user: %v", err)
	}
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdminToken(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(s.Path(TokenFile), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdminToken(); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("the token of another user: %v", err)
	}
}

// rotating is a state folder whose keys somebody rotates just before they are
// read for the first time.
type rotating struct {
	*State
	rotate func()
}

func (r *rotating) Load(ctx context.Context, name string) ([]byte, error) {
	if r.rotate != nil {
		r.rotate()
		r.rotate = nil
	}
	return r.State.Load(ctx, name)
}

func TestAGatewayStartsWhileItsKeysAreRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openKeys(t.Context(), s, secret.Value{}); err != nil {
		t.Fatal(err)
	}
	during := &rotating{s, func() {
		if err := RotateKEK(dir, secret.Value{}, secret.Value{}); err != nil {
			t.Error(err)
		}
	}}
	if _, err := openKeysIn(t.Context(), s, during, secret.Value{}); err != nil || during.rotate != nil {
		t.Errorf("the start fails: %v", err)
	}
}
