package guessing

import (
	"net/netip"
	"sync"
	"time"
)

// A network may fail so often before it is a suspect, and again once for each
// regain that went by.
const (
	freeFailures = 20
	mostFailures = 40 // counted: two hours without a failure, and nothing is left
	regain       = 3 * time.Minute
	maxSuspects  = 16_384 // remembered at a time
)

// suspects remembers from which networks credentials failed, or were asked
// about in vain.
type suspects struct {
	mu       sync.Mutex
	networks map[netip.Prefix]failures
}

// failures is a bucket that leaks.
type failures struct {
	level int
	at    time.Time
}

func newSuspects() *suspects { return &suspects{networks: map[netip.Prefix]failures{}} }

func (f failures) now(now time.Time) failures {
	if gone := int(now.Sub(f.at) / regain); gone > 0 {
		f.level = max(0, f.level-gone)
		f.at = f.at.Add(time.Duration(gone) * regain)
	}
	return f
}

// failed counts a credential that was wrong.
func (s *suspects) failed(from netip.Prefix, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, again := s.networks[from]
	if !again {
		f.at = now
		if len(s.networks) >= maxSuspects {
			// Whoever floods the memory is forgotten first. Who is forgotten is a
			// stranger again: served later than those who are known.
			forgetOne(s.networks, func(f failures) int { return f.now(now).level })
		}
	}
	f = f.now(now)
	f.level = min(f.level+1, mostFailures)
	s.networks[from] = f
}

// failures says how often a network failed of late.
func (s *suspects) failures(from netip.Prefix, now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.networks[from]
	if !ok {
		return 0
	}
	if f = f.now(now); f.level == 0 {
		delete(s.networks, from)
	}
	return f.level
}

// Budget bounds the work for credentials that cannot be guessed and yet cost
// something to refuse: signatures of unknown tokens. Nobody is locked out by
// it: a network whose credentials failed too often has the next ones verified
// two at a time, after those of other such networks.
type Budget struct {
	suspects *suspects
	gate     *Gate
}

// Enter waits until a credential from addr may be verified. leave must follow,
// if ok; it is told whether the credential was wrong. Not ok means that too
// many such networks wait. A nil Budget bounds nothing.
func (b *Budget) Enter(who Waiting, addr netip.Addr, spared Spared, now time.Time) (e Entry, ok bool) {
	if b == nil || spared.Contains(addr) {
		return Entry{}, true
	}
	e = Entry{budget: b, from: Network(addr), now: now}
	failed := b.suspects.failures(e.from, now)
	if failed <= freeFailures {
		return e, true
	}
	e.gated = true
	return e, b.gate.enter(who.Context(), e.from, stranger, failed)
}

// Entry is one credential being verified.
type Entry struct {
	budget *Budget
	from   netip.Prefix
	now    time.Time
	gated  bool
}

// Leave ends it.
func (e Entry) Leave(wrong bool) {
	if e.gated {
		e.budget.gate.leave(e.from)
	}
	if e.budget != nil && wrong {
		e.budget.suspects.failed(e.from, e.now)
	}
}
