package directory

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/exchange"
)

// table is where the keys of the store are in memory: shards of a few hundred
// entries, chosen by a hash of the key's id. A shard never changes; a change
// puts another in its place. So readers wait for nobody, a change costs what a
// shard costs however many keys there are, and since entries hold no pointers
// the garbage collector never looks at them.
//
// Writers take turns by a lock of their own.
type table struct {
	seed   maphash.Seed
	shards [shardCount]atomic.Pointer[keyShard]
	told   [shardCount]uint32 // up to which tick the store knows of their uses; for telling alone
}

const shardCount = 4096

// keyEntry is one key. It holds no pointer, and fills a line of the cache. All
// of it but used stays as it is once a shard has it.
type keyEntry struct {
	ref      exchange.KeyRef
	revoked  bool
	consumer uint32 // its place among the names
	expires  int64  // Unix milliseconds; of a revoked key when it was revoked; 0: never
	limits   uint32 // their place; 0: none
	used     uint32 // the tick of the last use; 0: none since the start. Requests write it: see use
}

// clone returns a copy, while requests may use the entry.
func (e *keyEntry) clone() keyEntry {
	return keyEntry{e.ref, e.revoked, e.consumer, e.expires, e.limits, atomic.LoadUint32(&e.used)}
}

// keyShard is a part of the table: its entries side by side, and an index of
// open addresses, at most half full, whose values are places counted from 1.
type keyShard struct {
	entries []keyEntry
	index   []uint32
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) hash(id *[8]byte) uint64 { return maphash.Bytes(t.seed, id[:]) }

// get finds the key of that id; nil: there is none.
func (t *table) get(id [8]byte) *keyEntry {
	h := t.hash(&id)
	s := t.shards[h%shardCount].Load()
	if s == nil {
		return nil
	}
	if i := s.find(&id, h); i >= 0 {
		return &s.entries[i]
	}
	return nil
}

func (s *keyShard) find(id *[8]byte, h uint64) int {
	for slot := h >> 32; ; slot++ {
		at := s.index[slot&uint64(len(s.index)-1)]
		if at == 0 {
			return -1
		}
		if s.entries[at-1].ref.ID == *id {
			return int(at - 1)
		}
	}
}

// put adds a key or replaces the one of its id. Entries of the same shard that
// are over go.
func (t *table) put(e keyEntry, over int64) { t.change(e.ref.ID, &e, over) }

// remove drops the key of that id.
func (t *table) remove(id [8]byte, over int64) { t.change(id, nil, over) }

func (t *table) change(id [8]byte, e *keyEntry, over int64) {
	place := &t.shards[t.hash(&id)%shardCount]
	old := place.Load()
	n := 1
	if old != nil {
		n += len(old.entries)
	}
	next := make([]keyEntry, 0, n)
	if old != nil {
		for i := range old.entries {
			was := &old.entries[i]
			switch {
			case was.ref.ID != id && !was.over(over):
				next = append(next, was.clone())
			case was.ref.ID == id && e != nil && was.ref == e.ref:
				e.used = max(e.used, atomic.LoadUint32(&was.used))
			}
		}
	}
	if e != nil {
		next = append(next, *e)
	}
	place.Store(t.shard(next))
}

// over reports whether an entry ended so long ago that nobody asks why.
func (e *keyEntry) over(before int64) bool { return e.expires != 0 && e.expires <= before }

// shard makes a shard of entries of different ids, which it keeps.
func (t *table) shard(entries []keyEntry) *keyShard {
	if len(entries) == 0 {
		return nil
	}
	size := 2
	for size < 2*len(entries) {
		size *= 2
	}
	s := &keyShard{entries: entries, index: make([]uint32, size)}
	for i := range entries {
		slot := t.hash(&entries[i].ref.ID) >> 32
		for s.index[slot&uint64(size-1)] != 0 {
			slot++
		}
		s.index[slot&uint64(size-1)] = uint32(i + 1)
	}
	return s
}

// filler fills a new table with many keys of different ids.
type filler struct {
	table  *table
	shards [][]keyEntry
}

func newFiller() *filler { return &filler{newTable(), make([][]keyEntry, shardCount)} }

func (f *filler) add(e keyEntry) {
	s := &f.shards[f.table.hash(&e.ref.ID)%shardCount]
	*s = append(*s, e)
}

// done returns the table. The filler is used up.
func (f *filler) done() *table {
	for i, entries := range f.shards {
		f.table.shards[i].Store(f.table.shard(append(make([]keyEntry, 0, len(entries)), entries...)))
		f.shards[i] = nil
	}
	return f.table
}
