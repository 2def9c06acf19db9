package pipeline

import "time"

// Limit is a rate limit as written: 100/min per consumer.
type Limit struct {
	Name   string // of a limit shared under limits:; empty: one bucket per route
	Calls  int64  // calls per Period
	Period time.Duration
	Burst  int64 // calls that may come at once
	Per    []string
}
