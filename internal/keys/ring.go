package keys

import (
	"context"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/fault"
)

// ring is the keys of one good answer. Immutable.
type ring []*Key

// find returns the one key that fits. known says that kid is in the ring,
// though not for this algorithm or more than once, so that asking the issuer
// again would be of no use.
func (r ring) find(kid, algorithm string) (key *Key, known bool, reason string) {
	named := false
	for _, k := range r {
		if kid != "" && k.ID != kid {
			continue
		}
		named = named || kid != ""
		if !k.Fits(algorithm) {
			continue
		}
		if key != nil {
			if kid == "" {
				return nil, true, "the token names no key and more than one fits " + algorithm
			}
			return nil, true, "more than one key of this name fits " + algorithm
		}
		key = k
	}
	switch {
	case key != nil:
		return key, true, ""
	case named:
		return nil, true, "the key of this name is not one for " + algorithm
	case kid == "":
		return nil, false, "the token names no key and none fits " + algorithm
	}
	return nil, false, "the set holds no key of this name"
}

// replace returns the ring that comes after r: keys that stayed are the same
// as before, so that what was concluded with them holds on; keys that went die.
func (r ring) replace(fresh ring) ring {
	next := make(ring, len(fresh))
	stayed := make(map[*Key]bool, len(fresh))
	for i, k := range fresh {
		next[i] = k
		for _, old := range r {
			if old.Alive() && !stayed[old] && old.Same(k) {
				next[i], stayed[old] = old, true
				break
			}
		}
	}
	for _, old := range r {
		if !stayed[old] {
			old.alive.Store(false)
		}
	}
	return next
}

// Static is a set of keys that are handed over in this process: those of the
// embedded authorization server, or of a test. The zero Static holds none.
type Static struct{ ring atomic.Pointer[ring] }

// NewStatic returns a set of list.
func NewStatic(list ...*Key) *Static {
	s := &Static{}
	s.Replace(list...)
	return s
}

// Replace makes list the keys of the set. Keys that are no longer among them
// die. Calls must not overlap.
func (s *Static) Replace(list ...*Key) {
	next := s.keys().replace(list)
	s.ring.Store(&next)
}

func (s *Static) keys() ring {
	if r := s.ring.Load(); r != nil {
		return *r
	}
	return nil
}

// Find implements Set. There is nothing to fetch.
func (s *Static) Find(_ context.Context, kid, algorithm string, _ bool) (*Key, error) {
	key, _, reason := s.keys().find(kid, algorithm)
	if !key.Alive() {
		return nil, fault.New(fault.TokenKeyUnknown, reason)
	}
	return key, nil
}
