package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// sentence holds an error to be one line that says all the words, and no
// secret.
func sentence(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("not one line, or not without the password: %q", err)
	}
}

func TestWhatIsNoAddressIsRefusedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	for address, word := range map[string]string{
		"":                             "no address",
		"hunter2":                      "no address",
		"mysql://u:hunter2@h/d":        "no address",
		"sqlite:":                      "below the state folder",
		"sqlite:.":                     "below the state folder",
		"sqlite:/etc/hunter2":          "below the state folder",
		"sqlite:../hunter2":            "below the state folder",
		"sqlite:a/../../hunter2":       "below the state folder",
		"sqlite:hunter2/":              "below the state folder",
		"postgres://u:hunter2%zz@h/d":  "is no URL",
		"postgres://u:hunter2@h:x/d":   "is no URL",
		"postgres://u:hunter2@h:99999": "cannot be read",
		"postgres://u:hunter2@h/d?sslmode=prefer":                                "verify-full",
		"postgres://u:hunter2@h/d?sslmode=require":                               "verify-full",
		"postgres://u:hunter2@127.0.0.1,db.example.com/d?sslmode=allow":          "verify-full",
		"postgres://u:hunter2@/d?host=db.example.com&sslmode=prefer":             "verify-full",
		"postgres://u:hunter2@db.example.com/d?sslrootcert=/nowhere/hunter2.pem": "cannot be read",
	} {
		sentence(t, store.Validate(secret.New([]byte(address))), word)
		_, err := store.Open(t.Context(), store.Config{Address: secret.New([]byte(address)), Folder: t.TempDir()})
		sentence(t, err, "store: ", word)
	}
	for _, address := range []string{
		store.DefaultAddress, "sqlite:sub/state.db", "postgres://u:p@h/d", "postgresql://u@h/d?sslmode=verify-ca", "postgres://u@h/d?sslmode=disable", "postgres://u@127.0.0.1/d?sslmode=prefer",
	} {
		wants(t, store.Validate(secret.New([]byte(address))), nil)
	}
}

func TestTwoInstancesStartingAtOnceMigrateOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		stores := make([]*store.Store, 6)
		var all sync.WaitGroup
		for i := range stores {
			all.Go(func() {
				s, err := store.Open(context.Background(), p.config())
				if err != nil {
					t.Error(err)
					return
				}
				stores[i] = s
			})
		}
		all.Wait()
		for i, s := range stores {
			if s == nil {
				continue
			}
			commit(t, s, store.Create(key(fmt.Sprint(i), "", "")))
			wants(t, s.Status().Err, nil)
			defer s.Close()
		}
		report, err := stores[0].Check(t.Context())
		wants(t, err, nil)
		same(t, report.Records, map[store.Kind]uint64{"key": 6})
	})
}

// raw runs a statement behind the store's back.
func raw(t testing.TB, p place, statement string) {
	t.Helper()
	if p.address != store.DefaultAddress {
		c, err := pgx.Connect(t.Context(), p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		return
	}
	db, err := sql.Open("sqlite", filepath.Join(p.folder, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestANewerSchemaIsLeftAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		commit(t, s, store.Put(key("a", "", "")))
		raw(t, p, `INSERT INTO warder_schema VALUES (99)`)
		_, err := store.Open(t.Context(), p.config())
		wants(t, err, store.ErrNewer)
		sentence(t, err, "its schema is 99 and this build knows 2")
		raw(t, p, `DELETE FROM warder_schema WHERE version = 99`)
		_, err = p.open(t).Get(t.Context(), "key", "a")
		wants(t, err, nil)
	})
}

func TestAsItIsNothingIsMadeOrMigrated(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := p.config()
		c.AsIs = true
		_, err := store.Open(t.Context(), c)
		sentence(t, err, "there is no store")
		s := p.open(t)
		commit(t, s, store.Put(key("a", "", "")))
		_, err = storetest.Open(t, c).Get(t.Context(), "key", "a")
		wants(t, err, nil)
		raw(t, p, `INSERT INTO warder_schema VALUES (99)`)
		_, err = store.Open(t.Context(), c)
		wants(t, err, store.ErrNewer)
		raw(t, p, `DELETE FROM warder_schema`)
		_, err = store.Open(t.Context(), c)
		sentence(t, err, "its schema is 0 and this build's is 2")
	})
}

func TestCheckFindsWhatMustNotBe(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		commit(t, s, store.Put(key("a", "", "")))
		raw(t, p, `INSERT INTO warder_graves SELECT kind, id, seq FROM warder_records`)
		raw(t, p, `UPDATE warder_records SET seq = 7`)
		report, err := s.Check(t.Context())
		wants(t, err, nil)
		same(t, report.Problems, []string{"1 records with a version that the store has not given", "1 records that are deleted and there"})
	})
}

func TestSQLiteIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	p := place{store.DefaultAddress, t.TempDir(), &clock{t: time.Now()}}
	p.address = "sqlite:sub/state.db"
	s := p.open(t)
	commit(t, s, store.Put(key("a", "", "")))
	for name, want := range map[string]os.FileMode{"sub": 0o700, "sub/state.db": 0o600, "sub/state.db-wal": 0o600, "sub/state.db-shm": 0o600} {
		info, err := os.Stat(filepath.Join(p.folder, name))
		wants(t, err, nil)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	file := filepath.Join(p.folder, "sub/state.db")
	os.Chmod(file, 0o644)
	_, err := store.Open(t.Context(), p.config())
	sentence(t, err, "others may read", "mode 0644", "chmod 600")
}

func TestSQLiteFilesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(path string) error
		word string
	}{
		"text":      {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("hello ", 1000)), 0o600) }, "is no database"},
		"a folder":  {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"a link":    {func(p string) error { return os.Symlink("elsewhere.db", p) }, "not a regular file"},
		"a foreign": {foreign, "database of another program"},
		"damaged":   {damaged, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			path := filepath.Join(folder, "state.db")
			wants(t, c.make(path), nil)
			before, _ := os.ReadFile(path)
			s, err := store.Open(t.Context(), store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: folder})
			sentence(t, err, "store", path, c.word)
			if s != nil {
				s.Close()
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
			if _, err := os.Stat(filepath.Join(folder, "elsewhere.db")); err == nil {
				t.Error("a link was followed")
			}
		})
	}
}

func foreign(path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	_, err = db.Exec(`CREATE TABLE recipes (name)`)
	return errors.Join(err, db.Close(), os.Chmod(path, 0o600))
}

// damaged makes a store whose pages are overwritten behind the first.
func damaged(path string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: filepath.Dir(path)})
	if err != nil {
		return err
	}
	for i := range 50 {
		s.Commit(ctx, store.Put(key(fmt.Sprint(i), "", strings.Repeat("x", 1000))))
	}
	s.Close()
	b, err := os.ReadFile(path)
	for i := 4096; i < len(b); i++ {
		b[i] = 0x5a
	}
	return errors.Join(err, os.WriteFile(path, b, 0o600))
}

func TestALockedSQLiteIsSaidToBeLocked(t *testing.T) {
	t.Parallel()
	p := place{store.DefaultAddress, t.TempDir(), &clock{t: time.Now()}}
	c := p.config()
	c.Patience = 5 * time.Second // after which it says so
	s := storetest.Open(t, c)
	commit(t, s, store.Put(key("a", "", "")))
	db, err := sql.Open("sqlite", filepath.Join(p.folder, "state.db"))
	wants(t, err, nil)
	defer db.Close()
	locker, err := db.Conn(t.Context())
	wants(t, err, nil)
	defer locker.Close()
	_, err = locker.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	wants(t, err, nil)
	_, err = s.Commit(t.Context(), store.Put(key("b", "", "")))
	wants(t, err, store.ErrUnavailable)
	sentence(t, err, "locked")
	wants(t, s.Status().Err, store.ErrUnavailable)
	_, err = s.Get(t.Context(), "key", "a")
	wants(t, err, nil) // readers go on, which does not make it whole
	wants(t, s.Status().Err, store.ErrUnavailable)
	_, err = locker.ExecContext(t.Context(), `ROLLBACK`)
	wants(t, err, nil)
	commit(t, s, store.Put(key("b", "", "")))
	wants(t, s.Status().Err, nil)
}

func TestASQLiteThatWasRemovedIsNoticed(t *testing.T) {
	t.Parallel()
	p := place{store.DefaultAddress, t.TempDir(), &clock{t: time.Now()}}
	s := p.open(t)
	wants(t, os.Remove(filepath.Join(p.folder, "state.db")), nil)
	_, err := s.Commit(t.Context(), store.Put(key("a", "", "")))
	wants(t, err, store.ErrUnavailable)
	sentence(t, err, "removed or replaced")
	wants(t, s.Status().Err, store.ErrUnavailable)
}

func TestACallersPatienceSaysNothingOfTheStore(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Get(ctx, "key", "a")
		wants(t, err, context.Canceled)
		ctx, cancel = context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err = s.Commit(ctx, store.Put(key("a", "", "")))
		wants(t, err, store.ErrUnavailable)
		wants(t, s.Status().Err, nil)
	})
}

// relay is a wire to a PostgreSQL that a test can cut.
type relay struct {
	ln     net.Listener
	socket string
	mu     sync.Mutex
	down   bool
	open   map[net.Conn]bool
}

func newRelay(t testing.TB, folder string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{ln: ln, socket: filepath.Join(folder, ".s.PGSQL.5432"), open: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.join(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.cut(true)
		serving.Wait()
	})
	return r
}

func (r *relay) join(c net.Conn) {
	defer c.Close()
	u, err := net.Dial("unix", r.socket)
	if err != nil {
		return
	}
	defer u.Close()
	r.mu.Lock()
	if r.down {
		r.mu.Unlock()
		return
	}
	r.open[c], r.open[u] = true, true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		io.Copy(u, c)
		u.Close()
		close(done)
	}()
	io.Copy(c, u)
	c.Close()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	delete(r.open, u)
}

// cut takes the wire down or up.
func (r *relay) cut(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	if down {
		for c := range r.open {
			c.Close()
		}
	}
}

// wired returns a database behind a relay.
func wired(t testing.TB) (place, *relay) {
	t.Helper()
	address := storetest.Postgres(t)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, config.Host)
	return place{fmt.Sprintf("postgres://warder:hunter2@%s/%s", r.ln.Addr(), config.Database), "", &clock{t: time.Now()}}, r
}

func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for over := time.Now().Add(soon); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatalf("not within %s: %s", soon, what)
		}
	}
}

func TestAPostgreSQLThatIsDownAtStartComesUpLater(t *testing.T) {
	t.Parallel()
	p, wire := wired(t)
	wire.cut(true)
	s := p.open(t)
	sentence(t, s.Status().Err, "store (PostgreSQL): ")
	_, err := s.Commit(t.Context(), store.Put(key("a", "", "")))
	wants(t, err, store.ErrUnavailable)
	_, err = s.Stream(t.Context(), func(store.Record) error { return nil }, "key")
	wants(t, err, store.ErrUnavailable)
	wire.cut(false)
	eventually(t, "it is up", func() bool { return s.Status().Err == nil })
	commit(t, s, store.Put(key("a", "", "")))
}

func TestChangesMissedWhilePostgreSQLIsAwayAreMadeGood(t *testing.T) {
	t.Parallel()
	p, wire := wired(t)
	s := p.open(t)
	direct := p
	config, _ := pgx.ParseConfig(p.address)
	direct.address = fmt.Sprintf("postgres://warder@/%s?host=%s", config.Database, filepath.Dir(wire.socket))
	other := direct.open(t)
	var c copyOf
	c.follow(t, s, c.load(t, s, "key"), "key")
	commit(t, other, store.Put(key("a", "", "")))
	c.until(t, "a is there", func(have map[string]store.Record) bool { return len(have) == 1 })
	wire.cut(true)
	commit(t, other, store.Put(key("b", "", "")))
	eventually(t, "it is down", func() bool { return s.Status().Err != nil })
	sentence(t, s.Status().Err, "store (PostgreSQL): ")
	wire.cut(false)
	c.until(t, "b is there", func(have map[string]store.Record) bool { return len(have) == 2 })
	commit(t, other, store.Put(key("c", "", "")))
	c.until(t, "c is there", func(have map[string]store.Record) bool { return len(have) == 3 })
	wants(t, s.Status().Err, nil)
}

func TestPostgreSQLsRefusalsAreOneSentence(t *testing.T) {
	t.Parallel()
	address := storetest.Postgres(t)
	config, err := pgx.ParseConfig(address)
	wants(t, err, nil)
	raw(t, place{address: address}, `DROP ROLE IF EXISTS guest, stranger`) // of this test, run before
	raw(t, place{address: address}, `CREATE ROLE guest LOGIN PASSWORD 'right'`)
	raw(t, place{address: address}, `CREATE ROLE stranger NOLOGIN`)
	for name, c := range map[string]struct{ address, word string }{
		"nobody listens":   {"postgres://u:hunter2@127.0.0.1:1/d", "connection refused"},
		"no such socket":   {"postgres://u:hunter2@/d?host=/nowhere", "no such file"},
		"no such database": {fmt.Sprintf("postgres://warder:hunter2@/none?host=%s", config.Host), "no such database"},
		"no such user":     {fmt.Sprintf("postgres://nobody:hunter2@/%s?host=%s", config.Database, config.Host), "user or the password"},
		"may not connect":  {fmt.Sprintf("postgres://stranger:hunter2@/%s?host=%s", config.Database, config.Host), "user or the password"},
		"wrong password":   {fmt.Sprintf("postgres://guest:hunter2@/%s?host=%s", config.Database, config.Host), "user or the password"},
		"no rights":        {fmt.Sprintf("postgres://guest:right@/%s?host=%s", config.Database, config.Host), "may not do this"},
		"read-only":        {address + "&default_transaction_read_only=on", "read-only"},
	} {
		s, err := store.Open(t.Context(), store.Config{Address: secret.New([]byte(c.address)), Patience: soon})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Log(s.Status().Err)
		sentence(t, s.Status().Err, "store (PostgreSQL): ", c.word)
		wants(t, s.Close(), nil)
	}
}

func TestAStoreIsGivenTimeToAnswer(t *testing.T) {
	t.Parallel()
	for _, patience := range []time.Duration{-time.Second, time.Nanosecond, 2*time.Second - 1} {
		s, err := store.Open(t.Context(), store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir(), Patience: patience})
		if err == nil {
			s.Close()
			t.Errorf("opened with %v", patience)
		}
	}
}
