package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCompiler() *snapshot.Compiler {
	return &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: telemetry.NewMetrics("test", nil),
		Verdicts: keys.NewVerdicts(), Counters: counters.NewMemory(1 << 16), Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile,
		Local: func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, nil },
	}
}

// house is a Control over a file, with what it puts in force.
type house struct {
	*control.Control
	t    *testing.T
	path string
	live *snapshot.Live
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHouse(t *testing.T, prepare ...control.Prepare) *house {
	t.Helper()
	h := &house{t: t, path: filepath.Join(t.TempDir(), "warder.yaml"), live: &snapshot.Live{}, log: &lockedBuffer{}}
	h.write(document("first"))
	c := newCompiler()
	h.Control = control.New(h.path, c, h.live, c.Metrics, slog.New(slog.NewTextHandler(h.log, nil)), time.Now, prepare...)
	t.Cleanup(func() { h.live.Swap(nil) })
	return h
}

// document returns a good one with a route of this name.
func document(route string) string {
	return "upstreams: { b: [http://127.0.0.1:9000] }\nroutes: [{ name: " + route + ", path: /x, upstream: b, auth: none }]\n"
}

func (h *house) write(content string) {
	h.t.Helper()
	if err := os.WriteFile(h.path, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// inForce returns the name of the only route in force.
func (h *house) inForce() string {
	s := h.live.Acquire()
	if s == nil {
		return ""
	}
	defer s.Release()
	return s.Routes()[0].Labels.Name
}

// watch watches until the test ends.
func (h *house) watch() (reload chan os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	reload = make(chan os.Signal, 1)
	ended := make(chan error)
	go func() { ended <- h.Watch(ctx, reload) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
	return reload
}

// eventually waits until it holds.
func (h *house) eventually(what string, holds func() bool) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			h.t.Fatalf("never: %s; status %+v; log:\n%s", what, h.Status(), h.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestAConfigurationThatFailsChangesNothingAndStatusSaysWhy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if s := h.Status(); s.Config != "" || s.Attempts != 0 || s.File != h.path {
		t.Errorf("before the first load: %+v", s)
	}
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	first := h.Status()
	if first.Config != hash(document("first")) || first.Error != "" || first.Since.IsZero() || first.Attempts != 1 || first.Successes != 1 {
		t.Errorf("after a good load: %+v", first)
	}
	for i, broken := range []string{"routes: [", "", "routes: [{ path: /x, upstream: c, auth: nome }]\n", strings.Repeat("#", config.MaxBytes+1)} {
		h.write(broken)
		err := h.Load()
		if err == nil {
			t.Fatalf("%.30q was accepted", broken)
		}
		var problems config.Problems
		if !errors.As(err, &problems) {
			t.Errorf("not a list of problems: %v", err)
		}
		s := h.Status()
		if s.Error != err.Error() || s.Config != first.Config || s.Since != first.Since || s.Attempts != uint64(i+2) || s.Successes != 1 || s.Attempt.Before(first.Attempt) {
			t.Errorf("status %+v", s)
		}
		if h.inForce() != "first" {
			t.Fatalf("after %.30q there is %q in force", broken, h.inForce())
		}
	}
	if s := h.Status(); !strings.Contains(s.Error, h.path) {
		t.Errorf("status does not name the file: %s", s.Error)
	}
	os.Remove(h.path)
	if err := h.Load(); err == nil || !strings.Contains(err.Error(), "cannot read the configuration "+h.path+": no such file") || h.inForce() != "first" {
		t.Errorf("without a file: %v", err)
	}
	h.write(document("second"))
	if err := h.Load(); err != nil || h.inForce() != "second" || h.Status().Error != "" || h.Status().Config != hash(document("second")) {
		t.Errorf("after it was mended: %v, %+v", err, h.Status())
	}
}

func TestProblemsOfEveryStepAreOneSortedList(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "warder.yaml")
	if err := os.WriteFile(path, []byte(`listeners: [{ address: "${env:WARDER_TEST_UNSET}" }]
limits: { l: 10/week }
upstreams: { b: [http://127.0.0.1:9000] }
routes:
  - { path: /a, upstream: b, auth: { jwt: nobody } }
  - { path: /b, upstream: b, auth: none, colour: red }
  - { path: "/c/{", upstream: b, auth: none }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCompiler()
	snap, doc, err := control.Compile(path, c)
	if snap != nil || doc == nil {
		t.Error("something came of it")
	}
	var places []string
	var problems config.Problems
	errors.As(err, &problems)
	for _, p := range problems {
		places = append(places, fmt.Sprintf("%d %s", p.Line, p.Path))
	}
	want := "1 listeners[0].address, 2 limits.l, 5 routes[0].auth.jwt, 6 routes[1].colour, 7 routes[2].path"
	if got := strings.Join(places, ", "); got != want {
		t.Errorf("got  %s\nwant %s\n%v", got, want, err)
	}
}

func TestPrepareIsFollowedByExactlyOneOfCommitAndAbort(t *testing.T) {
	t.Parallel()
	var did []string
	var live *snapshot.Live
	step := func(name string, fails *bool) control.Prepare {
		return func(next *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
			did = append(did, "prepare "+name)
			if next == nil || doc == nil {
				t.Error("prepared without a snapshot or a document")
			}
			if *fails {
				return nil, nil, errors.New(name + " cannot")
			}
			return func() {
				s := live.Acquire()
				if s != next {
					t.Error("committed before the swap")
				}
				s.Release()
				did = append(did, "commit "+name)
			}, func() { did = append(did, "abort "+name) }, nil
		}
	}
	var a, b, c bool
	h := newHouse(t, step("a", &a), step("b", &b), step("c", &c))
	live = h.live
	for _, want := range []struct {
		fails *bool
		did   string
	}{
		{new(bool), "prepare a, prepare b, prepare c, commit a, commit b, commit c"},
		{&c, "prepare a, prepare b, prepare c, abort a, abort b"},
		{&a, "prepare a"},
		{new(bool), "prepare a, prepare b, prepare c, commit a, commit b, commit c"},
	} {
		did = nil
		*want.fails = true
		before := h.inForce()
		h.write(document(fmt.Sprint("n", len(want.did))))
		err := h.Load()
		*want.fails = false
		if got := strings.Join(did, ", "); got != want.did {
			t.Errorf("got  %s\nwant %s", got, want.did)
		}
		if commits := strings.Contains(want.did, "commit"); commits != (err == nil) || !commits && h.inForce() != before {
			t.Errorf("%v, in force %s", err, h.inForce())
		}
	}
}

func TestLoadAndStatusAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var busy sync.WaitGroup
	for i := range 8 {
		busy.Go(func() {
			for range 20 {
				if i%2 == 0 {
					if err := h.Load(); err != nil {
						t.Error(err)
					}
				} else if s := h.Status(); s.Successes > s.Attempts {
					t.Errorf("%+v", s)
				}
				h.inForce()
			}
		})
	}
	busy.Wait()
	if s := h.Status(); s.Attempts != 80 || s.Successes != 80 {
		t.Errorf("%+v", s)
	}
}

func TestAChangedFileIsLoaded(t *testing.T) {
	t.Parallel()
	replace := func(h *house, content string) {
		// As editors do: write beside it, then rename over it.
		beside := h.path + "~"
		if err := os.WriteFile(beside, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(beside, h.path); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(h *house, content string){
		"written in place": func(h *house, content string) { h.write(content) },
		"renamed over":     replace,
		"moved away, then written": func(h *house, content string) {
			if err := os.Rename(h.path, h.path+".bak"); err != nil {
				t.Fatal(err)
			}
			h.write(content)
		},
		"in many quick writes": func(h *house, content string) {
			for i := range 100 {
				h.write(document(fmt.Sprint("interim-", i)))
				if i%3 == 0 {
					replace(h, "routes: [ # half of it")
				}
			}
			h.write(content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			if err := h.Load(); err != nil {
				t.Fatal(err)
			}
			h.watch()
			for _, route := range []string{"second", "third"} {
				change(h, document(route))
				h.eventually(route+" in force", func() bool {
					return h.inForce() == route && h.Status().Config == hash(document(route)) && h.Status().Error == ""
				})
			}
		})
	}
}

// Config maps are folders of links to a folder that is swapped whole.
func TestAChangedConfigMapIsLoaded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := filepath.Dir(h.path)
	publish := func(version string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "warder.yaml"), []byte(document(version)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Symlink(version, filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	publish("one")
	if err := errors.Join(os.Remove(h.path), os.Symlink(filepath.Join("..data", "warder.yaml"), h.path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	h.watch()
	publish("two")
	h.eventually("two in force", func() bool { return h.inForce() == "two" })
}

func TestAChangeBetweenLoadAndWatchIsNotMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	h.write(document("second"))
	h.watch()
	h.eventually("second in force", func() bool { return h.inForce() == "second" })
}

func TestABusyNeighbourNeitherCausesNorPreventsALoad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	h.watch()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for i := range 4 {
		busy.Go(func() {
			f, err := os.Create(filepath.Join(filepath.Dir(h.path), fmt.Sprint("access.log.", i)))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					f.WriteString("line\n")
				}
			}
		})
	}
	defer func() { close(stop); busy.Wait() }()
	for _, route := range []string{"second", "third"} { // the first may be seen when watching begins
		h.write(document(route))
		h.eventually(route+" in force", func() bool { return h.inForce() == route })
	}
	if s := h.Status(); s.Attempts > 5 { // a look may fall into the middle of a write
		t.Errorf("%d attempts for two changes", s.Attempts)
	}
}

func TestASignalReloads(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	reload := h.watch()
	// Also when nothing of the file has changed: what it refers to may have.
	reload <- syscall.SIGHUP
	h.eventually("a second attempt", func() bool { return h.Status().Successes == 2 })
}

func TestABrokenChangeIsLoggedAndTheNextGoodOneLoaded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	reload := h.watch()
	h.write("routes: [{ path: /x, upstream: b }]\n")
	h.eventually("a refusal", func() bool { return strings.Contains(h.Status().Error, "there is no upstream") })
	h.eventually("a line in the log", func() bool { return strings.Contains(h.log.String(), "what runs keeps running") })
	if h.inForce() != "first" {
		t.Errorf("%s is in force", h.inForce())
	}
	reload <- syscall.SIGHUP
	h.eventually("another attempt", func() bool { return h.Status().Attempts >= 3 })
	if s := h.Status(); s.Config != hash(document("first")) || s.Error == "" {
		t.Errorf("%+v", s)
	}
	h.write(document("second"))
	h.eventually("second in force", func() bool { return h.inForce() == "second" && h.Status().Error == "" })
}

func TestWatchingAFolderThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	h := control.New(filepath.Join(t.TempDir(), "none", "warder.yaml"), c, &snapshot.Live{}, c.Metrics, c.Log, time.Now)
	if err := h.Watch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot watch the folder") {
		t.Error(err)
	}
}
