// Package counters holds fast shared state: rate decisions, kept in memory or
// (in later builds) in Redis. A decision over several limits is taken at
// once: all of them are charged, or none.
package counters

import (
	"context"
	"time"
)

// Charge asks to take one call from one bucket (GCRA).
type Charge struct {
	Key    [16]byte      // digest of limit and caller; see KeyOf
	Period time.Duration // time one call costs: 100/min = 600ms; > 0
	Burst  int64         // calls that may come at once; >= 1
}

// State is what a bucket says after a decision.
type State struct {
	Remaining int64         // calls that could come now
	RetryIn   time.Duration // until the next call would be allowed; 0 if now
	ResetIn   time.Duration // until the bucket is full again
}

// Counters decides. Implementations are safe for concurrent use.
type Counters interface {
	// Take charges every bucket, or none when one of them is exhausted. It
	// fills states (as many as charges) and returns the index of the first
	// exhausted bucket, or -1. An error means that nothing could be decided.
	Take(ctx context.Context, now time.Time, charges []Charge, states []State) (refused int, err error)
	// Look is Take without charging anything.
	Look(ctx context.Context, now time.Time, charges []Charge, states []State) (refused int, err error)
}
