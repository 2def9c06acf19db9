package gateway

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// door lets connections in, as long as there is room for them in the whole
// process. Safe for concurrent use.
type door struct {
	most int64         // connections of all listeners; by the limit on open files
	open atomic.Int64  // connections of all listeners
	left chan struct{} // has a value when a connection has ended since it was last empty

	complained atomic.Int64 // when the log last heard that there is no room; Unix nanoseconds

	evicted, refused, paused atomic.Int64
}

// Door says what became of connections for which there was no room, since the
// start.
type Door struct {
	Evicted int64 // idle, ended to make room
	Refused int64 // closed, because their address held its share, none of it idle
	Paused  int64 // times that accepting waited: nothing was idle, or the system said no
}

// roomRetry is how often it is tried again to make room.
const roomRetry = 50 * time.Millisecond

func newDoor() *door {
	return &door{most: clientsFor(snapshot.OpenFiles()), left: make(chan struct{}, 1)}
}

// clientsFor returns how many clients may be connected under a limit on open
// files, 0 if there is none. Each may need a second descriptor for its
// upstream; 500, of few a quarter, but 64 at least, are kept for idle upstream
// connections, the admin surface and files: accepting stops before the process
// is out of them.
func clientsFor(files int) int64 {
	if files <= 0 {
		return math.MaxInt64
	}
	return max(1, int64(files-max(64, min(500, files/4)))/2)
}

// Door tells what became of connections for which there was no room.
func (g *Gateway) Door() Door {
	return Door{g.door.evicted.Load(), g.door.refused.Load(), g.door.paused.Load()}
}

// wait waits until a connection has ended, for roomRetry at most. It returns
// false when stop was closed.
func (d *door) wait(stop <-chan struct{}) bool {
	retry := time.NewTimer(roomRetry)
	defer retry.Stop()
	select {
	case <-stop:
		return false
	case <-d.left:
	case <-retry.C:
	}
	return true
}

// gone notes the end of a connection.
func (d *door) gone() {
	d.open.Add(-1)
	select {
	case d.left <- struct{}{}:
	default:
	}
}

// makeRoom returns when another connection may be served, and false once the
// listener is stopped. Connections that are idle go first; while none is, the
// connections to come wait in the system's queue.
func (l *listener) makeRoom() bool {
	paused := false
	for {
		select {
		case <-l.g.door.left: // from before
		default:
		}
		here := l.open.Load() >= int64(l.spec.Load().Connections)
		if !here && l.g.door.open.Load() < l.g.door.most {
			return !l.isStopped()
		}
		if !l.evict(!here) && !paused {
			paused = true
			why := "limits.connections is reached and no connection is idle"
			if !here {
				why = "the limit on open files leaves no more connections and none is idle"
			}
			l.full(why)
		}
		if !l.g.door.wait(l.stopping) {
			return false
		}
	}
}

// acceptFailed is makeRoom for when the system does not let a connection in:
// it is out of descriptors, or something is wrong that may pass. It returns
// false once the listener is stopped.
func (l *listener) acceptFailed(err error) bool {
	select {
	case <-l.g.door.left: // from before
	default:
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.evict(true)
	}
	l.full(err.Error())
	return l.g.door.wait(l.stopping)
}

// full notes that nothing is accepted for a while.
func (l *listener) full(why string) {
	d := l.g.door
	d.paused.Add(1)
	now, last := l.g.Now().UnixNano(), d.complained.Load()
	if now-last > int64(time.Minute) && d.complained.CompareAndSwap(last, now) {
		l.g.Log.Warn("accepting waits; said once a minute",
			"listener", l.spec.Load().Name, "why", why, "connections", d.open.Load())
	}
}

// evict ends an idle connection: of this listener, or else, if any will do, of
// another.
func (l *listener) evict(any bool) bool {
	ok := l.crowd.evict()
	if !ok && any {
		l.g.mu.Lock()
		all := l.g.all()
		l.g.mu.Unlock()
		ok = slices.ContainsFunc(all, func(other *listener) bool { return other.crowd.evict() })
	}
	if ok {
		l.g.door.evicted.Add(1)
	}
	return ok
}

// claim counts a connection for its client's address, and reports whether it
// can be served. Proxies speak for many and are not counted.
func (l *listener) claim(g *guest, spec *snapshot.Listener, info *exchange.Conn) bool {
	client := info.Peer.Addr()
	if spec.Front.Trusts(client) || introduces(spec, client) {
		return true
	}
	ok, evicted := l.crowd.claim(g, guessing.Network(client), spec.PerAddress)
	if evicted {
		l.g.door.evicted.Add(1)
	}
	if !ok {
		l.g.door.refused.Add(1)
	}
	return ok
}

// introduces reports whether connections from peer begin with a PROXY header.
func introduces(spec *snapshot.Listener, peer netip.Addr) bool {
	return slices.ContainsFunc(spec.Introducers, func(p netip.Prefix) bool { return p.Contains(peer) })
}
