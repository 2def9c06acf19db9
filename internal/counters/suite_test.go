package counters_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warder-gateway/warder/internal/counters"
)

// The suite holds what every implementation of Counters promises. It runs on
// the real clock: a server has its own.

func TestMemoryKeepsTheSuite(t *testing.T) {
	t.Parallel()
	suite(t, counters.NewMemory(1<<16))
}

func TestRemoteKeepsTheSuite(t *testing.T) {
	t.Parallel()
	r, _ := remote(t, "redis://"+redis(t).address())
	suite(t, r)
	if n := r.Local(); n != 0 {
		t.Errorf("%d decisions were not the server's", n)
	}
}

func suite(t *testing.T, c counters.Counters) {
	t.Run("a bucket and a window let through their burst", func(t *testing.T) {
		for _, sliding := range []bool{false, true} {
			limit := charge(fmt.Sprint("burst ", sliding), time.Hour, 3)
			limit.Sliding = sliding
			for i, want := range []counters.State{{Remaining: 2}, {Remaining: 1}, {Remaining: 0}} {
				if refused, s := take(t, c, time.Now(), limit); refused != -1 || s[0].Remaining != want.Remaining {
					t.Fatalf("sliding %v, call %d: refused %d, %+v", sliding, i, refused, s[0])
				}
			}
			refused, s := take(t, c, time.Now(), limit)
			wait := time.Hour
			if sliding {
				wait = 3 * time.Hour
			}
			if refused != 0 || s[0].Remaining != 0 || s[0].RetryIn > wait || s[0].RetryIn < wait-time.Minute || s[0].ResetIn > 3*time.Hour || s[0].ResetIn < 3*time.Hour-time.Minute {
				t.Errorf("sliding %v, one too many: refused %d, %+v", sliding, refused, s[0])
			}
		}
	})
	t.Run("a bucket fills again", func(t *testing.T) {
		limit := charge("fills", 20*time.Millisecond, 2)
		for range 2 {
			take(t, c, time.Now(), limit)
		}
		eventually(t, "one more call", func() bool { refused, _ := take(t, c, time.Now(), limit); return refused < 0 })
	})
	t.Run("a window slides", func(t *testing.T) {
		limit := charge("slides", 10*time.Millisecond, 5)
		limit.Sliding = true
		for range 3 {
			take(t, c, time.Now(), limit)
		}
		eventually(t, "the whole window", func() bool {
			s := make([]counters.State, 1)
			_, err := c.Look(time.Now(), []counters.Charge{limit}, s)
			return err == nil && s[0] == counters.State{Remaining: 5}
		})
	})
	t.Run("a call that one limit refuses is charged to none", func(t *testing.T) {
		wide, narrow, window := charge("wide", time.Hour, 100), charge("narrow", time.Hour, 1), charge("window", time.Hour, 100)
		window.Sliding = true
		for i := range 5 {
			if refused, _ := take(t, c, time.Now(), wide, window, narrow); (refused == -1) != (i == 0) || i > 0 && refused != 2 {
				t.Fatalf("call %d: refused %d", i, refused)
			}
		}
		s := make([]counters.State, 2)
		if _, err := c.Look(time.Now(), []counters.Charge{wide, window}, s); err != nil || s[0].Remaining != 99 || s[1].Remaining != 99 {
			t.Errorf("%v %+v", err, s)
		}
	})
	t.Run("a look takes nothing", func(t *testing.T) {
		for _, sliding := range []bool{false, true} {
			limit := charge(fmt.Sprint("look ", sliding), time.Hour, 2)
			limit.Sliding = sliding
			take(t, c, time.Now(), limit)
			s := make([]counters.State, 1)
			for range 3 {
				if refused, err := c.Look(time.Now(), []counters.Charge{limit}, s); err != nil || refused != -1 || s[0].Remaining != 1 {
					t.Fatalf("%d %v %+v", refused, err, s[0])
				}
			}
		}
	})
	t.Run("no charges are no decision", func(t *testing.T) {
		if refused, err := c.Take(time.Now(), nil, nil); refused != -1 || err != nil {
			t.Errorf("%d %v", refused, err)
		}
	})
	t.Run("what cannot be decided is an error", func(t *testing.T) {
		large := charge("large", time.Second, counters.MaxWindow+1)
		large.Sliding = true
		good := charge("good", time.Second, 1)
		for what, list := range map[string][]counters.Charge{"zero": {{}}, "a window too large": {large}, "twice": {good, good}} {
			if _, err := c.Take(time.Now(), list, make([]counters.State, len(list))); err == nil {
				t.Errorf("%s was decided", what)
			}
		}
		for what, keep := range map[string]time.Duration{"no time": 0, "a negative time": -1, "too long": counters.MaxSpan + 1} {
			if first, err := c.Once(time.Now(), counters.KeyOf(what), keep); first || !errors.Is(err, counters.ErrCharge) {
				t.Errorf("once for %s: %v %v", what, first, err)
			}
		}
		if first, err := c.Once(time.Now(), counters.Key{}, time.Hour); first || err == nil {
			t.Error("once without a key")
		}
	})
	t.Run("of many at once, one is the first", func(t *testing.T) {
		var firsts atomic.Int64
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for i := range 50 {
					first, err := c.Once(time.Now(), counters.KeyOf("jti", fmt.Sprint(i)), time.Hour)
					if err != nil {
						t.Error(err)
					}
					if first {
						firsts.Add(1)
					}
				}
			})
		}
		wait.Wait()
		if firsts.Load() != 50 {
			t.Errorf("%d firsts of 50 keys", firsts.Load())
		}
	})
	t.Run("what occurred once may occur again when its time is over", func(t *testing.T) {
		key := counters.KeyOf("short")
		if first, err := c.Once(time.Now(), key, 20*time.Millisecond); !first || err != nil {
			t.Fatal(first, err)
		}
		eventually(t, "it is forgotten", func() bool { first, err := c.Once(time.Now(), key, time.Hour); return first && err == nil })
		if first, err := c.Once(time.Now(), key, time.Hour); first || err != nil {
			t.Error(first, err)
		}
	})
	t.Run("never more than the limit, whoever asks in whatever order", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			if rt.Failed() {
				return
			}
			id := serial.Add(1)
			limits := make([]counters.Charge, rapid.IntRange(1, 3).Draw(rt, "limits"))
			left := make([]int64, len(limits))
			for i := range limits {
				limits[i] = charge(fmt.Sprint("property ", id, i), time.Hour, rapid.Int64Range(1, 6).Draw(rt, "burst"))
				limits[i].Sliding = rapid.Bool().Draw(rt, "sliding")
				left[i] = limits[i].Burst
			}
			for range rapid.IntRange(1, 12).Draw(rt, "calls") {
				order := rapid.Permutation(seq(len(limits))).Draw(rt, "order")[:rapid.IntRange(1, len(limits)).Draw(rt, "n")]
				var list []counters.Charge
				want := -1
				for at, i := range order {
					list = append(list, limits[i])
					if left[i] == 0 && want < 0 {
						want = at
					}
				}
				refused, err := c.Take(time.Now(), list, make([]counters.State, len(list)))
				if err != nil || refused != want {
					rt.Fatalf("refused %d (%v), want %d", refused, err, want)
				}
				for _, i := range order {
					if want < 0 {
						left[i]--
					}
				}
			}
		})
	})
}

var serial atomic.Int64

func seq(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return slices.Clip(all)
}
