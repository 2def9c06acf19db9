package gateway

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// crowd are the open connections of a listener, for the sake of those that
// want in: when there is no room, one that is idle has to go. It is asked when
// a connection comes and goes, never for a request. Safe for concurrent use.
type crowd struct {
	mu        sync.Mutex
	all       ring
	addresses map[netip.Prefix]*ring // only those that are counted
	closed    bool
}

// guest is one connection in a crowd. All of it is guarded by the crowd's mu.
type guest struct {
	stage stage
	from  netip.Prefix // whose share it is counted in; zero: nobody's
	left  bool         // it is in no ring any more
	place [2]int       // in all, in its address's ring
}

// stage is what a connection is at present. Neither method blocks.
type stage interface {
	// Idle returns for how long the connection has waited for its client, and
	// false if something is being served over it.
	Idle() (time.Duration, bool)
	// EndIdle ends the connection if it is idle, and reports whether it was.
	EndIdle() bool
}

// arriving is a connection that has not said a word of HTTP: it waits for a
// PROXY header, a TLS handshake, or the preface of HTTP/2.
type arriving struct {
	net.Conn
	since time.Time
}

func (a arriving) Idle() (time.Duration, bool) { return time.Since(a.since), true }

func (a arriving) EndIdle() bool {
	a.Close()
	return true
}

// look is how many connections are looked at to find one that is idle: what
// it costs to let one in is bounded. The next search goes on behind them.
const look = 64

// grace is for how long a connection must have been idle before it is ended
// for one that comes: a client gets the time to say what it wants.
const grace = 200 * time.Millisecond

// enter adds a connection. It returns nil when the crowd is closed.
func (c *crowd) enter(tcp net.Conn) *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	g := &guest{stage: arriving{tcp, time.Now()}}
	c.all.add(g, inAll)
	return g
}

// leave takes a connection out. It may have been taken out before.
func (c *crowd) leave(g *guest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(g)
}

// move says what the connection is now. It returns false if it is to end.
func (c *crowd) move(g *guest, to stage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.stage = to
	return !g.left
}

// claim counts the connection in the share of from. If that is used up, an
// idle connection of the same share has to go. It returns false if there is
// none.
func (c *crowd) claim(g *guest, from netip.Prefix, share int) (ok, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.left {
		return false, false
	}
	if r := c.addresses[from]; r != nil && len(r.list) >= share {
		if evicted = c.evictFrom(r, 0); !evicted {
			return false, false
		}
	}
	if c.addresses == nil {
		c.addresses = map[netip.Prefix]*ring{}
	}
	r := c.addresses[from]
	if r == nil {
		r = &ring{}
		c.addresses[from] = r
	}
	g.from = from
	r.add(g, inAddress)
	return true, evicted
}

// evict ends an idle connection: one of the address that holds the most, and
// of those the one that has been idle for longest, as far as it looks. If that
// is less than grace, nothing is ended: others do not pay for an address that
// keeps its connections young.
func (c *crowd) evict() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evictFrom(&c.all, grace)
}

func (c *crowd) evictFrom(r *ring, least time.Duration) bool {
	var worst *guest
	var held int
	var idle time.Duration
	for range min(look, len(r.list)) {
		g := r.turn()
		d, ok := g.stage.Idle()
		if !ok {
			continue
		}
		n := 0
		if share := c.addresses[g.from]; share != nil {
			n = len(share.list)
		}
		if worst == nil || n > held || n == held && d > idle {
			worst, held, idle = g, n, d
		}
	}
	if worst == nil || idle < least || !worst.stage.EndIdle() {
		return false
	}
	c.drop(worst)
	return true
}

// close ends the connections that are arriving, now and from now on. The rest
// is served to its end by those who serve it.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for i := len(c.all.list) - 1; i >= 0; i-- { // drop moves the last, seen already, to i
		if g := c.all.list[i]; isArriving(g.stage) {
			g.stage.EndIdle()
			c.drop(g)
		}
	}
}

func isArriving(s stage) bool {
	_, ok := s.(arriving)
	return ok
}

// drop takes g out of its rings. c.mu is held.
func (c *crowd) drop(g *guest) {
	if g.left {
		return
	}
	g.left = true
	c.all.remove(g, inAll)
	if r := c.addresses[g.from]; r != nil {
		r.remove(g, inAddress)
		if len(r.list) == 0 {
			delete(c.addresses, g.from)
		}
	}
}

// The two rings that a guest may be in.
const (
	inAll = iota
	inAddress
)

// ring is a set of guests that can be gone round.
type ring struct {
	list []*guest
	next int
}

// turn returns the next guest of a ring that is not empty.
func (r *ring) turn() *guest {
	if r.next >= len(r.list) {
		r.next = 0
	}
	r.next++
	return r.list[r.next-1]
}

func (r *ring) add(g *guest, which int) {
	g.place[which] = len(r.list)
	r.list = append(r.list, g)
}

func (r *ring) remove(g *guest, which int) {
	i, last := g.place[which], len(r.list)-1
	r.list[i] = r.list[last]
	r.list[i].place[which] = i
	r.list[last] = nil
	r.list = r.list[:last]
}
