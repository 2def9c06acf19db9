package guessing

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	perNetwork  = 2               // pieces of work at a time
	queueLength = 256             // who may wait of one class
	longestWait = 2 * time.Second // in the queue
)

// class is who is let through a Gate first.
type class uint8

const (
	known    class = iota // proved this account from this network before
	stranger              // everybody else
	classes
)

// Gate bounds how much costly work is done at once: so many pieces in all, and
// two for one network. Who has to wait does so for two seconds at most, in a
// queue of bounded length: the better class first, within a class the network
// that failed less of late, and of equals each in turn, however many requests
// of one wait. When a queue is full, who would be served last makes room.
type Gate struct {
	mu       sync.Mutex
	free     int
	networks map[netip.Prefix]*line // those that work or wait
	queues   [classes]queue
}

// line is a network at the gate.
type line struct {
	working, waiting int
	last             [classes]uint64 // turn of the last who queued up
}

// queue holds who waits. Turns are given as in start-time fair queueing: a
// network's next comes one after its last, or after the one being served.
type queue struct {
	turn    uint64 // the latest that was served
	waiters []*waiter
}

type waiter struct {
	from   netip.Prefix
	failed int // how often its network did of late
	turn   uint64
	told   chan bool // true: go on; false: make room
}

// after says whether w is served after o.
func (w *waiter) after(o *waiter) bool {
	if w.failed != o.failed {
		return w.failed > o.failed
	}
	return w.turn > o.turn
}

func newGate(slots int) *Gate {
	return &Gate{free: slots, networks: map[netip.Prefix]*line{}}
}

// enter waits for a turn; failed is how often the network did of late. If ok,
// leave must follow.
func (g *Gate) enter(ctx context.Context, from netip.Prefix, c class, failed int) (ok bool) {
	g.mu.Lock()
	l := g.networks[from]
	if l == nil {
		l = &line{}
		g.networks[from] = l
	}
	if g.free > 0 && l.working < perNetwork && l.waiting == 0 {
		g.free--
		l.working++
		g.mu.Unlock()
		return true
	}
	w := &waiter{from: from, failed: failed, told: make(chan bool, 1)}
	ok = g.queueUp(l, w, c)
	g.mu.Unlock()
	if !ok {
		return false
	}
	over := time.NewTimer(longestWait)
	defer over.Stop()
	select {
	case ok = <-w.told:
		return ok
	case <-over.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case ok = <-w.told: // just now
		return ok
	default:
	}
	g.drop(c, w)
	return false
}

// queueUp adds a waiter, if there is room for one. g.mu is held.
func (g *Gate) queueUp(l *line, w *waiter, c class) bool {
	q := &g.queues[c]
	w.turn = max(q.turn, l.last[c]) + 1
	if len(q.waiters) >= queueLength {
		last := q.waiters[0]
		for _, o := range q.waiters {
			if o.after(last) {
				last = o
			}
		}
		if !last.after(w) {
			g.forget(w.from, l)
			return false
		}
		g.drop(c, last)
		last.told <- false
	}
	q.waiters = append(q.waiters, w)
	l.last[c] = w.turn
	l.waiting++
	return true
}

// drop takes a waiter out of its queue. g.mu is held.
func (g *Gate) drop(c class, w *waiter) {
	q := &g.queues[c]
	for i := range q.waiters {
		if q.waiters[i] == w {
			end := len(q.waiters) - 1
			q.waiters[i] = q.waiters[end]
			q.waiters[end] = nil
			q.waiters = q.waiters[:end]
			break
		}
	}
	l := g.networks[w.from]
	l.waiting--
	g.forget(w.from, l)
}

// forget ends the line of a network that neither works nor waits.
func (g *Gate) forget(from netip.Prefix, l *line) {
	if l.working == 0 && l.waiting == 0 {
		delete(g.networks, from)
	}
}

// leave ends a piece of work and lets the next begin.
func (g *Gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.networks[from]
	l.working--
	g.free++
	g.forget(from, l)
	for g.free > 0 && g.next() {
	}
}

// next lets the first in turn begin; false if nobody may.
func (g *Gate) next() bool {
	for c := range g.queues {
		var first *waiter
		for _, w := range g.queues[c].waiters {
			if g.networks[w.from].working < perNetwork && (first == nil || first.after(w)) {
				first = w
			}
		}
		if first == nil {
			continue
		}
		g.queues[c].turn = max(g.queues[c].turn, first.turn)
		g.free--
		g.networks[first.from].working++
		g.drop(class(c), first)
		first.told <- true
		return true
	}
	return false
}
