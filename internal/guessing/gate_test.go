package guessing

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func (g *Gate) empty(t interface{ Errorf(string, ...any) }, slots int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.queues {
		if n := len(g.queues[c].waiters); n != 0 {
			t.Errorf("%d still wait in class %d", n, c)
		}
	}
	if g.free != slots || len(g.networks) != 0 {
		t.Errorf("%d of %d slots are free and %d networks remembered", g.free, slots, len(g.networks))
	}
}

func TestOneNetworkHasTwoPiecesOfWorkAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8)
		for range 2 {
			if !g.enter(t.Context(), home, stranger, 0) {
				t.Fatal("there is room")
			}
		}
		if !g.enter(t.Context(), network(1), stranger, 0) {
			t.Fatal("another network is kept waiting")
		}
		begin := time.Now()
		if g.enter(t.Context(), home, stranger, 0) || time.Since(begin) != longestWait {
			t.Errorf("a third piece of work began, or was refused after %s", time.Since(begin))
		}
		g.leave(home)
		if !g.enter(t.Context(), home, stranger, 0) {
			t.Error("there is room again")
		}
		g.leave(home)
		g.leave(home)
		g.leave(network(1))
		g.empty(t, 8)
	})
}

func TestTheBetterClassGoesFirstAndNetworksTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		g.enter(t.Context(), network(0), stranger, 0)
		var mu sync.Mutex
		var order []string
		wait := func(name string, from netip.Prefix, c class, failed int) {
			go func() {
				if g.enter(t.Context(), from, c, failed) {
					mu.Lock()
					order = append(order, name)
					mu.Unlock()
					time.Sleep(time.Millisecond)
					g.leave(from)
				}
			}()
			synctest.Wait()
		}
		wait("suspect", network(1), stranger, 1)
		for range 3 {
			wait("greedy", network(2), stranger, 0)
		}
		wait("newcomer", network(3), stranger, 0)
		wait("known", network(4), known, 0)
		g.leave(network(0))
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"known", "greedy", "newcomer", "greedy", "greedy", "suspect"}
		if len(order) != len(want) {
			t.Fatalf("order %v, want %v", order, want)
		}
		for i := range want {
			if order[i] != want[i] {
				t.Fatalf("order %v, want %v", order, want)
			}
		}
		g.empty(t, 1)
	})
}

func TestAFullQueueMakesRoomForWhoIsServedSooner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		g.enter(t.Context(), home, stranger, 0)
		var refused, served int
		var mu sync.Mutex
		wait := func(from netip.Prefix) {
			go func() {
				ok := g.enter(t.Context(), from, stranger, 0)
				if ok {
					g.leave(from)
				}
				mu.Lock()
				defer mu.Unlock()
				if ok {
					served++
				} else {
					refused++
				}
			}()
			synctest.Wait()
		}
		for range queueLength + 5 { // all of one network
			wait(network(1))
		}
		if full := len(g.queues[stranger].waiters); full != queueLength || refused != 5 {
			t.Fatalf("%d wait, %d were refused", full, refused)
		}
		before := refused
		wait(network(1000))
		if len(g.queues[stranger].waiters) != queueLength || refused != before+1 {
			t.Errorf("%d wait, %d were refused: a newcomer takes the place of who is last", len(g.queues[stranger].waiters), refused-before)
		}
		g.leave(home)
		synctest.Wait()
		if served != queueLength {
			t.Errorf("%d were served", served)
		}
		g.empty(t, 1)
	})
}

func TestWhoGoesAwayLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		g.enter(t.Context(), home, known, 0)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if g.enter(ctx, network(1), known, 0) {
				t.Error("served after it had gone")
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.leave(home)
		g.empty(t, 1)
	})
}

// Whatever comes and goes in whatever order, no bound is passed and nothing
// is left behind.
func TestPropertiesOfAGate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		slots := rapid.IntRange(1, 4).Draw(r, "slots")
		jobs := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) [5]int {
			return [5]int{rapid.IntRange(0, 5).Draw(r, "network"), rapid.IntRange(0, int(classes)-1).Draw(r, "class"), rapid.IntRange(0, 900).Draw(r, "begins"), rapid.IntRange(1, 900).Draw(r, "takes"), rapid.IntRange(0, 2).Draw(r, "failed")}
		}), 1, 400).Draw(r, "jobs")
		synctest.Test(t, func(t *testing.T) {
			g := newGate(slots)
			var mu sync.Mutex
			working := map[netip.Prefix]int{}
			all := 0
			for _, j := range jobs {
				go func() {
					from := network(j[0])
					time.Sleep(time.Duration(j[2]) * time.Millisecond)
					begin := time.Now()
					if !g.enter(t.Context(), from, class(j[1]), j[4]) {
						return
					}
					mu.Lock()
					working[from]++
					all++
					if working[from] > perNetwork || all > slots || time.Since(begin) > longestWait {
						t.Errorf("%d of one network and %d in all work at a time, after %s", working[from], all, time.Since(begin))
					}
					mu.Unlock()
					time.Sleep(time.Duration(j[3]) * time.Millisecond)
					mu.Lock()
					working[from]--
					all--
					mu.Unlock()
					g.leave(from)
				}()
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			g.empty(t, slots)
		})
	})
}
