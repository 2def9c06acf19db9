package keys

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
)

// How often a remote set is fetched, and how long requests wait for it.
const (
	minRefresh     = time.Minute
	maxRefresh     = time.Hour
	defaultRefresh = 5 * time.Minute
	firstRetry     = time.Second // after a failure; doubles
	lastRetry      = 30 * time.Second
	maxWait        = 2 * time.Second // of a request for a fetch
	maxWaiters     = 4096            // requests waiting at once
	fetchBurst     = 5               // fetches that unknown key names may cause at once
	fetchEvery     = time.Second     // and then one per
)

// RemoteConfig says where the keys of an issuer come from: JWKSFile if it is
// set, else JWKSURI, else the discovery document of Issuer.
type RemoteConfig struct {
	Issuer   string // iss, byte for byte
	JWKSURI  string
	JWKSFile string
	CAPool   *x509.CertPool // nil: the system's
	Own      []uint16       // loopback ports of our own surfaces: never dialled
	MaxStale time.Duration  // how long the last good answer may serve; 0: 24 h
	Log      *slog.Logger   // nil: silent
	Changed  func()         // called when the keys are others than before; it must not wait. nil: nobody is told
}

// Remote is the key set of an issuer. One goroutine fetches it, in the
// background and when a key is asked for that is not known; the others read
// what it found. It implements Set.
type Remote struct {
	config   RemoteConfig
	source   source
	maxStale time.Duration
	log      *slog.Logger

	answer  atomic.Pointer[answer] // the last good one; nil: none, or too old
	fetches atomic.Uint64

	mu      sync.Mutex
	next    *wave // what the next fetch to start will end
	waiting int
	tried   bool // a fetch has ended
	status  Status

	demand chan struct{} // somebody waits; holds one
	ctx    context.Context
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// answer is one good answer. Immutable.
type answer struct {
	keys ring
	at   time.Time
}

// wave is the requests that wait for the same fetch: one that starts after
// each of them arrived.
type wave struct {
	over chan struct{} // closed when the fetch has ended
	err  error         // written before
}

// NewRemote returns the set of cfg. It starts nothing: until Start its keys
// are not to be had.
func NewRemote(cfg RemoteConfig) *Remote {
	r := &Remote{
		config:   cfg,
		source:   newSource(cfg),
		maxStale: cfg.MaxStale,
		log:      cfg.Log,
		next:     &wave{over: make(chan struct{})},
		demand:   make(chan struct{}, 1),
	}
	if r.maxStale == 0 {
		r.maxStale = 24 * time.Hour
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Config returns what the set was made of.
func (r *Remote) Config() RemoteConfig { return r.config }

// Start begins fetching. It is called once.
func (r *Remote) Start() { r.done.Go(r.run) }

// Close ends fetching, lets go of whoever waits, and returns when all is
// still. The keys die, and what was concluded with them.
func (r *Remote) Close() {
	r.stop()
	r.done.Wait()
	r.forget()
}

// Status is what metrics and operators ask.
type Status struct {
	Loaded  time.Time // of the last good answer; zero: never
	Err     error     // of the last fetch; nil: it was good
	Left    []string  // keys of the last good answer that are not used, and why
	Keys    int       // keys in use
	Fetches uint64    // since the start
	Waiting int       // requests that wait for a fetch
}

// Status returns how the set is.
func (r *Remote) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Fetches, s.Waiting = r.fetches.Load(), r.waiting
	if a := r.answer.Load(); a != nil {
		s.Keys = len(a.keys)
	}
	return s
}

// Find implements Set.
func (r *Remote) Find(ctx context.Context, kid, algorithm string, fetch bool) (*Key, error) {
	key, known, err := r.look(kid, algorithm)
	if err == nil || known || !fetch {
		return key, err
	}
	w, err := r.join(err)
	if err != nil {
		return nil, err
	}
	defer r.leave()
	late := time.NewTimer(maxWait)
	defer late.Stop()
	select {
	case <-w.over:
	case <-late.C:
		return nil, fault.New(fault.IdentityUnavailable, "the issuer did not give its keys in time")
	case <-ctx.Done():
		return nil, fault.New(fault.IdentityUnavailable, "nobody waits for the keys any longer").Because(context.Cause(ctx))
	case <-r.ctx.Done():
		return nil, fault.New(fault.IdentityUnavailable, "the key set is closed")
	}
	if key, _, err = r.look(kid, algorithm); err != nil && w.err != nil {
		return nil, fault.New(fault.IdentityUnavailable, "the keys could not be fetched").Because(w.err)
	}
	return key, err
}

// look finds a key among those at hand. known says that a fetch would not help.
func (r *Remote) look(kid, algorithm string) (key *Key, known bool, err error) {
	a := r.answer.Load()
	if a == nil {
		if a, known, err = r.lookAgain(); a == nil {
			return nil, known, err
		}
	}
	key, known, reason := a.keys.find(kid, algorithm)
	if key.Alive() {
		return key, true, nil
	}
	return nil, known, fault.New(fault.TokenKeyUnknown, reason)
}

// lookAgain returns the answer for a request that has just seen none: the first
// good one may have come in between. If there is still none it says why, and
// whether a fetch would not help.
func (r *Remote) lookAgain() (a *answer, stale bool, err error) {
	r.mu.Lock() // under which the answer and its time are put in force together
	defer r.mu.Unlock()
	switch a = r.answer.Load(); {
	case a != nil:
		return a, false, nil
	case !r.status.Loaded.IsZero():
		return nil, true, fault.New(fault.KeysStale, "the last good answer is older than "+r.maxStale.String())
	}
	return nil, false, fault.New(fault.IdentityUnavailable, "the keys were never fetched")
}

// join takes a place among those who wait for the next fetch. It asks for one.
// miss is why the caller wants to wait, and what it is told if waiting is of
// no use.
func (r *Remote) join(miss error) (*wave, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.demand <- struct{}{}:
	default:
	}
	if r.tried && r.status.Loaded.IsZero() {
		// The issuer has been out of reach since the start. The request has
		// nudged it; waiting would only pile up connections here.
		return nil, miss
	}
	if r.waiting >= maxWaiters {
		return nil, fault.New(fault.IdentityUnavailable, "too many requests wait for the issuer's keys")
	}
	r.waiting++
	return r.next, nil
}

func (r *Remote) leave() {
	r.mu.Lock()
	r.waiting--
	r.mu.Unlock()
}

// run fetches until Close.
func (r *Remote) run() {
	due := time.NewTimer(0)
	defer due.Stop()
	bucket := bucket{tokens: fetchBurst, at: time.Now()}
	// Of its own, so that keys get stale on time even while a fetch hangs.
	stale := time.AfterFunc(r.maxStale, func() {
		if r.forget() {
			r.changed()
		}
	})
	defer stale.Stop()
	retry := firstRetry
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-due.C:
		case <-r.demand:
			if !bucket.take(r.ctx) {
				return
			}
		}
		maxAge, err := r.fetch(stale)
		wait := jitter(retry)
		if err == nil {
			retry = firstRetry
			wait = min(max(jitter(maxAge), minRefresh), maxRefresh)
		} else {
			retry = min(2*retry, lastRetry)
		}
		due.Reset(wait)
	}
}

// fetch ends one wave. Whoever comes after its start waits for the next.
func (r *Remote) fetch(stale *time.Timer) (maxAge time.Duration, err error) {
	r.mu.Lock()
	w := r.next
	r.next = &wave{over: make(chan struct{})}
	select { // those who asked are in this wave
	case <-r.demand:
	default:
	}
	r.mu.Unlock()
	defer close(w.over)

	r.fetches.Add(1)
	start := time.Now()
	found, err := r.source.load(r.ctx)
	w.err = err

	r.mu.Lock()
	failing, left := r.status.Err != nil, r.status.Left
	r.tried, r.status.Err = true, err
	others := false
	if err == nil {
		others = r.publish(found, start)
		stale.Reset(r.maxStale - time.Since(start))
	}
	r.mu.Unlock()
	if others {
		r.changed()
	}

	switch { // once per outage
	case err != nil && !failing && r.ctx.Err() == nil:
		r.log.Warn("keys not fetched", "iss", r.source.issuer, "error", err.Error())
	case err == nil && failing:
		r.log.Info("keys fetched again", "iss", r.source.issuer, "keys", len(found.keys))
	}
	if err == nil && len(found.left) > 0 && !slices.Equal(found.left, left) {
		r.log.Warn("keys left out", "iss", r.source.issuer, "why", strings.Join(found.left, "; "))
	}
	return found.maxAge, err
}

// changed tells that the keys are others than before.
func (r *Remote) changed() {
	if r.config.Changed != nil {
		r.config.Changed()
	}
}

// publish puts a good answer in force, and reports whether its keys are others
// than those before. r.mu is held.
func (r *Remote) publish(found found, at time.Time) (others bool) {
	var old ring
	if a := r.answer.Load(); a != nil {
		old = a.keys
	}
	next := old.replace(found.keys)
	r.answer.Store(&answer{keys: next, at: at})
	r.status.Loaded, r.status.Left = at, found.left
	return !slices.Equal(old, next)
}

// forget gives up keys that are too old, or no longer wanted, with all that
// was concluded with them; it reports whether it did.
func (r *Remote) forget() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answer.Load()
	if a == nil || time.Since(a.at) < r.maxStale && r.ctx.Err() == nil {
		return false
	}
	a.keys.replace(nil)
	r.answer.Store(nil)
	return true
}

// jitter returns d give or take a fifth, so that a fleet does not ask at once.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// bucket bounds the fetches that unknown key names cause.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token, waiting for it; false when ctx is over.
func (b *bucket) take(ctx context.Context) bool {
	now := time.Now()
	b.tokens = min(fetchBurst, b.tokens+float64(now.Sub(b.at))/float64(fetchEvery))
	b.at = now
	b.tokens--
	if b.tokens >= 0 {
		return true
	}
	t := time.NewTimer(time.Duration(-b.tokens * float64(fetchEvery)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
