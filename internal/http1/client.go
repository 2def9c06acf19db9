package http1

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// PoolConfig says where a pool's connections lead.
type PoolConfig struct {
	Address     string                                                      // host:port
	TLS         *tls.Config                                                 // nil: plain. It is used as it is, ServerName included
	Dial        func(ctx context.Context, address string) (net.Conn, error) // nil: TCP
	MaxIdle     int                                                         // idle connections kept; default 512
	IdleTimeout time.Duration                                               // of a connection not in use; default 60s
}

// Timeouts bound one exchange with an upstream. 0 is unlimited.
type Timeouts struct {
	Connect   time.Duration // to connect, with TLS
	FirstByte time.Duration // from the last byte of the request to the whole response head
	Idle      time.Duration // for the next bytes of either body, and for the upstream to take what is sent
	Total     time.Duration // from the start to the last byte of the response
	Tunnel    time.Duration // from the start to the end of a tunnel, in place of Total
}

// Target says how a request is addressed.
type Target struct {
	Prefix string // put before the path; in normal form, without a slash at its end; may be empty
	Host   string // sent as Host; empty: as the client sent it
}

// Limits of a response head.
const (
	maxResponseHead   = maxHeaderSize
	maxResponseFields = 200
	maxInterim        = 8
)

// Pool holds the connections to one address. It is safe for concurrent use.
type Pool struct {
	cfg     PoolConfig
	bufs    buffers
	sweeper *sweeper

	mu     sync.Mutex
	idle   []*upstreamConn // by idleSince: the last used is the last, and used first
	closed bool

	asked int // how many of idle, more or less, dropDead has looked at since it began anew; of the sweeper's goroutine
}

// Connections that have rested for so long are looked at whether the upstream
// has closed them, so many at each tick.
const (
	restful   = time.Second
	lookedPer = 32
)

var (
	errPoolClosed  = fault.New(fault.UpstreamUnreachable, "the upstream is no longer configured")
	errUnreachable = fault.New(fault.UpstreamUnreachable, "no connection")
	errConnTime    = fault.New(fault.UpstreamTimeout, "no connection within timeout.connect")
)

// NewPool returns a pool. It connects to nothing before the first exchange.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.MaxIdle <= 0 {
		cfg.MaxIdle = 512
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = time.Minute
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	p := &Pool{cfg: cfg}
	p.sweeper = newSweeper(p.dropOld)
	return p
}

// Do sends x's request, x.ReqEdit merged, and returns when the response head
// is in x.Resp and x.RespBody can be read. It sets x.UpStart and x.UpFirst.
//
// Its errors are *fault.Error: upstream_unreachable, upstream_timeout,
// upstream_error, response_malformed, client_gone, what x was cancelled with,
// or the fault of the request body. After an error there is nothing to close.
//
// x.Resp and what is read of it are views that die when x.RespBody is closed.
// Close also waits until nothing reads x.ReqBody any more. Until then the
// exchange's goroutine must not touch x.ReqBody and x.BytesIn.
//
// A reused connection that the upstream closed before a byte of the request
// was written is replaced. One that it closed afterwards, but before any byte
// of a response, is replaced once, by a new one, if the method is idempotent
// and the body held in memory.
func (p *Pool) Do(x *exchange.Exchange, t Timeouts, target Target) error {
	x.UpStart = x.Elapsed()
	body, err := p.prepare(x)
	if err != nil {
		return err
	}
	defer body.release(&p.bufs)
	for {
		u, err := p.get(x, t)
		if err != nil {
			return err
		}
		end, err := u.exchange(x, t, target, &body)
		switch {
		case end == unsent:
			continue // the connection is gone from the pool
		case end == unanswered && body.held && idempotent(x.Req.Method):
			if u, err = p.dial(x, t); err == nil {
				_, err = u.exchange(x, t, target, &body)
			}
		}
		return err
	}
}

// idempotent reports whether a request may be sent twice (RFC 9110 section
// 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// outgoing is the body of a request as it goes upstream.
type outgoing struct {
	length int64  // -1 unknown
	held   bool   // data is all of it
	data   []byte // a view, or lent
	lent   []byte // to be given back
}

// prepare finds out how the body goes: held whole it goes in one write with
// the head, otherwise a pump moves it.
func (p *Pool) prepare(x *exchange.Exchange) (outgoing, error) {
	if data, ok := x.ReqBody.Replay(); ok {
		return outgoing{length: int64(len(data)), held: true, data: data}, nil
	}
	length := x.Req.Length
	if length < 0 || length > heldBody {
		return outgoing{length: length}, nil
	}
	lent := p.bufs.get(heldBody)
	if err := readWhole(x.ReqBody, lent[:length]); err != nil {
		p.bufs.put(lent)
		return outgoing{}, bodyFault(x, err)
	}
	return outgoing{length: length, held: true, data: lent[:length], lent: lent}, nil
}

func (o *outgoing) release(bufs *buffers) {
	if o.lent != nil {
		bufs.put(o.lent)
	}
}

// get returns a connection, an idle one if there is one.
func (p *Pool) get(x *exchange.Exchange, t Timeouts) (*upstreamConn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		return p.dial(x, t)
	}
	u := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	u.reused = true
	return u, nil
}

// put keeps a connection for the next exchange.
func (p *Pool) put(u *upstreamConn) {
	p.mu.Lock()
	u.idleSince = p.sweeper.now()
	if !p.closed && len(p.idle) < p.cfg.MaxIdle {
		p.idle = append(p.idle, u)
		u = nil
	}
	p.mu.Unlock()
	if u != nil {
		u.close()
	}
}

// dropOld closes connections that were idle for too long or that the
// upstream has closed. Nobody waits for it: the system is asked and told
// without the lock.
func (p *Pool) dropOld() {
	now := p.sweeper.now()
	p.mu.Lock()
	old := slices.Clone(p.idle[:p.after(now-int64(p.cfg.IdleTimeout))])
	p.idle = slices.Delete(p.idle, 0, len(old))
	from, to := p.asked, p.after(now-int64(restful))
	if from >= to {
		from = 0
	}
	to = min(to, from+lookedPer)
	rested := slices.Clone(p.idle[from:to])
	p.idle = slices.Delete(p.idle, from, to)
	p.mu.Unlock()
	p.asked = from
	for _, u := range old {
		u.close()
	}
	if len(rested) > 0 {
		p.asked += p.dropDead(rested)
	}
}

// after returns how many idle connections have rested since before t. p.mu is
// held.
func (p *Pool) after(t int64) int {
	n, _ := slices.BinarySearchFunc(p.idle, t, func(u *upstreamConn, t int64) int { return cmp.Compare(u.idleSince, t) })
	return n
}

// dropDead puts back what the upstream has not closed of rested, which was
// taken out of p.idle in one piece, and closes the others. It returns how many
// it put back.
func (p *Pool) dropDead(rested []*upstreamConn) int {
	open := rested[:0]
	var dead []*upstreamConn
	for _, u := range rested {
		if u.peer.quiet() {
			open = append(open, u)
		} else {
			dead = append(dead, u)
		}
	}
	p.mu.Lock()
	room := max(0, p.cfg.MaxIdle-len(p.idle))
	if p.closed {
		room = 0
	}
	if len(open) > room {
		dead = append(dead, open[room:]...)
		open = open[:room]
	}
	if len(open) > 0 {
		p.idle = slices.Insert(p.idle, p.after(open[0].idleSince), open...)
	}
	p.mu.Unlock()
	for _, u := range dead {
		u.close()
	}
	return len(open)
}

// Close closes the idle connections; the others close when their exchange is
// over. It waits for nothing.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, u := range idle {
		u.close()
	}
	p.sweeper.refuse()
}

// dial makes a new connection.
func (p *Pool) dial(x *exchange.Exchange, t Timeouts) (*upstreamConn, error) {
	ctx := x.Context()
	if t.Total > 0 && (t.Connect <= 0 || t.Total < t.Connect) {
		t.Connect = t.Total
	}
	if t.Connect > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.Connect)
		defer cancel()
	}
	c, err := p.cfg.Dial(ctx, p.cfg.Address)
	if err != nil {
		return nil, connectFault(x, err)
	}
	u := newUpstreamConn(p, c)
	if p.cfg.TLS != nil {
		if err := u.secure(ctx, p.cfg.TLS); err != nil {
			c.Close()
			return nil, connectFault(x, err)
		}
	}
	if !p.sweeper.add(u) {
		c.Close()
		return nil, errPoolClosed
	}
	return u, nil
}

func connectFault(x *exchange.Exchange, err error) error {
	if cause := x.Cause(); cause != nil {
		return causeFault(cause)
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errConnTime.Because(err)
	}
	return errUnreachable.Because(err)
}

// causeFault makes a fault of what an exchange was cancelled with.
func causeFault(cause error) *fault.Error {
	var f *fault.Error
	if errors.As(cause, &f) {
		return f
	}
	return fault.New(fault.Draining, "the exchange was cut").Because(cause)
}
