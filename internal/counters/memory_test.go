package counters_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warder-gateway/warder/internal/counters"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func charge(name string, period time.Duration, burst int64) counters.Charge {
	return counters.Charge{Key: counters.KeyOf(name), Period: period, Burst: burst}
}

func take(t testing.TB, c counters.Counters, now time.Time, charges ...counters.Charge) (int, []counters.State) {
	t.Helper()
	states := make([]counters.State, len(charges))
	refused, err := c.Take(now, charges, states)
	if err != nil {
		t.Fatal(err)
	}
	return refused, states
}

func TestBucketFillsAtItsRate(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(1000)
	limit := charge("three at once, one a second", time.Second, 3)
	for _, step := range []struct {
		what    string
		after   time.Duration
		refused int
		want    counters.State
	}{
		{"first call", 0, -1, counters.State{Remaining: 2, ResetIn: time.Second}},
		{"second call", 0, -1, counters.State{Remaining: 1, ResetIn: 2 * time.Second}},
		{"third call empties it", 0, -1, counters.State{RetryIn: time.Second, ResetIn: 3 * time.Second}},
		{"fourth is refused", 0, 0, counters.State{RetryIn: time.Second, ResetIn: 3 * time.Second}},
		{"still refused just before the second is over", time.Second - 1, 0, counters.State{RetryIn: 1, ResetIn: 2*time.Second + 1}},
		{"allowed when it is", time.Second, -1, counters.State{RetryIn: time.Second, ResetIn: 3 * time.Second}},
		{"never more than the burst after a long time", time.Hour, -1, counters.State{Remaining: 2, ResetIn: time.Second}},
		{"an earlier stamp is judged at the latest time seen", 0, -1, counters.State{Remaining: 1, ResetIn: 2 * time.Second}},
	} {
		refused, states := take(t, m, start.Add(step.after), limit)
		if refused != step.refused || states[0] != step.want {
			t.Errorf("%s: refused %d, %+v; want %d, %+v", step.what, refused, states[0], step.refused, step.want)
		}
	}
}

func TestLookChargesNothing(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(1000)
	limit := []counters.Charge{charge("one", time.Second, 1)}
	states := make([]counters.State, 1)
	for range 3 {
		if refused, err := m.Look(start.Add(time.Hour), limit, states); refused != -1 || err != nil || states[0].Remaining != 1 {
			t.Fatalf("look: %d %v %+v", refused, err, states[0])
		}
	}
	if refused, _ := take(t, m, start, limit...); refused != -1 {
		t.Fatal("looking ahead must not move the clock or take a call")
	}
	if refused, err := m.Look(start, limit, states); refused != 0 || err != nil || states[0].RetryIn != time.Second {
		t.Fatalf("look at an empty bucket: %d %v %+v", refused, err, states[0])
	}
}

func TestWhatCannotBeDecidedIsAnError(t *testing.T) {
	t.Parallel()
	good := charge("good", time.Second, 1)
	for _, c := range []struct {
		what    string
		now     time.Time
		charges []counters.Charge
		states  int
		want    error
	}{
		{"zero charge", start, []counters.Charge{{}}, 1, counters.ErrCharge},
		{"no key", start, []counters.Charge{{Period: time.Second, Burst: 1}}, 1, counters.ErrCharge},
		{"no burst", start, []counters.Charge{good, charge("x", time.Second, 0)}, 2, counters.ErrCharge},
		{"negative period", start, []counters.Charge{charge("x", -1, 1)}, 1, counters.ErrCharge},
		{"a burst that overflows", start, []counters.Charge{charge("x", time.Hour, 1<<62)}, 1, counters.ErrCharge},
		{"the same bucket twice", start, []counters.Charge{good, good}, 2, counters.ErrTwice},
		{"too few states", start, []counters.Charge{good}, 0, counters.ErrStates},
		{"zero time", time.Time{}, []counters.Charge{good}, 1, counters.ErrClock},
	} {
		m := counters.NewMemory(1000)
		if _, err := m.Take(c.now, c.charges, make([]counters.State, c.states)); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.what, err, c.want)
		}
		if _, states := take(t, m, start, good); states[0].ResetIn != time.Second {
			t.Errorf("%s: something was charged", c.what)
		}
	}
}

// model is the plain meaning of several GCRA buckets.
type model map[counters.Key]time.Time

func (m model) take(now time.Time, charges []counters.Charge, commit bool) (refused int, remaining []int64) {
	refused = -1
	for i, c := range charges {
		full := now
		if m[c.Key].After(now) {
			full = m[c.Key]
		}
		left := int64((time.Duration(c.Burst)*c.Period - full.Sub(now)) / c.Period)
		remaining = append(remaining, left)
		if left < 1 && refused < 0 {
			refused = i
		}
	}
	if refused >= 0 || !commit {
		return refused, remaining
	}
	for i, c := range charges {
		full := now
		if m[c.Key].After(now) {
			full = m[c.Key]
		}
		m[c.Key] = full.Add(c.Period)
		remaining[i] = int64((time.Duration(c.Burst)*c.Period - m[c.Key].Sub(now)) / c.Period)
	}
	return refused, remaining
}

func TestMemoryDecidesAsTheModelDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var limits []counters.Charge
		for i := range rapid.IntRange(1, 6).Draw(t, "limits") {
			limits = append(limits, charge(fmt.Sprint(i),
				time.Duration(rapid.Int64Range(1, 5000).Draw(t, "period")), rapid.Int64Range(1, 5).Draw(t, "burst")))
		}
		mem, plain, now := counters.NewMemory(64000), model{}, start
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 4000).Draw(t, "pause")))
			charges := rapid.Permutation(limits).Draw(t, "order")[:rapid.IntRange(0, len(limits)).Draw(t, "n")]
			states := make([]counters.State, len(charges))
			commit := rapid.Bool().Draw(t, "take")
			decide := mem.Look
			if commit {
				decide = mem.Take
			}
			refused, err := decide(now, charges, states)
			wantRefused, want := plain.take(now, charges, commit)
			if err != nil || refused != wantRefused {
				t.Fatalf("refused %d (%v), want %d", refused, err, wantRefused)
			}
			for i := range states {
				if states[i].Remaining != want[i] {
					t.Fatalf("bucket %d: remaining %d, want %d", i, states[i].Remaining, want[i])
				}
			}
		}
	})
}

func TestNeverMoreThanBurstAndRateAllow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		period := time.Duration(rapid.Int64Range(1, 1000).Draw(t, "period"))
		limit := charge("x", period, rapid.Int64Range(1, 20).Draw(t, "burst"))
		mem, now := counters.NewMemory(64000), start
		var allowed []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 1500).Draw(t, "pause")))
			if refused, _ := mem.Take(now, []counters.Charge{limit}, make([]counters.State, 1)); refused < 0 {
				allowed = append(allowed, now)
			}
		}
		for i := range allowed {
			for j := i; j < len(allowed); j++ {
				if n, most := int64(j-i+1), limit.Burst+int64(allowed[j].Sub(allowed[i])/period); n > most {
					t.Fatalf("%d calls within %s, at most %d allowed", n, allowed[j].Sub(allowed[i]), most)
				}
			}
		}
	})
}

func TestManyCallersAtOnceAreCountedExactly(t *testing.T) {
	t.Parallel()
	const callers, calls, burst = 8, 400, 1000
	m := counters.NewMemory(64000)
	shared := charge("shared", time.Hour, burst)
	var own [callers]counters.Charge
	for i := range own {
		own[i] = charge(fmt.Sprint("own ", i), time.Hour, calls)
	}
	var passed atomic.Int64
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			// Both orders occur, so that locks taken as written would deadlock.
			charges := []counters.Charge{own[i], shared, own[(i+1)%callers]}
			if i%2 == 0 {
				charges[0], charges[2] = charges[2], charges[0]
			}
			charges[0].Burst, charges[2].Burst = 2*calls, 2*calls
			states := make([]counters.State, len(charges))
			for range calls {
				refused, err := m.Take(start, charges, states)
				if err != nil {
					t.Error(err)
				}
				if refused < 0 {
					passed.Add(1)
				}
			}
		})
	}
	wait.Wait()
	if passed.Load() != burst {
		t.Errorf("%d calls passed, want %d", passed.Load(), burst)
	}
	// All or nothing: what the refused calls asked of their own buckets was not taken.
	var taken int64
	states := make([]counters.State, 1)
	for i := range own {
		own[i].Burst = 2 * calls
		if _, err := m.Look(start, own[i:i+1], states); err != nil {
			t.Fatal(err)
		}
		taken += 2*calls - states[0].Remaining
	}
	if taken != 2*burst {
		t.Errorf("%d calls taken from buckets of their own, want %d", taken, 2*burst)
	}
}

func TestBucketsThatAreFullAgainMakeRoom(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(64 * 100)
	now := start
	for i := range 40_000 {
		now = now.Add(time.Millisecond)
		if refused, _ := take(t, m, now, charge(fmt.Sprint(i), time.Second, 1)); refused >= 0 {
			t.Fatalf("newcomer %d was refused", i)
		}
	}
	if n := m.Forgotten(); n > 0 {
		t.Errorf("%d buckets in use were forgotten with room for six times as many", n)
	}
}

func TestInventedCallersNeitherTurnOthersAwayNorFreeThem(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(64 * 100)
	exhausted := charge("exhausted", time.Second, 100)
	for range 100 {
		take(t, m, start, exhausted)
	}
	steady := 0
	for i := range 20_000 {
		if refused, _ := take(t, m, start, charge(fmt.Sprint("invented ", i), time.Second, 100)); refused >= 0 {
			t.Fatalf("newcomer %d was refused", i)
		}
		if i%400 == 0 {
			if refused, _ := take(t, m, start, charge("steady", time.Second, 100)); refused < 0 {
				steady++
			}
		}
	}
	if steady != 50 {
		t.Errorf("the steady caller passed %d times, want 50", steady)
	}
	if m.Forgotten() == 0 {
		t.Error("the bound was never reached")
	}
	if refused, _ := take(t, m, start, exhausted); refused < 0 {
		t.Error("whoever had used up a limit got a new one")
	}
}

func TestKeysKeepApartWhatIsDifferent(t *testing.T) {
	t.Parallel()
	base := counters.KeyOf("limit")
	long := strings.Repeat("x", 97)
	keys := map[string]counters.Key{
		"nothing":         base,
		"empty value":     base.With(1, nil),
		"other tag":       base.With(2, nil),
		"value":           base.With(1, []byte("a")),
		"two values":      base.With(1, []byte("a")).With(1, []byte("b")),
		"IPv4 network":    base.WithNetwork(1, netip.MustParsePrefix("97.98.99.100/32")),
		"IPv6 network":    base.WithNetwork(1, netip.MustParsePrefix("6162:6364:6566:6768::/64")),
		"IPv6 neighbour":  base.WithNetwork(1, netip.MustParsePrefix("6162:6364:6566:6769::/64")),
		"joined":          base.With(1, []byte("ab")),
		"the other order": base.With(1, []byte("b")).With(1, []byte("a")),
		"longest short":   base.With(1, []byte(long[:96])),
		"shortest long":   base.With(1, []byte(long)),
		"long in pieces":  base.With(1, []byte(long[:96])).With(1, []byte("x")),
		"parts":           counters.KeyOf("li", "mit"),
		"other limit":     counters.KeyOf("limits"),
	}
	seen := map[counters.Key]string{}
	for what, k := range keys {
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q share a key", what, other)
		}
		seen[k] = what
	}
	if counters.KeyOf("limit").With(1, []byte("a")) != keys["value"] {
		t.Error("the same parts give different keys")
	}
	if base.WithNetwork(1, netip.Prefix{}) != base {
		t.Error("a network that is not known is counted as one")
	}
}

func TestDecidingAllocatesNothing(t *testing.T) {
	m := counters.NewMemory(1000)
	charges := []counters.Charge{charge("a", time.Nanosecond, 1), charge("b", time.Nanosecond, 1)}
	states := make([]counters.State, 2)
	value := strings.Repeat("a subject of some length ", 10)
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		charges[0].Key = counters.Key{}.With(1, []byte(value))
		if _, err := m.Take(now, charges, states); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("%d of 100,000 callers", n), func(b *testing.B) {
			const callers = 100_000
			m := counters.NewMemory(counters.DefaultBuckets)
			keys := make([]counters.Key, callers)
			for i := range keys {
				keys[i] = counters.KeyOf(fmt.Sprint(i))
			}
			charges := make([]counters.Charge, n)
			states := make([]counters.State, n)
			now, i := time.Now(), 0
			for j := range keys {
				charges[0] = counters.Charge{Key: keys[j], Period: time.Millisecond, Burst: 100}
				if _, err := m.Take(now, charges[:1], states[:1]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				for j := range charges {
					charges[j] = counters.Charge{Key: keys[(i+j)%callers], Period: time.Millisecond, Burst: 100}
				}
				i++
				if _, err := m.Take(now.Add(time.Duration(i)*300), charges, states); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTakeBetweenOtherWork takes for 10,000 callers at random, when the
// nearer caches hold nothing of the counters, and measures their own time.
func BenchmarkTakeBetweenOtherWork(b *testing.B) {
	m := counters.NewMemory(counters.DefaultBuckets)
	keys := make([]counters.Key, 10_000)
	charges, states := make([]counters.Charge, 1), make([]counters.State, 1)
	now := time.Now()
	for i := range keys {
		keys[i] = counters.KeyOf(fmt.Sprint(i))
		charges[0] = counters.Charge{Key: keys[i], Period: time.Millisecond, Burst: 100}
		if _, err := m.Take(now, charges, states); err != nil {
			b.Fatal(err)
		}
	}
	other := make([]byte, 16<<20)
	at := 0
	took := make([]time.Duration, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		charges[0].Key = keys[rand.IntN(len(keys))]
		for range 512 << 10 / 64 {
			at = (at + 64) % len(other)
			other[at]++
		}
		start := time.Now()
		now = now.Add(300)
		if _, err := m.Take(now, charges, states); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took) // the median: others share the machine
	b.ReportMetric(float64(took[len(took)/2]), "own-ns/op")
}

func BenchmarkTakeNewcomers(b *testing.B) {
	m := counters.NewMemory(100_000)
	charges := []counters.Charge{{Period: time.Hour, Burst: 100}}
	states := make([]counters.State, 1)
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		charges[0].Key[0], charges[0].Key[1], charges[0].Key[2], charges[0].Key[3], charges[0].Key[15] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24), 1
		if _, err := m.Take(now, charges, states); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeyWith(b *testing.B) {
	base, value := counters.KeyOf("limit"), []byte("0oa1b2c3d4e5f6")
	b.ReportAllocs()
	for b.Loop() {
		base = base.With(1, value)
	}
}

// A sixteenth of a million, so that it is quick; what is held is measured in
// shares of the same size.
func TestAMillionCallersFitInMemory(t *testing.T) {
	before := heap()
	m := counters.NewMemory(counters.DefaultBuckets / 16)
	charges, states := []counters.Charge{{Period: time.Hour, Burst: 100}}, make([]counters.State, 1)
	now := time.Now()
	for i := range 1_000_000 / 16 {
		charges[0].Key = counters.Key{byte(i), byte(i >> 8), byte(i >> 16), 15: 1}
		if _, err := m.Take(now, charges, states); err != nil {
			t.Fatal(err)
		}
	}
	size := 16 * (heap() - before)
	t.Logf("1,000,000 callers take %d MB", size>>20)
	if size > 150<<20 {
		t.Errorf("a million callers take %d bytes", size)
	}
	runtime.KeepAlive(m)
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Windows are bounded by the calls they remember; inventing callers frees
// nobody who has used up a limit.
func TestInventedCallersDoNotFreeAWindow(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(64 * 100)
	limit := func(name string) counters.Charge {
		c := charge(name, time.Minute, 50)
		c.Sliding = true
		return c
	}
	for range 50 {
		take(t, m, start, limit("exhausted"))
	}
	for i := range 16_000 {
		if refused, _ := take(t, m, start, limit(fmt.Sprint("invented ", i))); refused >= 0 {
			t.Fatalf("newcomer %d was refused", i)
		}
	}
	if refused, _ := take(t, m, start, limit("exhausted")); refused < 0 {
		t.Error("whoever had used up a limit got a new one")
	}
	if m.Forgotten() == 0 {
		t.Error("the bound was never reached")
	}
}

// What a window admits is judged against all calls it admitted before.
func TestNoSpanHoldsMoreThanTheWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := charge("x", time.Duration(rapid.Int64Range(1, 100).Draw(t, "period")), rapid.Int64Range(1, 20).Draw(t, "burst"))
		limit.Sliding = true
		span := limit.Period * time.Duration(limit.Burst)
		mem, now := counters.NewMemory(64000), start
		var allowed []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 150).Draw(t, "pause")))
			inSpan := int64(0)
			for _, at := range allowed {
				if now.Sub(at) < span {
					inSpan++
				}
			}
			states := make([]counters.State, 1)
			refused, err := mem.Take(now, []counters.Charge{limit}, states)
			if err != nil || (refused < 0) != (inSpan < limit.Burst) {
				t.Fatalf("refused %d (%v) with %d of %d calls in the span", refused, err, inSpan, limit.Burst)
			}
			if refused < 0 {
				allowed = append(allowed, now)
				inSpan++
			}
			if states[0].Remaining != limit.Burst-inSpan {
				t.Fatalf("%d remaining, want %d", states[0].Remaining, limit.Burst-inSpan)
			}
		}
	})
}

func TestWhatOccurredOnceIsNeverForgottenToMakeRoom(t *testing.T) {
	t.Parallel()
	m := counters.NewMemory(64 * 10)
	var known []counters.Key
	full := 0
	for i := range 2000 {
		key := counters.KeyOf(fmt.Sprint(i))
		first, err := m.Once(start, key, time.Minute)
		switch {
		case errors.Is(err, counters.ErrFull) && !first:
			full++
		case err != nil || !first:
			t.Fatal(first, err)
		default:
			known = append(known, key)
		}
	}
	if full == 0 || len(known) < 500 {
		t.Fatalf("%d known, %d turned away", len(known), full)
	}
	for _, key := range known {
		if first, err := m.Once(start.Add(time.Minute-1), key, time.Minute); first || err != nil {
			t.Fatal("a replay passed", err)
		}
	}
	for i := range 500 {
		if first, err := m.Once(start.Add(time.Minute), counters.KeyOf("later", fmt.Sprint(i)), time.Minute); err == nil && !first {
			t.Fatal(first, err)
		}
	}
	if first, err := m.Once(start.Add(2*time.Minute), known[0], time.Minute); !first || err != nil {
		t.Error("what is over takes up room", err)
	}
}
