package snapshot

import "sync"

// Resource is something that outlives a snapshot: a remote key set, the
// connections to an upstream. It is made when a snapshot is compiled, started
// when one is prepared, and closed when no snapshot needs it any more.
type Resource interface {
	Start() // may be called once, before the first use in service
	Close()
}

// Pool holds what must outlive a swap, keyed by all that it was made from: an
// unchanged part of the configuration finds its resource again, a changed one
// gets a new one. Safe for concurrent use.
type Pool struct {
	mu      sync.Mutex
	entries map[string]*poolEntry
}

type poolEntry struct {
	resource Resource
	loans    int
	started  bool
}

// NewPool returns an empty pool.
func NewPool() *Pool { return &Pool{entries: map[string]*poolEntry{}} }

// loans are what one snapshot borrowed.
type loans struct {
	pool *Pool
	held map[string]*poolEntry
}

// borrow returns the resource under key, making it if there is none. It
// starts nothing.
func borrow[T Resource](l *loans, key string, build func() T) T {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	e := l.pool.entries[key]
	if e == nil {
		e = &poolEntry{resource: build()}
		l.pool.entries[key] = e
	}
	if l.held[key] == nil {
		l.held[key] = e
		e.loans++
	}
	return e.resource.(T)
}

// giveBack ends one loan and reports whether it was the last: the caller then
// closes the resource, once it has unlocked the pool.
func (p *Pool) giveBack(key string, e *poolEntry) (last bool) {
	if e.loans--; e.loans > 0 {
		return false
	}
	delete(p.entries, key)
	return true
}

// Loan is a stream's hold on one resource, after it gave its snapshot back.
// The zero Loan holds nothing.
type Loan struct {
	pool  *Pool
	key   string
	entry *poolEntry
}

// lend gives a stream a loan of its own on what l holds under key.
func (l *loans) lend(key string) Loan {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	e := l.held[key]
	if e == nil {
		return Loan{}
	}
	e.loans++
	return Loan{l.pool, key, e}
}

// End gives the loan back; it is called once. The last one closes the
// resource.
func (l Loan) End() {
	if l.entry == nil {
		return
	}
	l.pool.mu.Lock()
	last := l.pool.giveBack(l.key, l.entry)
	l.pool.mu.Unlock()
	if last {
		l.entry.resource.Close()
	}
}

// start starts what was borrowed and does not run yet.
func (l *loans) start() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	for _, e := range l.held {
		if !e.started {
			e.started = true
			e.resource.Start()
		}
	}
}

// release gives everything back and closes what nobody else holds.
func (l *loans) release() {
	var last []Resource
	l.pool.mu.Lock()
	for key, e := range l.held {
		if l.pool.giveBack(key, e) {
			last = append(last, e.resource)
		}
	}
	clear(l.held)
	l.pool.mu.Unlock()
	for _, r := range last { // outside the lock: Close waits for goroutines
		r.Close()
	}
}
