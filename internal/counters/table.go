package counters

import (
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
)

const (
	smallest = 16 // slots of a new table
	sample   = 8  // buckets that an insertion looks at to make room
	stretch  = 32 // slots it walks over for them
)

// table holds the buckets of one shard that are not known to be full, by
// linear probing. It is flat and holds no pointers, and deletion leaves
// nothing behind: under endless coming and going its size stays what its bound
// needs, which the map of the language does not promise.
type table struct {
	seed    maphash.Seed
	buckets []bucket // a power of two, at most three quarters of them used
	used    int
	most    int   // bound of used
	next    int64 // no bucket that keep made is full before; see keep
}

// bucket is used unless its key is zero. full is when it will be full again,
// in nanoseconds since the epoch (GCRA's theoretical arrival time).
type bucket struct {
	key  Key
	full int64
}

func newTable(seed maphash.Seed, most int) table {
	return table{seed: seed, buckets: make([]bucket, smallest), most: most, next: math.MaxInt64}
}

func (t *table) home(k *Key) uint64 { return maphash.Bytes(t.seed, k[:]) }

// find returns the bucket of k, or nil. It is good until the next insertion.
func (t *table) find(k *Key) *bucket {
	mask := uint64(len(t.buckets) - 1)
	for i := t.home(k) & mask; ; i = (i + 1) & mask {
		switch b := &t.buckets[i]; b.key {
		case *k:
			return b
		case Key{}:
			return nil
		}
	}
}

// insert adds a bucket for k, which has none. It makes room first: of a few
// buckets, those that are full at the time given are dropped, and at the
// bound one more, the one that would be full soonest; forgot reports that it
// was in use.
func (t *table) insert(k *Key, full, at int64) (forgot bool) {
	hash := t.home(k)
	// Where to look for room has nothing to do with where k will be.
	forgot = t.makeRoom(bits.RotateLeft64(hash, 32), at)
	if t.used >= len(t.buckets)/4*3 {
		t.grow(at)
	}
	t.put(bucket{*k, full}, hash)
	return forgot
}

func (t *table) put(b bucket, hash uint64) {
	mask := uint64(len(t.buckets) - 1)
	i := hash & mask
	for t.buckets[i].key != (Key{}) {
		i = (i + 1) & mask
	}
	t.buckets[i] = b
	t.used++
}

// keep adds a bucket for k that is full at until, unless it has one that is
// not full yet. Unlike insert it never drops one in use: at the bound there is
// no room.
func (t *table) keep(k *Key, until, at int64) (first, room bool) {
	if b := t.find(k); b != nil {
		if b.full > at {
			return false, true
		}
		b.full = until
		t.next = min(t.next, until)
		return true, true
	}
	hash := t.home(k)
	t.sweep(bits.RotateLeft64(hash, 32), at)
	if t.used >= t.most && t.next <= at {
		// The sweep sees a few; whether all are in use takes a look at all.
		// It is not taken again before there can be something to find.
		t.rebuild(len(t.buckets), at)
	}
	if t.used >= t.most {
		return false, false
	}
	if t.used >= len(t.buckets)/4*3 {
		t.grow(at)
	}
	t.next = min(t.next, until)
	t.put(bucket{*k, until}, hash)
	return true, true
}

// makeRoom sweeps, and at the bound drops one in use.
func (t *table) makeRoom(start uint64, at int64) (forgot bool) {
	t.sweep(start, at)
	if t.used < t.most {
		return false
	}
	slot, full := t.soonest()
	t.remove(slot)
	return full > at
}

// sweep walks from start over more slots than an insertion fills, so that few
// buckets stay that are full.
func (t *table) sweep(start uint64, at int64) {
	mask := uint64(len(t.buckets) - 1)
	i, seen := start&mask, 0
	for range stretch {
		b := &t.buckets[i]
		if b.key != (Key{}) {
			if seen++; seen > sample {
				break
			}
			if b.full <= at {
				t.remove(i) // another bucket may take its place: look again
				continue
			}
		}
		i = (i + 1) & mask
	}
}

// soonest returns the slot of the bucket that is full soonest, and when, of a
// few picked at random. They are picked one by one: taking neighbours would favour
// those beside gaps and widen the gaps, until one bucket alone is a neighbour.
func (t *table) soonest() (slot uint64, least int64) {
	mask := uint64(len(t.buckets) - 1)
	least = math.MaxInt64
	for seen := 0; seen < sample; {
		i := rand.Uint64() & mask
		if b := &t.buckets[i]; b.key != (Key{}) {
			seen++
			if b.full < least {
				slot, least = i, b.full
			}
		}
	}
	return slot, least
}

// remove empties slot i and moves up what was pushed past it.
func (t *table) remove(i uint64) {
	mask := uint64(len(t.buckets) - 1)
	for j := (i + 1) & mask; t.buckets[j].key != (Key{}); j = (j + 1) & mask {
		// A bucket may move to i unless its home lies between i and itself.
		if home := t.home(&t.buckets[j].key); (j-home)&mask >= (j-i)&mask {
			t.buckets[i] = t.buckets[j]
			i = j
		}
	}
	t.buckets[i] = bucket{}
	t.used--
}

// grow doubles the table and leaves out what is full again.
func (t *table) grow(at int64) { t.rebuild(2*len(t.buckets), at) }

func (t *table) rebuild(size int, at int64) {
	old := t.buckets
	t.buckets = make([]bucket, size)
	t.used, t.next = 0, math.MaxInt64
	for _, b := range old {
		if b.key != (Key{}) && b.full > at {
			t.put(b, t.home(&b.key))
			t.next = min(t.next, b.full)
		}
	}
}
