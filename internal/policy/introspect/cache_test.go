package introspect_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/introspect"
)

// broken are counters that cannot decide.
type broken struct{}

func (broken) Take(time.Time, []counters.Charge, []counters.State) (int, error) {
	return 0, errors.New("broken")
}

func TestATokenTakenBackDiesWithinTheCacheTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		cache  time.Duration
		exp    time.Duration
		stays  time.Duration // the last moment at which nobody is asked
		leaves time.Duration // the first at which somebody is
	}{
		{"the default", 30 * time.Second, time.Hour, 29 * time.Second, 30 * time.Second},
		{"five seconds", 5 * time.Second, time.Hour, 4 * time.Second, 5 * time.Second},
		{"exp comes first", 30 * time.Second, 7 * time.Second, 6 * time.Second, 7 * time.Second},
		{"nothing is remembered", 0, time.Hour, -1, 0},
	} {
		i := newIssuer(t, false)
		i.says("opaque", answer(t, members{"exp": now.Add(c.exp).Unix()}))
		a := build(t, nil, corp(asker(t, i, func(cfg *keys.IntrospectorConfig) { cfg.Cache = c.cache })))
		w := world()
		if _, code := judge(t, a, w, request("Bearer opaque")); code != fault.None {
			t.Fatalf("%s: %v", c.what, code)
		}
		i.says("opaque", `{"active":false}`)
		if c.stays >= 0 {
			w.Now = now.Add(c.stays)
			if _, code := judge(t, a, w, request("Bearer opaque")); code != fault.None {
				t.Errorf("%s: after %v: %v", c.what, c.stays, code)
			}
		}
		w.Now = now.Add(c.leaves)
		if _, code := judge(t, a, w, request("Bearer opaque")); code != fault.TokenInactive || i.asked.Load() != 2 {
			t.Errorf("%s: after %v: %v, asked %d times", c.what, c.leaves, code, i.asked.Load())
		}
	}
}

func TestABadTokenIsRememberedForTenSecondsAtMost(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	a := build(t, nil, corp(asker(t, i)))
	w := world()
	for _, c := range []struct {
		after time.Duration
		asked int64
	}{{0, 1}, {9 * time.Second, 1}, {10 * time.Second, 2}, {19 * time.Second, 2}} {
		w.Now = now.Add(c.after)
		if _, code := judge(t, a, w, request("Bearer guess")); code != fault.TokenInactive || i.asked.Load() != c.asked {
			t.Errorf("after %v: %v, asked %d times, want %d", c.after, code, i.asked.Load(), c.asked)
		}
	}
}

func TestAnAnswerHoldsOnlyUnderTheRulesItWasReadUnder(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.says("opaque", answer(t))
	in := asker(t, i)
	w := world()
	for _, c := range []struct {
		what   string
		change func(*pipeline.Issuer)
		want   fault.Code
	}{
		{"the rules", func(*pipeline.Issuer) {}, fault.None},
		{"another audience", func(p *pipeline.Issuer) { p.Audience = []string{"x"} }, fault.TokenAudienceWrong},
		{"another iss", func(p *pipeline.Issuer) { p.URL = "https://x/" }, fault.TokenIssuerUnknown},
		{"client ids", func(p *pipeline.Issuer) { p.ClientIDs = []string{"x"} }, fault.TokenAudienceWrong},
		{"the rules again", func(*pipeline.Issuer) {}, fault.None},
	} {
		if _, code := judge(t, build(t, nil, corp(in, c.change)), w, request("Bearer opaque")); code != c.want {
			t.Errorf("%s: %v, want %v", c.what, code, c.want)
		}
	}
	if i.asked.Load() != 4 {
		t.Errorf("asked %d times, want once for each set of rules", i.asked.Load())
	}
	in.Close()
	if _, code := judge(t, build(t, nil, corp(in)), w, request("Bearer opaque")); code != fault.IdentityUnavailable {
		t.Errorf("after it was closed: %v", code)
	}
}

func TestOneTokenIsAskedAboutOnceAtATime(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	hold := make(chan struct{})
	i.does(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		io.WriteString(w, answer(t))
	})
	a := build(t, nil, corp(asker(t, i)))
	var wg sync.WaitGroup
	w := world().Counters
	for range 100 {
		wg.Go(func() {
			if _, code := judge(t, a, &pipeline.World{Now: now, Remote: true, Counters: w}, request("Bearer opaque")); code != fault.None {
				t.Error(code)
			}
		})
	}
	eventually(t, func() bool { return i.asked.Load() == 1 })
	close(hold)
	wg.Wait()
	if i.asked.Load() != 1 {
		t.Errorf("asked %d times", i.asked.Load())
	}
}

func TestSixtyFourCallsAreOnTheirWayAtOnce(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	hold := make(chan struct{})
	i.does(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		io.WriteString(w, answer(t))
	})
	a := build(t, nil, corp(asker(t, i)))
	ask := func(n int) fault.Code {
		x := request(fmt.Sprint("Bearer t", n))
		x.Client = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
		_, code := judge(t, a, world(), x)
		return code
	}
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			if code := ask(n); code != fault.None {
				t.Errorf("call %d: %v", n, code)
			}
		})
	}
	eventually(t, func() bool { return i.asked.Load() == 64 })
	if code := ask(64); code != fault.IdentityUnavailable {
		t.Errorf("the 65th: %v", code)
	}
	close(hold)
	wg.Wait()
	if code := ask(64); code != fault.None {
		t.Errorf("when they are over: %v", code)
	}
}

// Whoever sends tokens about which the issuer takes its time has half of the
// calls at most, and a few once others need them: a steady client of another
// network goes on with tokens that nobody has seen.
func TestANeighbourDoesNotUseUpTheCalls(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	hold := make(chan struct{})
	i.does(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.FormValue("token"), "slow") {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		io.WriteString(w, answer(t))
	})
	a := build(t, nil, corp(asker(t, i)))
	ask := func(from, token string) (*exchange.Exchange, fault.Code) {
		x := request("Bearer " + token)
		x.Client = netip.MustParseAddr(from)
		_, code := judge(t, a, world(), x)
		return x, code
	}
	var wg sync.WaitGroup
	slow := func(from string, n int) {
		for k := range n {
			wg.Go(func() { ask(from, fmt.Sprint("slow-", strings.ReplaceAll(from, ":", "-"), "-", k)) })
		}
	}
	slow("192.0.2.1", 32)
	eventually(t, func() bool { return i.asked.Load() == 32 })
	x, code := ask("192.0.2.1", "one-more")
	if code != fault.RateLimited || x.RetryAfter <= 0 || !strings.Contains(seen(x), "for this network") {
		t.Errorf("the 33rd of one network: %v, retry after %v (%s)", code, x.RetryAfter, seen(x))
	}
	slow("2001:db8::1", 4)
	slow("2001:db8::2", 4)
	eventually(t, func() bool { return i.asked.Load() == 40 })
	if _, code := ask("2001:db8::3", "one-more"); code != fault.RateLimited {
		t.Errorf("the ninth of another: %v", code)
	}
	for n := range 100 {
		if _, code := ask("198.51.100.7", fmt.Sprint("steady-", n)); code != fault.None {
			t.Fatalf("the steady client, token %d: %v", n, code)
		}
	}
	close(hold)
	wg.Wait()
	if _, code := ask("192.0.2.1", "later"); code != fault.None {
		t.Errorf("when they are over: %v", code)
	}
}

func TestWhoeverGivesUpDoesNotSpoilItForOthers(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	hold := make(chan struct{})
	i.does(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		io.WriteString(w, answer(t))
	})
	a := build(t, nil, corp(asker(t, i)))
	first := request("Bearer opaque")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, code := judge(t, a, world(), first); code != fault.IdentityUnavailable {
			t.Errorf("the one that left: %v", code)
		}
	})
	eventually(t, func() bool { return i.asked.Load() == 1 })
	first.Cancel(errors.New("gone"))
	wg.Wait()
	wg.Go(func() {
		if _, code := judge(t, a, world(), request("Bearer opaque")); code != fault.None {
			t.Errorf("the other: %v", code)
		}
	})
	close(hold)
	wg.Wait()
	if i.asked.Load() != 1 {
		t.Errorf("asked %d times", i.asked.Load())
	}
}

func TestFailClosed(t *testing.T) {
	t.Parallel()
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	good := answer(t)
	for what, serve := range map[string]http.HandlerFunc{
		"garbage":                    says(200, "<html>sign in</html>"),
		"nothing":                    says(200, ""),
		"half an answer":             says(200, good[:len(good)/2]),
		"an answer and more":         says(200, good+`{"active":true}`),
		"a list":                     says(200, "["+good+"]"),
		"a member that stands twice": says(200, `{"active":false,"active":true}`),
		"an empty object":            says(200, `{}`),
		"too large":                  says(200, strings.TrimSuffix(good, "}")+`,"pad":"`+strings.Repeat("x", 64<<10)+`"}`),
		"too large behind its end":   says(200, good+strings.Repeat(" ", 64<<10)),
		"our proof is refused":       says(401, `{"error":"invalid_client"}`),
		"a good answer with 500":     says(500, good),
		"a good answer with 201":     says(201, good),
		"too many requests":          says(429, good),
		"a redirect to one": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				io.WriteString(w, good)
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"a connection cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.TrimSuffix(good, "}"))
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<10)); err != nil {
					return
				}
			}
		},
		"endless, and slow": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"active":true`)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, false)
			i.does(serve)
			a := build(t, nil, corp(asker(t, i, func(c *keys.IntrospectorConfig) {
				if strings.Contains(what, "slow") {
					c.Within = 2 * time.Second
				}
			})))
			w := world()
			x := request("Bearer opaque")
			if _, code := judge(t, a, w, x); code != fault.IdentityUnavailable || x.RetryAfter <= 0 {
				t.Errorf("%v, retry after %v (%s)", code, x.RetryAfter, seen(x))
			}
			if strings.Contains(seen(x), "opaque") {
				t.Errorf("the token is told: %s", seen(x))
			}
			i.does(nil)
			i.says("opaque", good)
			if _, code := judge(t, a, w, request("Bearer opaque")); code != fault.None {
				t.Errorf("the outage was remembered: %v", code)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		t.Parallel()
		i := newIssuer(t, false)
		i.Close()
		if _, code := judge(t, build(t, nil, corp(asker(t, i))), world(), request("Bearer opaque")); code != fault.IdentityUnavailable {
			t.Error(code)
		}
	})
	t.Run("wrong certificate", func(t *testing.T) {
		t.Parallel()
		i := newIssuer(t, true)
		i.says("opaque", good)
		x := request("Bearer opaque")
		if _, code := judge(t, build(t, nil, corp(asker(t, i))), world(), x); code != fault.IdentityUnavailable || i.asked.Load() != 0 {
			t.Errorf("%v, and the token was sent %d times", code, i.asked.Load())
		}
		pool := x509.NewCertPool()
		pool.AddCert(i.Certificate())
		if _, code := judge(t, build(t, nil, corp(asker(t, i, func(c *keys.IntrospectorConfig) { c.CAPool = pool }))), world(), request("Bearer opaque")); code != fault.None {
			t.Errorf("with its CA: %v", code)
		}
	})
}

func TestEveryTokenKeepsItsOwnSubject(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	i.does(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, answer(t, members{"sub": "of-" + r.PostFormValue("token")}))
	})
	a := build(t, nil, corp(asker(t, i, func(c *keys.IntrospectorConfig) { c.Cache = 2 * time.Second })))
	shared := counters.NewMemory(1 << 12)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 1250 {
				token := fmt.Sprint("user", (n+g)%3)
				x := request("Bearer " + token)
				x.Client = netip.AddrFrom4([4]byte{10, byte(g), byte(n >> 8), byte(n)})
				id, code := judge(t, a, &pipeline.World{Now: now.Add(time.Duration(n/250) * time.Second), Remote: true, Counters: shared}, x)
				if code != fault.None || id.Subject != "of-"+token {
					t.Errorf("%s: %v %+v", token, code, id)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAKnownTokenCostsNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	i := newIssuer(t, false)
	i.says("opaque", answer(t))
	a := build(t, consumers{"corp/mobile": {Name: "acme"}}, corp(asker(t, i)))
	x, w := request("Bearer opaque"), world()
	judge(t, a, w, x)
	if n := testing.AllocsPerRun(100, func() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := a.Authenticate(x, w); !v.Passed() {
			t.Fatal(v.Code())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKnownToken(b *testing.B) {
	i := newIssuer(b, false)
	token := strings.Repeat("0123456789abcdef", 3)
	i.says(token, answer(b))
	a := build(b, consumers{"corp/mobile": {Name: "acme"}}, corp(asker(b, i)))
	x, w := request("Bearer "+token), world()
	judge(b, a, w, x)
	b.ReportAllocs()
	for b.Loop() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := a.Authenticate(x, w); !v.Passed() {
			b.Fatal(v.Code())
		}
	}
}

func BenchmarkUnknownToken(b *testing.B) {
	i := newIssuer(b, false)
	i.says("opaque", answer(b))
	a := build(b, nil, corp(asker(b, i, func(c *keys.IntrospectorConfig) { c.Cache = 0 })))
	w := &pipeline.World{Now: now, Remote: true, Counters: counters.NewMemory(1 << 12)}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		x := request("Bearer opaque")
		w.Now = now.Add(time.Duration(n) * time.Second / 10)
		x.Client = netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		a.Authenticate(x, w)
	}
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal("it did not come to be")
}

// FuzzAnswer: whatever an issuer says, nobody passes but by an answer that is
// active, for the audience, in time and not bound, and what passes is named.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(answer(f)))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(`{"active":true,"exp":9007199254740992,"aud":["a","orders-api"],"cnf":{"x5t#S256":"a"},"token_type":"dpop"}`))
	f.Add([]byte(`{"active":true,"exp":1,"aud":"orders-api","scope":null,"sub":"\u0000"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 64<<10 {
			return
		}
		active, claims, err := keys.ParseIntrospection(body)
		if err != nil {
			return
		}
		id, v := introspect.Judge(corp(nil), active, claims, request(), world())
		if !v.Passed() {
			return
		}
		aud, _ := claims.Strings("aud")
		text := strings.Join(aud, "\n")
		raw, _ := claims.Get("active")
		exp, _ := claims.Get("exp")
		if !active || raw != "true" || !strings.Contains(text, "orders-api") || exp == "" || id.Consumer == "" {
			t.Fatalf("%s\npasses as %+v", body, id)
		}
		if _, bound := claims.Get("cnf"); bound {
			t.Fatalf("%s\nis bound and passes", body)
		}
	})
}
