package directory

import (
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

var many = flag.Int("many", someKeys, "how many keys TestManyKeys loads")

// Bounds of what keys cost.
const (
	mostBytes = 200
	mostLoad  = 10 * time.Second // for a million
	million   = 1_000_000
)

// cpu returns the time that this process has worked.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap returns the bytes in use, and how long a collection takes.
func heap() (bytes uint64, took time.Duration) {
	runtime.GC()
	began := time.Now()
	runtime.GC()
	took = time.Since(began)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, took
}

// fill puts that many keys into an empty store, past the store: a hundred for
// each consumer.
func fill(t *testing.T, file string, keys int) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < %[1]d / 100) INSERT INTO warder_records
			SELECT 'consumer', CAST('consumer-' || n AS BLOB), 1, NULL, NULL, NULL, CAST('{"created":1763791200000}' AS BLOB) FROM c`,
		`WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %[1]d) INSERT INTO warder_records
			SELECT 'api-key', CAST(printf('%%08d', n) AS BLOB), n + 1, randomblob(32), CAST('consumer-' || (n / 100) AS BLOB), NULL,
				CAST('{"created":1763791200000,"expires":4070908800000}' AS BLOB) FROM c`,
		`UPDATE warder_head SET seq = %[1]d + 1`,
	} {
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(statement, keys)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyKeysAreSmallAndFoundWithoutAllocation(t *testing.T) {
	folder := t.TempDir()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: folder})
	fill(t, filepath.Join(folder, "state.db"), *many)
	var refs []exchange.KeyRef
	if _, err := s.Stream(t.Context(), func(r store.Record) error {
		k, err := readKey(&r)
		if rand.IntN(*many) < 1<<15 {
			refs = append(refs, k.Ref)
		}
		return err
	}, kindKey); err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(refs), func(i, k int) { refs[i], refs[k] = refs[k], refs[i] })

	m := NewMemory(slog.New(slog.DiscardHandler), time.Now)
	before, collected := heap()
	began, busy := time.Now(), cpu(t)
	if err := m.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	loaded, worked := time.Since(began), cpu(t)-busy
	after, with := heap()
	each := float64(after-before) / float64(*many)

	h := m.held.Load()
	lookup := time.Hour // the best of some rounds: others have work for this machine, too
	for range 16 {
		found := 0
		began = time.Now()
		for i := range refs {
			if e := h.table.get(refs[i].ID); e != nil && e.ref.Digest == refs[i].Digest && h.names.at(e.consumer) != nil {
				found++
			}
		}
		lookup = min(lookup, time.Since(began)/time.Duration(len(refs)))
		if found != len(refs) {
			t.Fatalf("%d of %d were found", found, len(refs))
		}
	}
	i, now := 0, time.Now()
	var x exchange.Exchange
	if n := testing.AllocsPerRun(1<<15, func() {
		r, code := m.key(&refs[i], now, time.Hour, true)
		if code != fault.None || x.KeyIdentity(refs[i], r).Named == nil {
			t.Error("a key was not found")
		}
		x.Reset()
		i = (i + 1) % len(refs)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	began = time.Now()
	for i := range refs {
		r, _ := m.key(&refs[i], now, time.Hour, true)
		x.KeyIdentity(refs[i], r)
		x.Reset()
	}
	t.Logf("an identity is made of a key in %s", time.Since(began)/time.Duration(len(refs)))
	t.Logf("%d keys of %d consumers: loaded in %.2fs (%.2fs of CPU), %.1f bytes each, %s a look-up; a collection takes %s without them and %s with them",
		*many, max(1, *many/100), loaded.Seconds(), worked.Seconds(), each, lookup, collected, with)
	if each > mostBytes {
		t.Errorf("%.1f bytes a key, want at most %d", each, mostBytes)
	}
	if *many >= million && worked > mostLoad {
		t.Errorf("want at most %s of CPU to load", mostLoad)
	}
}
