package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

const (
	// streamAge is how long an answer holds its snapshot, counted from its
	// head; one that is known to go on and on does not hold it at all.
	streamAge = 10 * time.Second
	// streamTick is how often streams are looked at: with what a tunnel has to
	// end (http1), less than a second passes until a stream is gone.
	streamTick   = 250 * time.Millisecond
	streamRest   = 24 * time.Hour // no stream with an end is let alone for longer
	streamShards = 16
)

// streams are the answers that go on after their head: tunnels, events, calls
// of gRPC, long bodies; and requests whose body is long in coming. What has
// become a stream has given its snapshot back, and keeps what carries it, its
// labels and its identity. From then on it is judged by the snapshot in force:
// at once, when its identity expires, and whenever judge is called.
//
// One goroutine looks at all of them, in shards, so that no lock is common to
// all; it rests while there are none. What comes and goes in one piece
// never comes here.
type streams struct {
	live *snapshot.Live
	now  func() time.Time
	log  *slog.Logger

	shards [streamShards]shard
	open   atomic.Int64
	all    atomic.Bool   // every stream is to be judged
	wake   chan struct{} // there is a first stream, or all is set
	end    chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

// shard is a part of the streams, and when each is to be looked at: Unix
// nanoseconds, apart from them, so that looking is a walk over one array.
type shard struct {
	mu   sync.Mutex
	list []*stream
	due  []int64
	_    [64]byte // shards do not share a cache line
}

// stream is one of them.
type stream struct {
	x        *exchange.Exchange // to cancel it; only before it has left
	sink     exchange.Sink      // to cut the client's side; nil: cancelling does that too
	shard    *shard
	route    exchange.Route
	upstream string
	identity *exchange.Identity
	witness  exchange.Witness

	// Guarded by the shard's mu while the stream is in it.
	place int             // in the shard
	lent  loan            // the snapshot, until this is a stream
	r     *snapshot.Route // of that snapshot
	hold  snapshot.Loan   // since
}

const never = math.MaxInt64

func newStreams(live *snapshot.Live, now func() time.Time, log *slog.Logger) *streams {
	s := &streams{live: live, now: now, log: log, wake: make(chan struct{}, 1), end: make(chan struct{})}
	s.done.Go(s.run)
	return s
}

// enter takes an exchange in of which a part goes on for long, with its loan
// of the snapshot; at once says that it is known to. sink is nil where
// cancelling the exchange is enough: of a tunnel, of a request body. leave must
// follow; then the exchange may enter again.
func (s *streams) enter(x *exchange.Exchange, sink exchange.Sink, r *snapshot.Route, lent *loan, atOnce bool) *stream {
	t := &stream{
		x: x, sink: sink, shard: &s.shards[x.ID[0]%streamShards],
		route: *x.Route, upstream: r.Target, identity: x.Identity.Keep(), witness: x.Witness(),
		lent: loan{s: lent.s}, r: r, hold: lent.hold,
	}
	due := s.now().Add(streamAge).UnixNano()
	switch {
	case lent.s == nil: // it is a stream since it entered before
		due = 0
	case atOnce:
		due = 0
		given := t.give()
		given.end()
	}
	lent.s, lent.hold = nil, snapshot.Loan{}
	t.shard.mu.Lock()
	t.place = len(t.shard.list)
	t.shard.list = append(t.shard.list, t)
	t.shard.due = append(t.shard.due, due)
	t.shard.mu.Unlock()
	if s.open.Add(1) == 1 {
		s.rouse()
	}
	return t
}

// leave ends what enter began, gives the exchange its loan again, or what has
// taken its place, and notes there whether it came to be a stream. Afterwards
// nobody cancels the exchange.
func (s *streams) leave(t *stream, lent *loan) {
	d := t.shard
	d.mu.Lock()
	last := len(d.list) - 1
	d.list[t.place], d.due[t.place] = d.list[last], d.due[last]
	d.list[t.place].place = t.place
	d.list[last] = nil
	d.list, d.due = d.list[:last], d.due[:last]
	d.mu.Unlock()
	s.open.Add(-1)
	lent.s, lent.hold = t.lent.s, t.hold
	lent.streamed = lent.s == nil
}

// give makes t a stream: it gives its snapshot back, and holds what carries
// it instead. The caller ends the loan that is returned.
func (t *stream) give() (lent loan) {
	t.hold = t.lent.s.Lend(t.r)
	lent, t.lent.s, t.r = t.lent, nil, nil
	return lent
}

// endless reports whether a response says of itself that it goes on until
// somebody ends it.
func endless(h *exchange.Head) bool {
	media, _ := h.Get(exchange.HeaderContentType)
	media, _, _ = bytes.Cut(media, []byte(";"))
	media = bytes.TrimRight(media, " \t")
	grpc := len("application/grpc")
	return exchange.EqualFold(media, "text/event-stream") ||
		len(media) >= grpc && exchange.EqualFold(media[:grpc], "application/grpc") // and +proto, -web
}

// judge has every stream judged again, soon: another snapshot is in force, or
// credentials were taken back.
func (s *streams) judge() {
	s.all.Store(true)
	s.rouse()
}

func (s *streams) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (s *streams) stop() {
	s.once.Do(func() { close(s.end) })
	s.done.Wait()
}

func (s *streams) run() {
	tick := time.NewTicker(streamTick)
	defer tick.Stop()
	for {
		ticks := tick.C
		if s.open.Load() == 0 {
			ticks = nil
		}
		select {
		case <-s.end:
			return
		case <-s.wake:
		case <-ticks:
		}
		s.look()
	}
}

// look makes streams of answers that are old enough, and judges those whose
// time has come.
func (s *streams) look() {
	all := s.all.Swap(false)
	now := s.now()
	in := s.live.Acquire()
	if in == nil {
		return // service has ended, and with it every stream
	}
	defer in.Release()
	var given []loan
	for i := range s.shards {
		d := &s.shards[i]
		d.mu.Lock()
		for k, t := range d.list {
			due := d.due[k] <= now.UnixNano()
			switch {
			case t.lent.s != nil && !due:
				continue // no stream yet: it has its snapshot
			case t.lent.s != nil:
				given = append(given, t.give())
			case !due && !all:
				continue
			}
			d.due[k] = s.judged(t, in, now)
		}
		d.mu.Unlock()
	}
	for i := range given {
		given[i].end() // may close what the snapshot held: not under a lock
	}
}

// judged judges t, and ends it if that panics: a bug costs one stream, not the
// process.
func (s *streams) judged(t *stream, in *snapshot.Snapshot, now time.Time) (due int64) {
	defer func() {
		if bug := recover(); bug != nil {
			s.log.Error("panic while judging a stream", "id", t.x.ID.String(), telemetry.FieldPanic, fmt.Sprint(bug), telemetry.FieldStack, string(debug.Stack()))
			t.cancel(fault.New(fault.InternalError, "a bug in the gateway; the application log has its stack under this request's id"))
			due = never
		}
	}()
	return t.judge(in, now)
}

// judge ends the stream if it does not hold, and returns when it is to be
// asked again.
func (t *stream) judge(in *snapshot.Snapshot, now time.Time) int64 {
	until, f := in.Holds(t.route, t.upstream, t.identity, t.witness, now)
	switch {
	case f != nil:
		t.cancel(f)
		return never
	case until.IsZero():
		return never
	}
	return now.Add(min(until.Sub(now), streamRest)).UnixNano() // what is far away has no place in 64 bits
}

func (t *stream) cancel(f *fault.Error) {
	t.x.Cancel(f)
	if t.sink != nil {
		t.sink.Cut()
	}
}
