package directory

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// onBothStores runs a test on each engine; open opens one more store of the same.
func onBothStores(t *testing.T, test func(t *testing.T, open func() *store.Store)) {
	t.Helper()
	t.Parallel()
	for engine, address := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return store.DefaultAddress },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := store.Config{Address: secret.New([]byte(address(t))), Folder: t.TempDir()}
			test(t, func() *store.Store { return storetest.Open(t, c) })
		})
	}
}

func refOf(n byte) (ref exchange.KeyRef) {
	copy(ref.ID[:], "key-0000")
	ref.ID[7], ref.Digest[0] = '0'+n, n+1
	return ref
}

// clock is a time that tests move, by ticks.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(ticks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Duration(ticks) * tick)
}

func lastUses(t *testing.T, s *store.Store) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	if err := EachKey(t.Context(), s, "acme", func(k StoredKey) error {
		all[k.ID()] = k.Used
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheStoreIsToldWhenKeysWereLastUsed(t *testing.T) {
	onBothStores(t, func(t *testing.T, open func() *store.Store) {
		ctx := t.Context()
		office := open()
		start := time.Now().Truncate(tick)
		time0 := &clock{t: start.Add(time.Minute)}
		if err := AddConsumer(ctx, office, "acme", start); err != nil {
			t.Fatal(err)
		}
		for n := range byte(6) {
			if _, err := AddKey(ctx, office, "acme", refOf(n), nil, time.Time{}, start); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := RevokeKey(ctx, office, "wk_key-0005", start); err != nil {
			t.Fatal(err)
		}
		type instance struct {
			*Memory
			s    *store.Store
			from int
		}
		var both [2]*instance
		for i := range both {
			both[i] = &instance{NewMemory(slog.New(slog.DiscardHandler), time0.now), open(), 0}
			if err := both[i].Load(ctx, both[i].s); err != nil {
				t.Fatal(err)
			}
		}
		one, two := both[0], both[1]
		use := func(m *instance, n byte, want fault.Code) {
			t.Helper()
			ref := refOf(n)
			m.seen.Store(time0.now().UnixNano())
			if _, code := m.key(&ref, time0.now(), time.Hour, true); code != want {
				t.Fatalf("key %d: %s", n, code)
			}
		}
		report, err := office.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		use(one, 0, fault.None)
		use(one, 1, fault.None)
		use(two, 2, fault.None)
		use(one, 5, fault.KeyRevoked) // which is no use
		looked := refOf(3)
		if _, code := two.key(&looked, time0.now(), time.Hour, false); code != fault.None { // nor is a look
			t.Fatal(code)
		}
		time0.pass(1)
		use(two, 0, fault.None)
		for _, i := range []*instance{two, one} { // who is behind tells it last
			i.from = i.tellUses(ctx, i.s, i.from, mostRun)
		}
		want := map[string]time.Time{"wk_key-0000": start.Add(tick), "wk_key-0001": start, "wk_key-0002": start, "wk_key-0003": {}, "wk_key-0004": {}, "wk_key-0005": {}}
		compare := func(when string) {
			t.Helper()
			got := lastUses(t, office)
			for id, at := range want {
				if !got[id].Equal(at) {
					t.Errorf("%s: %s was used at %s, want %s", when, id, got[id], at)
				}
			}
		}
		compare("told by both")

		// A key that changes, and a store that is read anew, lose nothing.
		time0.pass(1)
		use(one, 4, fault.None)
		use(one, 1, fault.None)
		k, err := FindKey(ctx, office, "wk_key-0004")
		if err != nil {
			t.Fatal(err)
		}
		k.Expires = time0.now().Add(time.Hour)
		if _, err := office.Commit(ctx, store.Update(k.record())); err != nil {
			t.Fatal(err)
		}
		r, err := office.Get(ctx, kindKey, "key-0004")
		if err != nil {
			t.Fatal(err)
		}
		one.mu.Lock()
		one.change(&store.Change{Record: r})
		one.mu.Unlock()
		if err := one.Load(ctx, one.s); err != nil {
			t.Fatal(err)
		}
		one.tellUses(ctx, one.s, 0, mostRun)
		want["wk_key-0004"], want["wk_key-0001"] = start.Add(2*tick), start.Add(2*tick)
		compare("after a change")

		// It is told once: nothing is left to tell.
		time0.pass(2)
		one.tellUses(ctx, one.s, 0, mostRun)
		for i := range one.held.Load().table.shards {
			if left := one.held.Load().table.uses(nil, i); len(left) > 0 {
				t.Errorf("%v is told again", left)
			}
		}
		// And no follower hears of it.
		after, err := office.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if changes := after.Changes - report.Changes; changes != 1 { // that of k
			t.Errorf("%d changes, want the one that was made", changes)
		}
	})
}

func TestUsesThatCannotBeToldAreToldLater(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()}
	office, s := storetest.Open(t, c), storetest.Open(t, c)
	now := time.Now()
	if err := AddConsumer(ctx, office, "acme", now); err != nil {
		t.Fatal(err)
	}
	if _, err := AddKey(ctx, office, "acme", refOf(0), nil, time.Time{}, now); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(slog.New(slog.DiscardHandler), time.Now)
	if err := m.Load(ctx, s); err != nil {
		t.Fatal(err)
	}
	ref := refOf(0)
	if _, code := m.key(&ref, now, time.Hour, true); code != fault.None {
		t.Fatal(code)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	m.tellUses(over, s, 0, mostRun)
	if at := lastUses(t, office)["wk_key-0000"]; !at.IsZero() {
		t.Fatalf("told at %s", at)
	}
	// The end of the gateway is the last occasion.
	m.TellUses(over, s)
	if at := lastUses(t, office)["wk_key-0000"]; !at.Equal(now.Truncate(tick)) {
		t.Errorf("told at %s, want %s", at, now.Truncate(tick))
	}
}

func TestManyUsesAreToldInBoundedRuns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	folder := t.TempDir()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: folder})
	const keys = 3000
	fill(t, folder+"/state.db", keys)
	m := NewMemory(slog.New(slog.DiscardHandler), time.Now)
	if err := m.Load(ctx, s); err != nil {
		t.Fatal(err)
	}
	table := m.held.Load().table
	for i := range table.shards {
		if shard := table.shards[i].Load(); shard != nil {
			for k := range shard.entries {
				shard.entries[k].use(time.Now().Add(-tick))
			}
		}
	}
	left := func() (n int) {
		for i := range table.shards {
			n += len(table.uses(nil, i))
		}
		return n
	}
	from, runs := 0, 0
	for ; left() > 0 && runs < 10; runs++ {
		before := left()
		from = m.tellUses(ctx, s, from, 1000)
		if told := before - left(); told > 1600 || told == 0 {
			t.Errorf("%d were told in one run of 1000", told)
		}
	}
	if runs < 3 || left() > 0 {
		t.Errorf("%d runs, %d are left", runs, left())
	}
}
