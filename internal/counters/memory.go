package counters

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// shards is the number of bits in the mask by which a call locks its own.
	shards = 64
	// farOff bounds times relative to the epoch, so that a sum with MaxSpan
	// cannot overflow.
	farOff = math.MaxInt64 / 4
)

// DefaultBuckets is a bound for NewMemory that costs at most 50 MB.
const DefaultBuckets = 1 << 20

// Memory is Counters in the memory of one process. Limits are per process:
// what one gateway of a fleet counts, the others do not know.
//
// A bucket that is full again is the same as one that was never used; it is
// dropped when new ones come. The number of buckets is bounded. When every
// bucket is in use and one more caller comes, that caller is served and, of a
// handful picked at random, the bucket that would be full soonest is
// forgotten. Refusing the newcomer instead would let anyone who can invent
// callers (a header, IPv6 prefixes) turn everybody else away. Forgetting costs
// little: the invented ones, each used once, are the ones that go first, and
// whoever is forgotten gains no more than by waiting for the time that bucket
// still needed.
type Memory struct {
	epoch     time.Time
	seed      maphash.Seed
	forgotten atomic.Uint64
	shard     [shards]shard
}

type shard struct {
	mu    sync.Mutex
	table table
	// latest is the latest time seen. A call that was stamped earlier but
	// comes later is judged at this time: otherwise a bucket dropped in
	// between would give it more than its limit.
	latest int64
	_      [56]byte // no two shards on one cache line
}

// NewMemory returns counters that hold about as many buckets as given: each
// of 64 shards has its part of the bound, and at least one.
func NewMemory(buckets int) *Memory {
	m := &Memory{epoch: time.Now(), seed: maphash.MakeSeed()}
	// Not the seed that chooses the shard: within one, all homes would be alike.
	seed := maphash.MakeSeed()
	for i := range m.shard {
		m.shard[i].table = newTable(seed, max(buckets/shards, 1))
		m.shard[i].latest = -farOff
	}
	return m
}

// Take implements Counters. It never waits for anything but other decisions
// on the same shards.
func (m *Memory) Take(now time.Time, charges []Charge, states []State) (int, error) {
	return m.decide(now, charges, states, true)
}

// Look implements Counters.
func (m *Memory) Look(now time.Time, charges []Charge, states []State) (int, error) {
	return m.decide(now, charges, states, false)
}

// Forgotten returns how many buckets were dropped in use because the bound
// was reached. When it grows, somebody invents callers or the bound is too low.
func (m *Memory) Forgotten() uint64 { return m.forgotten.Load() }

func (m *Memory) decide(now time.Time, charges []Charge, states []State, take bool) (int, error) {
	if len(charges) != len(states) {
		return 0, ErrStates
	}
	// On the monotonic clock where both times carry it: a step of the wall
	// clock neither fills nor empties a bucket.
	at := int64(now.Sub(m.epoch))
	if at <= -farOff || at >= farOff {
		return 0, ErrClock
	}
	var involved uint64
	for i := range charges {
		c := &charges[i]
		if c.Key == (Key{}) || c.Period <= 0 || c.Burst < 1 || c.Burst > int64(MaxSpan/c.Period) {
			return 0, ErrCharge
		}
		for j := range i {
			if charges[j].Key == c.Key {
				return 0, ErrTwice
			}
		}
		involved |= 1 << m.shardOf(&c.Key)
	}

	m.lock(involved)
	refused := -1
	for i := range charges {
		c := &charges[i]
		if !m.shard[m.shardOf(&c.Key)].look(c, &states[i], at) && refused < 0 {
			refused = i
		}
	}
	if take && refused < 0 {
		for i := range charges {
			c := &charges[i]
			m.charge(&m.shard[m.shardOf(&c.Key)], c, &states[i], at)
		}
	}
	m.unlock(involved)
	return refused, nil
}

// shardOf spreads keys by a secret of the process: keys are known to whoever
// chooses what they are made from, who could otherwise crowd one shard.
func (m *Memory) shardOf(k *Key) uint {
	return uint(maphash.Bytes(m.seed, k[:]) % shards)
}

// lock takes the shards of mask in ascending order, so that no two calls wait
// for each other.
func (m *Memory) lock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		m.shard[bits.TrailingZeros64(mask)].mu.Lock()
	}
}

func (m *Memory) unlock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		m.shard[bits.TrailingZeros64(mask)].mu.Unlock()
	}
}

// look tells the state of c's bucket and whether it has a call left.
func (s *shard) look(c *Charge, st *State, at int64) bool {
	at = max(at, s.latest)
	full := at
	if b := s.table.find(&c.Key); b != nil {
		full = max(b.full, at)
	}
	st.set(c, full-at)
	return st.Remaining > 0
}

// charge takes one call from the bucket whose state look has just told.
func (m *Memory) charge(s *shard, c *Charge, st *State, at int64) {
	s.latest = max(at, s.latest)
	debt := int64(st.ResetIn) + int64(c.Period)
	if b := s.table.find(&c.Key); b != nil {
		b.full = s.latest + debt
	} else if s.table.insert(&c.Key, s.latest+debt, s.latest) {
		m.forgotten.Add(1)
	}
	st.set(c, debt)
}

// set fills st for a bucket that will be full after debt nanoseconds.
func (st *State) set(c *Charge, debt int64) {
	period := int64(c.Period)
	left := period*c.Burst - debt
	st.Remaining = max(left/period, 0)
	st.RetryIn = time.Duration(max(period-left, 0))
	st.ResetIn = time.Duration(debt)
}
