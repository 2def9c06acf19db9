package authserver

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestMemoryOfGuessesIsBounded(t *testing.T) {
	t.Parallel()
	g := newGuesses()
	home := netip.MustParsePrefix("192.0.2.1/32")
	for range freeGuesses + 3 {
		g.judge("victim", home, noon, false)
	}
	for i := range 3 * maxGuessers {
		g.judge(fmt.Sprint("made up ", i), home, noon, false)
		if len(g.seen) > maxGuessers {
			t.Fatalf("%d guessers are remembered, want at most %d", len(g.seen), maxGuessers)
		}
	}
	if proved, _ := g.judge("victim", home, noon, true); proved {
		t.Error("made-up names made the server forget who was being slowed down")
	}
}

func TestALongNameIsNotKeptWhole(t *testing.T) {
	t.Parallel()
	g := newGuesses()
	g.judge(string(make([]byte, 16<<10)), netip.Prefix{}, noon, false)
	for who := range g.seen {
		if len(who.client) > maxGuessedID {
			t.Errorf("%d bytes are kept", len(who.client))
		}
	}
}

func TestDelayDoublesUpToItsBound(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for wrong := range 2000 {
		d := delay(wrong)
		switch {
		case wrong <= freeGuesses && d != 0:
			t.Fatalf("after %d wrong guesses the wait is %s, want none", wrong, d)
		case d < last || d > longestDelay:
			t.Fatalf("after %d wrong guesses the wait is %s, before it was %s", wrong, d, last)
		}
		last = d
	}
	if delay(freeGuesses+1) != time.Second || delay(freeGuesses+3) != 4*time.Second || last != longestDelay {
		t.Errorf("waits %s, %s, %s", delay(freeGuesses+1), delay(freeGuesses+3), last)
	}
}
