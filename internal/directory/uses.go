package directory

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/store"
)

// When a key was last used is known to the tick. A request that finds another
// tick in the key's entry writes its own there, which is all that a use costs;
// the store is told once for many, in the background: a while after the end of
// each tick, and when the gateway ends.
const (
	tick = 10 * time.Minute
	// late is how long after the end of a tick the store is told at most;
	// instances that share a store spread over it.
	late    = time.Minute
	atOnce  = 500             // uses in one write, and more only if one shard has them
	mostRun = 100_000         // uses that are told after one tick; the rest after the next
	atEnd   = 2 * time.Second // for telling when the gateway ends
	pause   = 10 * time.Millisecond
)

// UsesWithin is the age at which every use that was not told yet is told.
const UsesWithin = tick + late + time.Minute

func tickOf(now time.Time) uint32 { return uint32(now.Unix() / int64(tick/time.Second)) }

func endOf(t uint32) time.Time { return time.Unix((int64(t)+1)*int64(tick/time.Second), 0) }

// use notes a use of the key.
func (e *keyEntry) use(now time.Time) {
	if t := tickOf(now); atomic.LoadUint32(&e.used) < t {
		atomic.StoreUint32(&e.used, t)
	}
}

// inherit takes over what is known of uses from the table before.
func (t *table) inherit(old *table) {
	for i := range old.shards {
		s := old.shards[i].Load()
		if s == nil {
			continue
		}
		for k := range s.entries {
			was := &s.entries[k]
			used := atomic.LoadUint32(&was.used)
			if used == 0 {
				continue
			}
			if e := t.get(was.ref.ID); e != nil && e.ref == was.ref {
				e.used = used
			}
		}
	}
}

// TellUses tells the store when its keys were last used, until ctx ends, and
// then once more. Nobody waits for it. While the store is down it is told
// nothing, and later what is then known.
func (m *Memory) TellUses(ctx context.Context, s *store.Store) {
	for from := 0; ; {
		rest(ctx, time.Until(endOf(tickOf(m.now())))+rand.N(late))
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), atEnd)
			defer cancel()
			m.tellUses(last, s, 0, shardCount*atOnce)
			return
		}
		from = m.tellUses(ctx, s, from, mostRun)
	}
}

// tellUses tells the store of uses that it was not told of, in the shards from
// one on, until it has told most of them. It returns where to go on.
func (m *Memory) tellUses(ctx context.Context, s *store.Store, from, most int) (next int) {
	h := m.held.Load()
	if h == nil || s.Status().Err != nil {
		return from
	}
	over := tickOf(m.now()) - 1 // no more uses come of this one
	var uses []store.Use
	first := from
	for n := range shardCount {
		at := (from + n) % shardCount
		uses = h.table.uses(uses, at)
		if len(uses) < atOnce && n < shardCount-1 {
			continue
		}
		began := time.Now()
		for some := range slices.Chunk(uses, store.MaxWrites) {
			if err := s.Used(ctx, kindKey, some); err != nil {
				m.log.Debug("the store was not told of uses of its keys", "error", err)
				return first
			}
		}
		for i := first; ; i = (i + 1) % shardCount {
			h.table.told[i] = over
			if i == at {
				break
			}
		}
		first = (at + 1) % shardCount
		if most -= len(uses); most <= 0 {
			break
		}
		uses = uses[:0]
		rest(ctx, max(pause, time.Since(began))) // others write, too
	}
	return first
}

// uses appends those of a shard that the store does not know of.
func (t *table) uses(to []store.Use, at int) []store.Use {
	s := t.shards[at].Load()
	if s == nil {
		return to
	}
	for i := range s.entries {
		e := &s.entries[i]
		if used := atomic.LoadUint32(&e.used); used > t.told[at] {
			to = append(to, store.Use{ID: string(e.ref.ID[:]), At: time.Unix(int64(used)*int64(tick/time.Second), 0)})
		}
	}
	return to
}
