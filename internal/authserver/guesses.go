package authserver

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Wrong secrets are answered slower and slower, per client and network they
// come from. Secrets that Warder makes have 256 bits and cannot be guessed;
// this is for secrets that somebody thought up.
const (
	freeGuesses  = 5
	firstDelay   = time.Second
	longestDelay = 5 * time.Minute
	forgetAfter  = time.Hour // since the last wrong guess that was counted
	maxGuessers  = 4096      // remembered at a time
	maxGuessedID = 128       // bytes of a client id that tell it apart
	samples      = 8         // looked at to choose which one is forgotten
)

// guesses remembers wrong secrets. It is bounded, lives in the memory of one
// process, and is safe for concurrent use.
type guesses struct {
	mu   sync.Mutex
	seen map[guesser]guessing
}

// guesser is who is slowed down: everybody in a network who names a client.
// Another network that names the same client is not slowed with it, so that
// nobody can lock a client out from elsewhere.
type guesser struct {
	client string
	from   netip.Prefix
}

type guessing struct {
	wrong int
	last  time.Time // when a wrong guess was counted last
	until time.Time // no secret is right before this
}

func newGuesses() *guesses { return &guesses{seen: make(map[guesser]guessing)} }

// judge says whether a secret proves the client. It does if it is right and
// the guesser is not being slowed down; while he is, right and wrong secrets
// are answered alike and change nothing. slowed is how long he must wait if
// this guess made him wait, else 0.
func (g *guesses) judge(client string, from netip.Prefix, now time.Time, right bool) (proved bool, slowed time.Duration) {
	// Cloned, or one short name would keep the whole request it came in.
	who := guesser{strings.Clone(client[:min(len(client), maxGuessedID)]), from}

	g.mu.Lock()
	defer g.mu.Unlock()
	past, known := g.seen[who]
	switch {
	case known && now.Before(past.until):
		return false, 0
	case right:
		delete(g.seen, who)
		return true, 0
	case known && now.Sub(past.last) >= forgetAfter:
		past = guessing{}
	case !known && len(g.seen) >= maxGuessers:
		g.forgetOne(now)
	}
	past.wrong++
	past.last = now
	slowed = delay(past.wrong)
	past.until = now.Add(slowed)
	g.seen[who] = past
	return false, slowed
}

// delay returns how long a guesser waits after so many wrong guesses.
func delay(wrong int) time.Duration {
	over := wrong - freeGuesses
	if over <= 0 {
		return 0
	}
	if over > 9 { // 2^9 s is longer than the longest delay
		return longestDelay
	}
	return min(firstDelay<<(over-1), longestDelay)
}

// forgetOne makes room: of a few guessers taken at random it drops the one
// that guessed least. Whoever fills the memory with new names, to be forgotten
// himself, loses mostly those names.
func (g *guesses) forgetOne(now time.Time) {
	var least guesser
	fewest, looked := 0, 0
	for who, past := range g.seen { // in random order
		wrong := past.wrong
		if now.Sub(past.last) >= forgetAfter {
			wrong = 0
		}
		if looked == 0 || wrong < fewest {
			least, fewest = who, wrong
		}
		if looked++; looked == samples {
			break
		}
	}
	delete(g.seen, least)
}
