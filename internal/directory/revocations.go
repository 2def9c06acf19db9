package directory

import (
	"encoding/hex"
	"maps"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// revocations are what tokens are judged by, in memory. A shard is a map that
// never changes and holds no pointers: a change puts another in its place, so
// that readers wait for nobody. The zero value has none. One writer at a time.
type revocations struct {
	kinds  atomic.Uint32 // of what there was one, ever: no further is looked
	shards [revocationShards]atomic.Pointer[revocationShard]
}

type revocationShard map[exchange.Mark]revocation

// revocation is one, without what it is of. The zero value is of every token.
type revocation struct {
	before  int64 // Unix milliseconds: of tokens issued until then; 0: whenever
	expires int64 // Unix milliseconds; 0: never
}

const revocationShards = 1024

// kindOf are the bits of what can be revoked; a record that cannot be read has
// all of them.
var kindOf = map[string]uint32{
	exchange.RevokedToken: ofToken, exchange.RevokedID: ofID, exchange.RevokedSubject: ofSubject,
	exchange.RevokedConsumer: ofConsumer, exchange.RevokedIssuer: ofIssuer, exchange.RevokedAll: ofAll,
}

const (
	ofToken uint32 = 1 << iota
	ofID
	ofSubject
	ofConsumer
	ofIssuer
	ofAll
	anyKind = ^uint32(0)
)

// shardOf returns the shard of a mark. Marks are digests: any bits do.
func shardOf(m *exchange.Mark) int { return (int(m[0])<<8 | int(m[1])) % revocationShards }

func (r *revocations) has(m *exchange.Mark, t *exchange.Token, now int64) bool {
	s := r.shards[shardOf(m)].Load()
	if s == nil {
		return false
	}
	e, ok := (*s)[*m]
	return ok && e.holds(t, now)
}

// holds reports whether e is of a token. One that does not say when it was
// issued is revoked.
func (e revocation) holds(t *exchange.Token, now int64) bool {
	switch {
	case e.expires != 0 && now >= e.expires:
		return false
	case e.before == 0 || t.Since == 0:
		return true
	}
	return t.Since <= e.before
}

var everyToken = exchange.MarkOf(exchange.RevokedAll)

// revoked judges a token or a session. within is how old the memory may be.
func (m *Memory) revoked(id *exchange.Identity, now time.Time, within time.Duration) fault.Code {
	h := m.held.Load()
	if h == nil {
		return fault.IdentityUnavailable
	}
	if now.UnixNano()-m.seen.Load() > int64(within) {
		return fault.KeysStale
	}
	r, t := &h.ended, id.Token
	kinds := r.kinds.Load()
	if kinds == 0 {
		return fault.None
	}
	// The zero mark, of what a token does not have, is of nothing.
	at := now.UnixMilli()
	if kinds&ofToken != 0 && r.has(&t.Itself, t, at) ||
		kinds&ofID != 0 && r.has(&t.ID, t, at) ||
		kinds&ofSubject != 0 && r.has(&t.Subject, t, at) ||
		kinds&ofConsumer != 0 && (r.has(&id.Whose, t, at) || r.has(&t.Client, t, at)) ||
		kinds&ofIssuer != 0 && r.has(&t.Issuer, t, at) ||
		kinds&ofAll != 0 && r.has(&everyToken, t, at) {
		if id.Session != nil {
			return fault.SessionExpired
		}
		return fault.TokenRevoked
	}
	return fault.None
}

// revokedBy finds the revocation that revoked judges by, and says which.
func (m *Memory) revokedBy(id *exchange.Identity, now time.Time) string {
	h := m.held.Load()
	if h == nil {
		return ""
	}
	t := id.Token
	for _, mark := range [...]*exchange.Mark{&t.Itself, &t.ID, &t.Subject, &id.Whose, &t.Client, &t.Issuer, &everyToken} {
		shard := h.ended.shards[shardOf(mark)].Load()
		if shard == nil {
			continue
		}
		e, ok := (*shard)[*mark]
		if !ok || !e.holds(t, now.UnixMilli()) {
			continue
		}
		text := ": " + hex.EncodeToString(mark[:6])
		switch {
		case e.before != 0 && id.Session != nil:
			text += ", of those begun until " + moment(e.before).UTC().Format(time.RFC3339)
		case e.before != 0:
			text += ", of those issued until " + moment(e.before).UTC().Format(time.RFC3339) + " + clockSkew"
		}
		if e.expires != 0 {
			text += ", forgotten " + moment(e.expires).UTC().Format(time.DateOnly)
		}
		return text
	}
	return ""
}

// change puts another shard in the place of that of a mark, without what is
// over.
func (r *revocations) change(m exchange.Mark, now int64, f func(revocationShard)) {
	place := &r.shards[shardOf(&m)]
	next := revocationShard{}
	if old := place.Load(); old != nil {
		next = maps.Clone(*old)
		maps.DeleteFunc(next, func(_ exchange.Mark, e revocation) bool { return e.expires != 0 && now >= e.expires })
	}
	f(next)
	place.Store(&next)
}

// put adds a record or replaces it. One that cannot be read revokes all that
// its id names, whenever it was issued: it may say less than that, never more.
func (r *revocations) put(record *store.Record, now int64) error {
	m, e, kind, err := revocationOf(record)
	if m != (exchange.Mark{}) {
		r.change(m, now, func(s revocationShard) { s[m] = e })
		r.kinds.Or(kind)
	}
	return err
}

func (r *revocations) remove(id string, now int64) {
	if m, ok := markOf(id); ok {
		r.change(m, now, func(s revocationShard) { delete(s, m) })
	}
}

// revocationOf returns the mark of a record, what is revoked, and its bit.
func revocationOf(record *store.Record) (exchange.Mark, revocation, uint32, error) {
	m, _ := markOf(record.ID)
	v, err := readRevocation(record)
	if err != nil {
		return m, revocation{}, anyKind, err
	}
	return m, revocation{milli(v.Before), milli(v.Expires)}, kindOf[v.What], nil
}

func markOf(id string) (m exchange.Mark, ok bool) {
	if len(id) != 2*len(m) {
		return m, false
	}
	_, err := hex.Decode(m[:], []byte(id))
	return m, err == nil
}

// revocationFiller fills the revocations of one load.
type revocationFiller struct {
	kinds  uint32
	shards [revocationShards]revocationShard
}

func (f *revocationFiller) add(record *store.Record) error {
	m, e, kind, err := revocationOf(record)
	if m != (exchange.Mark{}) {
		s := &f.shards[shardOf(&m)]
		if *s == nil {
			*s = revocationShard{}
		}
		(*s)[m] = e
		f.kinds |= kind
	}
	return err
}

// into moves what was filled. The filler is used up.
func (f *revocationFiller) into(r *revocations) {
	for i, s := range f.shards {
		if s != nil {
			r.shards[i].Store(&s)
		}
	}
	r.kinds.Store(f.kinds)
}
