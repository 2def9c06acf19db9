package authserver_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/authserver"
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
