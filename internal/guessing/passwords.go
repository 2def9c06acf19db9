package guessing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/password"
)

// Attempt is a password that somebody shows.
type Attempt struct {
	Account  string
	Known    bool           // the account exists and has a password
	Stored   *password.Hash // of the account; where there is none, one that costs as much
	Password []byte         // as password.Prepare returned it
	From     netip.Addr
	Spared   Spared
	Now      time.Time
	Waiting  Waiting
}

// Waiting is who waits for an answer.
type Waiting interface {
	// Context ends when nobody does any more.
	Context() context.Context
}

// Answer is what Passwords say of an attempt. The zero Answer is Wrong.
type Answer uint8

const (
	Wrong  Answer = iota
	Locked        // too many were wrong before: whether this one is right was not looked at
	Busy          // no turn came in time; this is no guess
	Right
)

// Passwords checks passwords, under these rules:
//
//   - What was proved within five minutes, by the same network and against the
//     same stored hash, is right at once. Everything else is hashed, in a turn
//     of the Gate: a wrong password, an account that does not exist, one that
//     is being slowed down. They cost the same and look the same.
//   - Who hashes first: whoever proved the account from that network before,
//     then the networks that failed least of late.
//   - Wrong ones are counted by Guesses, but for those of spared networks.
type Passwords struct {
	guesses  *Guesses
	suspects *suspects
	gate     *Gate
	proved   *proved
	match    func(*password.Hash, []byte) bool

	mu      sync.Mutex
	flights map[mac]*flight
	joined  int // who waits for the flight of another

	counts struct{ hashed, busy, remembered atomic.Uint64 }
}

// maxJoined bounds who waits for an equal attempt that is being hashed.
const maxJoined = 1024

// flight is an attempt being hashed, for all who make the same.
type flight struct {
	done   chan struct{}
	answer Answer
	gone   bool // its owner did not wait for it
}

func matches(h *password.Hash, p []byte) bool { return h.Matches(p) }

// Check says whether the password is the account's.
func (p *Passwords) Check(a *Attempt) Answer {
	answer := p.check(a)
	if answer == Busy {
		p.counts.busy.Add(1)
	}
	return answer
}

// Remembered says whether Check would answer Right without a hash. It counts
// nothing: it is for those who only want to know.
func (p *Passwords) Remembered(a *Attempt) bool {
	from := Network(a.From)
	return a.Known && p.proved.has(p.proved.mac(a, from), a.Now) && !p.guesses.slows(a.Account, from, a.Now)
}

// LockedUntil returns when the next attempt like one that was answered Locked
// is judged; zero: that is not known any more.
func (p *Passwords) LockedUntil(a *Attempt) time.Time {
	return p.guesses.until(a.Account, a.Known, Network(a.From), a.Now)
}

func (p *Passwords) check(a *Attempt) Answer {
	from := Network(a.From)
	id := p.proved.mac(a, from)
	// Whoever is slowed down must not learn from the time an answer takes that
	// the password was right.
	if a.Known && p.proved.has(id, a.Now) && !p.guesses.slows(a.Account, from, a.Now) {
		p.counts.remembered.Add(1)
		return Right
	}
	for {
		p.mu.Lock()
		f := p.flights[id]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			p.flights[id] = f
			p.mu.Unlock()
			return p.fly(a, from, id, f)
		}
		if p.joined >= maxJoined {
			p.mu.Unlock()
			return Busy
		}
		p.joined++
		p.mu.Unlock()
		ctx := a.Waiting.Context()
		select {
		case <-f.done:
		case <-ctx.Done():
		}
		p.mu.Lock()
		p.joined--
		p.mu.Unlock()
		if ctx.Err() != nil {
			return Busy
		}
		if !f.gone {
			return f.answer
		}
	}
}

// fly hashes for f, and tells all who joined.
func (p *Passwords) fly(a *Attempt, from netip.Prefix, id mac, f *flight) (answer Answer) {
	landed := false
	defer func() {
		f.answer, f.gone = answer, !landed
		p.mu.Lock()
		delete(p.flights, id)
		p.mu.Unlock()
		close(f.done)
	}()
	spared := a.Spared.Contains(a.From)
	c, failed := stranger, 0
	if a.Known && p.guesses.familiar(a.Account, from) {
		c = known
	} else if !spared {
		failed = p.suspects.failures(from, a.Now)
	}
	ctx := a.Waiting.Context()
	if !p.gate.enter(ctx, from, c, failed) {
		if !spared { // whoever asks again and again goes behind who asks for the first time
			p.suspects.failed(from, a.Now)
		}
		landed = ctx.Err() == nil
		return Busy
	}
	right := func() bool {
		defer p.gate.leave(from)
		p.counts.hashed.Add(1)
		return p.match(a.Stored, a.Password)
	}()
	landed = true
	if spared {
		if !a.Known || !right {
			return Wrong
		}
		p.proved.put(id, a.Now)
		return Right
	}
	v := p.guesses.Judge(a.Account, a.Known, from, a.Now, right)
	if v.Proved {
		p.proved.put(id, a.Now)
		return Right
	}
	p.suspects.failed(from, a.Now)
	if v.Locked {
		return Locked
	}
	return Wrong
}

// PasswordCounts are for metrics.
type PasswordCounts struct {
	Remembered uint64 // right, and no hash was worked out
	Hashed     uint64
	Busy       uint64
}

// Counts returns how passwords were answered so far.
func (p *Passwords) Counts() PasswordCounts {
	return PasswordCounts{p.counts.remembered.Load(), p.counts.hashed.Load(), p.counts.busy.Load()}
}

// mac names an attempt under a key of this process: whoever reads the memory
// later learns nothing by which to guess faster than by the stored hash.
type mac [sha256.Size]byte

// proved remembers passwords that were right.
type proved struct {
	inner, outer [sha256.BlockSize]byte // the padded keys of HMAC (RFC 2104)
	shards       [provedShards]provedShard
}

type provedShard struct {
	mu    sync.RWMutex
	until map[mac]int64 // Unix seconds
	_     [64]byte
}

const (
	provedFor      = 5 * time.Minute
	provedShards   = 16
	provedPerShard = 1024
)

func newProved() *proved {
	p := &proved{}
	var key [sha256.Size]byte
	rand.Read(key[:]) // never fails
	for i := range p.inner {
		p.inner[i], p.outer[i] = 0x36, 0x5c
	}
	for i, k := range key {
		p.inner[i] ^= k
		p.outer[i] ^= k
	}
	for i := range p.shards {
		p.shards[i].until = map[mac]int64{}
	}
	return p
}

// mac names the attempt: who, with which password, against which stored hash,
// from where. A changed password is another name, so that nothing has to be
// purged.
func (p *proved) mac(a *Attempt, from netip.Prefix) mac {
	var buf [sha256.BlockSize + 1024]byte
	b := append(buf[:0], p.inner[:]...)
	stored, addr := a.Stored.ID(), from.Addr().As16()
	b = append(b, stored[:]...)
	b = append(b, addr[:]...)
	b = append(b, byte(from.Bits()), byte(from.Addr().BitLen()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.Account)))
	b = append(b, a.Account...)
	b = append(b, a.Password...)
	digest := sha256.Sum256(b)
	var end [sha256.BlockSize + sha256.Size]byte
	copy(end[copy(end[:], p.outer[:]):], digest[:])
	return sha256.Sum256(end[:])
}

func (p *proved) has(id mac, now time.Time) bool {
	s := &p.shards[id[0]%provedShards]
	s.mu.RLock()
	until := s.until[id]
	s.mu.RUnlock()
	return now.Unix() < until
}

func (p *proved) put(id mac, now time.Time) {
	s := &p.shards[id[0]%provedShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.until[id]; !again && len(s.until) >= provedPerShard {
		var oldest mac
		first, looked := int64(0), 0
		for id, until := range s.until { // begins anywhere
			if looked == 0 || until < first {
				oldest, first = id, until
			}
			if looked++; looked == samples {
				break
			}
		}
		delete(s.until, oldest)
	}
	s.until[id] = now.Add(provedFor).Unix()
}
