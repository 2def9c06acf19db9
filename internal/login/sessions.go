package login

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/store"
)

// Kinds of records.
const (
	kindSession = store.Kind("session")
	kindBySID   = store.Kind("session-sid") // by the issuer's session id
	kindUsed    = store.Kind("login-used")  // what must not be used twice
)

// Bounds of what is in memory.
const (
	shards      = 64
	mostInShard = 2048 // sessions; 131,072 in all
	mostLoads   = 64   // sessions asked for at once
	loadWithin  = 100 * time.Millisecond
	writeWithin = 2 * time.Second
	touchRoom   = 1024 // touches waiting to be written
	endRoom     = 64   // revoked sessions waiting to be ended; those beyond are when they are shown again
	sweepEvery  = time.Minute
)

// Sessions are the browser sessions of all parties: sealed in the store, and
// those in use in memory. It outlives configurations. Safe for concurrent use.
type Sessions struct {
	log *slog.Logger
	now func() time.Time

	loading, writing time.Duration // loadWithin and writeWithin, or what AskWithin was told

	keys  atomic.Pointer[keys.DataKeys] // nil: nothing can be sealed yet
	store atomic.Pointer[store.Store]   // nil: there is none yet
	heard atomic.Int64                  // when the store was last heard of, in ms

	held    [shards]shard
	loads   chan struct{}
	touches chan touch
	ends    chan *session // that were revoked
	doubted chan struct{} // something was revoked: every session is judged

	mu      sync.Mutex
	flights map[[32]byte]*flight // sessions that are being loaded
}

type shard struct {
	mu sync.RWMutex
	m  map[[32]byte]*session
}

// session is one in memory. What may change is its state.
type session struct {
	digest  [32]byte // of the cookie's value
	ref     string   // its beginning, for operators
	party   string   // context of the party that began it
	host    string
	state   atomic.Pointer[state]
	view    atomic.Pointer[view]
	seen    atomic.Int64 // last use, in ms
	written atomic.Int64 // last use that the store was told, in ms
	until   atomic.Int64 // end of idle time and lifetime, in ms
	ended   atomic.Bool
	stale   atomic.Bool // the store has another version

	refresh chan struct{} // held by who refreshes
	failed  atomic.Int64  // when a refresh came to nothing, in ms
}

func newSession(digest [32]byte, party, host string) *session {
	return &session{digest: digest, ref: hex.EncodeToString(digest[:refBytes]), party: party, host: host, refresh: make(chan struct{}, 1)}
}

// state is one version of a session. Immutable.
type state struct {
	doc     document
	claims  exchange.Claims // of the ID token
	version uint64
}

// document is what is sealed.
type document struct {
	Subject   string   `json:"subject"`
	SID       string   `json:"sid,omitempty"`
	IDToken   string   `json:"idToken"`
	Refresh   string   `json:"refresh,omitempty"`
	RefreshAt int64    `json:"refreshAt,omitempty"` // ms; 0: never
	Lease     int64    `json:"lease,omitempty"`     // ms; until then an instance refreshes
	Scopes    []string `json:"scopes"`
	Home      string   `json:"home,omitempty"` // path at which the login began
	Began     int64    `json:"began"`          // ms
	Seen      int64    `json:"seen"`           // ms
}

// Ends implements exchange.Session.
func (s *session) Ends() time.Time {
	if s.ended.Load() {
		return time.Time{}
	}
	return time.UnixMilli(s.until.Load())
}

// Ref implements exchange.Session: it is of a digest, so that nobody comes from
// it to the cookie.
func (s *session) Ref() string { return s.ref }

// touch is a use that the store is to be told of.
type touch struct {
	p *Party
	s *session
}

// NewSessions returns Sessions that refuse everything until they have keys and
// a store. now is the clock.
func NewSessions(log *slog.Logger, now func() time.Time) *Sessions {
	s := &Sessions{
		log: log, now: now, loading: loadWithin, writing: writeWithin, loads: make(chan struct{}, mostLoads), touches: make(chan touch, touchRoom),
		ends: make(chan *session, endRoom), doubted: make(chan struct{}, 1), flights: map[[32]byte]*flight{},
	}
	for i := range s.held {
		s.held[i].m = map[[32]byte]*session{}
	}
	return s
}

// AskWithin gives the store another time to answer a request that waits for
// it, and no less than before to write. To be called before Run.
func (s *Sessions) AskWithin(d time.Duration) { s.loading, s.writing = d, max(d, writeWithin) }

// Unlock gives the keys that sessions are sealed with.
func (s *Sessions) Unlock(k *keys.DataKeys) { s.keys.Store(k) }

// Use has sessions read from st and written to it. Nothing is followed yet:
// Run comes next.
func (s *Sessions) Use(st *store.Store) {
	s.store.Store(st)
	if st.Status().Err == nil {
		s.heard.Store(s.now().UnixMilli())
	}
}

// Run follows st, which is in use: what another instance ends or changes is
// ended or read again here. ended is called when sessions were ended. It
// returns when ctx is over.
func (s *Sessions) Run(ctx context.Context, st *store.Store, ended func()) {
	var writing sync.WaitGroup
	writing.Go(func() { s.write(ctx) })
	defer writing.Wait()
	var swept time.Time
	for ctx.Err() == nil {
		from, err := st.Stream(ctx, func(store.Record) error { return nil })
		if err == nil {
			s.doubt() // what changed before is not known
			s.heard.Store(s.now().UnixMilli())
			err = st.Follow(ctx, from, func(c store.Changes) error {
				if s.apply(c.List) {
					ended()
				}
				now := s.now()
				s.heard.Store(now.UnixMilli())
				if now.Sub(swept) > sweepEvery {
					swept = now
					s.sweep(now)
				}
				return nil
			}, kindSession)
		}
		if errors.Is(err, store.ErrGone) {
			continue
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// apply makes changes of the store; it reports whether sessions ended.
func (s *Sessions) apply(list []store.Change) (ended bool) {
	for i := range list {
		c := &list[i]
		if len(c.ID) != 32 {
			continue
		}
		have := s.get([32]byte([]byte(c.ID)))
		ended = ended || c.Deleted // or it was ended here
		switch {
		case have == nil:
		case c.Deleted:
			s.drop(have)
		case have.state.Load().version < c.Version:
			have.stale.Store(true)
		}
	}
	return ended
}

// doubt has every session read again before it is believed.
func (s *Sessions) doubt() {
	for i := range s.held {
		sh := &s.held[i]
		sh.mu.RLock()
		for _, one := range sh.m {
			one.stale.Store(true)
		}
		sh.mu.RUnlock()
	}
}

func (s *Sessions) sweep(now time.Time) {
	for i := range s.held {
		sh := &s.held[i]
		sh.mu.Lock()
		for d, one := range sh.m {
			if !now.Before(one.Ends()) {
				one.ended.Store(true)
				delete(sh.m, d)
			}
		}
		sh.mu.Unlock()
	}
}

// silent reports whether the store was not heard of for too long.
func (s *Sessions) silent(most time.Duration) bool {
	return s.now().Sub(time.UnixMilli(s.heard.Load())) > most
}

func (s *Sessions) shard(d *[32]byte) *shard { return &s.held[d[0]%shards] }

func (s *Sessions) get(d [32]byte) *session {
	sh := s.shard(&d)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.m[d]
}

// put takes a session in, and returns the one that was there before it. One
// that has to make room is ended here: its streams cannot be told of a logout
// any longer. Its browser finds it again in the store.
func (s *Sessions) put(one *session) *session {
	sh := s.shard(&one.digest)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if have := sh.m[one.digest]; have != nil {
		return have
	}
	if len(sh.m) >= mostInShard {
		for d, victim := range sh.m {
			victim.ended.Store(true)
			delete(sh.m, d)
			break
		}
	}
	sh.m[one.digest] = one
	return one
}

// drop ends a session in memory.
func (s *Sessions) drop(one *session) {
	one.ended.Store(true)
	sh := s.shard(&one.digest)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.m[one.digest] == one {
		delete(sh.m, one.digest)
	}
}

// write tells the store of uses and ends what was revoked, one after the other.
func (s *Sessions) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-s.ends:
			s.endRevoked(ctx, one)
		case <-s.doubted:
			s.endRevoked(ctx, s.revoked()...)
		case t := <-s.touches:
			st := t.s.state.Load()
			doc := st.doc
			doc.Seen = t.s.seen.Load()
			// Whoever wrote meanwhile has used it, too; the next use is told again.
			if err := t.p.update(ctx, t.s, st, doc); err != nil && ctx.Err() == nil {
				t.s.stale.Store(true)
			}
		}
	}
}
