package http1

import (
	"sync"
	"sync/atomic"
	"time"
)

// tick is how often a sweeper looks: deadlines are kept to that precision,
// late rather than early.
const tick = 100 * time.Millisecond

// stamp is a deadline that one side arms and the sweeper sees to. Its zero
// value is off. Once expired it stays so: whoever finds it expired gives up
// the connection. So it is with one that was evicted: somebody else needed the
// place.
type stamp struct{ v atomic.Int64 }

const (
	stampOff     = 0
	stampExpired = -1
	stampEvicted = -2

	// Bits of a deadline's nanoseconds that say what is waited for.
	stampIdle  = 1 // a client's next request
	stampFirst = 2 // with stampIdle: a connection's first request
)

// arm sets the deadline; it returns false if the one before has expired.
func (s *stamp) arm(deadline int64) bool {
	for {
		v := s.v.Load()
		if v < stampOff {
			return false
		}
		if s.v.CompareAndSwap(v, deadline) {
			return true
		}
	}
}

// off ends the deadline; it returns false if it has expired.
func (s *stamp) off() bool { return s.arm(stampOff) }

// expire reports whether the deadline has passed just now.
func (s *stamp) expire(now int64) bool {
	v := s.v.Load()
	return v > stampOff && v < now && s.v.CompareAndSwap(v, stampExpired)
}

// swept is something with deadlines.
type swept interface {
	// sweep looks at the deadlines. It must not block.
	sweep(now int64)
	place() *int // where the sweeper keeps its index
}

// sweeper looks at the deadlines of all connections of a server or a pool. It
// has a goroutine only while there are any. Its clock is the time of its last
// look, so that arming a deadline asks nobody.
type sweeper struct {
	start time.Time
	clock atomic.Int64 // nanoseconds since start, at least 1
	date  atomic.Pointer[[]byte]

	mu      sync.Mutex
	list    []swept
	running bool
	done    sync.WaitGroup
	stop    chan struct{}
	stopped bool
	perTick func() // also done at every look; nil: nothing
}

func newSweeper(perTick func()) *sweeper {
	s := &sweeper{start: time.Now(), stop: make(chan struct{}), perTick: perTick}
	s.look()
	return s
}

// now is the time of the last look.
func (s *sweeper) now() int64 { return s.clock.Load() }

// in returns the deadline after d, off if d is 0.
func (s *sweeper) in(d time.Duration) int64 {
	if d <= 0 {
		return stampOff
	}
	return s.now() + int64(tick) + int64(d)
}

// httpDate returns the current date for a Date field.
func (s *sweeper) httpDate() []byte { return *s.date.Load() }

// add begins to sweep e. It returns false when the sweeper is stopped.
func (s *sweeper) add(e swept) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	if !s.running {
		s.running = true
		s.look()
		s.done.Add(1)
		go s.run()
	}
	*e.place() = len(s.list)
	s.list = append(s.list, e)
	return true
}

// remove ends sweeping e; afterwards no sweep of it is running.
func (s *sweeper) remove(e swept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, last := *e.place(), len(s.list)-1
	s.list[i] = s.list[last]
	*s.list[i].place() = i
	s.list[last] = nil
	s.list = s.list[:last]
}

// each calls f for everything that is swept.
func (s *sweeper) each(f func(swept)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		f(e)
	}
}

// refuse makes add return false from now on.
func (s *sweeper) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.stop)
	}
}

func (s *sweeper) run() {
	defer s.done.Done()
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		stop := s.stop
		s.mu.Lock()
		if s.stopped {
			stop = nil // whoever is left still has deadlines
		}
		if len(s.list) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		select {
		case <-ticks.C:
		case <-stop:
			continue
		}
		s.look()
		if s.perTick != nil {
			s.perTick()
		}
		now := s.now()
		s.each(func(e swept) { e.sweep(now) })
	}
}

// look sets the clock and the date.
func (s *sweeper) look() {
	t := time.Now()
	s.clock.Store(max(1, int64(t.Sub(s.start))))
	t = t.UTC()
	const form = "Mon, 02 Jan 2006 15:04:05 GMT"
	if old := s.date.Load(); old == nil || !sameSecond(*old, t) {
		date := t.AppendFormat(make([]byte, 0, len(form)), form)
		s.date.Store(&date)
	}
}

// sameSecond spares most looks the formatting of a date.
func sameSecond(date []byte, t time.Time) bool {
	n := len(date)
	return n > 6 && int(date[n-6]-'0')*10+int(date[n-5]-'0') == t.Second() &&
		int(date[n-9]-'0')*10+int(date[n-8]-'0') == t.Minute()
}
