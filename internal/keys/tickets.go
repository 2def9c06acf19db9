package keys

import (
	"crypto/rand"
	"sync"
	"time"
)

const (
	ticketTurn = 12 * time.Hour // after which tickets are sealed with a new key
	ticketKeys = 3              // that are kept: tickets are good for one turn less, at least
)

// Tickets holds the keys that seal TLS session tickets. Nothing but this
// process ever knows them. Safe for concurrent use.
type Tickets struct {
	mu   sync.Mutex
	keys [][32]byte // the newest first
	turn time.Time  // when the next is due
}

// At returns the keys that hold at a time, the first of which seals, and when
// to ask again. What the slice holds does not change.
func (t *Tickets) At(now time.Time) (keys [][32]byte, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.turn) {
		keep := 0 // after a long pause, those of before are all too old
		if now.Before(t.turn.Add(ticketTurn)) {
			keep = min(len(t.keys), ticketKeys-1)
		}
		var fresh [32]byte
		rand.Read(fresh[:])
		t.keys = append([][32]byte{fresh}, t.keys[:keep]...)
		t.turn = now.Add(ticketTurn)
	}
	return t.keys, t.turn
}

// Start and Close do nothing: a key is made when it is asked for.
func (t *Tickets) Start() {}

// Close does nothing.
func (t *Tickets) Close() {}
