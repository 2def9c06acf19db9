package store

import "context"

// SweepTo is Sweep that remembers so many deletions: those that it remembers
// take long to make.
func (s *Store) SweepTo(ctx context.Context, graves int) error { return s.clear(ctx, graves) }
