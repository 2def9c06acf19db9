package authserver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/authserver"
	guesses "github.com/warder-gateway/warder/internal/guessing"
)

// guessing sets up a server and a way to try a secret from an address.
func guessing(t *testing.T) (*clock, func(id, secret, address string) int) {
	t.Helper()
	cfg := config(t)
	c := newClock()
	cfg.Now = c.Now
	s := newServer(t, cfg)
	return c, func(id, secret, address string) int {
		return serve(s, tokenRequest(good, basic(id, secret), from(address))).Code
	}
}

func wrong(t *testing.T, try func(id, secret, address string) int, n int, address string) {
	t.Helper()
	for range n {
		if code := try("demo", "wrong", address); code != http.StatusUnauthorized {
			t.Fatalf("a wrong secret is answered with %d", code)
		}
	}
}

func TestGuessingIsSlowedDownPerClientAndNetwork(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		guesser, other string
		id, secret     string
		slowed         bool
	}{
		"the same address":              {"192.0.2.1:1", "192.0.2.1:1", "demo", secret, true},
		"the same address, other port":  {"192.0.2.1:1", "192.0.2.1:9", "demo", secret, true},
		"the same address, mapped":      {"192.0.2.1:1", "[::ffff:192.0.2.1]:1", "demo", secret, true},
		"the same /64":                  {"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", "demo", secret, true},
		"another address":               {"192.0.2.1:1", "192.0.2.2:1", "demo", secret, false},
		"another /64":                   {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", "demo", secret, false},
		"another client, same address":  {"192.0.2.1:1", "192.0.2.1:1", "plain", otherSecret, false},
		"addresses that cannot be read": {"", "@", "demo", secret, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, try := guessing(t)
			wrong(t, try, 6, c.guesser)
			if slowed := try(c.id, c.secret, c.other) == http.StatusUnauthorized; slowed != c.slowed {
				t.Errorf("slowed %t, want %t", slowed, c.slowed)
			}
		})
	}
}

func TestGuessingCostsNothingWithinTheFreeGuesses(t *testing.T) {
	t.Parallel()
	_, try := guessing(t)
	for range 4 {
		wrong(t, try, 5, "192.0.2.1:1")
		if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusOK {
			t.Fatalf("status %d after five wrong guesses, want 200", code)
		}
	}
}

func TestARightSecretIsAcceptedAgainWhenTheWaitIsOver(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	wrong(t, try, 6, "192.0.2.1:1")
	now.Advance(999 * time.Millisecond)
	wrong(t, try, 50, "192.0.2.1:1") // does not make the wait longer
	if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusUnauthorized {
		t.Errorf("status %d within the wait, want 401", code)
	}
	now.Advance(time.Millisecond)
	if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusOK {
		t.Errorf("status %d after the wait, want 200", code)
	}
	wrong(t, try, 5, "192.0.2.1:1")
	if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusOK {
		t.Errorf("status %d: a right secret does not clear what was before it", code)
	}
}

func TestWrongGuessesAreForgottenAfterAnHour(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	wrong(t, try, 6, "192.0.2.1:1")
	now.Advance(time.Hour)
	wrong(t, try, 5, "192.0.2.1:1")
	if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusOK {
		t.Errorf("status %d, want 200", code)
	}
}

func TestRequestsWithoutASecretAreNotGuesses(t *testing.T) {
	t.Parallel()
	_, try := guessing(t)
	for range 10 {
		if code := try("demo", "", "192.0.2.1:1"); code != http.StatusUnauthorized {
			t.Fatalf("an empty secret is answered with %d", code)
		}
	}
	if code := try("demo", secret, "192.0.2.1:1"); code != http.StatusOK {
		t.Errorf("status %d, want 200", code)
	}
}

// However many ask at once, within the wait no secret is tried.
func TestABurstOfGuessesIsSlowedDownToo(t *testing.T) {
	t.Parallel()
	_, try := guessing(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { try("demo", "wrong", "192.0.2.1:1") })
	}
	wg.Wait()
	var granted atomic.Int32
	for range 64 {
		wg.Go(func() {
			if try("demo", secret, "192.0.2.1:1") == http.StatusOK {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if n := granted.Load(); n != 0 {
		t.Errorf("%d tokens were issued within the wait", n)
	}
}

// Unknown client, wrong secret, slowed-down right secret: nobody can tell
// which it was.
func TestUnknownWrongAndSlowedAreAnsweredByteForByteAlike(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	ask := func(s *authserver.Server, id, secret string) string {
		w := serve(s, tokenRequest(good, basic(id, secret)))
		return mustJSON(t, []any{w.Code, w.Header(), w.Body.String()})
	}
	first := ask(s, "demo", "wrong")
	for range 10 {
		for name, got := range map[string]string{
			"unknown client": ask(s, "nobody", secret),
			"wrong secret":   ask(s, "demo", "wrong"),
		} {
			if got != first {
				t.Fatalf("%s: %s\nwant %s", name, got, first)
			}
		}
	}
	if got := ask(s, "demo", secret); got != first {
		t.Errorf("slowed down: %s\nwant %s", got, first)
	}
}

// address returns one of 2^24 addresses, each a network of its own: of IPv4 or
// of IPv6 in turn.
func address(i int) string {
	if i%2 == 0 {
		return fmt.Sprintf("10.%d.%d.%d:1", byte(i>>16), byte(i>>8), byte(i))
	}
	return fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>16, i&0xFFFF)
}

const known, unknown = "198.51.100.7:1", "203.0.113.1:1"

func TestGuessingFromManyNetworksIsSlowedDownPerClient(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		networks, each int
		apart          time.Duration // between the rounds
		slowed         bool
	}{
		"200 networks, five guesses each":      {200, 5, 0, true},
		"one guess too many":                   {101, 1, 0, true},
		"as many guesses as are free":          {100, 1, 0, false},
		"many guesses from ten networks":       {10, 11, 6 * time.Minute, true},
		"many guesses from nine networks":      {9, 20, 6 * time.Minute, false},
		"a few guesses a day, for a long time": {11, 20, 25 * time.Hour, false},
		"a few guesses every two hours":        {11, 20, 2 * time.Hour, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now, try := guessing(t)
			for round := range c.each {
				if round > 0 {
					now.Advance(c.apart)
				}
				for i := range c.networks {
					wrong(t, try, 1, address(i))
				}
			}
			if slowed := try("demo", secret, unknown) == http.StatusUnauthorized; slowed != c.slowed {
				t.Errorf("slowed %t, want %t", slowed, c.slowed)
			}
			if code := try("plain", otherSecret, unknown); code != http.StatusOK {
				t.Errorf("status %d for another client, want 200", code)
			}
		})
	}
}

func TestNetworksThatGuessedAreForgottenWithTheirGuesses(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	for i := range 300 {
		wrong(t, try, 1, address(i))
	}
	now.Advance(24 * time.Hour)
	for range 20 {
		now.Advance(6 * time.Minute)
		for i := range 9 {
			wrong(t, try, 1, address(i))
		}
	}
	if code := try("demo", secret, unknown); code != http.StatusOK {
		t.Errorf("status %d after guesses from nine networks, want 200", code)
	}
}

func TestTheWaitOfAllNetworksEnds(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	for i := range 101 {
		wrong(t, try, 1, address(i))
	}
	now.Advance(999 * time.Millisecond)
	for i := range 50 { // does not make the wait longer
		wrong(t, try, 1, address(200+i))
	}
	if code := try("demo", secret, unknown); code != http.StatusUnauthorized {
		t.Errorf("status %d within the wait, want 401", code)
	}
	now.Advance(time.Millisecond)
	if code := try("demo", secret, unknown); code != http.StatusOK {
		t.Errorf("status %d after the wait, want 200", code)
	}
	wrong(t, try, 1, address(300))
	if code := try("demo", secret, "203.0.113.2:1"); code != http.StatusUnauthorized {
		t.Errorf("status %d: one right secret clears the wrong ones of everybody", code)
	}
}

// The neighbour rule: who guesses from elsewhere costs a client nothing where
// it is known.
func TestAThousandAttackersDoNotDisturbAClientWhereItIsKnown(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	if code := try("demo", secret, known); code != http.StatusOK {
		t.Fatalf("status %d, want 200", code)
	}
	for round := range 10 {
		for i := range 1000 {
			wrong(t, try, 1, address(i))
			if i%10 == 0 {
				if code := try("demo", secret, known); code != http.StatusOK {
					t.Fatalf("round %d, attacker %d: the client gets %d where it is known", round, i, code)
				}
			}
		}
		if code := try("demo", secret, unknown); code != http.StatusUnauthorized {
			t.Fatalf("round %d: a network that is not known gets %d", round, code)
		}
		now.Advance(17 * time.Second)
	}
}

func TestAKnownNetworkIsStillSlowedDownForItsOwnGuesses(t *testing.T) {
	t.Parallel()
	_, try := guessing(t)
	try("demo", secret, known)
	wrong(t, try, 6, known)
	if code := try("demo", secret, known); code != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", code)
	}
}

// After a client's secret is changed, the places that still use the old one do
// not lock it out elsewhere.
func TestWrongSecretsOfKnownNetworksDoNotCountAgainstOthers(t *testing.T) {
	t.Parallel()
	now, try := guessing(t)
	for i := range 20 {
		try("demo", secret, address(i))
	}
	for range 20 {
		now.Advance(6 * time.Minute)
		for i := range 20 {
			wrong(t, try, 1, address(i))
		}
	}
	if code := try("demo", secret, unknown); code != http.StatusOK {
		t.Errorf("status %d, want 200", code)
	}
}

func TestGuessesOutliveAChangeOfTheConfiguration(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Guesses = guesses.NewGuesses()
	try := func(s *authserver.Server, id, secret, address string) int {
		return serve(s, tokenRequest(good, basic(id, secret), from(address))).Code
	}
	before := newServer(t, cfg)
	try(before, "demo", secret, known)
	for i := range 200 {
		try(before, "demo", "wrong", address(i))
		try(before, "new", "wrong", address(i))
	}

	changed := cfg.Clients["plain"]
	cfg.Clients = map[string]authserver.Client{"demo": cfg.Clients["demo"], "new": changed}
	after := newServer(t, cfg)
	if code := try(after, "demo", secret, unknown); code != http.StatusUnauthorized {
		t.Errorf("status %d: wrong guesses are forgotten", code)
	}
	if code := try(after, "demo", secret, known); code != http.StatusOK {
		t.Errorf("status %d: where the client is known is forgotten", code)
	}
	// Guesses at a name that nobody had are not held against who gets it.
	if code := try(after, "new", otherSecret, unknown); code != http.StatusOK {
		t.Errorf("status %d for a new client, want 200", code)
	}
}

func TestSlowedDownFromManyNetworksAnswersByteForByteAlike(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	ask := func(id, secret, address string) string {
		w := serve(s, tokenRequest(good, basic(id, secret), from(address)))
		return mustJSON(t, []any{w.Code, w.Header(), w.Body.String()})
	}
	first := ask("demo", "wrong", address(0))
	for i := range 300 {
		for name, got := range map[string]string{
			"unknown client": ask("nobody", "wrong", address(i)),
			"wrong secret":   ask("demo", "wrong", address(i)),
		} {
			if got != first {
				t.Fatalf("%s, guess %d: %s\nwant %s", name, i, got, first)
			}
		}
	}
	if got := ask("demo", secret, unknown); got != first {
		t.Errorf("slowed down: %s\nwant %s", got, first)
	}
}

// The log tells of clients that are guessed at: not of names that somebody
// made up, and not once per guess.
func TestSlowingDownIsLoggedOfClientsOnly(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := config(t)
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := newServer(t, cfg)
	for i := range 1000 {
		serve(s, tokenRequest(good, basic("demo", "canary"), from(address(i))))
		serve(s, tokenRequest(good, basic("canary", "canary"), from(address(i))))
	}
	if n := strings.Count(log.String(), "many networks"); n != 1 || strings.Contains(log.String(), "canary") {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}
