package guessing

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// network returns one of 2^24 networks.
func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

var home = netip.MustParsePrefix("192.0.2.1/32")

// bounds reports what is remembered beyond what is promised.
func (g *Guesses) bounds(t interface{ Fatalf(string, ...any) }) {
	for _, m := range []*memory{&g.clients, &g.strangers} {
		if len(m.guessers) > maxGuessers || len(m.accounts) > maxAccounts {
			t.Fatalf("%d guessers and %d accounts are remembered, want at most %d and %d", len(m.guessers), len(m.accounts), maxGuessers, maxAccounts)
		}
		for id, a := range m.accounts {
			if len(id) > maxGuessedID || len(a.networks) > spreadNetworks || len(a.familiar) > maxFamiliar {
				t.Fatalf("of an account, %d bytes of its name, %d and %d networks are remembered", len(id), len(a.networks), len(a.familiar))
			}
		}
		for who := range m.guessers {
			if len(who.client) > maxGuessedID {
				t.Fatalf("of a guesser, %d bytes of the name are remembered", len(who.client))
			}
		}
	}
}

// attack has so many networks guess wrong once each, at one time.
func attack(g *Guesses, client string, known bool, guesses int, now time.Time) {
	for i := range guesses {
		g.Judge(client, known, network(i), now, false)
	}
}

func TestMadeUpNamesPushNobodyOut(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	for range freeGuesses + 3 {
		g.Judge("victim", true, home, noon, false)
	}
	attack(g, "other", true, 2*freeSpread, noon)
	for i := range maxAccounts + 3*maxGuessers {
		g.Judge(fmt.Sprint("made up ", i), false, network(i), noon, false)
	}
	g.bounds(t)
	if g.Judge("victim", true, home, noon, true).Proved {
		t.Error("made-up names made the server forget which network was being slowed down")
	}
	if g.Judge("other", true, home, noon, true).Proved {
		t.Error("made-up names made the server forget which client was being slowed down")
	}
}

func TestNetworksThatGuessOncePushNobodyOut(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	for range freeGuesses + 3 {
		g.Judge("victim", true, home, noon, false)
	}
	for i := range 3 * maxGuessers {
		g.Judge(fmt.Sprint("client ", i%100), true, network(i), noon, false)
	}
	g.bounds(t)
	if g.Judge("victim", true, home, noon, true).Proved {
		t.Error("networks that guessed once made the server forget one that was being slowed down")
	}
}

func TestMoreClientsThanAreRememberedAreBounded(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	for i := range maxAccounts + 100 {
		if !g.Judge(fmt.Sprint("client ", i), true, home, noon, true).Proved {
			t.Fatal("a right secret is refused")
		}
	}
	g.bounds(t)
}

func TestALongNameIsNotKeptWhole(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	g.Judge(string(make([]byte, 16<<10)), false, netip.Prefix{}, noon, false)
	g.bounds(t)
}

func TestOfManyFamiliarNetworksTheLatestAreKept(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	now := noon
	for i := range 3 * maxFamiliar {
		g.Judge("demo", true, network(i), now, true)
		g.Judge("demo", true, home, now, true) // comes back all the time
		now = now.Add(time.Second)
	}
	g.bounds(t)
	for i := range 2 * freeSpread {
		g.Judge("demo", true, network(1000+i), now, false)
	}
	for name, c := range map[string]struct {
		from   netip.Prefix
		proved bool
	}{
		"the busiest": {home, true}, "the latest": {network(3*maxFamiliar - 1), true}, "the first": {network(0), false}, "a new one": {network(9999), false},
	} {
		if got := g.Judge("demo", true, c.from, now, true).Proved; got != c.proved {
			t.Errorf("%s: proved %t, want %t", name, got, c.proved)
		}
	}
}

func TestDelayDoublesUpToItsBound(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for over := -10; over < 2000; over++ {
		d := delay(over)
		switch {
		case over <= 0 && d != 0:
			t.Fatalf("%d over what is free the wait is %s, want none", over, d)
		case d < last || d > longestDelay:
			t.Fatalf("%d over what is free the wait is %s, before it was %s", over, d, last)
		}
		last = d
	}
	if delay(1) != time.Second || delay(3) != 4*time.Second || last != longestDelay {
		t.Errorf("waits %s, %s, %s", delay(1), delay(3), last)
	}
}

// Whatever happens in whatever order: memory stays bounded; a client proves
// itself from a network that did so before and never guesses wrong; a name
// that is not known proves nothing; and networks that never proved a client
// try so many secrets in a day and no more, however many networks they are.
func TestPropertiesOfGuesses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := NewGuesses()
		now := noon
		if !g.Judge("demo", true, home, now, true).Proved {
			t.Fatal("a right secret is refused")
		}
		// Enough networks that the bound does not rest on their own waits.
		attack(g, "demo", true, spreadNetworks, now)
		tried := []time.Time{}
		for range spreadNetworks {
			tried = append(tried, now)
		}
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"guess": func(t *rapid.T) {
				n := rapid.IntRange(1, 300).Draw(t, "guesses")
				networks := rapid.IntRange(1, 300).Draw(t, "networks")
				for i := range n {
					before := g.clients.accounts["demo"].spread.wrong
					g.Judge("demo", true, network(next+i%networks), now, false)
					if after := g.clients.accounts["demo"].spread.wrong; after != before {
						tried = append(tried, now)
					}
				}
				next += n
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(1, int64(30*time.Hour)).Draw(t, "wait")))
			},
			"wait a moment": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second)
			},
			"make names up": func(t *rapid.T) {
				for i := range rapid.IntRange(1, 50).Draw(t, "names") {
					if g.Judge(fmt.Sprint(rapid.String().Draw(t, "name"), i), false, home, now, true).Proved {
						t.Fatal("a name that is not known was proved")
					}
				}
			},
			"": func(t *rapid.T) {
				g.bounds(t)
				if !g.Judge("demo", true, home, now, true).Proved {
					t.Fatal("a client is slowed down where it proved itself before")
				}
				// Free ones, the nine waits on the way to the longest, and one for
				// each longest; twice the free ones when the day before is forgotten.
				const most = 2*(freeSpread+10) + int(forgetSpreadAfter/longestDelay)
				day := 0
				for _, at := range tried {
					if now.Sub(at) < forgetSpreadAfter {
						day++
					}
				}
				if day > most {
					t.Fatalf("%d secrets were tried in a day, want at most %d", day, most)
				}
			},
		})
	})
}

// A guess that costs no wait is held against nobody, whatever order they are
// judged in: hashes take their time.
func TestWhoBeganBeforeAFreeGuessIsNotHeldUpByIt(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	g.Judge("demo", true, network(1), noon.Add(time.Second), false)
	if !g.Judge("demo", true, home, noon, true).Proved || !g.Judge("demo", true, network(1), noon, true).Proved {
		t.Error("a right secret is refused")
	}
}

// The neighbour rule, with everybody at once.
func TestAttackersDoNotDisturbAClientWhereItIsKnown(t *testing.T) {
	t.Parallel()
	g := NewGuesses()
	g.Judge("demo", true, home, noon, true)
	var clock atomic.Int64 // seconds after noon
	var all sync.WaitGroup
	for attacker := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(attacker)))
			for range 5000 {
				known := r.IntN(4) > 0
				client := "demo"
				if !known {
					client = fmt.Sprint("made up ", r.IntN(100))
				}
				g.Judge(client, known, network(r.IntN(1000)), noon.Add(time.Duration(clock.Load())*time.Second), false)
			}
		})
	}
	all.Go(func() {
		for range 5000 {
			if now := noon.Add(time.Duration(clock.Add(1)) * time.Second); !g.Judge("demo", true, home, now, true).Proved {
				t.Error("the client was slowed down where it proved itself before")
				return
			}
		}
	})
	all.Wait()
	g.bounds(t)
}
