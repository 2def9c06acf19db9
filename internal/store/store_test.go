package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// place is where a database is; several stores can be opened on it.
type place struct {
	address, folder string
	*clock
}

func (p place) config() store.Config {
	return store.Config{Address: secret.New([]byte(p.address)), Folder: p.folder, Now: p.now, Patience: soon}
}

func (p place) open(t testing.TB) *store.Store {
	t.Helper()
	return storetest.Open(t, p.config())
}

// onBoth runs a test on each engine, with a new database.
func onBoth(t *testing.T, test func(*testing.T, place)) {
	t.Helper()
	t.Parallel()
	begin := func() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, place{store.DefaultAddress, t.TempDir(), begin()})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, place{storetest.Postgres(t), t.TempDir(), begin()})
	})
}

func key(id, alias, body string) store.Record {
	return store.Record{Kind: "key", ID: id, Alias: alias, Owner: "acme", Body: []byte(body)}
}

func commit(t testing.TB, s *store.Store, writes ...store.Write) uint64 {
	t.Helper()
	v, err := s.Commit(t.Context(), writes...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestARecordComesBackAsItWasWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		r := store.Record{Kind: "key", ID: "\x00\xff id", Alias: "\xff\x00", Owner: "o'wner", Expires: p.now().Add(time.Hour), Body: []byte("\x00body\xff")}
		empty := store.Record{Kind: "key", ID: "empty"}
		r.Version = commit(t, s, store.Put(r), store.Put(empty))
		got, err := s.Get(t.Context(), "key", r.ID)
		wants(t, err, nil)
		same(t, got, r)
		got, err = s.ByAlias(t.Context(), "key", r.Alias)
		wants(t, err, nil)
		same(t, got, r)
		got, err = s.Get(t.Context(), "key", "empty")
		wants(t, err, nil)
		if len(got.Body) != 0 || got.Alias != "" || got.Owner != "" || !got.Expires.IsZero() {
			t.Errorf("got %+v", got)
		}
		for _, kind := range []store.Kind{"keys", "ke"} {
			_, err = s.Get(t.Context(), kind, r.ID)
			wants(t, err, store.ErrNotFound)
		}
		if _, err = s.ByAlias(t.Context(), "key", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an empty alias is %v", err)
		}
	})
}

func TestConditionsOfWrites(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		v1 := commit(t, s, store.Put(key("a", "x", "1")))
		a := key("a", "x", "2")
		try := func(want error, w ...store.Write) {
			t.Helper()
			_, err := s.Commit(t.Context(), w...)
			wants(t, err, want)
		}
		try(store.ErrExists, store.Create(a))
		a.Version = v1 + 1
		try(store.ErrConflict, store.Update(a))
		a.Version = 0
		try(store.ErrInvalid, store.Update(a))
		try(store.ErrConflict, store.Delete("key", "a", v1+1))
		try(store.ErrNotFound, store.Delete("key", "b", 0))
		try(store.ErrConflict, store.Unchanged("key", "a", 0))
		try(store.ErrConflict, store.Unchanged("key", "b", v1))
		try(store.ErrExists, store.Put(key("b", "x", "")))
		try(nil, store.Unchanged("key", "b", 0), store.Unchanged("key", "a", v1))
		a.Version = v1
		v2 := commit(t, s, store.Update(a))
		if v2 <= v1 {
			t.Errorf("version %d after %d", v2, v1)
		}
		try(store.ErrConflict, store.Update(a))
		// The alias goes from one to the other in one commit.
		commit(t, s, store.Delete("key", "a", v2), store.Create(key("b", "x", "")), store.Create(key("a", "", "")))
		got, err := s.ByAlias(t.Context(), "key", "x")
		wants(t, err, nil)
		same(t, got.ID, "b")
	})
}

func TestACommitIsAllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		before := commit(t, s, store.Put(key("a", "", "1")))
		_, err := s.Commit(t.Context(), store.Put(key("a", "", "2")), store.Put(key("b", "", "2")), store.Delete("key", "c", 0))
		wants(t, err, store.ErrNotFound)
		got, err := s.Get(t.Context(), "key", "a")
		wants(t, err, nil)
		same(t, got.Version, before)
		_, err = s.Get(t.Context(), "key", "b")
		wants(t, err, store.ErrNotFound)
	})
}

func TestOfManyWhoUpdateOneVersionOneWins(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		stores := []*store.Store{p.open(t), p.open(t)}
		r := key("a", "", "")
		r.Version = commit(t, stores[0], store.Put(r))
		const each = 4
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range each * len(stores) {
			all.Go(func() {
				mine := r
				mine.Body = []byte(fmt.Sprint(i))
				_, err := stores[i%len(stores)].Commit(context.Background(), store.Update(mine))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
				}
			})
		}
		all.Wait()
		same(t, won, 1)
	})
}

func TestWhatIsOutOfBoundsIsNotStored(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	long := string(make([]byte, store.MaxName+1))
	many := make([]store.Write, store.MaxWrites+1)
	for i := range many {
		many[i] = store.Put(key(fmt.Sprint(i), "", ""))
	}
	big := make([]store.Write, store.MaxCommit/store.MaxBody+1)
	for i := range big {
		big[i] = store.Put(store.Record{Kind: "key", ID: fmt.Sprint(i), Body: make([]byte, store.MaxBody)})
	}
	for name, writes := range map[string][]store.Write{
		"nothing":           nil,
		"the zero write":    {{}},
		"a zero record":     {store.Put(store.Record{})},
		"no id":             {store.Put(store.Record{Kind: "key"})},
		"a kind of capital": {store.Put(store.Record{Kind: "Key", ID: "a"})},
		"a long kind":       {store.Put(store.Record{Kind: store.Kind("kind" + fmt.Sprintf("%032d", 0)), ID: "a"})},
		"a long id":         {store.Put(key(long, "", ""))},
		"a long alias":      {store.Put(key("a", long, ""))},
		"a long owner":      {store.Put(store.Record{Kind: "key", ID: "a", Owner: long})},
		"a large body":      {store.Put(store.Record{Kind: "key", ID: "a", Body: make([]byte, store.MaxBody+1)})},
		"an expiry of old":  {store.Put(store.Record{Kind: "key", ID: "a", Expires: time.Unix(-1, 0)})},
		"an expiry too far": {store.Put(store.Record{Kind: "key", ID: "a", Expires: time.Unix(1<<50, 0)})},
		"many":              many,
		"large in all":      big,
	} {
		if _, err := s.Commit(t.Context(), writes...); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Status().Err; err != nil {
		t.Errorf("a mistake of the caller puts the store down: %v", err)
	}
}
