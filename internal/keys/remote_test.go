package keys_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// idp is an issuer that answers from memory, so that time can be made.
type idp struct {
	mu      sync.Mutex
	body    string
	headers http.Header
	down    bool
	slow    time.Duration
	asked   atomic.Int64
	times   []time.Time
}

func (p *idp) RoundTrip(req *http.Request) (*http.Response, error) {
	p.asked.Add(1)
	p.mu.Lock()
	body, headers, down, slow := p.body, p.headers, p.down, p.slow
	p.times = append(p.times, time.Now())
	p.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	if headers == nil {
		headers = http.Header{}
	}
	return &http.Response{StatusCode: 200, Header: headers, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

func (p *idp) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *idp) start(t *testing.T, stale time.Duration) *keys.Remote {
	t.Helper()
	r := keys.NewRemote(keys.RemoteConfig{Issuer: "https://idp.example", JWKSURI: "https://idp.example/jwks", MaxStale: stale})
	r.SetTransport(p)
	r.Start()
	t.Cleanup(r.Close)
	return r
}

var bg = context.Background()

func code(_ *keys.Key, err error) fault.Code {
	if err == nil {
		return fault.None
	}
	return fault.Of(err)
}

func TestAKeyGoneFromAGoodAnswerDiesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := jwk(t, "a", edKey(), nil), jwk(t, "b", edKey(), nil)
		p := &idp{body: set(a, b)}
		r := p.start(t, 0)
		synctest.Wait()
		ka, err := r.Find(bg, "a", "EdDSA", false)
		if err != nil {
			t.Fatal(err)
		}
		kb, _ := r.Find(bg, "b", "EdDSA", false)
		p.change(func() { p.body = set(a) })
		time.Sleep(7 * time.Minute)
		synctest.Wait()
		if !ka.Alive() || kb.Alive() {
			t.Error("the key that stayed lives, the other is dead")
		}
		if again, _ := r.Find(bg, "a", "EdDSA", false); again != ka {
			t.Error("the key that stayed is another one: its verdicts are lost")
		}
		if c := code(r.Find(bg, "b", "EdDSA", false)); c != fault.TokenKeyUnknown {
			t.Error(c)
		}
	})
}

func TestKeysAreRefreshedByMaxAge(t *testing.T) {
	for _, c := range []struct {
		header   string
		min, max time.Duration
	}{
		{"", 4 * time.Minute, 6 * time.Minute},
		{"public, max-age=600", 8 * time.Minute, 12 * time.Minute},
		{"max-age=1", time.Minute, time.Minute},
		{"max-age=0, no-store", time.Minute, time.Minute},
		{"MAX-AGE=86400", time.Hour, time.Hour},
		{"max-age=999999999999999999999", 4 * time.Minute, 6 * time.Minute},
		{"max-age=-5", 4 * time.Minute, 6 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &idp{body: set(), headers: http.Header{"Cache-Control": {c.header}}}
			p.start(t, 0)
			time.Sleep(5 * time.Hour)
			synctest.Wait()
			p.change(func() {
				for i := 1; i < len(p.times); i++ {
					if d := p.times[i].Sub(p.times[i-1]); d < c.min || d > c.max {
						t.Errorf("%q: asked again after %v", c.header, d)
						break
					}
				}
				if len(p.times) < 3 {
					t.Errorf("%q: asked %d times", c.header, len(p.times))
				}
			})
		})
	}
}

func TestAnOutageKeepsTheLastGoodKeysUntilTheyAreStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, time.Hour)
		synctest.Wait()
		k, _ := r.Find(bg, "a", "EdDSA", false)
		loaded := r.Status().Loaded
		for i, body := range []string{"<html>", `{"keys":[],"keys":[]}`, ""} {
			p.change(func() { p.body, p.down = body, i == 2 })
			time.Sleep(15 * time.Minute)
			if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.None {
				t.Errorf("%q: %v", body, c)
			}
		}
		if s := r.Status(); s.Err == nil || !s.Loaded.Equal(loaded) && s.Keys != 1 {
			t.Errorf("%+v", s)
		}
		if c := code(r.Find(bg, "z", "EdDSA", true)); c != fault.IdentityUnavailable {
			t.Errorf("an unknown key in an outage: %v", c)
		}
		time.Sleep(time.Until(r.Status().Loaded.Add(time.Hour)) - time.Millisecond)
		synctest.Wait()
		if !k.Alive() {
			t.Error("stale too early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if k.Alive() {
			t.Error("a stale key lives, and its verdicts")
		}
		if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.KeysStale {
			t.Error(c)
		}
		p.change(func() { p.down, p.body = false, set(jwk(t, "n", edKey(), nil)) })
		time.Sleep(40 * time.Second)
		if c := code(r.Find(bg, "n", "EdDSA", false)); c != fault.None {
			t.Errorf("after the outage: %v", c)
		}
	})
}

func TestKeysGetStaleAsLongAfterTheLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, 10*time.Minute)
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		k, err := r.Find(bg, "a", "EdDSA", false)
		if err != nil {
			t.Fatal(err)
		}
		p.change(func() { p.down = true })
		time.Sleep(time.Until(r.Status().Loaded.Add(10*time.Minute)) - time.Millisecond)
		synctest.Wait()
		if !k.Alive() {
			t.Error("stale too early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if k.Alive() {
			t.Error("a stale key lives")
		}
	})
}

func TestKeysGetStaleOnTimeEvenWhileAFetchHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, 90*time.Second)
		synctest.Wait()
		k, _ := r.Find(bg, "a", "EdDSA", false)
		p.change(func() { p.slow = time.Hour })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if k.Alive() {
			t.Error("a stale key lives")
		}
	})
}

func TestKeysThatWereNeverLoadedAreAnOutageOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{down: true}
		r := p.start(t, 0)
		synctest.Wait()
		start := time.Now()
		if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.IdentityUnavailable {
			t.Error(c)
		}
		if time.Since(start) != 0 {
			t.Error("a request waited for an issuer that is known to be down")
		}
		// Retries begin soon and slow down.
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		p.change(func() {
			if n := len(p.times); n < 10 || n > 25 {
				t.Errorf("tried %d times in 5 minutes", n)
			}
			if d := p.times[2].Sub(p.times[1]); d > 3*time.Second {
				t.Errorf("the first retry came after %v", d)
			}
			p.down, p.body = false, set(jwk(t, "a", edKey(), nil))
		})
		time.Sleep(36 * time.Second)
		if c := code(r.Find(bg, "a", "EdDSA", false)); c != fault.None {
			t.Errorf("after the outage: %v", c)
		}
	})
}

func TestARequestBringsBackAnIssuerThatWasDownAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{down: true}
		r := p.start(t, 0)
		time.Sleep(2 * time.Minute)
		p.change(func() { p.down, p.body = false, set(jwk(t, "a", edKey(), nil)) })
		r.Find(bg, "a", "EdDSA", true)
		synctest.Wait()
		if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.None {
			t.Error(c)
		}
	})
}

func TestTheFirstRequestsWaitForTheFirstFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil)), slow: 300 * time.Millisecond}
		r := p.start(t, 0)
		if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.None {
			t.Error(c)
		}
	})
}

// A request that saw no answer a moment before the first good one came is not
// told that the keys are stale.
func TestARequestThatMeetsTheFirstGoodAnswerFindsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil)), slow: time.Second}
		r := p.start(t, time.Hour)
		synctest.Wait()
		if found, err := r.LookAgain(); found || code(nil, err) != fault.IdentityUnavailable {
			t.Errorf("before the first answer: %v, %v", found, err)
		}
		time.Sleep(2 * time.Second)
		if found, err := r.LookAgain(); !found || err != nil {
			t.Errorf("after the first answer: %v, %v", found, err)
		}
		p.change(func() { p.down = true })
		time.Sleep(2 * time.Hour)
		if found, err := r.LookAgain(); found || code(nil, err) != fault.KeysStale {
			t.Errorf("long after the last answer: %v, %v", found, err)
		}
	})
}

func TestExplainingNeverFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, 0)
		synctest.Wait()
		for range 100 {
			if c := code(r.Find(bg, "z", "EdDSA", false)); c != fault.TokenKeyUnknown {
				t.Fatal(c)
			}
		}
		synctest.Wait()
		if n := p.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A thousand random key names a second cost the issuer a fetch a second, and a
// good token with a key that was rotated in a moment ago still gets through.
func TestAStormOfRandomKeyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := jwk(t, "a", edKey(), nil)
		p := &idp{body: set(a), slow: 50 * time.Millisecond}
		r := p.start(t, 0)
		time.Sleep(time.Second)

		const seconds = 12
		var wg sync.WaitGroup
		var wrong atomic.Int64
		for i := range seconds * 200 {
			wg.Go(func() {
				time.Sleep(time.Duration(i/200)*time.Second + time.Duration(i%200)*5*time.Millisecond)
				for j := range 5 {
					wg.Go(func() {
						start := time.Now()
						c := code(r.Find(bg, fmt.Sprintf("random-%d-%d", i, j), "EdDSA", true))
						if c != fault.TokenKeyUnknown || time.Since(start) > 2*time.Second {
							wrong.Add(1)
						}
					})
				}
			})
		}
		for n := range seconds {
			time.Sleep(700 * time.Millisecond)
			fresh := fmt.Sprintf("fresh-%d", n)
			p.change(func() { p.body = set(a, jwk(t, fresh, edKey(), nil)) })
			start := time.Now()
			if c := code(r.Find(bg, fresh, "EdDSA", true)); c != fault.None {
				t.Errorf("a good token with a fresh key: %v after %v", c, time.Since(start))
			}
			if c := code(r.Find(bg, "a", "EdDSA", true)); c != fault.None {
				t.Errorf("a good token with an old key: %v", c)
			}
		}
		wg.Wait()
		if n := wrong.Load(); n != 0 {
			t.Errorf("%d of the random ones were not refused as unknown in time", n)
		}
		if n := p.asked.Load(); n > 5+seconds+5 {
			t.Errorf("the issuer was asked %d times in %d seconds", n, seconds)
		}
		if s := r.Status(); s.Waiting != 0 || s.Fetches != uint64(p.asked.Load()) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, 0)
		synctest.Wait()
		p.change(func() { p.slow = 4 * time.Second })
		start := time.Now()
		var wg sync.WaitGroup
		var late, room atomic.Int64
		for i := range 4096 + 100 {
			wg.Go(func() {
				if c := code(r.Find(bg, fmt.Sprint(i), "EdDSA", true)); c != fault.IdentityUnavailable {
					t.Errorf("%v", c)
				}
				switch time.Since(start) {
				case 0:
					room.Add(1)
				case 2 * time.Second:
					late.Add(1)
				}
			})
		}
		wg.Wait()
		if late.Load() != 4096 || room.Load() != 100 {
			t.Errorf("%d waited for two seconds, %d found no room", late.Load(), room.Load())
		}
		// Who gives up earlier gives its place back.
		ctx, cancel := context.WithCancel(bg)
		cancel()
		if c := code(r.Find(ctx, "gone", "EdDSA", true)); c != fault.IdentityUnavailable {
			t.Error(c)
		}
		if s := r.Status(); s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAFetchThatBeganBeforeTheRequestDoesNotAnswerIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := jwk(t, "a", edKey(), nil)
		p := &idp{body: set(a)}
		r := p.start(t, 0)
		synctest.Wait()
		p.change(func() { p.slow = time.Second })
		go r.Find(bg, "x", "EdDSA", true)
		time.Sleep(500 * time.Millisecond) // its fetch is on its way, with the old keys
		p.change(func() { p.body, p.slow = set(a, jwk(t, "b", edKey(), nil)), 0 })
		if c := code(r.Find(bg, "b", "EdDSA", true)); c != fault.None {
			t.Error(c)
		}
		time.Sleep(3 * time.Second)
	})
}

func TestAKeyOfTheRightNameAndAnotherTypeCausesNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil), jwk(t, "", ecKey(elliptic.P256()).Public(), nil), jwk(t, "e", ecKey(elliptic.P256()).Public(), nil))}
		r := p.start(t, 0)
		synctest.Wait()
		if c := code(r.Find(bg, "a", "ES256", true)); c != fault.TokenKeyUnknown {
			t.Error(c)
		}
		if c := code(r.Find(bg, "", "ES256", true)); c != fault.TokenKeyUnknown {
			t.Errorf("two keys fit a token without kid: %v", c)
		}
		if c := code(r.Find(bg, "", "EdDSA", true)); c != fault.None {
			t.Errorf("one key fits a token without kid: %v", c)
		}
		if n := p.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestCloseLetsGoOfWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &idp{body: set(jwk(t, "a", edKey(), nil))}
		r := p.start(t, 0)
		synctest.Wait()
		k, _ := r.Find(bg, "a", "EdDSA", false)
		p.change(func() { p.slow = time.Hour })
		done := make(chan fault.Code)
		go func() { done <- code(r.Find(bg, "x", "EdDSA", true)) }()
		synctest.Wait()
		r.Close()
		if c := <-done; c != fault.IdentityUnavailable {
			t.Error(c)
		}
		if k.Alive() {
			t.Error("a key outlived its set")
		}
	})
}
