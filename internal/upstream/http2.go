package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/dial"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

const (
	http2Window = 256 << 10 // of a response body: what is held for a client that is slow
	http2Head   = 32 << 10  // bytes of a response head
	http2Idle   = time.Minute
	http2Ping   = 15 * time.Second // a silent connection is asked whether it is still there
	http2Write  = 30 * time.Second
)

// http2Pool is the connections to one target that speaks HTTP/2, over TLS or
// by prior knowledge. The connections and what goes over them are net/http's;
// what an exchange waits for, and for how long, is ours. Safe for concurrent
// use.
type http2Pool struct {
	scheme, address string
	grpc            bool
	transport       *http.Transport
	http1           atomic.Bool // what answered last by prior knowledge did so in HTTP/1.1

	mu     sync.Mutex
	open   map[*http2Conn]bool
	active int // exchanges
	closed bool
}

var errNoHTTP2 = errors.New("the target does not choose h2 in the TLS handshake, so it does not speak HTTP/2: take protocol out of its upstream")

// newHTTP2Pool returns a pool. It connects to nothing before the first
// exchange.
func newHTTP2Pool(t Target, rules *dial.Rules, grpc bool) *http2Pool {
	p := &http2Pool{scheme: "http", address: t.Address, grpc: grpc, open: map[*http2Conn]bool{}}
	only := new(http.Protocols)
	frames := &http.HTTP2Config{MaxReceiveBufferPerStream: http2Window, WriteByteTimeout: http2Write}
	if !grpc {
		// Servers of gRPC take pings for a nuisance and end the connection; the
		// system's keep-alive has to do.
		frames.SendPingTimeout, frames.PingTimeout = http2Ping, http2Ping/2
	}
	p.transport = &http.Transport{
		Protocols: only, HTTP2: frames,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return p.connect(ctx, rules, network, address, nil)
		},
		IdleConnTimeout:        http2Idle,
		MaxResponseHeaderBytes: http2Head,
		DisableCompression:     true,
	}
	if t.TLS == nil {
		only.SetUnencryptedHTTP2(true)
		return p
	}
	p.scheme = "https"
	only.SetHTTP2(true)
	cfg := t.TLS.Clone()
	cfg.NextProtos = []string{"h2"}
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != "h2" {
			return errNoHTTP2 // or net/http would speak HTTP/1.1
		}
		return nil
	}
	p.transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.connect(ctx, rules, network, address, cfg)
	}
	return p
}

// asker is the key under which a context holds the call that asks for a
// connection.
type asker struct{}

// connect makes a connection for the transport, over TLS if cfg says how. The
// transport would go on with it after the exchange that asked has ended: we do
// not, so that there are no more in the making than exchanges.
func (p *http2Pool) connect(ctx context.Context, rules *dial.Rules, network, address string, cfg *tls.Config) (net.Conn, error) {
	asks, _ := ctx.Value(asker{}).(*call)
	if asks != nil {
		if asks.dials.Add(1) > 1 && p.http1.Load() {
			return nil, errHTTP1 // once more is no use
		}
		if d := asks.limits.Connect; d > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, d)
			defer cancel()
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(asks.ctx, cancel)()
	}
	c, err := rules.Context(ctx, network, address)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			p.http1.Store(false) // nobody knows what will be there next
		}
		return nil, err
	}
	conn := &http2Conn{Conn: c, pool: p}
	if !p.add(conn) {
		c.Close()
		return nil, errClosed
	}
	if cfg == nil {
		return &firstBytes{Conn: conn, http1: &p.http1}, nil
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// add counts a connection in, unless nobody needs it any more.
func (p *http2Pool) add(c *http2Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return false
	}
	p.open[c] = true
	return true
}

// http2Conn is a connection that its pool knows of.
type http2Conn struct {
	net.Conn
	pool *http2Pool
}

func (c *http2Conn) Close() error {
	c.pool.mu.Lock()
	delete(c.pool.open, c)
	c.pool.mu.Unlock()
	return c.Conn.Close()
}

// over reports whether nobody needs a connection any more. p.mu is held.
func (p *http2Pool) over() bool { return p.closed && p.active == 0 }

func (p *http2Pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.active++
	return true
}

// leave ends an exchange. The last one after Close ends the connections.
func (p *http2Pool) leave() {
	p.mu.Lock()
	p.active--
	p.mu.Unlock()
	p.endUnused()
}

// Close ends the connections when no exchange uses them any more. It waits
// for nothing.
func (p *http2Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.endUnused()
}

func (p *http2Pool) endUnused() {
	var open []net.Conn
	p.mu.Lock()
	if p.over() {
		for c := range p.open {
			open = append(open, c)
		}
	}
	p.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// Do is http1.Pool.Do over HTTP/2: what holds there of errors, of views and of
// who owns x and its bodies, holds here. A request that the target says it did
// not look at (RFC 9113 section 8.7) goes again, once, if its method is
// idempotent and its body held in memory.
func (p *http2Pool) Do(x *exchange.Exchange, t http1.Timeouts, to http1.Target) error {
	x.UpStart = x.Elapsed()
	if !p.enter() {
		return errClosed
	}
	c := newCall(p, x, t)
	err := c.send(to)
	if err != nil {
		c.end()
		return err
	}
	x.RespBody = c
	return nil
}

var (
	errClosed      = fault.New(fault.UpstreamUnreachable, "the upstream is no longer configured")
	errUnreachable = fault.New(fault.UpstreamUnreachable, "no connection")
	errConnectTime = fault.New(fault.UpstreamTimeout, "no connection within timeout.connect")
	errFirstByte   = fault.New(fault.UpstreamTimeout, "no response head within timeout.firstByte")
	errIdle        = fault.New(fault.UpstreamTimeout, "nothing moved within timeout.idle")
	errTotal       = fault.New(fault.UpstreamTimeout, "the exchange took longer than timeout.total")
	errNoResponse  = fault.New(fault.UpstreamError, "the stream ended before a response head")
	errShort       = fault.New(fault.UpstreamError, "the stream ended inside the response")
	errFrames      = fault.New(fault.ResponseMalformed, "a response that breaks the rules of HTTP/2")
	errInterim     = fault.New(fault.ResponseMalformed, "more than 8 interim responses, or 101")
	errBodyEnd     = fault.New(fault.RequestMalformed, "the request body is not as long as was declared")
	errBodyGone    = fault.New(fault.ClientGone, "the client closed its connection inside the request body")
	errTakenBack   = fault.New(fault.ClientGone, "the rest of the request body was given up")
	errDone        = fault.New(fault.ClientGone, "the exchange is over")
)

// Bug is a panic in a goroutine that is not the exchange's, where nobody else
// would recover it: it costs one exchange, not the process. It is the cause of
// a fault, for whoever has a log to put the stack in.
type Bug struct {
	While string
	Panic any
	Stack []byte
}

func (b *Bug) Error() string { return fmt.Sprintf("panic while %s: %v", b.While, b.Panic) }

// errBug makes the fault. It is called where the panic is recovered, so that
// the stack is that of the bug.
func errBug(while string, bug any) *fault.Error {
	return fault.New(fault.InternalError, "a bug in the gateway").Because(&Bug{while, bug, debug.Stack()})
}

// faultOf finds the fault in what ended something, or makes one.
func faultOf(err error, otherwise *fault.Error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return otherwise.Because(err)
}
