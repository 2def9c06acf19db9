package http1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errHeadTime = fault.New(fault.RequestTimeout, "the head did not arrive in time")
	errHeadCut  = malformed("the connection ended inside a request head")
	errGone     = fault.New(fault.ClientGone, "the client closed its connection before the answer")
)

const (
	goneAfter = 150 * time.Millisecond // age from which an exchange is asked whether its client is still there

	// What is done about a request body that nobody read, so that the client
	// gets to read the answer.
	discardSize = 64 << 10
	discardTime = time.Second
)

// serverConn is one client connection. Its goroutine owns everything but the
// stamps, the peer and, while inFlight is set, the right to cancel x.
type serverConn struct {
	srv   *Server
	conn  net.Conn // what is read and written
	raw   net.Conn // conn without TLS
	peer  peer     // used by the sweeper only
	index int      // the sweeper's

	src     source
	out     []byte // lent while a response is written
	*served        // lent from a request's head to the end of its answer
	info    *exchange.Conn
	records *records // under TLS, where Server.UnderTLS made it
	first   bool     // the first request is still to come
	inBody  bool     // what src reads belongs to a request body
	aborted bool     // the last answer was broken off

	reading  stamp // of the wait for a head or for body bytes; with stampIdle while idle
	writing  stamp
	mu       sync.Mutex
	inFlight atomic.Int64 // since when x is served, 0 if it is not; cleared under mu
	broken   atomic.Bool  // nothing can be sent any more

	tunnel atomic.Pointer[tunnel] // what the connection has become; nil while it speaks HTTP
}

// served is what serving one exchange takes. A connection that is idle has none:
// most are, most of the time.
type served struct {
	x    exchange.Exchange
	body requestBody
	sink sink
}

func newServerConn(s *Server, c net.Conn, info *exchange.Conn) *serverConn {
	sc := &serverConn{srv: s, conn: fast(c), raw: c, first: true, info: info}
	sc.src = source{bufs: &s.bufs, read: sc.read, first: firstReader(c, &s.bufs, smallBuffer)}
	if t, ok := c.(*tls.Conn); ok {
		sc.raw = t.NetConn()
		if r, ok := sc.raw.(*records); ok {
			sc.raw, sc.records = r.raw, r
			sc.src.first = func() ([]byte, int, error) { return sc.firstOfTLS(t) }
		}
	}
	sc.peer.watch(sc.raw)
	return sc
}

// firstOfTLS waits for bytes over TLS, and only then takes a buffer for them.
func (c *serverConn) firstOfTLS(t *tls.Conn) (buf []byte, n int, err error) {
	b, ok, err := c.records.await(t)
	if err != nil {
		return nil, 0, err
	}
	buf = c.srv.bufs.get(smallBuffer)
	if ok {
		buf[0] = b
		return buf, 1, nil
	}
	n, err = t.Read(buf)
	return buf, n, err
}

func (c *serverConn) place() *int { return &c.index }

// sweep implements swept.
func (c *serverConn) sweep(now int64) {
	if c.reading.expire(now) {
		c.conn.SetReadDeadline(past) // its goroutine may still answer
	}
	if c.writing.expire(now) {
		c.broken.Store(true)
		c.raw.Close()
	}
	if c.tunnel.Load() != nil {
		return // which learns of everything by reading
	}
	if since := c.inFlight.Load(); since != 0 && now-since > int64(goneAfter) && !c.broken.Load() && c.peer.gone() {
		c.broken.Store(true)
		c.cancel(errGone)
	}
}

var past = time.Unix(1, 0)

// cancel cancels the exchange that is being served, if any.
func (c *serverConn) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight.Load() != 0 {
		c.x.Cancel(cause)
	}
}

// cut ends the connection and what it serves, from another goroutine.
func (c *serverConn) cut(cause error) {
	c.broken.Store(true)
	c.cancel(cause)
	c.raw.Close()
}

// drain ends the connection if it waits for a request of which nothing has
// come. A tunnel is asked to end.
func (c *serverConn) drain() {
	if t := c.tunnel.Load(); t != nil {
		t.leave()
	}
	c.endIdle()
}

// endIdle is drain for a connection that speaks HTTP.
func (c *serverConn) endIdle() {
	if v := c.reading.v.Load(); v > stampOff && v&stampIdle != 0 && c.reading.v.CompareAndSwap(v, stampExpired) {
		c.conn.SetReadDeadline(past)
	}
}

// serve runs the connection to its end.
func (c *serverConn) serve() {
	defer c.shut()
	for c.next() {
	}
}

// shut closes the connection and gives its buffers back.
func (c *serverConn) shut() {
	c.src.r = c.src.w
	c.src.release()
	if c.records != nil {
		c.records.release()
	}
	if c.broken.Load() || c.aborted {
		c.raw.Close() // no close_notify: the client must see that something is missing
		return
	}
	c.conn.Close()
}

// next serves one request; it returns false when the connection is over.
func (c *serverConn) next() bool {
	defer c.over()
	c.src.release()
	c.inBody = false
	if !c.armIdle() {
		return false
	}
	head, err := c.src.head(c.srv.limits.HeaderSize, earlyRequest, c.armHead)
	if err != nil {
		if f := headFault(head, err); f != nil && c.reading.v.Load() != stampEvicted {
			c.reject(head, f)
		}
		return false
	}
	if !c.reading.off() {
		if !c.srv.draining.Load() && c.reading.v.Load() != stampEvicted {
			c.reject(head, errHeadTime)
		}
		return false
	}
	c.first = false
	c.lend()
	x := &c.x
	x.Start = time.Now()
	if f := parseRequest(&x.Req, head, c.srv.limits.Headers); f != nil {
		c.reject(nil, f)
		return false
	}
	f := byLength
	switch {
	case x.Req.Chunked:
		f = byChunks
	case x.Req.Length == 0:
		f = noBody
	}
	c.begin(f, x.Req.Length)
	c.srv.handler.Serve(x, &c.sink)
	return c.finish()
}

// begin makes body and sink ready and announces the exchange to the sweeper.
func (c *serverConn) begin(f framing, length int64) {
	c.inBody = true
	c.body.begin(f, length)
	c.sink.begin()
	c.x.ReqBody, c.x.ReqStop = &c.body, &c.body
	c.inFlight.Store(c.srv.sweeper.now())
}

// finish ends the exchange after the handler has returned, and reports
// whether the connection can serve another.
func (c *serverConn) finish() bool {
	if !c.sink.ended {
		c.sink.Abort(errors.New("the handler left the response unfinished"))
	}
	c.land()
	c.returnOut()
	if c.broken.Load() || c.sink.aborted || c.tunnel.Load() != nil {
		return false
	}
	if !c.sink.closing && c.body.complete.Load() && !c.body.interrupted.Load() {
		return true
	}
	if !c.x.Req.Close || !c.body.complete.Load() {
		c.linger()
	}
	return false
}

// land ends the sweeper's right to cancel x.
func (c *serverConn) land() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight.Store(0)
}

// lend makes c able to serve an exchange, until over.
func (c *serverConn) lend() {
	if c.served != nil {
		return
	}
	c.served, _ = c.srv.exchanges.Get().(*served)
	if c.served == nil {
		c.served = new(served)
		c.x.Req.Reset()
	}
	c.x.Conn, c.body.c, c.sink.c = c.info, c, c
}

// over gives back what was lent, also when the handler panicked.
func (c *serverConn) over() {
	if c.served == nil {
		return
	}
	if c.inFlight.Load() != 0 {
		c.land()
	}
	c.aborted = c.sink.aborted
	c.x.Reset()
	c.x.Conn, c.body.c, c.sink.c = nil, nil, nil
	c.srv.exchanges.Put(c.served)
	c.served = nil
}

// reject has a refusal written for a request that could not be accepted. head
// is what was read of it, if it was not parsed.
func (c *serverConn) reject(head []byte, f *fault.Error) {
	c.lend()
	x := &c.x
	if x.Start.IsZero() {
		x.Start = time.Now()
	}
	if n := bytes.Index(head, crlf); n >= 0 && len(x.Req.Method) == 0 {
		parseRequestLine(&x.Req, head[:n])
	}
	if x.Req.Major == 0 {
		x.Req.Major, x.Req.Minor = 1, 1
	}
	x.Req.Close = true
	c.begin(noBody, 0)
	c.srv.handler.Reject(x, &c.sink, f)
	c.body.complete.Store(false) // whatever follows is not the next request
	c.finish()
}

// linger lets the client read the answer before the connection is gone: data
// that arrives at a closed socket would have the system reset it (RFC 9112
// section 9.6).
func (c *serverConn) linger() {
	switch w := c.conn.(type) {
	case interface{ CloseWrite() error }:
		if w.CloseWrite() != nil {
			return
		}
	default:
		return
	}
	if c.raw.SetReadDeadline(time.Now().Add(discardTime)) != nil {
		return
	}
	buf := c.srv.bufs.get(smallBuffer)
	defer c.srv.bufs.put(buf)
	for left := discardSize; left > 0 && !c.broken.Load(); {
		n, err := c.raw.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}

// armIdle begins the wait for a request.
func (c *serverConn) armIdle() bool {
	if len(c.src.buffered()) > 0 {
		return c.armHead() == nil
	}
	deadline := c.srv.sweeper.in(c.srv.limits.IdleTimeout) &^ stampFirst
	if c.first {
		deadline = c.srv.sweeper.in(c.srv.limits.HeaderTimeout) | stampFirst
	}
	if !c.reading.arm(deadline | stampIdle) {
		return false
	}
	if c.srv.draining.Load() { // Drain has looked at this connection before it was idle
		c.endIdle()
		return false
	}
	return true
}

// armHead begins the time in which a head must be whole. A connection's first
// head has been on the clock since the connection was there.
func (c *serverConn) armHead() error {
	deadline := c.srv.sweeper.in(c.srv.limits.HeaderTimeout)
	if c.first {
		deadline = c.reading.v.Load()
	}
	if deadline < stampOff || !c.reading.arm(deadline&^stampIdle) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// read reads from the connection for src.
func (c *serverConn) read(p []byte) (int, error) {
	if c.inBody {
		return c.readBodyBytes(p)
	}
	return c.conn.Read(p) // armIdle and armHead have set the deadline
}

// headFault says how a head that did not come is answered; nil: not at all.
func headFault(head []byte, err error) *fault.Error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		if f == errHeadSize && bytes.IndexByte(head, '\n') < 0 {
			return errTargetSize
		}
		return f
	case len(head) == 0:
		return nil // an idle connection has ended
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errHeadTime
	case err == errCut:
		return errHeadCut
	}
	return nil
}

// earlyRequest judges the beginning of a request head.
func earlyRequest(b []byte, from int) *fault.Error {
	if f := peek(b, from); f != nil {
		return f
	}
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		if len(b) > maxMethod+maxTarget+16 {
			return errTargetSize
		}
		return nil
	}
	if n < from {
		return nil
	}
	var h exchange.Head
	return parseRequestLine(&h, b[:n-1])
}

// readBodyBytes reads from the connection for the request body.
func (c *serverConn) readBodyBytes(p []byte) (int, error) {
	b := &c.body
	clock := c.srv.sweeper
	patience := b.pace.patience(c.srv.limits.BodyTimeout)
	if patience <= 0 {
		return 0, errBodyTime
	}
	began := clock.now()
	if !c.reading.arm(clock.in(patience) &^ stampIdle) {
		return 0, errBodyTime
	}
	n, err := c.conn.Read(p)
	if !c.reading.off() {
		return n, errBodyTime
	}
	b.pace.add(n, time.Duration(clock.now()-began))
	if err == nil || n > 0 || b.interrupted.Load() {
		return n, err
	}
	if err != io.EOF {
		return n, errBodyGone.Because(err)
	}
	return n, err
}
