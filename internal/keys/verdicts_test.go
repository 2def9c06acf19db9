package keys_test

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

func verdictID(n int) *keys.VerdictID {
	return &keys.VerdictID{Token: sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))}
}

func TestVerdictsAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	set := keys.NewStatic(k)
	v := keys.NewVerdicts()
	v.Put(verdictID(1), "one", k, now, now.Add(time.Minute), 10)
	if got := v.Get(verdictID(1), now); got != "one" {
		t.Errorf("%v", got)
	}
	other := verdictID(1)
	other.Rules[0] = 1
	if got := v.Get(other, now); got != nil {
		t.Errorf("under other rules: %v", got)
	}
	if got := v.Get(verdictID(1), now.Add(time.Minute)); got != nil {
		t.Errorf("after its end: %v", got)
	}
	v.Put(verdictID(2), "two", k, now, now, 10)
	if got := v.Get(verdictID(2), now); got != nil {
		t.Errorf("put when it was over: %v", got)
	}
	v.Put(verdictID(3), "three", k, now, now.Add(time.Minute), 10)
	v.Put(verdictID(3), "again", k, now, now.Add(time.Minute), 20)
	if c := v.Counts(); c.Entries != 1 || c.Bytes != 20 || c.Hits != 1 || c.Misses != 3 {
		t.Errorf("%+v", c)
	}
	set.Replace()
	if got := v.Get(verdictID(3), now); got != nil {
		t.Errorf("its key is dead: %v", got)
	}
	if c := v.Counts(); c.Entries != 0 || c.Bytes != 0 {
		t.Errorf("%+v", c)
	}
	v.Put(verdictID(4), "four", k, now, now.Add(time.Minute), 10)
	if got := v.Get(verdictID(4), now); got != nil {
		t.Errorf("put with a dead key: %v", got)
	}
	var none *keys.Verdicts
	none.Put(verdictID(1), "one", key(t, "k", "", edKey()), now, now.Add(time.Minute), 10)
	if none.Get(verdictID(1), now) != nil || none.Counts() != (keys.VerdictCounts{}) {
		t.Error("nil remembers")
	}
}

func TestVerdictsAreBoundedInNumberAndSize(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	for _, c := range []struct {
		n, size, entries, bytes int
	}{{100_000, 100, 65_536, 64 << 20}, {10_000, 40_000, 65_536, 64 << 20}, {10, 2 << 20, 0, 0}} {
		v := keys.NewVerdicts()
		var wg sync.WaitGroup
		for part := range 4 {
			wg.Go(func() {
				for i := part; i < c.n; i += 4 {
					v.Put(verdictID(i), i, k, now, now.Add(time.Duration(1+i%100)*time.Minute), c.size)
					v.Get(verdictID(i/2), now)
				}
			})
		}
		wg.Wait()
		got := v.Counts()
		if got.Entries > c.entries || got.Bytes > c.bytes || got.Bytes != got.Entries*c.size || got.Entries < min(c.entries, c.bytes/c.size)*3/4 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
