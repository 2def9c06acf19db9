package counters

import (
	"encoding/binary"
	"hash/maphash"
	"testing"

	"pgregory.net/rapid"
)

func numbered(i int) (k Key) {
	binary.BigEndian.PutUint64(k[:], uint64(i))
	k[15] = 1
	return k
}

func TestTableHoldsWhatAMapWould(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(maphash.MakeSeed(), rapid.IntRange(1, 200).Draw(t, "most"))
		model := map[Key]int64{}
		at := int64(-1000)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			at += rapid.Int64Range(0, 3).Draw(t, "pause")
			k := numbered(rapid.IntRange(1, 300).Draw(t, "key"))
			full := at + rapid.Int64Range(1, 300).Draw(t, "debt")
			if b := tab.find(&k); b != nil {
				b.full = full
			} else if tab.insert(&k, full, at) {
				forget(t, &tab, model, at)
			}
			model[k] = full
			check(t, &tab, model, at)
		}
	})
}

// forget removes from the model the one bucket in use that the table dropped.
func forget(t *rapid.T, tab *table, model map[Key]int64, at int64) {
	gone := 0
	for k, full := range model {
		if tab.find(&k) == nil {
			delete(model, k)
			if full > at {
				gone++
			}
		}
	}
	if gone != 1 {
		t.Fatalf("%d buckets in use forgotten at once", gone)
	}
}

func check(t *rapid.T, tab *table, model map[Key]int64, at int64) {
	for k, full := range model {
		b := tab.find(&k)
		if b == nil && full > at {
			t.Fatalf("bucket %x is lost, at %d, full at %d", k, at, full)
		}
		if b != nil && b.full != full {
			t.Fatalf("bucket %x: full at %d, want %d", k, b.full, full)
		}
	}
	used := 0
	for i := range tab.buckets {
		if b := &tab.buckets[i]; b.key != (Key{}) {
			used++
			if tab.find(&b.key) != b {
				t.Fatalf("bucket %x cannot be found where it is", b.key)
			}
		}
	}
	if used != tab.used || used > tab.most {
		t.Fatalf("%d buckets, counted %d, at most %d", used, tab.used, tab.most)
	}
}

func TestTableStaysWithinItsBoundUnderEndlessNewcomers(t *testing.T) {
	t.Parallel()
	const most = 400
	for name, debt := range map[string]int64{"all in use": 1 << 40, "soon full again": 100} {
		tab := newTable(maphash.MakeSeed(), most)
		for i := range 50_000 {
			k := numbered(i)
			tab.insert(&k, int64(i)+debt, int64(i))
		}
		if tab.used > most || len(tab.buckets) > 1024 {
			t.Errorf("%s: %d buckets in %d slots", name, tab.used, len(tab.buckets))
		}
	}
}
