// Package gateway is the data plane: it accepts connections, speaks TLS,
// hands HTTP/1.1 to the own engine and HTTP/2 to net/http's, runs each
// exchange through the snapshot's one decision function, answers it, and
// writes its record.
//
// It is the only package that writes refusals to callers.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Config is what a Gateway works with. Every field is required.
type Config struct {
	Live     *snapshot.Live
	Records  *events.Recorder
	Unrouted *telemetry.RouteMetrics // for requests that no route matched
	Log      *slog.Logger
	Now      func() time.Time

	// HTTP2Error is told what kind of thing a client did against the rules of
	// HTTP/2, which net/http answers without asking us. From any goroutine.
	HTTP2Error func(kind string)
}

// Gateway serves the snapshot in force. Safe for concurrent use.
type Gateway struct {
	Config
	worlds sync.Pool // of *pipeline.World: one decision at a time uses one

	instance []byte // names this process in Via
	via      []byte

	mu        sync.Mutex
	listeners map[string]*listener // by address as written
	leaving   []*listener          // no longer configured; their last exchanges go on
	h2        *http2Server
	streams   *streams
	door      *door
}

// errCut is the cause that exchanges see which are cut at the end of drain.
var errCut = errors.New("the gateway is shutting down")

// New makes a Gateway that listens nowhere yet.
func New(cfg Config) *Gateway {
	g := &Gateway{Config: cfg, listeners: map[string]*listener{}, door: newDoor()}
	g.instance = instance()
	g.via = fmt.Appendf(nil, "1.1 warder (%s)", g.instance)
	g.worlds.New = func() any { return &pipeline.World{Remote: true} }
	g.h2 = newHTTP2Server(g)
	g.streams = newStreams(g.Live, g.Now, g.Log)
	return g
}

// record writes what happened: always, once, last. How long a stream lives
// says nothing of how quick we are: it is measured until its head.
func (g *Gateway) record(x *exchange.Exchange, legend *exchange.Legend, m *telemetry.RouteMetrics, code fault.Code, streamed bool) {
	took := x.Elapsed()
	g.Records.Record(x, legend, code, took)
	upstream := max(0, x.UpFirst-x.UpStart)
	if streamed {
		took = x.UpFirst
	}
	m.Observe(uint8(code), x.Resp.Status, took, upstream)
}

// Prepare binds the listeners of next that are not bound yet. Exactly one of
// the functions it returns is called: commit serves next's listeners and no
// others, abort undoes the binding. Failing to bind is an error that names
// the address, and leaves everything as it was.
func (g *Gateway) Prepare(next *snapshot.Snapshot) (commit, abort func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fresh := map[string]*listener{}
	undo := func() {
		for _, l := range fresh {
			l.ln.Close()
		}
	}
	for _, spec := range next.Listeners {
		if g.listeners[spec.Address] != nil || fresh[spec.Address] != nil {
			continue
		}
		l, err := bind(g, spec)
		if err != nil {
			undo()
			return nil, nil, err
		}
		fresh[spec.Address] = l
	}
	return func() { g.commit(next, fresh) }, undo, nil
}

func (g *Gateway) commit(next *snapshot.Snapshot, fresh map[string]*listener) {
	g.streams.judge() // next is in force
	g.mu.Lock()
	defer g.mu.Unlock()
	wanted := map[string]bool{}
	for _, spec := range next.Listeners {
		wanted[spec.Address] = true
		l := fresh[spec.Address]
		if l == nil {
			l = g.listeners[spec.Address]
		}
		l.apply(spec)
		if g.listeners[spec.Address] == nil {
			g.listeners[spec.Address] = l
			go l.accept()
		}
	}
	for address, l := range g.listeners {
		if !wanted[address] {
			delete(g.listeners, address)
			g.leaving = append(g.leaving, l)
			l.stop()
			g.h2.end(l)
		}
	}
}

// JudgeStreams has every open stream judged again, within half a second:
// credentials were taken back.
func (g *Gateway) JudgeStreams() { g.streams.judge() }

// Addresses returns the bound addresses by listener name, as the system gave
// them: with port 0 in the configuration, the port that was picked.
func (g *Gateway) Addresses() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]string{}
	for _, l := range g.listeners {
		all[l.spec.Load().Name] = l.ln.Addr().String()
	}
	return all
}

// Connections returns the number of open client connections.
func (g *Gateway) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, l := range g.all() {
		n += int(l.open.Load())
	}
	return n
}

// all returns every listener that has connections or may get some. g.mu is
// held.
func (g *Gateway) all() []*listener {
	g.leaving = slices.DeleteFunc(g.leaving, func(l *listener) bool { return l.open.Load() == 0 })
	return slices.AppendSeq(slices.Clone(g.leaving), maps.Values(g.listeners))
}

// Drain ends service gently: no new connections, every answer closes its
// connection, idle ones end at once. It returns when the last exchange is
// over or ctx ends, in which case what still runs is cut.
func (g *Gateway) Drain(ctx context.Context) error {
	g.mu.Lock()
	all := g.all()
	for _, l := range g.listeners {
		l.stop()
	}
	clear(g.listeners)
	g.mu.Unlock()
	h2 := g.h2.shutdown(ctx)
	for _, l := range all {
		select {
		case <-l.idle():
		case <-ctx.Done():
		}
	}
	for _, l := range all {
		l.cut(errCut)
	}
	g.streams.stop()
	return errors.Join(h2, ctx.Err())
}
