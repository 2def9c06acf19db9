package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what Verdicts remembers.
const (
	verdictShards     = 64
	verdictsPerShard  = 1024    // 65,536 in all
	verdictShardBytes = 1 << 20 // 64 MiB in all
	verdictSlots      = 2 * verdictsPerShard
)

// VerdictID names a verdict: on which token, under whose rules.
type VerdictID struct {
	Token [NameSize]byte // what Verdicts.Name gave the token as received
	Rules [16]byte       // digest of all that the verdict followed from beside token and key
}

// NameSize is the length of a token's name in bytes.
const NameSize = 16

// slot is the place of id in its shard if it can be had, tag tells it from its
// neighbours there and is not 0. Whoever sends tokens cannot choose them: he
// does not know the key of their names.
func (id *VerdictID) slot() (at, tag uint64) {
	at = uint64(binary.NativeEndian.Uint32(id.Token[4:]))
	tag = binary.NativeEndian.Uint64(id.Token[8:]) ^ binary.NativeEndian.Uint64(id.Rules[:])
	return at, tag | 1
}

// Verdicts remembers what was found out about signed tokens, so that a
// signature is verified once. A verdict is what follows from the token, its
// key and fixed rules; nothing that depends on time or state may be put here.
// It is forgotten when its key dies, when its token expires, or to make room.
// It outlives snapshots. Safe for concurrent use; nil remembers nothing.
//
// With many callers nearly everything a request reads of its token is far away
// from the processor. A verdict is therefore found without a lock, in one slot
// of a flat table, and what is found there lies in the remembered value itself.
type Verdicts struct {
	names  cipher.AEAD // never changes
	shards [verdictShards]verdictShard
}

// verdictShard is a hash table by linear probing. Readers take no lock: they
// believe what a slot points to, never the slot, and may miss a verdict that
// is being moved, which costs one more signature check.
type verdictShard struct {
	slots        [verdictSlots]verdictSlot
	hits, misses atomic.Uint64
	mu           sync.Mutex // of all who change slots
	used         int
	bytes        int
	_            [64]byte // shards do not share a cache line
}

type verdictSlot struct {
	tag   atomic.Uint64 // 0: the slot is empty
	place atomic.Pointer[Place]
}

// Remembered is what Verdicts keep: a pointer to a struct in which a Place is
// embedded.
type Remembered interface{ place() *Place }

// Place is what Verdicts know of one value. It is written by Put.
type Place struct {
	id      VerdictID
	key     *Key
	expires int64 // Unix seconds
	size    int
	value   Remembered
}

func (p *Place) place() *Place { return p }

func (p *Place) over(now int64) bool { return !p.key.Alive() || now >= p.expires }

// NewVerdicts returns an empty memory of at most 65,536 verdicts and 64 MiB.
// Its table takes 2 MiB, as far as it is used.
func NewVerdicts() *Verdicts {
	var key [16]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the length of the key is not one of AES
	}
	names, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // GODEBUG=fips140=only, which refuses every nonce that is given
	}
	return &Verdicts{names: names}
}

// Name tells a token from all others without holding it, for as long as v
// lives. It writes to room, which has NameSize bytes. Of a nil v every token
// has the same name, under which nothing is remembered.
//
// The name is a GMAC of the token (NIST SP 800-38D) under a key that nobody
// knows, and always the same nonce. A MAC that is shown to others needs a fresh
// nonce each time; as a name that never leaves memory it is a universal hash:
// that two tokens share one has a chance of 2^-118 at most, whoever made them
// up, since he sees none. It takes a third of the time that SHA-256 takes.
func (v *Verdicts) Name(token, room []byte) (name [NameSize]byte) {
	if v == nil {
		return name
	}
	return [NameSize]byte(v.names.Seal(room[:0:NameSize], nonce[:], nil, token))
}

// nonce is that of every name.
var nonce [12]byte

func (v *Verdicts) shard(id *VerdictID) *verdictShard {
	return &v.shards[binary.NativeEndian.Uint32(id.Token[:4])%verdictShards]
}

// Get returns the value of the verdict called id, nil if there is none.
func (v *Verdicts) Get(id *VerdictID, now time.Time) Remembered {
	if v == nil {
		return nil
	}
	s := v.shard(id)
	p, _ := s.find(id)
	if p == nil {
		s.misses.Add(1)
		return nil
	}
	if p.over(now.Unix()) {
		s.misses.Add(1)
		s.mu.Lock()
		if again, at := s.find(id); again == p {
			s.remove(at)
		}
		s.mu.Unlock()
		return nil
	}
	s.hits.Add(1)
	return p.value
}

// find returns the place of id and its slot, nil if there is none.
func (s *verdictShard) find(id *VerdictID) (*Place, uint64) {
	at, want := id.slot()
	for range verdictSlots {
		at %= verdictSlots
		switch tag := s.slots[at].tag.Load(); tag {
		case want:
			if p := s.slots[at].place.Load(); p != nil && p.id == *id {
				return p, at
			}
		case 0:
			return nil, 0
		}
		at++
	}
	return nil, 0
}

// Put remembers value, which was never put before and must never change
// afterwards, until key dies or expires comes. size is about how many bytes
// value holds.
func (v *Verdicts) Put(id *VerdictID, value Remembered, key *Key, now, expires time.Time, size int) {
	if v == nil {
		return
	}
	p := value.place()
	*p = Place{id: *id, key: key, expires: expires.Unix(), size: size, value: value}
	if p.over(now.Unix()) || size > verdictShardBytes {
		return
	}
	s := v.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, at := s.find(id); old != nil {
		s.remove(at)
	}
	for s.used >= verdictsPerShard || s.bytes+size > verdictShardBytes {
		s.evict(now.Unix())
	}
	at, tag := id.slot()
	for at %= verdictSlots; s.slots[at].tag.Load() != 0; at = (at + 1) % verdictSlots {
	}
	s.slots[at].set(p, tag)
	s.used++
	s.bytes += size
}

// set fills a slot. Who sees the tag sees the place that belongs to it, or one
// that is not called what he looks for.
func (s *verdictSlot) set(p *Place, tag uint64) {
	s.place.Store(p)
	s.tag.Store(tag)
}

// evict forgets a verdict that is over or, of a few, the one that will be
// first. There is one.
func (s *verdictShard) evict(now int64) {
	var worst *Place
	var slot uint64
	at, seen := mathrand.Uint64(), 0
	for range verdictSlots {
		at = (at + 1) % verdictSlots
		if s.slots[at].tag.Load() == 0 {
			continue
		}
		p := s.slots[at].place.Load()
		if worst == nil || p.over(now) || p.expires < worst.expires {
			worst, slot = p, at
		}
		if seen++; seen == 8 || p.over(now) {
			break
		}
	}
	s.remove(slot)
}

// remove empties a slot and moves up what was pushed past it.
func (s *verdictShard) remove(at uint64) {
	s.bytes -= s.slots[at].place.Load().size
	s.used--
	for next := (at + 1) % verdictSlots; ; next = (next + 1) % verdictSlots {
		tag := s.slots[next].tag.Load()
		if tag == 0 {
			break
		}
		// It may move to at unless its home lies between at and itself.
		p := s.slots[next].place.Load()
		if home, _ := p.id.slot(); (next-home)%verdictSlots >= (next-at)%verdictSlots {
			s.slots[at].set(p, tag)
			at = next
		}
	}
	s.slots[at].tag.Store(0)
	s.slots[at].place.Store(nil)
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
		s.mu.Lock()
		c.Entries += s.used
		c.Bytes += s.bytes
		s.mu.Unlock()
		c.Hits += s.hits.Load()
		c.Misses += s.misses.Load()
	}
	return c
}
