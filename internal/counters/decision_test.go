package counters

import (
	"math"
	"testing"
	"time"
)

func TestAnAnswerWithNumbersThatCannotBeIsNoDecision(t *testing.T) {
	t.Parallel()
	charges := []Charge{{Key: KeyOf("a"), Period: time.Second, Burst: 5}}
	for _, c := range []struct {
		what   string
		answer []int64
		ok     bool
	}{
		{"let through", []int64{-1, 4, 0, 1_000_000}, true},
		{"refused", []int64{0, 0, 1_000_000, 5_000_000}, true},
		{"nothing", nil, false},
		{"one too few", []int64{-1, 4, 0}, false},
		{"one too many", []int64{-1, 4, 0, 0, 0}, false},
		{"refused by a bucket that was not asked", []int64{1, 0, 0, 0}, false},
		{"a bucket below the first", []int64{-2, 4, 0, 0}, false},
		{"calls below none", []int64{-1, -1, 0, 0}, false},
		{"more calls than the bucket has", []int64{-1, 6, 0, 0}, false},
		{"a wait that is over", []int64{-1, 4, -1, 0}, false},
		{"a wait without end", []int64{-1, 4, math.MaxInt64, 0}, false},
		{"full before now", []int64{-1, 4, 0, -1}, false},
		{"full never", []int64{-1, 4, 0, maxWait + 1}, false},
	} {
		refused, err := decision(c.answer, charges, make([]State, 1))
		if (err == nil) != c.ok || c.ok && int64(refused) != c.answer[0] {
			t.Errorf("%s: %d %v", c.what, refused, err)
		}
	}
}
