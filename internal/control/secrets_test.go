package control_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// secretHouse is a house whose document names a secret by a file.
type secretHouse struct {
	*house
	dir    string
	secret atomic.Pointer[string] // of the last document
}

func newSecretHouse(t *testing.T, name string) *secretHouse {
	h := &secretHouse{house: &house{t: t, live: &snapshot.Live{}, log: &lockedBuffer{}}, dir: t.TempDir()}
	h.path = filepath.Join(t.TempDir(), "warder.yaml")
	h.house.write(document("first") + fmt.Sprintf("authorizationServer: { issuer: https://a.example.com, clients: { a: { audience: x, secret: \"${file:%s}\" } } }\n", filepath.Join(h.dir, name)))
	c := newCompiler()
	log := slog.New(slog.NewTextHandler(h.log, nil))
	c.Log = log
	c.Local = func(doc *config.Document) (snapshot.Local, error) {
		s := string(doc.AuthorizationServer.Clients.Get("a").Secret.Reveal())
		h.secret.Store(&s)
		return snapshot.Local{}, nil
	}
	h.Control = control.New(h.path, c, h.live, c.Metrics, log, time.Now)
	t.Cleanup(func() { h.live.Swap(nil) })
	return h
}

// put writes a file of the secrets' folder as it is told to be.
func (h *secretHouse) put(name, content string, mode os.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *secretHouse) do(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *secretHouse) becomes(want string) {
	h.t.Helper()
	h.eventually("the secret "+want, func() bool { return *h.secret.Load() == want && h.Status().Error == "" })
}

func TestASecretThatIsRenamedOverIsReadAgain(t *testing.T) {
	t.Parallel()
	h := newSecretHouse(t, "s")
	h.put("s", "one\n", 0o600)
	h.do(h.Load())
	h.watch()
	h.becomes("one")
	h.put("next", "two", 0o600)
	h.do(os.Rename(filepath.Join(h.dir, "next"), filepath.Join(h.dir, "s")))
	h.becomes("two")
}

func TestASecretBehindASwappedLinkIsReadAgain(t *testing.T) {
	t.Parallel()
	h := newSecretHouse(t, "s")
	h.put("..1/s", "one", 0o600)
	h.put("..2/s", "two", 0o600)
	h.do(os.Symlink("..1", filepath.Join(h.dir, "..data")))
	h.do(os.Symlink("..data/s", filepath.Join(h.dir, "s")))
	h.do(h.Load())
	h.watch()
	h.becomes("one")
	h.do(os.Symlink("..2", filepath.Join(h.dir, "..data_tmp")))
	h.do(os.Rename(filepath.Join(h.dir, "..data_tmp"), filepath.Join(h.dir, "..data")))
	h.becomes("two")
}

func TestWhileASecretIsMissingTheLastGoodOneServesAndTheLogSaysSo(t *testing.T) {
	t.Parallel()
	h := newSecretHouse(t, "s")
	h.put("s", "one", 0o600)
	h.do(h.Load())
	before := h.Status()
	h.watch()
	h.do(os.Remove(filepath.Join(h.dir, "s")))
	h.eventually("the missing secret is said", func() bool { return strings.Contains(h.Status().Error, "cannot read "+filepath.Join(h.dir, "s")) })
	if s := h.Status(); s.Config != before.Config || s.Since != before.Since || h.inForce() != "first" {
		t.Errorf("status %+v", s)
	}
	h.eventually("the log says so", func() bool { return strings.Contains(h.log.String(), "what runs keeps running") }) // after the status
	h.put("s", "two", 0o600)
	h.becomes("two")
}

func TestASecretThatEverybodyMayWriteToIsRefusedUntilThatIsMended(t *testing.T) {
	t.Parallel()
	h := newSecretHouse(t, "s")
	h.put("s", "one", 0o602)
	if err := h.Load(); err == nil || !strings.Contains(err.Error(), "authorizationServer.clients.a.secret: cannot use "+filepath.Join(h.dir, "s")+": everybody may write to it") {
		t.Errorf("error %v", err)
	}
	h.watch()
	h.do(os.Chmod(filepath.Join(h.dir, "s"), 0o640))
	h.becomes("one")
	if strings.Contains(h.log.String(), "may read this secret") {
		t.Errorf("its group is no stranger; log:\n%s", h.log)
	}
}

func TestASecretThatEverybodyMayReadIsLogged(t *testing.T) {
	t.Parallel()
	h := newSecretHouse(t, "s")
	h.put("s", "canary-4711", 0o644)
	h.do(h.Load())
	if log := h.log.String(); !strings.Contains(log, "every user of this machine may read this secret") || !strings.Contains(log, filepath.Join(h.dir, "s")) || strings.Contains(log, "canary") {
		t.Errorf("log:\n%s", log)
	}
}
