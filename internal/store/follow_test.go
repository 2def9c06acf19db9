package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/store"
)

// soon is how long tests wait for what should come at once, and how long the
// stores of tests may: a busy machine makes them slow and never red.
const soon = time.Minute

// copyOf is a reader's copy of the store in memory: what a directory does.
type copyOf struct {
	mu      sync.Mutex
	records map[string]store.Record
	calls   int
	torn    string
	bell    chan struct{}
}

func (c *copyOf) load(t testing.TB, s *store.Store, kinds ...store.Kind) store.Mark {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records, c.bell = map[string]store.Record{}, make(chan struct{}, 1)
	m, err := s.Stream(t.Context(), func(r store.Record) error {
		r.Body = slices.Clone(r.Body)
		c.records[string(r.Kind)+"/"+r.ID] = r
		return nil
	}, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (c *copyOf) apply(all store.Changes) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := uint64(0)
	for _, change := range all.List {
		if change.Version < last {
			c.torn = fmt.Sprintf("%d after %d", change.Version, last)
		}
		last = change.Version
		if change.Deleted {
			delete(c.records, string(change.Kind)+"/"+change.ID)
		} else {
			c.records[string(change.Kind)+"/"+change.ID] = change.Record
		}
	}
	c.calls++
	select {
	case c.bell <- struct{}{}:
	default:
	}
	return nil
}

// until waits for the copy to be so.
func (c *copyOf) until(t testing.TB, what string, so func(map[string]store.Record) bool) {
	t.Helper()
	over := time.After(soon)
	for {
		c.mu.Lock()
		ok := so(c.records)
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.bell:
		case <-over:
			t.Fatalf("not within %s: %s", soon, what)
		}
	}
}

// follow follows s until the test ends.
func (c *copyOf) follow(t testing.TB, s *store.Store, from store.Mark, kinds ...store.Kind) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Follow(ctx, from, c.apply, kinds...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ended with %v", err)
		}
	})
}

func TestEveryInstanceLearnsOfEveryChange(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		here, there := p.open(t), p.open(t)
		commit(t, here, store.Put(key("a", "", "1")), store.Put(store.Record{Kind: "other", ID: "x"}))
		var near, far copyOf
		near.follow(t, here, near.load(t, here, "key"), "key")
		far.follow(t, there, far.load(t, there, "key"), "key")
		v := commit(t, here, store.Put(key("b", "", "2")), store.Delete("key", "a", 0), store.Put(store.Record{Kind: "other", ID: "y"}))
		for _, c := range []*copyOf{&near, &far} {
			c.until(t, "b is there and a is gone", func(have map[string]store.Record) bool {
				_, gone := have["key/a"]
				return !gone && have["key/b"].Version == v && len(have) == 1
			})
		}
		commit(t, there, store.Put(key("a", "", "3")))
		near.until(t, "a is there again", func(have map[string]store.Record) bool { return string(have["key/a"].Body) == "3" })
	})
}

func TestCopiesOfManyWritersAgreeInTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		stores := []*store.Store{p.open(t), p.open(t)}
		copies := make([]copyOf, len(stores))
		for i, s := range stores {
			copies[i].follow(t, s, copies[i].load(t, s, "key"), "key")
		}
		var all sync.WaitGroup
		for w := range 4 {
			s, random := stores[w%len(stores)], rand.New(rand.NewPCG(1, uint64(w)))
			all.Go(func() {
				for i := range 60 {
					var writes []store.Write
					for range 1 + random.IntN(3) {
						id := fmt.Sprint(random.IntN(20))
						if random.IntN(3) == 0 {
							writes = append(writes, store.Put(key(id, "", "")), store.Delete("key", id, 0))
						} else {
							writes = append(writes, store.Put(key(id, "", fmt.Sprint(w, i))))
						}
					}
					if _, err := s.Commit(context.Background(), writes...); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		var truth copyOf
		truth.load(t, stores[0], "key")
		for i := range copies {
			copies[i].until(t, "the copy is what the store is", func(have map[string]store.Record) bool {
				if len(have) != len(truth.records) {
					return false
				}
				for id, r := range truth.records {
					if have[id].Version != r.Version {
						return false
					}
				}
				return true
			})
			if copies[i].torn != "" {
				t.Error("out of order:", copies[i].torn)
			}
		}
	})
}

func TestChangesComeInPagesThatTearNoCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		var c copyOf
		from := c.load(t, s, "key")
		for commitNo := range 4 {
			var writes []store.Write
			for i := range 700 {
				writes = append(writes, store.Put(key(fmt.Sprintf("%d-%03d", commitNo, i), "", "")))
			}
			commit(t, s, writes...)
		}
		enough := errors.New("enough")
		sizes := []int{}
		err := s.Follow(t.Context(), from, func(all store.Changes) error {
			sizes = append(sizes, len(all.List))
			if !all.More {
				return enough
			}
			return nil
		}, "key")
		wants(t, err, enough)
		same(t, fmt.Sprint(sizes), "[1400 1400]")
	})
}

func TestFollowingWhatIsForgottenOrAnotherStoreIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		commit(t, s, store.Put(key("a", "", "")))
		m, err := s.Stream(t.Context(), func(store.Record) error { return nil })
		wants(t, err, nil)
		for name, from := range map[string]store.Mark{
			"the future":    {Store: m.Store, Seq: m.Seq + 1},
			"another store": {Store: "x", Seq: m.Seq},
			"nothing":       {},
		} {
			err := s.Follow(t.Context(), from, func(store.Changes) error { return errors.New("was told") }, "key")
			if !errors.Is(err, store.ErrGone) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestExpiredRecordsAreNotThere(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		for i := range 3 {
			r := key(fmt.Sprint(i), fmt.Sprint("alias", i), "")
			r.Expires = p.now().Add(time.Duration(i+1) * time.Minute)
			commit(t, s, store.Put(r))
		}
		p.add(time.Minute)
		_, err := s.Get(t.Context(), "key", "0")
		wants(t, err, store.ErrNotFound)
		_, err = s.ByAlias(t.Context(), "key", "alias0")
		wants(t, err, store.ErrNotFound)
		page, next, err := s.List(t.Context(), store.Query{Kind: "key"})
		wants(t, err, nil)
		same(t, len(page), 2)
		same(t, next, "")
		_, err = s.Commit(t.Context(), store.Delete("key", "0", 0))
		wants(t, err, store.ErrNotFound)

		// Its names are free again, and whoever holds it learns of that.
		var c copyOf
		from := c.load(t, s, "key")
		c.records["key/0"] = store.Record{}
		c.follow(t, s, from, "key")
		commit(t, s, store.Create(key("new", "alias0", "")))
		c.until(t, "the one who had the alias is gone", func(have map[string]store.Record) bool {
			_, old := have["key/0"]
			return !old && have["key/new"].ID != ""
		})
		commit(t, s, store.Create(key("0", "", "")))

		p.add(time.Hour)
		wants(t, s.Sweep(t.Context()), nil)
		report, err := s.Check(t.Context())
		wants(t, err, nil)
		same(t, report.Records, map[store.Kind]uint64{"key": 2})
		same(t, report.Problems, []string{})
	})
}

func TestPagesAreOfAPrefixOrAnOwnerInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		var want []string
		for _, id := range []string{"a", "a\x00", "a\xff", "a\xff\xff", "b", "B", "", "c"} {
			if id == "" {
				continue
			}
			r := key(id, "", "")
			if id == "c" {
				r.Owner = "zoe"
			}
			commit(t, s, store.Put(r))
			if id[0] == 'a' {
				want = append(want, id)
			}
		}
		pages := func(q store.Query) (ids []string) {
			for {
				page, next, err := s.List(t.Context(), q)
				wants(t, err, nil)
				for _, r := range page {
					ids = append(ids, r.ID)
				}
				if next == "" {
					return ids
				}
				q.After = next
			}
		}
		same(t, pages(store.Query{Kind: "key", Prefix: "a", Limit: 2}), want)
		same(t, pages(store.Query{Kind: "key", Prefix: "a\xff", Limit: 1}), []string{"a\xff", "a\xff\xff"})
		same(t, pages(store.Query{Kind: "key", Owner: "zoe", Limit: 10}), []string{"c"})
		same(t, len(pages(store.Query{Kind: "key", Limit: 3})), 7)
		same(t, pages(store.Query{Kind: "other", Limit: 3}), []string(nil))
	})
}

func TestAPageIsBoundedInBytes(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		const all = 20
		for i := range all {
			commit(t, s, store.Put(store.Record{Kind: "key", ID: fmt.Sprintf("%02d", i), Body: make([]byte, store.MaxBody)}))
		}
		q, seen, pages := store.Query{Kind: "key"}, 0, 0
		for {
			page, next, err := s.List(t.Context(), q)
			wants(t, err, nil)
			size := 0
			for _, r := range page {
				same(t, r.ID, fmt.Sprintf("%02d", seen))
				size += len(r.Body)
				seen++
			}
			if size > 16<<20 {
				t.Errorf("a page of %d bytes", size)
			}
			pages++
			if next == "" {
				break
			}
			q.After = next
		}
		same(t, seen, all)
		same(t, pages, 2)
		wants(t, s.Status().Err, nil)
	})
}

func TestAStreamSeesOneMoment(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		for i := range 20 {
			commit(t, s, store.Put(key(fmt.Sprintf("%02d", i), "", "")), store.Put(store.Record{Kind: "plan", ID: fmt.Sprint(i)}))
		}
		seen := map[store.Kind]int{}
		m, err := s.Stream(t.Context(), func(r store.Record) error {
			if len(seen) == 0 {
				commit(t, s, store.Delete("key", "19", 0), store.Put(key("99", "", "")), store.Put(store.Record{Kind: "plan", ID: "99"}))
			}
			seen[r.Kind]++
			return nil
		}, "key", "plan")
		wants(t, err, nil)
		same(t, seen, map[store.Kind]int{"key": 20, "plan": 20})
		same(t, m.Seq, uint64(20))
		own := errors.New("own")
		_, err = s.Stream(t.Context(), func(store.Record) error { return own }, "key")
		if err != own {
			t.Errorf("the error of the reader came back as %v", err)
		}
		if err := s.Status().Err; err != nil {
			t.Errorf("the error of the reader puts the store down: %v", err)
		}
	})
}

func TestOldDeletionsAreForgotten(t *testing.T) {
	t.Parallel()
	p := place{store.DefaultAddress, t.TempDir(), &clock{t: time.Now()}}
	s := p.open(t)
	raw(t, p, `WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1005)
		INSERT INTO warder_graves SELECT 'key', CAST(n AS BLOB), n FROM c`)
	raw(t, p, `UPDATE warder_head SET seq = 1005`)
	m, err := s.Stream(t.Context(), func(store.Record) error { return nil })
	wants(t, err, nil)
	wants(t, s.SweepTo(t.Context(), 1000), nil)
	told := errors.New("told")
	for seq, want := range map[uint64]error{4: store.ErrGone, 5: told, 1005: told} {
		err := s.Follow(t.Context(), store.Mark{Store: m.Store, Seq: seq}, func(store.Changes) error { return told }, "key")
		wants(t, err, want)
	}
}

// What a follower is told at once is bounded in bytes, and no Commit is torn
// for it.
func TestAPageOfChangesIsBoundedInBytes(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		const commits, each, size = 7, 4, 1 << 20
		s := p.open(t)
		var copied copyOf
		from := copied.load(t, s, "key")
		body := strings.Repeat("b", size)
		var last uint64
		for i := range commits {
			var writes []store.Write
			for k := range each {
				writes = append(writes, store.Put(key(fmt.Sprint(i, "-", k), "", body)))
			}
			last = commit(t, s, writes...)
		}
		var pages []int
		done := errors.New("all was told")
		err := s.Follow(t.Context(), from, func(c store.Changes) error {
			pages = append(pages, len(c.List))
			if more := c.Mark.Seq < last; c.More != more {
				t.Errorf("at %d of %d it says %v", c.Mark.Seq, last, c.More)
			}
			if c.Mark.Seq == last {
				return done
			}
			return nil
		}, "key")
		if err != done {
			t.Fatal(err)
		}
		same(t, pages, []int{16, 12})
	})
}

// Nobody waits for, or holds, what is of other kinds.
func TestOnlyTheKindsFollowedAreRead(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		var copied copyOf
		from := copied.load(t, s, "key")
		for i := range 3 {
			var writes []store.Write
			for k := range 600 {
				writes = append(writes, store.Put(store.Record{Kind: "other", ID: fmt.Sprint(i, "-", k)}))
			}
			commit(t, s, writes...)
		}
		commit(t, s, store.Put(key("a", "", "1")), store.Delete("other", "0-0", 0))
		done := errors.New("all was told")
		err := s.Follow(t.Context(), from, func(c store.Changes) error {
			if len(c.List) != 1 || c.More {
				t.Errorf("%d changes, and more is %v", len(c.List), c.More)
			}
			return done
		}, "key", "none")
		if err != done {
			t.Fatal(err)
		}
	})
}
