package snapshot_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/snapshot"
)

// resource counts what is done to it.
type resource struct {
	started, closed atomic.Int32
}

func (r *resource) Start() { r.started.Add(1) }
func (r *resource) Close() { r.closed.Add(1) }

func (r *resource) String() string {
	return fmt.Sprintf("started %d times, closed %d times", r.started.Load(), r.closed.Load())
}

// shop hands out resources by key and remembers all of them.
type shop struct {
	mu  sync.Mutex
	all map[string][]*resource
}

func (s *shop) build(key string) snapshot.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &resource{}
	if s.all == nil {
		s.all = map[string][]*resource{}
	}
	s.all[key] = append(s.all[key], r)
	return r
}

func TestTheZeroLiveLendsNothing(t *testing.T) {
	t.Parallel()
	var l snapshot.Live
	if l.Acquire() != nil {
		t.Error("something was lent")
	}
	l.Swap(nil)
}

func TestASnapshotIsClosedByItsLastBorrower(t *testing.T) {
	t.Parallel()
	var l snapshot.Live
	var made shop
	pool := snapshot.NewPool()
	first := snapshot.Borrower(pool, []string{"a"}, made.build)
	first.Prepare()
	l.Swap(first)
	one, two := l.Acquire(), l.Acquire()
	if one != first || two != first {
		t.Fatal("another snapshot was lent")
	}
	l.Swap(snapshot.Borrower(pool, []string{"b"}, made.build))
	a := made.all["a"][0]
	one.Release()
	if a.closed.Load() != 0 {
		t.Error("closed while somebody had it")
	}
	two.Release()
	if a.closed.Load() != 1 || a.started.Load() != 1 {
		t.Error("after its last borrower:", a)
	}
	l.Swap(nil)
	if b := made.all["b"][0]; b.closed.Load() != 1 || b.started.Load() != 0 {
		t.Error("one that was never prepared:", b)
	}
	if l.Acquire() != nil || pool.Held() != 0 {
		t.Error("something is left after the end")
	}
}

// Between looking at the pointer and borrowing, the last borrower may have
// closed the snapshot: it is not lent again.
func TestAClosedSnapshotIsNotLentAgain(t *testing.T) {
	t.Parallel()
	s := snapshot.Borrower(snapshot.NewPool(), nil, nil)
	if !s.Borrow() {
		t.Error("an open one is not lent")
	}
	s.Release()
	s.Release()
	if s.Borrow() {
		t.Error("a closed one is lent")
	}
}

func TestWhatIsUnchangedOutlivesASwap(t *testing.T) {
	t.Parallel()
	var l snapshot.Live
	var made shop
	pool := snapshot.NewPool()
	for i, keys := range []string{"a b", "a c", "a b c", "c", "a c"} {
		next := snapshot.Borrower(pool, strings.Fields(keys), made.build)
		next.Prepare()
		l.Swap(next)
		// An attempt that fails in between changes nothing.
		snapshot.Borrower(pool, strings.Fields(keys+" x"), made.build).Release()
		if n := len(strings.Fields(keys)); pool.Held() != n {
			t.Errorf("step %d: %d are held, want %d", i, pool.Held(), n)
		}
	}
	if len(made.all["c"]) != 1 || made.all["c"][0].closed.Load() != 0 || made.all["c"][0].started.Load() != 1 {
		t.Errorf("c was needed all the time: %v", made.all["c"])
	}
	if a := made.all["a"]; len(a) != 2 || a[0].closed.Load() != 1 || a[1].closed.Load() != 0 {
		t.Errorf("a was gone for a while: %v", a)
	}
	for _, x := range made.all["x"] {
		if x.started.Load() != 0 || x.closed.Load() != 1 {
			t.Errorf("x never ran: %v", x)
		}
	}
	l.Swap(nil)
}

func TestLendingUnderManySwaps(t *testing.T) {
	t.Parallel()
	const borrowers, loans, swaps = 16, 3000, 300
	var l snapshot.Live
	var made shop
	pool := snapshot.NewPool()
	var mu sync.Mutex
	held := map[*snapshot.Snapshot][]*resource{}
	swap := func(n int) {
		// Every snapshot shares one resource with its neighbours and has one of its own.
		own := []string{fmt.Sprint("own ", n), fmt.Sprint("shared ", n/2)}
		s := snapshot.Borrower(pool, own, made.build)
		made.mu.Lock()
		var all []*resource
		for _, key := range own {
			all = append(all, made.all[key][len(made.all[key])-1])
		}
		made.mu.Unlock()
		mu.Lock()
		held[s] = all
		mu.Unlock()
		s.Prepare()
		l.Swap(s)
	}
	swap(0)
	var busy sync.WaitGroup
	for range borrowers {
		busy.Go(func() {
			for range loans {
				s := l.Acquire()
				mu.Lock()
				all := held[s]
				mu.Unlock()
				if rand.IntN(50) == 0 {
					if again := l.Acquire(); again != nil {
						again.Release()
					}
				}
				for _, r := range all {
					if r.started.Load() != 1 || r.closed.Load() != 0 {
						t.Error("in the hands of a borrower:", r)
					}
				}
				s.Release()
			}
		})
	}
	busy.Go(func() {
		for n := 1; n <= swaps; n++ {
			swap(n)
		}
	})
	busy.Wait()
	l.Swap(nil)
	for key, all := range made.all {
		for _, r := range all {
			if r.started.Load() != 1 || r.closed.Load() != 1 {
				t.Errorf("%s: %v", key, r)
			}
		}
	}
	if pool.Held() != 0 {
		t.Errorf("%d resources are left", pool.Held())
	}
}

func TestIssuersAndUpstreamsSurviveAReloadThatDoesNotTouchThem(t *testing.T) {
	t.Parallel()
	const before = `issuers:
  corp: { issuer: https://login.example.com/, audience: orders-api }
  other: { issuer: https://other.example.com/, audience: orders-api }
upstreams: { a: [http://127.0.0.1:9001], b: [http://127.0.0.1:9002], c: { targets: [http://127.0.0.1:9003], timeout: 5s } }
routes:
  - { path: /a, upstream: a, auth: { jwt: corp } }
  - { path: /b, upstream: b, auth: { jwt: other } }
  - { path: /c, upstream: c, auth: none }
`
	c := newCompiler()
	first := compile(t, c, before)
	if s, _ := compileAll(c, before+"  - { path: /d, upstream: d, auth: none }\n"); s != nil {
		t.Fatal("a broken document was accepted")
	}
	second := compile(t, c, strings.NewReplacer(
		"other.example.com", "another.example.com", "9002", "9004", "5s", "6s", "orders-api", "orders", "path: /a", "path: /aa").Replace(before))
	if first.Issuers[0].Keys != second.Issuers[0].Keys {
		t.Error("the keys of an issuer were fetched anew though only its audience changed")
	}
	if first.Issuers[1].Keys == second.Issuers[1].Keys {
		t.Error("another issuer has the old one's keys")
	}
	for i, same := range []bool{true, false, true} {
		if got := first.Routes()[i].Upstream == second.Routes()[i].Upstream; got != same {
			t.Errorf("upstream %s: the same: %v, want %v", first.Routes()[i].Target, got, same)
		}
	}
	if first.Config == second.Config || first.Legend() == second.Legend() {
		t.Error("two documents have one name")
	}
}
