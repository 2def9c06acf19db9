package assertion_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// counting counts signatures, and can be away.
type counting struct {
	keys.Signer
	n    atomic.Int64
	away atomic.Bool
	fast bool   // and wrong
	hold func() // called before each signature; nil: nothing is
}

func (c *counting) Sign(ctx context.Context, input []byte) ([]byte, error) {
	if c.away.Load() {
		return nil, keys.ErrUnavailable
	}
	if c.hold != nil {
		c.hold()
	}
	c.n.Add(1)
	if c.fast {
		return make([]byte, 64), nil
	}
	return c.Signer.Sign(ctx, input)
}

func authority(t testing.TB) (*assertion.Authority, *counting) {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{Signer: key}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(c); err != nil {
		t.Fatal(err)
	}
	return a, c
}

func sign(t testing.TB, a *assertion.Authority, content string, until, now time.Time) string {
	t.Helper()
	token, err := a.Sign(&exchange.Exchange{}, []byte(content), until, now)
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

// verify reads a token as a backend does, with libraries that are not ours.
func verify(t testing.TB, a *assertion.Authority, token string, now time.Time) jwt.MapClaims {
	t.Helper()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", assertion.Path, nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	got := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token, got, func(tok *jwt.Token) (any, error) {
		found := set.Key(tok.Header["kid"].(string))
		if len(found) != 1 || found[0].Use != "sig" || !found[0].IsPublic() {
			return nil, fmt.Errorf("%d keys", len(found))
		}
		return found[0].Key, nil
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("warder"), jwt.WithAudience("orders"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["typ"] != "identity+jwt" {
		t.Errorf("typ %v", parsed.Header["typ"])
	}
	return got
}

func TestAnAssertionHoldsForAMinute(t *testing.T) {
	t.Parallel()
	a, _ := authority(t)
	got := verify(t, a, sign(t, a, `"aud":"orders","sub":"alice"`, time.Time{}, noon), noon)
	if got["sub"] != "alice" || got["iat"] != float64(noon.Unix()) || got["exp"] != float64(noon.Unix()+60) {
		t.Error(got)
	}
}

func TestAnAssertionNeverOutlivesItsIdentity(t *testing.T) {
	t.Parallel()
	a, c := authority(t)
	const content = `"aud":"orders","sub":"alice"`
	for _, d := range []time.Duration{90, 61, 60, 59, 31, 5, 1, 0, -20} {
		until := noon.Add(d * time.Second)
		claims := jwt.MapClaims{}
		for range 2 {
			token := sign(t, a, content, until, noon)
			if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
				t.Fatal(err)
			}
			if exp := int64(claims["exp"].(float64)); exp != min(noon.Unix()+60, until.Unix()) {
				t.Errorf("an identity that ends in %ds: exp in %ds", d, exp-noon.Unix())
			}
		}
	}
	// 90 and 61 share one, and each of the others has one of its own.
	if n := c.n.Load(); n != 8 {
		t.Errorf("%d signatures, want 8", n)
	}
}

func TestSigningDoesNotHappenPerRequest(t *testing.T) {
	t.Parallel()
	a, c := authority(t)
	for second := range 120 {
		now := noon.Add(time.Duration(second) * time.Second)
		for range 10 {
			claims := verify(t, a, sign(t, a, `"aud":"orders"`, time.Time{}, now), now)
			if left := int64(claims["exp"].(float64)) - now.Unix(); left < 15 {
				t.Fatalf("%ds are left of an assertion that is handed out", left)
			}
		}
	}
	if n := c.n.Load(); n != 4 {
		t.Errorf("%d signatures in two minutes, want 4", n)
	}
	sign(t, a, `"aud":"orders"`, time.Time{}, noon.Add(-time.Hour)) // a clock that is put back
	if n := c.n.Load(); n != 5 {
		t.Error("an assertion of the future was handed out")
	}
}

func TestWhileOneSignsTheOthersGoOn(t *testing.T) {
	t.Parallel()
	a, c := authority(t)
	const content = `"aud":"orders"`
	old, later := sign(t, a, content, time.Time{}, noon), noon.Add(31*time.Second)
	begun, goOn := make(chan struct{}), make(chan struct{})
	c.hold = func() { begun <- struct{}{}; <-goOn }
	renewed := make(chan string)
	go func() {
		token, _ := a.Sign(&exchange.Exchange{}, []byte(content), time.Time{}, later)
		renewed <- string(token)
	}()
	<-begun
	for range 10 {
		if got := sign(t, a, content, time.Time{}, later); got != old {
			t.Error("somebody signs beside the one who does")
		}
	}
	close(goOn)
	if got := <-renewed; got == old || sign(t, a, content, time.Time{}, later) != got {
		t.Error("what was signed is not what the others get")
	}
}

func TestAfterAFailureAnotherSigns(t *testing.T) {
	t.Parallel()
	a, c := authority(t)
	old := sign(t, a, `"aud":"orders"`, time.Time{}, noon)
	c.away.Store(true)
	later := noon.Add(31 * time.Second)
	if _, err := a.Sign(&exchange.Exchange{}, []byte(`"aud":"orders"`), time.Time{}, later); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("the key is away: %v", err)
	}
	c.away.Store(false)
	if got := sign(t, a, `"aud":"orders"`, time.Time{}, later); got == old {
		t.Error("after a failure nobody signs any more")
	}
}

// What many sign at once because nobody had signed it is remembered once: it
// pushes out nobody else's.
func TestWhatManySignAtOnceIsRememberedOnce(t *testing.T) {
	t.Parallel()
	for what, until := range map[string]time.Time{"for a minute": {}, "until a token ends": noon.Add(20 * time.Second)} {
		one, _ := authority(t)
		sign(t, one, `"aud":"orders"`, until, noon)
		a, c := authority(t)
		const many = 16
		var all, signing sync.WaitGroup
		signing.Add(many)
		c.hold = func() { signing.Done(); signing.Wait() }
		for range many {
			all.Go(func() {
				if _, err := a.Sign(&exchange.Exchange{}, []byte(`"aud":"orders"`), until, noon); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got, want := assertion.Remembered(a), assertion.Remembered(one); got != want {
			t.Errorf("%s: %d bytes are remembered, want %d", what, got, want)
		}
	}
}

// TestNobodyGetsTheAssertionOfAnother asks for many identities at once, more
// than are remembered, and holds every answer against who asked.
func TestNobodyGetsTheAssertionOfAnother(t *testing.T) {
	t.Parallel()
	a, _ := authority(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 400 {
				who := rand.IntN(60)
				now := noon.Add(time.Duration(i/8) * time.Second)
				var until time.Time
				if who%3 == 0 {
					until = noon.Add(time.Duration(who+40) * time.Second)
				}
				token, err := a.Sign(&exchange.Exchange{}, fmt.Appendf(nil, `"aud":"orders","sub":"user-%d"`, who), until, now)
				if err != nil {
					t.Error(err)
					return
				}
				claims := jwt.MapClaims{}
				if _, _, err := jwt.NewParser().ParseUnverified(string(token), claims); err != nil {
					t.Error(err)
					return
				}
				if claims["sub"] != fmt.Sprintf("user-%d", who) {
					t.Errorf("user-%d got that of %v", who, claims["sub"])
				}
				if !until.IsZero() && int64(claims["exp"].(float64)) > until.Unix() {
					t.Error("it outlives its identity")
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	a, c := authority(t)
	c.fast = true
	assertion.Bound(a, 1<<20)
	large := strings.Repeat("x", assertion.MaxContent-100)
	for i := range 200 {
		sign(t, a, fmt.Sprintf(`"aud":"orders","n":%d,"x":"%s"`, i, large), time.Time{}, noon)
	}
	if got := assertion.Remembered(a); got > 1<<20 || got < 1<<19 {
		t.Errorf("%d bytes are remembered", got)
	}
}

func TestWithoutAKeyNothingIsSigned(t *testing.T) {
	t.Parallel()
	for _, a := range []*assertion.Authority{nil, assertion.New(slog.New(slog.DiscardHandler))} {
		if _, err := a.Sign(&exchange.Exchange{}, []byte(`"aud":"orders"`), time.Time{}, noon); !errors.Is(err, assertion.ErrNoKey) {
			t.Error(err)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", assertion.Path, nil))
		if w.Code != 503 {
			t.Error("keys are published where there are none:", w.Code)
		}
	}
}

func dataKeys(t testing.TB, s keys.Storage) *keys.DataKeys {
	t.Helper()
	w, err := keys.CreateEmbedded(filepath.Join(t.TempDir(), "k"), secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := keys.OpenDataKeys(t.Context(), w, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func published(a *assertion.Authority) string {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", assertion.Path, nil))
	return w.Body.String()
}

func TestAFleetThatStartsAtOnceHasOneKey(t *testing.T) {
	t.Parallel()
	sealing := dataKeys(t, &keystest.Memory{})
	shared := &keystest.Memory{}
	fleet := make([]*assertion.Authority, 8)
	var wg sync.WaitGroup
	for i := range fleet {
		wg.Go(func() {
			fleet[i] = assertion.New(slog.New(slog.DiscardHandler))
			fleet[i].Unlock(sealing)
			if err := fleet[i].Open(t.Context(), shared); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range fleet {
		if got := published(a); got != published(fleet[0]) || !strings.Contains(got, `"kid"`) || strings.Contains(got, `"d"`) {
			t.Error(got)
		}
	}
	// One with another key file cannot read it, and makes none beside it.
	stranger := assertion.New(slog.New(slog.DiscardHandler))
	stranger.Unlock(dataKeys(t, &keystest.Memory{}))
	if err := stranger.Open(t.Context(), shared); !errors.Is(err, keys.ErrKeyGone) {
		t.Error(err)
	}
	if _, err := stranger.Sign(&exchange.Exchange{}, []byte(`"aud":"orders"`), time.Time{}, noon); !errors.Is(err, assertion.ErrNoKey) {
		t.Error(err)
	}
}

func TestNoKeyIsMadeWhereNobodyAsksForAssertions(t *testing.T) {
	t.Parallel()
	a, s := assertion.New(slog.New(slog.DiscardHandler)), &keystest.Memory{}
	if err := a.Open(t.Context(), s); err != nil {
		t.Error(err)
	}
	if _, err := s.Load(t.Context(), "identity"); err == nil {
		t.Error("there is a key")
	}
}

// down is a storage that is down for its first calls.
type down struct {
	keys.Storage
	calls atomic.Int64
}

func (d *down) Load(ctx context.Context, name string) ([]byte, error) {
	if d.calls.Add(-1) >= 0 {
		return nil, errors.New("the store is down")
	}
	return d.Storage.Load(ctx, name)
}

func TestAKeyIsTriedForUntilTheStoreIsBack(t *testing.T) {
	t.Parallel()
	sealing := dataKeys(t, &keystest.Memory{})
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		a, s := assertion.New(slog.New(slog.NewTextHandler(&log, nil))), &down{Storage: &keystest.Memory{}}
		s.calls.Store(5)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		wg.Go(func() { a.Run(ctx, s) })
		synctest.Wait()
		a.Unlock(sealing)
		time.Sleep(2 * time.Second) // of the bubble's own time
		if _, err := a.Sign(&exchange.Exchange{}, []byte(`"aud":"orders"`), time.Time{}, noon); !errors.Is(err, assertion.ErrNoKey) {
			t.Error("something was signed while the store was down:", err)
		}
		wg.Wait() // it ends when there is a key
		sign(t, a, `"aud":"orders"`, time.Time{}, noon)
		if n := strings.Count(log.String(), "identity_unavailable"); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, &log)
		}
	})
}

func BenchmarkRemembered(b *testing.B) {
	a, _ := authority(b)
	x, content := &exchange.Exchange{}, []byte(`"aud":"orders","sub":"alice","method":"jwt","issuer":"corp","client":"app","consumer":"corp/app","scopes":["orders:read"]`)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Sign(x, content, time.Time{}, noon); err != nil {
				b.Fatal(err)
			}
		}
	})
}
