package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// A key that memory lacks was made less than a second ago, on another
// instance or by the command line, or there is none. So the store is asked:
//
//   - once for all who show it at the same time, each of whom waits askWithin
//     at most: without an answer by then they get 503, not 401;
//   - askFlights keys at a time, askRate a second: who makes up keys does not
//     make work for the database. What is beyond that is not asked, and is
//     401 while memory follows the store, which makes it right to within a
//     second; else 503;
//   - not again for askAgain if there is no such key. When it is made, it
//     comes into memory like any other;
//   - not at all while the store is known to be down: 503.
const (
	askWithin  = 100 * time.Millisecond
	askFlights = 64
	askRate    = 50 // per second, and as many at once
	askAgain   = 10 * time.Second
	askNone    = 1024 // keys that there are not, which are remembered

	// following is how old memory may be while it follows the store, which
	// calls every five seconds when nothing happens.
	following = 8 * time.Second
)

// asker keeps account of what is asked. The zero value waits for no answer.
type asker struct {
	within time.Duration // askWithin, or what AskWithin was told

	mu      sync.Mutex
	flights map[[8]byte]*flight
	left    float64   // of askRate
	at      time.Time // when left was so
	none    [askNone]struct {
		id    [8]byte
		until int64 // Unix nanoseconds
	}
}

// flight is one question on its way.
type flight struct {
	done chan struct{}
	code fault.Code // read after done
}

// AskWithin gives the store another time to answer when it is asked for a key
// that memory lacks. To be called before the memory is used.
func (m *Memory) AskWithin(d time.Duration) { m.asks.within = d }

// ask asks the store for a key that memory lacks. The code is None if it is in
// memory now.
func (m *Memory) ask(id [8]byte, now time.Time) fault.Code {
	s := m.store.Load()
	if s == nil || s.Status().Err != nil {
		return fault.IdentityUnavailable
	}
	f, begins, none := m.asks.join(id, now)
	switch {
	case none:
		return fault.KeyUnknown
	case f == nil && now.UnixNano()-m.seen.Load() > int64(following):
		return fault.IdentityUnavailable
	case f == nil:
		return fault.KeyUnknown
	case begins:
		go m.fly(s, id, f)
	}
	t := time.NewTimer(m.asks.within)
	defer t.Stop()
	select {
	case <-f.done:
		return f.code
	case <-t.C:
		return fault.IdentityUnavailable
	}
}

// join returns the flight that asks for a key, nil if it is not to be asked
// now; whether it begins, which the caller sees to; and whether the store said
// a moment ago that there is none.
func (a *asker) join(id [8]byte, now time.Time) (f *flight, begins, none bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := &a.none[slotOf(id)]; n.id == id && now.UnixNano() < n.until {
		return nil, false, true
	}
	if f := a.flights[id]; f != nil {
		return f, false, false
	}
	a.left = min(askRate, a.left+askRate*max(0, now.Sub(a.at).Seconds()))
	a.at = now
	if len(a.flights) >= askFlights || a.left < 1 {
		return nil, false, false
	}
	a.left--
	if a.flights == nil {
		a.flights = map[[8]byte]*flight{}
	}
	f = &flight{done: make(chan struct{})}
	a.flights[id] = f
	return f, true, false
}

func slotOf(id [8]byte) int {
	h := uint32(2166136261)
	for _, b := range id {
		h = (h ^ uint32(b)) * 16777619
	}
	return int(h % askNone)
}

func (a *asker) end(id [8]byte, f *flight, code fault.Code, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.code = code
	delete(a.flights, id)
	if code == fault.KeyUnknown {
		n := &a.none[slotOf(id)]
		n.id, n.until = id, now.Add(askAgain).UnixNano()
	}
	close(f.done)
}

func (m *Memory) fly(s *store.Store, id [8]byte, f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), m.asks.within)
	defer cancel()
	code := fault.None
	switch err := m.fetch(ctx, s, id); {
	case errors.Is(err, store.ErrNotFound):
		code = fault.KeyUnknown
	case err != nil:
		code = fault.IdentityUnavailable
	}
	m.asks.end(id, f, code, m.now())
}

// fetch puts a key of the store into memory, with its consumer.
func (m *Memory) fetch(ctx context.Context, s *store.Store, id [8]byte) error {
	r, err := s.Get(ctx, kindKey, string(id[:]))
	if err != nil {
		return err
	}
	records := []store.Record{r}
	if _, known := m.Consumer(r.Owner); !known {
		c, err := s.Get(ctx, kindConsumer, r.Owner)
		if err != nil {
			return err
		}
		// The consumer first: who finds a key of nobody takes it for unknown.
		records = []store.Record{c, r}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		// What is older than memory was changed since, or taken away.
		if r.Version > m.mark.Seq {
			m.change(&store.Change{Record: r})
		}
	}
	return nil
}
