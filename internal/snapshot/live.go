package snapshot

import "sync/atomic"

// Live is the one pointer that says which snapshot is in force. The zero Live
// holds none. Safe for concurrent use.
type Live struct{ now atomic.Pointer[Snapshot] }

// Acquire lends the snapshot in force; the borrower calls Release exactly
// once. It returns nil before the first Swap and after the last.
func (l *Live) Acquire() *Snapshot {
	for {
		s := l.now.Load()
		if s == nil || s.borrow() {
			return s
		}
		// It was swapped out and closed between the two steps: look again.
	}
}

// Swap puts next in force and takes it over. What ran before goes on serving
// whoever borrowed it and is closed by its last borrower. A nil next ends
// service.
func (l *Live) Swap(next *Snapshot) {
	if old := l.now.Swap(next); old != nil {
		old.Release()
	}
}

// borrow counts one more borrower unless the last one has gone.
func (s *Snapshot) borrow() bool {
	for {
		n := s.borrowers.Load()
		if n == 0 {
			return false
		}
		if s.borrowers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a loan back. The last one closes the snapshot: what it
// borrowed from the Pool goes back.
func (s *Snapshot) Release() {
	if s.borrowers.Add(-1) == 0 {
		s.close()
	}
}
