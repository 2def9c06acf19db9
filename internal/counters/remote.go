package counters

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// lateAnswers in a row are a server that does not answer; fewer may be a
	// hiccup on either side.
	lateAnswers = 3
	// inFlight bounds the questions that wait for an answer. It is below what
	// a connection of the client holds: beyond that, asking cannot be given up.
	inFlight = 1000

	dialWithin = time.Second
	quietAfter = 2 * time.Second // a connection that does not answer for so long is closed

	firstPause = 100 * time.Millisecond // before a server that failed is tried again; doubles
	lastPause  = 2 * time.Second
	calm       = 10 * time.Second // a server that answered so long begins with the first pause again
)

// Names of what is kept. All buckets share a hash tag: in a cluster, what is
// decided at once must live in one place (docs/adr/0014). What occurs once is
// decided alone and spreads over the cluster.
const (
	bucketPrefix = "warder:{limits}:"
	windowPrefix = "warder:{limits}:w:"
	oncePrefix   = "warder:once:"
)

//go:embed take.lua
var takeScript string

// Remote is Counters in a Redis or Valkey server that several gateways share:
// they decide as one. The server's clock is used; now is for Local alone.
//
// No call waits for it longer than Within. When it fails, or is late three
// times in a row, it is not asked again until it has been tried in the
// background. Until then, and for a call whose answer was late, the
// local memory decides, which knows what the server last said of each bucket
// that was asked for here; charges that are Closed, and Once, are answered with
// ErrUnavailable. What memory decided is not told to the server afterwards.
//
// A call whose answer came too late may have been charged by the server, and
// is charged by memory again: callers get less than their limit then, not more.
type Remote struct {
	cfg    RemoteConfig
	script *rueidis.Lua
	client rueidis.Client // written by tend before the first odd epoch

	// epoch is odd while the server is believed to answer. A failure ends the
	// epoch in which its question was asked, and no later one.
	epoch   atomic.Uint64
	late    atomic.Int32  // answers in a row
	failed  chan error    // the end of an epoch, for tend
	tried   chan struct{} // closed after the first attempt
	seats   chan struct{}
	local   atomic.Uint64
	running sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

// RemoteConfig is what a Remote needs. Every field is required but TLS.
type RemoteConfig struct {
	Address Address
	TLS     *tls.Config   // for an encrypted Address
	Within  time.Duration // what a call waits at most
	Local   *Memory       // takes over while the server does not answer
	Log     *slog.Logger
}

// NewRemote returns a Remote that does nothing before Start.
func NewRemote(cfg RemoteConfig) *Remote {
	r := &Remote{
		cfg:    cfg,
		script: rueidis.NewLuaScript(takeScript),
		failed: make(chan error, 1),
		tried:  make(chan struct{}),
		seats:  make(chan struct{}, inFlight),
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Start connects in the background. The first decisions wait for it, as they
// would for an answer.
func (r *Remote) Start() {
	if !r.cfg.Address.TLS && !r.cfg.Address.local() {
		r.cfg.Log.Warn("the counters' server is reached without TLS: who is on the way sees the password and can change counts; use rediss://", "server", r.cfg.Address.String())
	}
	r.running.Go(r.tend)
}

// Close ends what Start began. Nothing may be asked any more.
func (r *Remote) Close() {
	r.stop()
	r.running.Wait()
	if r.client != nil {
		r.client.Close()
	}
}

// Reachable reports whether the server is believed to answer.
func (r *Remote) Reachable() bool { return r.epoch.Load()%2 == 1 }

// Local returns how many decisions were taken by memory instead.
func (r *Remote) Local() uint64 { return r.local.Load() }

// Take implements Counters.
func (r *Remote) Take(now time.Time, charges []Charge, states []State) (int, error) {
	return r.decide(now, charges, states, true)
}

// Look implements Counters.
func (r *Remote) Look(now time.Time, charges []Charge, states []State) (int, error) {
	return r.decide(now, charges, states, false)
}

func (r *Remote) decide(now time.Time, charges []Charge, states []State, take bool) (refused int, err error) {
	if err := validate(charges, states); err != nil {
		return 0, err
	}
	if len(charges) == 0 {
		return -1, nil
	}
	err = r.ask(func(ctx context.Context) error {
		refused, err = r.run(ctx, charges, states, take)
		return err
	})
	if err == nil {
		if take {
			r.cfg.Local.learn(now, charges, states)
		}
		return refused, nil
	}
	for i := range charges {
		if charges[i].Closed {
			return 0, ErrUnavailable
		}
	}
	r.local.Add(1)
	return r.cfg.Local.decide(now, charges, states, take)
}

// Once implements Counters. Memory does not stand in: what another gateway
// has seen it cannot know.
func (r *Remote) Once(_ time.Time, key Key, keep time.Duration) (first bool, err error) {
	if key == (Key{}) || keep <= 0 || keep > MaxSpan {
		return false, ErrCharge
	}
	name := oncePrefix + base64.RawURLEncoding.EncodeToString(key[:])
	ms := int64((keep + time.Millisecond - 1) / time.Millisecond)
	err = r.ask(func(ctx context.Context) error {
		err := r.client.Do(ctx, r.client.B().Set().Key(name).Value("1").Nx().PxMilliseconds(ms).Build()).Error()
		first = err == nil
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return first, err
}

// ask puts a question to the server if it is believed to answer, and ends the
// epoch if it does not.
func (r *Remote) ask(question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Within)
	defer cancel()
	epoch := r.epoch.Load()
	if epoch == 0 {
		select {
		case <-r.tried:
		case <-ctx.Done():
		}
		epoch = r.epoch.Load()
	}
	if epoch%2 == 0 {
		return ErrUnavailable
	}
	select {
	case r.seats <- struct{}{}:
	case <-ctx.Done():
		return ErrUnavailable // too many are asking; who they are shows whether the server answers
	}
	defer func() { <-r.seats }()
	if r.epoch.Load() != epoch {
		return ErrUnavailable
	}
	err := question(ctx)
	if err == nil {
		r.late.Store(0)
		return nil
	}
	if isLate(err) && r.late.Add(1) < lateAnswers {
		return ErrUnavailable
	}
	if r.epoch.CompareAndSwap(epoch, epoch+1) {
		r.failed <- err
	}
	return ErrUnavailable
}

// run asks the server for one decision.
func (r *Remote) run(ctx context.Context, charges []Charge, states []State, take bool) (int, error) {
	keys := make([]string, len(charges))
	args := make([]string, 1, 1+3*len(charges))
	args[0] = "0"
	if take {
		args[0] = "1"
	}
	for i := range charges {
		c := &charges[i]
		prefix, kind := bucketPrefix, "b"
		if c.Sliding {
			prefix, kind = windowPrefix, "w"
		}
		keys[i] = prefix + base64.RawURLEncoding.EncodeToString(c.Key[:])
		// Rounded up: never more calls than written.
		period := int64((c.Period + time.Microsecond - 1) / time.Microsecond)
		args = append(args, kind, strconv.FormatInt(period, 10), strconv.FormatInt(c.Burst, 10))
	}
	answer, err := r.script.Exec(ctx, r.client, keys, args).AsIntSlice()
	if err != nil {
		return 0, err
	}
	return decision(answer, charges, states)
}

// maxWait is more than any bucket takes to fill, rounding and a clock that was
// put right included, and no danger to a sum of times. In microseconds.
const maxWait = int64(4 * MaxSpan / time.Microsecond)

// decision reads what the script returns. A number that cannot be is none:
// memory would go on by it.
func decision(answer []int64, charges []Charge, states []State) (refused int, err error) {
	none := errors.New("the answer is no decision")
	if len(answer) != 1+3*len(charges) || answer[0] < -1 || answer[0] >= int64(len(charges)) {
		return 0, none
	}
	for i := range states {
		left, retry, reset := answer[1+3*i], answer[2+3*i], answer[3+3*i]
		if left < 0 || left > charges[i].Burst || retry < 0 || retry > maxWait || reset < 0 || reset > maxWait {
			return 0, none
		}
		states[i] = State{
			Remaining: left,
			RetryIn:   time.Duration(retry) * time.Microsecond,
			ResetIn:   time.Duration(reset) * time.Microsecond,
		}
	}
	return int(answer[0]), nil
}

// tend connects, waits for a failure, and tries again, until Close.
func (r *Remote) tend() {
	log := r.cfg.Log.With("server", r.cfg.Address.String())
	pause, silent := firstPause, false
	var once sync.Once
	for {
		err := r.try()
		if err == nil {
			since := time.Now()
			log.Info("limits are counted by the counters' server")
			r.epoch.Add(1)
			once.Do(func() { close(r.tried) })
			silent = false
			select {
			case err = <-r.failed:
			case <-r.ctx.Done():
				return
			}
			if time.Since(since) > calm {
				pause = firstPause
			}
		}
		if r.ctx.Err() != nil {
			return
		}
		if !silent { // once for each outage
			log.Warn("the counters' server does not answer: each gateway counts for itself until it does; limits that say unavailable: closed, and guards against replays, refuse", "error", r.brief(err))
			silent = true
		}
		once.Do(func() { close(r.tried) })
		select {
		case <-time.After(pause):
		case <-r.ctx.Done():
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// isLate reports whether there was no answer in time. The client says so in two
// ways.
func isLate(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// brief bounds what a server can write into our log.
func (r *Remote) brief(err error) string {
	text := err.Error()
	if isLate(err) {
		text = fmt.Sprintf("no answer within %v", r.cfg.Within)
	}
	return text[:min(len(text), 200)]
}

// try finds out whether the server takes decisions: first with time to
// connect, then as fast as it must be.
func (r *Remote) try() error {
	if r.client == nil {
		client, err := rueidis.NewClient(r.options())
		if err != nil {
			return err
		}
		r.client = client
	}
	probe := []Charge{{Key: KeyOf("probe"), Period: time.Millisecond, Burst: MaxWindow}}
	for _, limit := range []time.Duration{quietAfter, r.cfg.Within} {
		ctx, cancel := context.WithTimeout(r.ctx, limit)
		_, err := r.run(ctx, probe, make([]State, 1), true)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Remote) options() rueidis.ClientOption {
	a := &r.cfg.Address
	o := rueidis.ClientOption{
		InitAddress: a.hosts, Username: a.user, Password: a.password, SelectDB: a.db,
		ClientName: "warder", ClientSetInfo: rueidis.DisableClientSetInfo,
		Dialer: net.Dialer{Timeout: dialWithin, KeepAlive: time.Second}, ConnWriteTimeout: quietAfter,
		DialCtxFn:          r.dial,
		DisableRetry:       true, // a decision that was taken must not be taken again
		DisableCache:       true,
		ForceSingleClient:  a.kind == single,
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
	}
	if a.kind != cluster { // which has one for each server in any case
		// One connection: of several, a trial would find out about one only.
		o.PipelineMultiplex = -1
	}
	if a.TLS {
		o.TLSConfig = r.cfg.TLS
	}
	if a.kind == sentinel {
		o.Sentinel = rueidis.SentinelOption{
			Dialer: o.Dialer, TLSConfig: o.TLSConfig, MasterSet: a.master, Password: a.sentinelPassword,
			// A change of masters is announced; an announcement may be missed.
			TopologyRefreshInterval: 5 * time.Second,
		}
	}
	return o
}

// dial connects, and gives up when we close.
func (r *Remote) dial(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (c net.Conn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if t != nil {
		c, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
	} else {
		c, err = d.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return withChecks(c, r.cfg.Address.kind == sentinel), nil
}
