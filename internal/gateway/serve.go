package gateway

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
	"github.com/warder-gateway/warder/internal/upstream"
)

// Serve takes one well-formed request from its head to its record.
func (g *Gateway) Serve(x *exchange.Exchange, sink exchange.Sink) {
	x.ID = exchange.NewRequestID()
	whoAsks(x)
	snap := g.Live.Acquire()
	if snap == nil {
		g.refuse(x, sink, fault.Draining)
		g.record(x, nil, g.Unrouted, fault.Draining, false)
		return
	}
	lent := loan{s: snap}
	defer lent.end()
	// All that is needed at the end, whoever has closed the snapshot by then:
	// a stream must not keep it in memory.
	legend, metrics := snap.Legend(), g.Unrouted
	code := fault.InternalError
	defer func() {
		if p := recover(); p != nil {
			code = g.panicked(x, sink, p)
		}
		g.record(x, legend, metrics, code, lent.streamed)
	}()
	w := g.worlds.Get().(*pipeline.World)
	w.Now, w.Counters, w.Replays = x.Start, snap.Counters, snap.Counters
	route, verdict := snap.Decide(x, w)
	if verdict.Passed() {
		verdict = route.Chain.Transform(x, w)
	}
	w.Counters, w.Replays = nil, nil // the snapshot may end before the next one to use w
	g.worlds.Put(w)
	if route != nil {
		metrics = route.Metrics
	}
	if verdict.Passed() {
		code = g.answer(x, sink, route, &lent)
		return
	}
	code = verdict.Code()
	g.refuse(x, sink, code)
}

// panicked answers for a bug of ours: this request fails, the process and its
// other requests do not.
func (g *Gateway) panicked(x *exchange.Exchange, sink exchange.Sink, p any) fault.Code {
	g.Log.Error("panic while serving a request", "id", x.ID.String(), telemetry.FieldPanic, fmt.Sprint(p), telemetry.FieldStack, string(debug.Stack()))
	x.Reason = "a bug in the gateway; the application log has its stack under this request's id"
	if !g.refuse(x, sink, fault.InternalError) {
		sink.Abort(fault.New(fault.InternalError, x.Reason))
	}
	return fault.InternalError
}

// Reject answers a request that was not well-formed HTTP. No snapshot judges
// it: there is nothing to match. Nor is it asked who is behind a proxy: what
// the proxy wrote may be in the part that was not read.
func (g *Gateway) Reject(x *exchange.Exchange, sink exchange.Sink, f *fault.Error) {
	x.ID = exchange.NewRequestID()
	x.Client, x.Secure = x.Conn.Peer.Addr(), x.Conn.TLS != nil
	x.Reason = f.Reason
	if x.Start.IsZero() {
		x.Start = g.Now()
	}
	g.refuse(x, sink, f.Code)
	g.record(x, nil, g.Unrouted, f.Code, false)
}

// none marks an exchange that was not refused: the zero Code is a refusal.
const none = fault.None

// answer gives an allowed request to whoever answers it, and returns the code
// of what went wrong on the way, or none.
func (g *Gateway) answer(x *exchange.Exchange, sink exchange.Sink, r *snapshot.Route, lent *loan) fault.Code {
	letStream(x, r)
	if r.MaxBody > 0 {
		if x.Req.Length > r.MaxBody {
			x.Reason = "the declared length is over body.maxSize"
			g.refuse(x, sink, fault.BodyTooLarge)
			return fault.BodyTooLarge
		}
		if x.Req.Length < 0 {
			x.ReqBody = &boundedBody{Body: x.ReqBody, left: r.MaxBody}
		}
	}
	if r.Local != nil {
		return g.local(x, sink, r)
	}
	if g.loops(&x.Req) {
		x.Reason = "the request has come through this gateway before"
		g.refuse(x, sink, fault.LoopDetected)
		return fault.LoopDetected
	}
	g.outbound(x, r)
	err := g.ask(x, r, lent)
	if err != nil {
		code := g.upstreamFault(x, err)
		g.refuse(x, sink, code)
		return code
	}
	x.Resp.DropOwnSetCookies()
	if x.Switched.Conn != nil {
		return g.tunnel(x, sink, r, lent)
	}
	return g.move(x, sink, r, lent)
}

// ask sends the request and returns when the head of the answer is there. A
// long body can put that off for as long as its sender likes: it is a stream
// too.
func (g *Gateway) ask(x *exchange.Exchange, r *snapshot.Route, lent *loan) error {
	if x.Req.Length < 0 || x.Req.Length > longBody {
		defer g.streams.leave(g.streams.enter(x, nil, r, lent, false), lent)
	}
	return r.Upstream.Do(x, r.Timeouts)
}

// longBody is the length from which a request body may take long to come.
const longBody = 16 << 10

// upstreamFault finds the code for an exchange that has no answer, and notes
// the reason for the operator.
func (g *Gateway) upstreamFault(x *exchange.Exchange, err error) fault.Code {
	code := fault.Of(err)
	g.reason(x, err)
	if errors.Is(x.Cause(), errCut) {
		code = fault.Draining
	}
	if code == fault.UpstreamUnreachable || code == fault.UpstreamBusy {
		x.RetryAfter = time.Second
	}
	return code
}

// reason notes why an exchange failed. Of a bug the log has the stack.
func (g *Gateway) reason(x *exchange.Exchange, err error) {
	x.Reason = fault.Reason(err)
	var bug *upstream.Bug
	if errors.As(err, &bug) {
		g.Log.Error("panic while serving a request", "id", x.ID.String(), telemetry.FieldPanic, bug.Error(), telemetry.FieldStack, string(bug.Stack))
	}
}

// boundedBody refuses the byte after the last one allowed. Bodies that say
// their length are judged before they are read.
type boundedBody struct {
	exchange.Body
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fault.New(fault.BodyTooLarge, "the body is larger than body.maxSize")
	}
	return n, err
}
