package guessing

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Wrong secrets are answered slower and slower: first per account and network
// they come from, and when very many networks guess, per account. Secrets that
// Warder makes have 256 bits and cannot be guessed; this is for secrets that
// somebody thought up. A client here is whoever has the account: a client of
// the authorization server, a consumer with a password.
const (
	firstDelay   = time.Second
	longestDelay = 5 * time.Minute
	maxGuessedID = 128 // bytes of a client id that tell it apart
	samples      = 8   // looked at to choose what is forgotten

	// Of one network that names a client.
	freeGuesses = 5
	forgetAfter = time.Hour // since the last wrong guess that was counted
	maxGuessers = 4096      // remembered at a time

	// Of all networks together that name a client and never proved it. Waiting
	// to be forgotten must not gain more guesses than waiting for the next one.
	freeSpread        = 100
	spreadNetworks    = 10 // fewer are left to the waits of each of them
	forgetSpreadAfter = 24 * time.Hour
	maxAccounts       = 10_000 // remembered at a time
	maxFamiliar       = 64     // networks that proved a client, of each client
)

// Guesses remembers wrong secrets, and from where clients proved themselves.
// It lives in the memory of one process, is bounded whatever is sent, and is
// safe for concurrent use. Servers that follow one another in a process share
// one.
//
// Accounts that exist and names that somebody made up are kept apart,
// so that no made-up name takes a client's place, and in the same way, so that
// neither the answer nor the time it takes tells them apart.
type Guesses struct {
	mu        sync.Mutex
	clients   memory
	strangers memory
	slowing   atomic.Int64 // Unix nanoseconds: before this, some account that exists may be slowed down
}

// memory is what is remembered of names of one kind.
type memory struct {
	guessers map[guesser]tally
	accounts map[string]*account // by client id
}

// guesser is everybody in a network who names a client. Another network that
// names the same client is not slowed down with it, so that nobody can lock a
// client out from elsewhere.
type guesser struct {
	client string
	from   netip.Prefix
}

// account is a client as all networks know it. The zero account is one that
// nobody has named.
type account struct {
	spread   tally                      // of the networks that are not familiar
	networks []netip.Prefix             // the first spreadNetworks of them
	familiar map[netip.Prefix]time.Time // when a network proved the client last
}

// tally counts wrong guesses.
type tally struct {
	wrong int
	last  time.Time // when one was counted last
	until time.Time // no secret is right before this
}

// Verdict is what Guesses says of a secret.
type Verdict struct {
	Proved bool
	Locked bool // nothing was judged: whoever asks must wait
	// How long the network, and every network that is not familiar, must wait
	// because of this guess; else 0.
	Slowed, SlowedAll time.Duration
}

// NewGuesses returns an empty memory.
func NewGuesses() *Guesses { return &Guesses{clients: newMemory(), strangers: newMemory()} }

func newMemory() memory {
	return memory{guessers: make(map[guesser]tally), accounts: make(map[string]*account)}
}

// Judge says whether a secret proves the client. It does if the client is
// known, the secret right, and the guesser is not being slowed down; while he
// is, right and wrong secrets are answered alike and change nothing.
//
// A network that proved the client before is familiar: it is slowed down for
// its own wrong guesses only, and these do not count against others. So a
// client keeps working from where it runs, whoever guesses elsewhere.
func (g *Guesses) Judge(client string, known bool, from netip.Prefix, now time.Time, right bool) Verdict {
	// Cloned, or one short name would keep the whole request it came in.
	who := guesser{strings.Clone(client[:min(len(client), maxGuessedID)]), from}

	g.mu.Lock()
	defer g.mu.Unlock()
	m := &g.strangers
	if known {
		m = &g.clients
	}
	own := m.guessers[who]
	a := m.accounts[who.client]
	if a == nil {
		a = &account{} // remembered below, if anything comes of it
	}
	_, familiar := a.familiar[from]
	switch {
	case now.Before(own.until), !familiar && now.Before(a.spread.until):
		return Verdict{Locked: true}
	case known && right:
		delete(m.guessers, who)
		a.welcome(from, now)
		m.keepAccount(who.client, a, now)
		return Verdict{Proved: true}
	}
	var v Verdict
	v.Slowed = own.count(now, forgetAfter, freeGuesses)
	m.keepGuesser(who, own, now)
	if !familiar {
		v.SlowedAll = a.count(from, now)
		m.keepAccount(who.client, a, now)
	}
	if wait := max(v.Slowed, v.SlowedAll); known && wait > 0 {
		g.slowing.Store(max(g.slowing.Load(), now.Add(wait).UnixNano()))
	}
	return v
}

// slows says whether an account that exists is being slowed down for a
// network. While nobody is, it takes no lock.
func (g *Guesses) slows(client string, from netip.Prefix, now time.Time) bool {
	if now.UnixNano() >= g.slowing.Load() {
		return false
	}
	who := guesser{client[:min(len(client), maxGuessedID)], from}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.clients.guessers[who].until) {
		return true
	}
	a := g.clients.accounts[who.client]
	if a == nil || !now.Before(a.spread.until) {
		return false
	}
	_, familiar := a.familiar[from]
	return !familiar
}

// until returns when an account, or a name that is none, is judged again for a
// network; zero: it is judged now.
func (g *Guesses) until(client string, known bool, from netip.Prefix, now time.Time) time.Time {
	client = client[:min(len(client), maxGuessedID)]
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &g.strangers
	if known {
		m = &g.clients
	}
	until := m.guessers[guesser{client, from}].until
	if a := m.accounts[client]; a != nil {
		if _, familiar := a.familiar[from]; !familiar && a.spread.until.After(until) {
			until = a.spread.until
		}
	}
	if !until.After(now) {
		return time.Time{}
	}
	return until
}

// familiar says whether a network has proved an account before.
func (g *Guesses) familiar(client string, from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.clients.accounts[client[:min(len(client), maxGuessedID)]]
	if a == nil {
		return false
	}
	_, familiar := a.familiar[from]
	return familiar
}

// count counts a wrong guess and returns how long to wait after it. What was
// before is forgotten after a time, and so many guesses are free.
func (t *tally) count(now time.Time, forget time.Duration, free int) time.Duration {
	*t = tally{wrong: t.at(now, forget) + 1, last: now}
	wait := delay(t.wrong - free)
	if wait > 0 { // or who began before and is judged after this one would have to wait
		t.until = now.Add(wait)
	}
	return wait
}

// at returns the number of wrong guesses that are not forgotten.
func (t tally) at(now time.Time, forget time.Duration) int {
	if now.Sub(t.last) >= forget {
		return 0
	}
	return t.wrong
}

// count counts a wrong guess from a network that is not familiar, and returns
// how long all such networks wait after it.
func (a *account) count(from netip.Prefix, now time.Time) time.Duration {
	if a.spread.at(now, forgetSpreadAfter) == 0 {
		a.networks = nil
	}
	if len(a.networks) < spreadNetworks && !slices.Contains(a.networks, from) {
		a.networks = append(a.networks, from)
	}
	free := freeSpread
	if len(a.networks) < spreadNetworks {
		free = math.MaxInt
	}
	return a.spread.count(now, forgetSpreadAfter, free)
}

// welcome makes a network familiar, in place of the one that proved the client
// longest ago if there are too many.
func (a *account) welcome(from netip.Prefix, now time.Time) {
	if a.familiar == nil {
		a.familiar = make(map[netip.Prefix]time.Time, 1)
	}
	if _, again := a.familiar[from]; !again && len(a.familiar) >= maxFamiliar {
		oldest, first := netip.Prefix{}, now
		for network, last := range a.familiar {
			if !last.After(first) {
				oldest, first = network, last
			}
		}
		delete(a.familiar, oldest)
	}
	a.familiar[from] = now
}

func (m *memory) keepGuesser(who guesser, t tally, now time.Time) {
	if _, again := m.guessers[who]; !again && len(m.guessers) >= maxGuessers {
		forgetOne(m.guessers, func(t tally) int { return t.at(now, forgetAfter) })
	}
	m.guessers[who] = t
}

func (m *memory) keepAccount(client string, a *account, now time.Time) {
	if _, again := m.accounts[client]; !again && len(m.accounts) >= maxAccounts {
		forgetOne(m.accounts, func(a *account) int { return a.spread.at(now, forgetSpreadAfter) })
	}
	m.accounts[client] = a
}

// forgetOne makes room: of a few taken at random it drops the one with the
// fewest wrong guesses. Whoever fills the memory with new names, to be
// forgotten himself, loses mostly those names.
func forgetOne[K comparable, V any](from map[K]V, wrong func(V) int) {
	var least K
	fewest, looked := 0, 0
	for k, v := range from { // in random order
		if n := wrong(v); looked == 0 || n < fewest {
			least, fewest = k, n
		}
		if looked++; looked == samples {
			break
		}
	}
	delete(from, least)
}

// delay returns how long to wait after so many wrong guesses more than are
// free.
func delay(over int) time.Duration {
	if over <= 0 {
		return 0
	}
	if over > 9 { // 2^9 s is longer than the longest delay
		return longestDelay
	}
	return min(firstDelay<<(over-1), longestDelay)
}
