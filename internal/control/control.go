// Package control holds the desired state: it reads the configuration, takes
// it down the one road (decode, resolve, compile, prepare, swap), and
// remembers how the last attempt ended.
//
// A configuration that does not reach the end of the road changes nothing:
// what runs keeps running.
package control

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Control loads one configuration file and keeps the snapshot in force in
// step with it. Safe for concurrent use.
type Control struct {
	path     string
	compiler *snapshot.Compiler
	live     *snapshot.Live
	metrics  *telemetry.Metrics
	prepare  []Prepare
	log      *slog.Logger
	now      func() time.Time

	load   sync.Mutex // one attempt at a time
	tried  fingerprint
	beside map[string]beside // the files that the last attempt read beside it
	mu     sync.Mutex
	status Status
}

// Prepare readies something for a snapshot that is about to be put in force:
// the gateway binds its listeners. Exactly one of commit and abort is called.
type Prepare func(next *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error)

// Status says what is in force and how the last attempt to change it ended.
type Status struct {
	File      string    `json:"file"`
	Config    string    `json:"config"`  // hash in force; empty before the first
	Since     time.Time `json:"since"`   // when it was put in force
	Attempt   time.Time `json:"attempt"` // when the last attempt ended
	Error     string    `json:"error"`   // why it changed nothing; empty if it did
	Attempts  uint64    `json:"attempts"`
	Successes uint64    `json:"successes"`
}

// New makes a Control for the file at path. Nothing is loaded yet.
func New(path string, c *snapshot.Compiler, live *snapshot.Live, m *telemetry.Metrics, log *slog.Logger, now func() time.Time, prepare ...Prepare) *Control {
	return &Control{path: path, compiler: c, live: live, metrics: m, prepare: prepare, log: log, now: now, status: Status{File: path}}
}

// Status returns the state of affairs.
func (c *Control) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Load takes the file down the whole road. Its error lists every problem; a
// config.Problems when the file is at fault.
func (c *Control) Load() error {
	c.load.Lock()
	defer c.load.Unlock()
	began := c.now()
	hash, err := c.attempt()
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Attempt, c.status.Error = now, ""
	c.status.Attempts++
	if err != nil {
		c.status.Error = err.Error()
		c.metrics.ReloadFailed(now.Sub(began))
		return err
	}
	c.status.Successes++
	c.metrics.Reloaded(hash, now, now.Sub(began))
	c.status.Config, c.status.Since = hash, now
	return nil
}

func (c *Control) attempt() (string, error) {
	src, err := read(c.path)
	c.tried = fingerprintOf(src, err)
	if err != nil {
		return "", err
	}
	compiler := *c.compiler
	c.beside = map[string]beside{}
	noting := func(read func(path string) ([]byte, error)) func(path string) ([]byte, error) {
		return func(path string) ([]byte, error) {
			b, err := read(path)
			c.beside[path] = beside{besideOf(path, b, err), read}
			return b, err
		}
	}
	compiler.ReadFile = noting(compiler.ReadFile)
	if compiler.ReadLists != nil {
		compiler.ReadLists = noting(compiler.ReadLists)
	}
	next, doc, err := compile(c.path, src, &compiler)
	if err != nil {
		return "", err
	}
	var commits, aborts []func()
	for _, prepare := range c.prepare {
		commit, abort, err := prepare(next, doc)
		if err != nil {
			for _, abort := range aborts {
				abort()
			}
			next.Release()
			return "", err
		}
		commits, aborts = append(commits, commit), append(aborts, abort)
	}
	next.Prepare()
	c.live.Swap(next)
	for _, commit := range commits {
		commit()
	}
	return next.Config, nil
}

// Compile takes a file as far as a snapshot and starts nothing: what check
// and a dry run do. The caller holds the snapshot's first loan. With problems
// the document is returned all the same, unless nothing could be decoded.
func Compile(path string, c *snapshot.Compiler) (*snapshot.Snapshot, *config.Document, error) {
	src, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	return compile(path, src, c)
}

func compile(path string, src []byte, c *snapshot.Compiler) (*snapshot.Snapshot, *config.Document, error) {
	doc, problems := config.Decode(path, src, c.Vocabulary())
	if doc == nil {
		return nil, nil, problems
	}
	// Problems of one step do not keep the next from finding more: the
	// document remembers them, and Compile reports all.
	config.Resolve(doc, config.Sources{Env: os.LookupEnv, File: secretFile(c)})
	s, problems := c.Compile(doc)
	if len(problems) > 0 {
		return nil, doc, problems
	}
	return s, doc, nil
}

// ReadOnly reads a file and resolves what stands at one path in it, such as
// store: a command asks for no secret it does not need. The document has no
// other secret and is not for compiling.
func ReadOnly(file, path string, c *snapshot.Compiler) (*config.Document, error) {
	src, err := read(file)
	if err != nil {
		return nil, err
	}
	doc, problems := config.Decode(file, src, c.Vocabulary())
	if len(problems) > 0 {
		return nil, problems
	}
	if problems := config.ResolveOnly(doc, path, config.Sources{Env: os.LookupEnv, File: secretFile(c)}); len(problems) > 0 {
		return nil, problems
	}
	return doc, nil
}

// AdminAddress reads admin.address of a file, whatever problems the rest of it
// has.
func AdminAddress(file string, c *snapshot.Compiler) (config.Address, error) {
	src, err := read(file)
	if err != nil {
		return "", err
	}
	doc, problems := config.Decode(file, src, c.Vocabulary())
	if doc == nil {
		return "", problems
	}
	problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Path != "admin" && p.Path != "admin.address" })
	problems = append(problems, config.ResolveOnly(doc, "admin", config.Sources{Env: os.LookupEnv, File: secretFile(c)})...)
	return doc.Admin.Address, problems.Err()
}

// secretFile reads the files of secrets, and says what is wrong with how they are
// kept. That others may read one is how containers are handed theirs, so it is
// only logged; what others may write to is no secret of the operator's.
func secretFile(c *snapshot.Compiler) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		b, err := c.ReadFile(path)
		if err != nil {
			return nil, err
		}
		read, write := secret.Exposed(path)
		switch {
		case write:
			return nil, fmt.Errorf("cannot use %s: everybody may write to it; run chmod o-w on it", path)
		case read:
			c.Log.Warn("every user of this machine may read this secret", "file", path, "mend", "chmod o-r")
		}
		return b, nil
	}
}

func read(path string) ([]byte, error) {
	src, err := secret.ReadRegular(path, config.MaxBytes+1) // one more: Decode says what is too large
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration %s: %w", path, err)
	}
	return src, nil
}

// fingerprint tells one state of the file from another, one that cannot be
// read included. The zero fingerprint is of no state.
type fingerprint [sha256.Size]byte

func fingerprintOf(src []byte, err error) fingerprint {
	if err != nil {
		return sha256.Sum256([]byte("error " + err.Error()))
	}
	return sha256.Sum256(append([]byte("file "), src...))
}

// beside is a file that the configuration names, as it was, and how it is read.
type beside struct {
	fingerprint
	read func(path string) ([]byte, error)
}

// besideOf is the fingerprint of a file that the configuration names: of what
// is in it, and of who may use it.
func besideOf(path string, b []byte, err error) fingerprint {
	read, write := secret.Exposed(path)
	return fingerprintOf(fmt.Append(nil, read, write, " ", string(b)), err)
}

// changed reports whether the file is another than the one that was tried last.
func (c *Control) changed() bool {
	now := fingerprintOf(read(c.path))
	c.load.Lock()
	defer c.load.Unlock()
	return now != c.tried
}

// besideChanged reports whether a file that the configuration names, such as a
// certificate, is another than the one that was read last.
func (c *Control) besideChanged() bool {
	c.load.Lock()
	defer c.load.Unlock()
	for path, was := range c.beside {
		b, err := was.read(path)
		if besideOf(path, b, err) != was.fingerprint {
			return true
		}
	}
	return false
}

// settle is how long the file must be quiet before it is read: editors write
// in several steps.
const settle = 50 * time.Millisecond

// look is how often the files are looked at that the configuration names:
// they may stand anywhere, behind links that change.
const look = 2 * time.Second

// Watch loads again when the file or a file it names changes, or reload
// receives, until ctx ends.
// Failures are logged and change nothing.
func (c *Control) Watch(ctx context.Context, reload <-chan os.Signal) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", c.path, err)
	}
	defer w.Close()
	// The folder, not the file: editors and config maps replace files.
	if err := w.Add(filepath.Dir(c.path)); err != nil {
		return fmt.Errorf("cannot watch the folder of %s: %w", c.path, err)
	}
	// The first look is now: the file may have changed since it was loaded.
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	waiting := true
	others := time.NewTicker(look)
	defer others.Stop()
	for {
		select {
		case <-others.C:
			if c.besideChanged() {
				c.reload("a file it names changed")
			}
		case <-ctx.Done():
			return nil
		case <-reload:
			c.reload("signal")
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			// Only the file itself puts the look off: another one of the folder,
			// such as a log, may never be quiet.
			if !waiting || filepath.Base(e.Name) == filepath.Base(c.path) {
				quiet.Reset(settle)
				waiting = true
			}
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			c.log.Error("watching the configuration failed", "error", err)
			quiet.Reset(settle) // what happened may have been lost
			waiting = true
		case <-quiet.C:
			waiting = false
			// Any file of the folder wakes us; only new bytes are worth an attempt.
			if c.changed() {
				c.reload("file changed")
			}
		}
	}
}

func (c *Control) reload(why string) {
	if err := c.Load(); err != nil {
		c.log.Error("configuration refused; what runs keeps running", "why", why, "file", c.path, "error", err)
		return
	}
	s := c.Status()
	c.log.Info("configuration in force", "why", why, "file", c.path, "config", s.Config[:12])
}
