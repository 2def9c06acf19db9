// Package guessing slows down those who guess, and keeps what their guesses
// cost from everybody else. It is the one home of these rules, for every
// secret that somebody thought up and for the work that checking any
// credential takes.
//
// Guesses slow down an account for a network. A Gate bounds costly work, and
// lets those who were good before go first. A Budget is what a network may
// have worked out for credentials that turn out wrong. Passwords puts them
// together for passwords. All of it is in the memory of one process, bounded
// whatever is sent, and safe for concurrent use.
package guessing

import (
	"net/netip"
	"runtime"
)

// Network returns the network that an address is counted under: a /32 of
// IPv4, a /64 of IPv6, which is what one household or host usually has. The
// zero address is a network too.
func Network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// Spared are the ranges that nothing automatic is ever held against: trusted
// proxies, behind which everybody would be hit, and what the operator lists.
// Their wrong guesses are not counted.
type Spared []netip.Prefix

// Contains reports whether addr is spared.
func (s Spared) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range s {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Guard is what guards the credentials of one gateway. It outlives snapshots.
type Guard struct {
	Passwords  *Passwords
	Signatures *Budget
}

// NewGuard returns a guard that remembers nothing yet. Passwords get half of
// the processors at most, and so do the signatures of networks that failed.
func NewGuard() *Guard {
	slots := max(1, min(runtime.GOMAXPROCS(0)/2, maxSlots))
	suspects := newSuspects()
	return &Guard{
		Passwords:  &Passwords{guesses: NewGuesses(), suspects: suspects, gate: newGate(slots), proved: newProved(), match: matches, flights: map[mac]*flight{}},
		Signatures: &Budget{suspects: suspects, gate: newGate(slots)},
	}
}

// maxSlots bounds the memory of hashes in the making: 64 MiB each at most.
const maxSlots = 8
