package keys

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what Verdicts remembers.
const (
	verdictShards     = 64
	verdictsPerShard  = 1024    // 65,536 in all
	verdictShardBytes = 1 << 20 // 64 MiB in all
)

// VerdictID names a verdict: on which token, under whose rules.
type VerdictID struct {
	Token [32]byte // SHA-256 of the token as received
	Rules [16]byte // digest of all that the verdict followed from beside token and key
}

// Verdicts remembers what was found out about signed tokens, so that a
// signature is verified once. A verdict is what follows from the token, its
// key and fixed rules; nothing that depends on time or state may be put here.
// It is forgotten when its key dies, when its token expires, or to make room.
// It outlives snapshots. Safe for concurrent use; nil remembers nothing.
type Verdicts struct{ shards [verdictShards]verdictShard }

type verdictShard struct {
	mu           sync.RWMutex
	entries      map[VerdictID]*verdict
	bytes        int
	hits, misses atomic.Uint64
	_            [64]byte // shards do not share a cache line
}

type verdict struct {
	value   any
	key     *Key
	expires int64 // Unix seconds
	size    int
}

func (v *verdict) over(now int64) bool { return !v.key.Alive() || now >= v.expires }

// NewVerdicts returns an empty memory of at most 65,536 verdicts and 64 MiB.
func NewVerdicts() *Verdicts {
	v := &Verdicts{}
	for i := range v.shards {
		v.shards[i].entries = map[VerdictID]*verdict{}
	}
	return v
}

func (v *Verdicts) shard(id *VerdictID) *verdictShard {
	return &v.shards[binary.NativeEndian.Uint32(id.Token[:4])%verdictShards]
}

// Get returns the value of the verdict called id, nil if there is none.
func (v *Verdicts) Get(id *VerdictID, now time.Time) any {
	if v == nil {
		return nil
	}
	s := v.shard(id)
	s.mu.RLock()
	e := s.entries[*id]
	s.mu.RUnlock()
	if e == nil {
		s.misses.Add(1)
		return nil
	}
	if e.over(now.Unix()) {
		s.misses.Add(1)
		s.mu.Lock()
		if s.entries[*id] == e {
			s.remove(id, e)
		}
		s.mu.Unlock()
		return nil
	}
	s.hits.Add(1)
	return e.value
}

// Put remembers value, which must never change afterwards, until key dies or
// expires comes. size is about how many bytes value holds.
func (v *Verdicts) Put(id *VerdictID, value any, key *Key, now, expires time.Time, size int) {
	if v == nil {
		return
	}
	e := &verdict{value: value, key: key, expires: expires.Unix(), size: size}
	if e.over(now.Unix()) || size > verdictShardBytes {
		return
	}
	s := v.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[*id]; old != nil {
		s.remove(id, old)
	}
	for len(s.entries) >= verdictsPerShard || s.bytes+size > verdictShardBytes {
		s.evict(now.Unix())
	}
	s.entries[*id] = e
	s.bytes += size
}

// evict forgets a verdict that is over or, of a few, the one that will be
// first.
func (s *verdictShard) evict(now int64) {
	var worst *verdict
	var at VerdictID
	seen := 0
	for id, e := range s.entries { // begins anywhere
		if worst == nil || e.over(now) || e.expires < worst.expires {
			worst, at = e, id
		}
		if seen++; seen == 8 || e.over(now) {
			break
		}
	}
	s.remove(&at, worst)
}

func (s *verdictShard) remove(id *VerdictID, e *verdict) {
	delete(s.entries, *id)
	s.bytes -= e.size
}

// VerdictCounts are for metrics.
type VerdictCounts struct {
	Hits, Misses uint64
	Entries      int
	Bytes        int
}

// Counts returns how Verdicts was used so far.
func (v *Verdicts) Counts() (c VerdictCounts) {
	if v == nil {
		return c
	}
	for i := range v.shards {
		s := &v.shards[i]
		s.mu.RLock()
		c.Entries += len(s.entries)
		c.Bytes += s.bytes
		s.mu.RUnlock()
		c.Hits += s.hits.Load()
		c.Misses += s.misses.Load()
	}
	return c
}
