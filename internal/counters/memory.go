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

// DefaultBuckets is a bound for NewMemory. It costs at most 50 MB for the
// buckets, as much for what is remembered by Once, and 40 MB for sliding
// windows, each only as far as it is used.
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
// still needed. Of sliding windows, which cost memory for every call, the one
// with the smallest part of its calls used is forgotten: inventing callers
// frees nobody who has used up a limit. What Once remembers is never
// forgotten: when there is no more room, nothing new is accepted.
type Memory struct {
	epoch     time.Time
	seed      maphash.Seed
	forgotten atomic.Uint64
	shard     [shards]shard
}

type shard struct {
	mu      sync.Mutex
	table   table
	windows windows
	once    table
	// latest is the latest time seen. A call that was stamped earlier but
	// comes later is judged at this time: otherwise a bucket dropped in
	// between would give it more than its limit.
	latest int64
	_      [64]byte // no two shards on one cache line
}

// NewMemory returns counters that hold about as many buckets as given: each
// of 64 shards has its part of the bound, and at least one.
func NewMemory(buckets int) *Memory {
	m := &Memory{epoch: time.Now(), seed: maphash.MakeSeed()}
	// Not the seed that chooses the shard: within one, all homes would be alike.
	seed := maphash.MakeSeed()
	for i := range m.shard {
		most := max(buckets/shards, 1)
		m.shard[i].table = newTable(seed, most)
		m.shard[i].once = newTable(seed, most)
		m.shard[i].windows = newWindows(most)
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

// Once implements Counters.
func (m *Memory) Once(now time.Time, key Key, keep time.Duration) (bool, error) {
	at, err := m.since(now)
	if err != nil {
		return false, err
	}
	if key == (Key{}) || keep <= 0 || keep > MaxSpan {
		return false, ErrCharge
	}
	s := &m.shard[m.shardOf(&key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = max(at, s.latest)
	first, room := s.once.keep(&key, s.latest+int64(keep), s.latest)
	if !room {
		return false, ErrFull
	}
	return first, nil
}

// since is now on our clock. On the monotonic one where both times carry it: a
// step of the wall clock neither fills nor empties a bucket.
func (m *Memory) since(now time.Time) (int64, error) {
	at := int64(now.Sub(m.epoch))
	if at <= -farOff || at >= farOff {
		return 0, ErrClock
	}
	return at, nil
}

func (m *Memory) decide(now time.Time, charges []Charge, states []State, take bool) (int, error) {
	if err := validate(charges, states); err != nil {
		return 0, err
	}
	at, err := m.since(now)
	if err != nil {
		return 0, err
	}
	involved := m.involved(charges)
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

// learn has the buckets know at least what another counter said of them at
// that time, so that this one can take over from it. Errors are none of its
// business: what was decided is decided.
func (m *Memory) learn(now time.Time, charges []Charge, states []State) {
	at, err := m.since(now)
	if err != nil {
		return
	}
	for i := range charges {
		c, st := &charges[i], &states[i]
		s := &m.shard[m.shardOf(&c.Key)]
		s.mu.Lock()
		// Not counted as forgotten: whoever is pushed out is still known elsewhere.
		if c.Sliding {
			s.latest = max(at, s.latest)
			s.windows.learn(c, st, s.latest)
		} else if full := at + int64(st.ResetIn); st.ResetIn > 0 {
			if b := s.table.find(&c.Key); b != nil {
				b.full = max(b.full, full)
			} else {
				s.table.insert(&c.Key, full, max(at, s.latest))
			}
		}
		s.mu.Unlock()
	}
}

func (m *Memory) involved(charges []Charge) (mask uint64) {
	for i := range charges {
		mask |= 1 << m.shardOf(&charges[i].Key)
	}
	return mask
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
	if c.Sliding {
		return s.windows.look(c, st, at)
	}
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
	if c.Sliding {
		m.forgotten.Add(s.windows.push(c, s.latest))
		s.windows.look(c, st, s.latest)
		return
	}
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
