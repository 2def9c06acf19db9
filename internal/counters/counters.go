// Package counters holds fast shared state: rate decisions, and what must
// occur once only. It is kept in the memory of one process (Memory), or in a
// Redis or Valkey server that a fleet shares (Remote). A decision over several
// limits is taken at once: all of them are charged, or none.
package counters

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"
)

// Charge asks to take one call from one bucket: one that fills at its rate
// (GCRA), or one that knows the time of every call (a sliding window).
type Charge struct {
	Key     Key           // of limit and caller, not zero; the other fields are the same for a key at all times
	Period  time.Duration // time one call costs: 100/min = 600ms; > 0
	Burst   int64         // calls that may come at once; >= 1
	Sliding bool          // at most Burst calls in any span of Period times Burst; Burst <= MaxWindow
	Closed  bool          // while a server does not answer, nothing is decided; otherwise memory decides
}

// MaxSpan bounds Period times Burst: the time an empty bucket takes to fill.
const MaxSpan = 10 * 365 * 24 * time.Hour

// MaxWindow bounds the calls of a sliding window, each of which is remembered.
const MaxWindow = 1000

// State is what a bucket says after a decision.
type State struct {
	Remaining int64         // calls that could come now
	RetryIn   time.Duration // until the next call would be allowed; 0 if now
	ResetIn   time.Duration // until the bucket is full again
}

// Counters decides. Implementations are safe for concurrent use and bound
// their own time: Memory decides at once, Remote within the time it is given.
type Counters interface {
	// Take charges every bucket, or none when one of them is exhausted. It
	// fills states (as many as charges) and returns the index of the first
	// exhausted bucket, or -1. No two charges of one call share a key. An
	// error means that nothing could be decided and nothing was charged.
	Take(now time.Time, charges []Charge, states []State) (refused int, err error)
	// Look is Take without charging anything.
	Look(now time.Time, charges []Charge, states []State) (refused int, err error)
	// Once reports whether key is seen for the first time, and remembers it
	// for the time given, at most MaxSpan. Of any number of calls at once, one
	// is the first. An error means that it cannot be told: whoever guards
	// against replays refuses.
	Once(now time.Time, key Key, keep time.Duration) (first bool, err error)
}

// What a caller of Counters can do wrong. Nothing is decided, so that the
// call is refused.
var (
	ErrCharge = errors.New("a charge without a key, or without a valid period and burst")
	ErrTwice  = errors.New("two charges of one call on the same bucket")
	ErrStates = errors.New("charges and states differ in number")
	ErrClock  = errors.New("the time of the decision is out of range")
)

// What can go wrong without anybody's doing. Nothing is decided.
var (
	ErrFull        = errors.New("there is no room to remember one more")
	ErrUnavailable = errors.New("the counters' server does not answer")
)

// validate says what is wrong with the charges of a call.
func validate(charges []Charge, states []State) error {
	if len(charges) != len(states) {
		return ErrStates
	}
	for i := range charges {
		c := &charges[i]
		if c.Key == (Key{}) || c.Period <= 0 || c.Burst < 1 || c.Burst > int64(MaxSpan/c.Period) || c.Sliding && c.Burst > MaxWindow {
			return ErrCharge
		}
		for j := range i {
			if charges[j].Key == c.Key {
				return ErrTwice
			}
		}
	}
	return nil
}

// Key names a bucket: a digest of a limit and of the caller it counts.
//
// It is SHA-256 cut to 128 bits, and the same in every process: a fleet that
// counts together agrees on it without sharing a secret, and nobody can find
// a value that lands in somebody else's bucket.
type Key [16]byte

// KeyOf starts a key from what is known when a limit is compiled. The same
// parts in the same order give the same key.
func KeyOf(parts ...string) Key {
	var k Key
	for _, part := range parts {
		k = k.With(0, []byte(part))
	}
	return k
}

// With returns the key of one more value. The tag, 1 to 127, keeps values of
// different meaning apart, so that one that is absent can simply be left out.
// With allocates nothing.
func (k Key) With(tag byte, value []byte) Key {
	var room [128]byte
	for len(value) > 96 {
		// All but the end of a long value, under a tag that no end can have.
		k = digest(append(append(append(room[:0], k[:]...), tag|128), value[:96]...))
		value = value[96:]
	}
	return digest(append(append(append(room[:0], k[:]...), tag), value...))
}

// WithNetwork is With, of a network of whole bytes; the zero prefix is left out.
func (k Key) WithNetwork(tag byte, network netip.Prefix) Key {
	if !network.IsValid() {
		return k
	}
	b := network.Addr().As16()
	from := len(b) - network.Addr().BitLen()/8 // IPv4 is in the last four
	return k.With(tag, b[from:from+network.Bits()/8])
}

func digest(b []byte) Key {
	sum := sha256.Sum256(b)
	return Key(sum[:len(Key{})])
}
