// Package app wires the parts of a gateway and runs them: it is the root of
// everything that starts and the one who ends it, and the only package that
// knows all others.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/gateway"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Options say what to run and where to write.
type Options struct {
	Config  string     // the configuration file
	State   string     // the state folder
	Stdout  io.Writer  // the access log
	Stderr  io.Writer  // the application log
	Level   slog.Level // of the application log; the zero Level is info
	Version string

	// AskWithin is how long a request waits for the store, asked for what
	// memory lacks; zero: a tenth of a second.
	AskWithin time.Duration

	// Started is called once the gateway serves. It may be nil.
	Started func(Running)
}

// Running tells where a started gateway listens.
type Running struct {
	Gateway map[string]string // address by listener name
	Admin   string
}

// Run runs a gateway until a signal ends it, and returns nil after a clean
// end. SIGTERM and SIGINT drain; a second one cuts; SIGHUP reloads.
func Run(o Options, signals <-chan os.Signal) error {
	tuneMemory()
	a, err := start(o)
	if err != nil {
		return err
	}
	return a.serve(signals)
}

// app is a running gateway.
type app struct {
	log        *slog.Logger
	metrics    *telemetry.Metrics
	verdicts   *keys.Verdicts
	guard      *guessing.Guard
	records    *events.Recorder
	outputs    *outputs
	live       *snapshot.Live
	counters   *counters.Memory
	gateway    *gateway.Gateway
	control    *control.Control
	state      *State
	store      atomic.Pointer[store.Store] // nil before the first load
	address    secret.Value                // of the store
	memory     *directory.Memory           // of the store
	sessions   *login.Sessions
	nonces     *binding.Nonces
	assertions *assertion.Authority

	following     sync.WaitGroup // the store
	stopFollowing func()         // nil: nobody does

	digest [32]byte
	warned map[string]bool // of private keys; written where a load is committed

	ready  atomic.Bool
	admin  *surface // nil before the first load
	health *surface // nil: with admin
	open   atomic.Bool
	drain  atomic.Pointer[config.Drain]
	stdout io.Writer
}

// start brings a gateway up, or nothing of it.
func start(o Options) (_ *app, err error) {
	a := &app{
		log:      telemetry.NewLogger(o.Stderr, o.Level),
		live:     &snapshot.Live{},
		verdicts: keys.NewVerdicts(),
		guard:    guessing.NewGuard(),
		outputs:  &outputs{},
		stdout:   o.Stdout,
		warned:   map[string]bool{},
	}
	if a.state, err = OpenState(o.State); err != nil {
		return nil, err
	}
	if a.digest, err = a.state.AdminToken(); err != nil {
		return nil, err
	}
	a.metrics = telemetry.NewMetrics(o.Version, codes())
	a.records = events.NewRecorder(a.metrics)
	a.records.Tell(a.log)
	a.records.Redirect(a.outputs)
	a.counters = counters.NewMemory(counters.DefaultBuckets)
	a.memory = directory.NewMemory(a.log, time.Now)
	a.memory.Tell(a.records.Happened)
	if o.AskWithin > 0 {
		a.memory.AskWithin(o.AskWithin)
	}
	defer func() {
		if err != nil {
			a.closeAll()
		}
	}()
	a.gateway = gateway.New(gateway.Config{
		Live: a.live, Records: a.records, Unrouted: a.metrics.Route(""), Log: a.log, Now: time.Now,
		HTTP2Error: a.metrics.HTTP2Error,
	})
	defer func() {
		if err != nil {
			over, cancel := context.WithCancel(context.Background())
			cancel()
			a.gateway.Drain(over)
		}
	}()
	compiler, own := newCompiler(a.metrics, a.verdicts, a.counters, a.log, a.state)
	a.memory.Unlock(own)
	compiler.Memory = a.memory
	compiler.Guard = a.guard
	compiler.KeysChanged = a.gateway.JudgeStreams
	a.sessions, a.nonces, a.assertions = compiler.Sessions, compiler.Nonces, compiler.Assertions
	if o.AskWithin > 0 {
		a.sessions.AskWithin(o.AskWithin)
	}
	a.control = control.New(o.Config, compiler, a.live, a.metrics, a.log, time.Now, a.prepareKeyFiles, a.prepareStore, a.prepareAdmin, a.prepareLog, a.prepareGateway)
	a.observe()
	if err = a.control.Load(); err != nil {
		return nil, err
	}
	a.ready.Store(true)
	if o.Started != nil {
		o.Started(Running{Gateway: a.gateway.Addresses(), Admin: a.admin.ln.Addr().String()})
	}
	a.log.Info("serving", "config", o.Config, "hash", a.control.Status().Config[:12], "listeners", addresses(a.gateway.Addresses()), "admin", a.admin.ln.Addr().String())
	return a, nil
}

// addresses writes listeners as their addresses, with the names of those that
// have one.
func addresses(all map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == all[name] {
			words = append(words, name)
		} else {
			words = append(words, name+"="+all[name])
		}
	}
	return strings.Join(words, " ")
}

// NewCompiler returns the compiler of this build. What it seals is kept in
// state; with a nil state nothing is kept, and keys are made for the occasion.
func NewCompiler(m *telemetry.Metrics, v *keys.Verdicts, c *counters.Memory, log *slog.Logger, state *State) *snapshot.Compiler {
	compiler, _ := newCompiler(m, v, c, log, state)
	return compiler
}

func newCompiler(m *telemetry.Metrics, v *keys.Verdicts, c *counters.Memory, log *slog.Logger, state *State) (*snapshot.Compiler, *locals) {
	sessions, nonces, assertions := login.NewSessions(log, time.Now), binding.NewNonces(), assertion.New(log)
	own := &locals{keyring: keyring{state: state}, log: log, guesses: guessing.NewGuesses(), sessions: sessions, nonces: nonces, assertions: assertions}
	return &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: m, Verdicts: v, Counters: c, Log: log, Guard: guessing.NewGuard(), Nonces: nonces,
		ReadFile: secret.ReadFile, ReadLists: readLists, Local: own.of,
		Sessions: sessions, Assertions: assertions,
	}, own
}

// serve runs until a signal says to end.
func (a *app) serve(signals <-chan os.Signal) error {
	ctx, stop := context.WithCancel(context.Background())
	reload := make(chan os.Signal, 1)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := a.control.Watch(ctx, reload); err != nil {
			a.log.Error("the configuration is not watched; SIGHUP still reloads it", "error", err)
			for {
				select {
				case <-ctx.Done():
					return
				case <-reload:
					if err := a.control.Load(); err != nil {
						a.log.Error("configuration refused; what runs keeps running", "error", err)
					}
				}
			}
		}
	})
	var sig os.Signal
	for sig = range signals {
		if sig != syscall.SIGHUP {
			break
		}
		select {
		case reload <- sig:
		default: // one is waiting already
		}
	}
	stop()
	watching.Wait()
	return a.shutdown(sig, signals)
}

// shutdown ends service as drain: says: not ready but serving for a while,
// then closing gently, then cut.
func (a *app) shutdown(sig os.Signal, signals <-chan os.Signal) error {
	drain := a.drain.Load()
	a.ready.Store(false)
	a.log.Info("draining", "signal", fmt.Sprint(sig), "delay", drain.Delay.Std(), "limit", drain.Limit.Std(), "hint", "a second signal cuts at once")
	ctx, cancel := context.WithTimeout(context.Background(), drain.Delay.Std()+drain.Limit.Std())
	defer cancel()
	hurry := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for {
			select {
			case s, ok := <-signals:
				if ok && s == syscall.SIGHUP {
					continue
				}
				cancel()
				return
			case <-hurry:
				return
			}
		}
	})
	select {
	case <-time.After(drain.Delay.Std()):
	case <-ctx.Done():
	}
	open := a.gateway.Connections()
	err := a.gateway.Drain(ctx)
	close(hurry)
	waiting.Wait()
	if err != nil && open > 0 {
		a.log.Warn("some connections were cut, with the exchanges they had", "error", err)
	}
	a.closeAll()
	a.log.Info("stopped")
	return nil
}

func (a *app) closeAll() {
	a.live.Swap(nil)
	for _, s := range []*surface{a.admin, a.health} {
		if s != nil {
			s.close()
		}
	}
	if err := a.records.Close(); err != nil {
		a.log.Error("the end of the access log was lost", "error", err)
	}
	if a.stopFollowing != nil {
		a.stopFollowing()
		a.following.Wait()
	}
	if s := a.store.Load(); s != nil {
		if err := s.Close(); err != nil {
			a.log.Error("the store did not close cleanly", "error", err)
		}
	}
}

// prepareGateway binds listeners.
func (a *app) prepareGateway(next *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	serve, abort, err := a.gateway.Prepare(next)
	if err != nil {
		return nil, nil, err
	}
	return func() {
		serve()
		for _, l := range next.Listeners {
			a.warn(l)
		}
		a.drain.Store(&doc.Drain)
		a.open.Store(doc.Admin.Metrics == "open")
	}, abort, nil
}

// readLists reads a file of revocation lists.
func readLists(path string) ([]byte, error) {
	b, err := secret.ReadRegular(path, keys.MaxRevocationLists)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return b, nil
}

// warn says what an operator should know of a listener.
func (a *app) warn(l *snapshot.Listener) {
	switch {
	case !l.Exposed || l.Redirect:
	case l.Front != nil:
		a.log.Warn("this listener is plain and other machines reach it: it serves protected routes only where a trusted proxy says https", "listener", l.Name, "address", l.Address)
	default:
		a.log.Warn("this listener is plain and other machines reach it: it serves public routes only", "listener", l.Name, "address", l.Address)
	}
	for _, p := range l.Wide() {
		a.log.Warn("whoever has an address in this range can say to be any client: name the proxies one by one", "listener", l.Name, "range", p)
	}
}

// prepareAdmin binds the admin and health surfaces at the first load.
func (a *app) prepareAdmin(_ *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	nothing := func() {}
	if a.admin != nil {
		health := ""
		if a.health != nil {
			health = a.health.address
		}
		if string(doc.Admin.Address) != a.admin.address || healthAddress(doc) != health {
			return nil, nil, errors.New("admin.address and health.address cannot change while the gateway runs; restart it")
		}
		return nothing, nothing, nil
	}
	handler := admin.Handler(admin.Config{
		Address: string(doc.Admin.Address), TokenDigest: a.digest,
		Metrics: a.metrics.Handler(), MetricsOpen: a.open.Load,
		Ready: a.isReady, Status: a.control.Status,
		Explainer: &explainer{a.live, a.records}, Log: a.log,
	})
	adm, err := listen("admin", string(doc.Admin.Address), admin.Server(handler, a.log))
	if err != nil {
		return nil, nil, err
	}
	var health *surface
	if at := healthAddress(doc); at != "" {
		if health, err = listen("health", at, admin.Server(admin.Health(a.isReady), a.log)); err != nil {
			adm.close()
			return nil, nil, err
		}
	}
	return func() {
			a.admin, a.health = adm, health
			adm.start()
			if health != nil {
				health.start()
			}
		}, func() {
			adm.close()
			if health != nil {
				health.close()
			}
		}, nil
}

func healthAddress(doc *config.Document) string {
	if doc.Health == nil {
		return ""
	}
	return string(doc.Health.Address)
}

// isReady says whether the gateway should get traffic. A store that is down
// takes no gateway out of service: all have the same one, and what is in
// memory goes on.
func (a *app) isReady() (word string, ok bool) {
	switch {
	case !a.ready.Load():
		return "not ready", false
	case a.store.Load().Status().Err != nil:
		return "degraded", true
	}
	return "ready", true
}

// surface is an HTTP server of our own on one address.
type surface struct {
	address string
	ln      net.Listener
	srv     *http.Server
	serving sync.WaitGroup
}

func listen(name, address string, srv *http.Server) (*surface, error) {
	ln, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: address %s is in use by another program; stop it or choose another address", name, address)
	} else if errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("%s: this user may not listen on %s: ports below 1024 need the capability CAP_NET_BIND_SERVICE; give it, or choose a port above 1023", name, address)
	} else if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", name, address, err)
	}
	return &surface{address: address, ln: ln, srv: srv}, nil
}

func (s *surface) start() { s.serving.Go(func() { s.srv.Serve(s.ln) }) }

func (s *surface) close() {
	s.ln.Close()
	s.srv.Close()
	s.serving.Wait()
}
