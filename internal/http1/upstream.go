package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errFirstByte  = fault.New(fault.UpstreamTimeout, "no response head within timeout.firstByte")
	errIdle       = fault.New(fault.UpstreamTimeout, "nothing moved within timeout.idle")
	errTotal      = fault.New(fault.UpstreamTimeout, "the exchange took longer than timeout.total")
	errNoResponse = fault.New(fault.UpstreamError, "the connection ended before a response head")
	errShort      = fault.New(fault.UpstreamError, "the connection ended inside the response")
	errInterim    = fault.New(fault.ResponseMalformed, "more than 8 interim responses")
	errNoContent  = fault.New(fault.ResponseMalformed, "204 with Transfer-Encoding or a length")
	errLoud       = errors.New("the connection has ended, or something arrived on it unasked")
	errBodyEnd    = fault.New(fault.RequestMalformed, "the request body ended early")
)

// upstreamConn is one connection to an upstream. The goroutine of the exchange
// that uses it owns it, but for the stamps and cause, and while a pump runs,
// the write side.
type upstreamConn struct {
	pool      *Pool
	conn      net.Conn
	raw       net.Conn  // conn without TLS
	tls       *tls.Conn // conn, if it is one
	records   *records  // between raw and tls
	peer      peer
	asker     asker // of plain TCP
	index     int   // the sweeper's
	idleSince int64
	reused    bool // it has served an exchange before
	last      bool // the upstream will close it after this response

	x        *exchange.Exchange
	idleTime time.Duration
	tunnel   time.Duration // Timeouts.Tunnel
	src      source
	body     responseBody
	pump     pump

	awaiting stamp // the response head, once the request was sent
	reading  stamp // the next bytes of the response body
	writing  stamp // the upstream taking what is sent
	total    stamp
	cause    atomic.Pointer[fault.Error] // why it was cut
}

func newUpstreamConn(p *Pool, c net.Conn) *upstreamConn {
	u := &upstreamConn{pool: p, conn: fast(c), raw: c}
	u.peer.watch(c)
	if p.cfg.TLS == nil {
		u.asker.watch(c, &p.bufs)
	}
	u.src = source{bufs: &p.bufs, read: u.read}
	u.body.u, u.pump.u = u, u
	return u
}

// secure makes the connection one of TLS.
func (u *upstreamConn) secure(ctx context.Context, cfg *tls.Config) error {
	u.records = newRecords(u.raw, &u.pool.bufs)
	u.tls = tls.Client(u.records, cfg)
	u.conn = u.tls
	return u.tls.HandshakeContext(ctx)
}

// drained reports whether nothing that came from the socket is left unread.
func (u *upstreamConn) drained() bool {
	return len(u.src.buffered()) == 0 && (u.tls == nil || u.records.drained(u.tls))
}

func (u *upstreamConn) place() *int { return &u.index }

// sweep implements swept.
func (u *upstreamConn) sweep(now int64) {
	switch {
	case u.awaiting.expire(now):
		u.end(errFirstByte)
	case u.reading.expire(now), u.writing.expire(now):
		u.end(errIdle)
	case u.total.expire(now):
		u.end(errTotal)
	}
}

// Cut implements exchange.Work.
func (u *upstreamConn) Cut(cause error) { u.end(causeFault(cause)) }

// end breaks the connection off, from any goroutine. The first cause counts.
func (u *upstreamConn) end(f *fault.Error) {
	if u.cause.CompareAndSwap(nil, f) {
		u.raw.Close()
	}
}

// close closes a connection that nobody uses.
func (u *upstreamConn) close() {
	u.pool.sweeper.remove(u)
	u.src.r = u.src.w
	u.src.release()
	if u.records != nil {
		u.records.release()
	}
	u.raw.Close()
}

// failure returns what to say when using u failed: why it was cut, if it was.
func (u *upstreamConn) failure(otherwise *fault.Error, err error) error {
	if f := u.cause.Load(); f != nil {
		return f
	}
	return otherwise.Because(err)
}

// ending says how far a failed exchange had come.
type ending uint8

const (
	begun      ending = iota // too far to be tried again, or not failed
	unsent                   // no byte was written over a reused connection
	unanswered               // a reused connection ended before a byte came
)

// exchange sends the request and reads the response head. On an error the
// connection is closed.
func (u *upstreamConn) exchange(x *exchange.Exchange, t Timeouts, target Target, body *outgoing) (end ending, err error) {
	u.x, u.idleTime, u.tunnel = x, t.Idle, t.Tunnel
	if cause := x.Attach(u); cause != nil {
		u.close()
		return begun, causeFault(cause)
	}
	end, err = u.try(t, target, body)
	if err != nil {
		if u.cause.Load() != nil {
			end = begun
		}
		u.end(errShort)
		u.pump.join()
		x.Detach()
		u.x = nil
		u.close()
		return end, err
	}
	x.RespBody = &u.body
	return begun, nil
}

func (u *upstreamConn) try(t Timeouts, target Target, body *outgoing) (ending, error) {
	clock := u.pool.sweeper
	u.pump = pump{u: u}
	if t.Total > 0 {
		left := max(1, t.Total-(u.x.Elapsed()-u.x.UpStart))
		u.total.arm(clock.in(left))
	}
	u.src.release()
	out := u.pool.bufs.get(bodyBuffer)
	defer u.pool.bufs.put(out)
	head, err := appendRequest(out[:0], u.x, target, u.pool.cfg.Address, body.length)
	if err != nil {
		return begun, err
	}
	if body.held {
		head = append(head, body.data...)
	}
	sent, werr := u.send(head, body.held, t.FirstByte)
	if werr != nil && sent == 0 && u.reused {
		return unsent, u.failure(errNoResponse, werr)
	}
	if body.held || werr != nil { // an upstream that refuses early may have answered and closed
		u.pump.whole = werr == nil
	} else {
		if err := u.x.ReqBody.Continue(); err != nil {
			return begun, bodyFault(u.x, err)
		}
		u.pump.start(u.x.ReqBody, body.length, t.FirstByte)
	}
	if silent, err := u.readHead(); err != nil {
		if silent && u.reused {
			return unanswered, err
		}
		return begun, err
	}
	return begun, nil
}

// send sends p, and begins the wait for the response head if p is the whole
// request. sent is 0 if surely nothing was sent. Nothing is sent over a reused
// connection that has ended or on which something has arrived: whatever came
// unasked would be taken for the answer to this request.
func (u *upstreamConn) send(p []byte, whole bool, firstByte time.Duration) (sent int, err error) {
	clock := u.pool.sweeper
	if whole && u.asker.can() {
		u.awaiting.arm(clock.in(firstByte))
		var loud bool
		var n int
		sent, loud, u.src.buf, n = u.asker.ask(p, u.reused)
		u.src.r, u.src.w = 0, n
		switch {
		case loud && u.reused:
			return 0, errLoud
		case n > 0:
			u.x.UpFirst = u.x.Elapsed()
		}
		if sent == len(p) {
			return sent, nil
		}
		u.awaiting.off() // not all is sent
	} else if u.reused && !u.peer.quiet() {
		return 0, errLoud
	}
	n, err := u.write(p[sent:])
	if sent += n; whole || err != nil {
		u.awaiting.arm(clock.in(firstByte))
	}
	return sent, err
}

// write sends p. n is 0 if surely nothing was sent.
func (u *upstreamConn) write(p []byte) (n int, err error) {
	u.writing.arm(u.pool.sweeper.in(u.idleTime))
	n, err = u.conn.Write(p)
	if !u.writing.off() {
		err = errIdle
	}
	return n, err
}

// read reads from the connection. While a response head is awaited other
// stamps watch.
func (u *upstreamConn) read(p []byte) (int, error) {
	n, err := u.conn.Read(p)
	if n > 0 && u.x.UpFirst == 0 {
		u.x.UpFirst = u.x.Elapsed()
	}
	return n, err
}

// readHead reads the response head into x.Resp and readies the body. silent
// says that the connection ended before a byte came.
func (u *upstreamConn) readHead() (silent bool, err error) {
	x := u.x
	for range maxInterim + 1 {
		x.Resp.Reset()
		head, err := u.src.head(maxResponseHead, peek, noted)
		if err != nil {
			if f := (*fault.Error)(nil); errors.As(err, &f) {
				return false, responseFault(f)
			}
			if silent = len(head) == 0 && x.UpFirst == 0; silent {
				return true, u.failure(errNoResponse, err)
			}
			return false, u.failure(errShort, err)
		}
		if f := parseResponse(&x.Resp, head, maxResponseFields); f != nil {
			return false, responseFault(f)
		}
		switch {
		case x.Resp.Status == 101:
			return false, u.leaveHTTP()
		case x.Resp.Status >= 200:
			return false, u.begin()
		case x.Early != nil:
			x.Early.Interim(&x.Resp) // what it may not pass on it does not
		}
	}
	return false, errInterim
}

func noted() error { return nil }

// begin makes the response body ready (RFC 9112 section 6.3).
func (u *upstreamConn) begin() error {
	u.pump.answered.Store(true)
	if !u.awaiting.off() {
		return errFirstByte
	}
	h := &u.x.Resp
	u.last = h.Close || u.x.Upgrade != "" // who was asked to switch may think that it did
	f := byLength
	switch {
	case h.Status == 204:
		if h.Chunked || h.Length > 0 {
			return errNoContent
		}
		f, h.Length = noBody, 0
	case string(u.x.Req.Method) == "HEAD" || h.Status == 304:
		f = noBody
	case h.Chunked:
		f = byChunks
	case h.Length < 0:
		f = byClose
	}
	u.body.reader.begin(&u.src, f, h.Length)
	return nil
}

// responseBody is the exchange.ResponseBody of an upstream's response. Its
// errors are *fault.Error.
type responseBody struct {
	u      *upstreamConn
	reader bodyReader
}

// Read implements exchange.Body.
func (b *responseBody) Read(p []byte) (int, error) {
	u := b.u
	if !u.reading.arm(u.pool.sweeper.in(u.idleTime)) {
		return 0, errIdle
	}
	n, err := b.reader.Read(p)
	if !u.reading.off() {
		return n, errIdle
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return n, responseFault(f)
	}
	return n, u.failure(errShort, err)
}

// Continue implements exchange.Body.
func (b *responseBody) Continue() error { return nil }

// Trailers implements exchange.Body.
func (b *responseBody) Trailers() *exchange.Head { return b.reader.trailers() }

// Replay implements exchange.Body.
func (b *responseBody) Replay() ([]byte, bool) { return b.reader.held() }

// Buffered implements exchange.ResponseBody.
func (b *responseBody) Buffered() int { return len(b.u.src.buffered()) }

// Close implements exchange.ResponseBody. The connection is kept if the
// request was sent whole, the response was read whole, or is at hand whole,
// and not a byte is left over.
func (b *responseBody) Close() {
	u := b.u
	b.reader.hold()
	whole := b.reader.complete()
	if !whole {
		u.end(errShort)
	}
	sent := u.pump.join()
	u.x.Detach()
	keep := whole && sent && !u.last && b.reader.framing != byClose && u.drained()
	stamps := u.total.off() && u.writing.off() && u.awaiting.off() && u.reading.off()
	u.x = nil
	if !keep || !stamps || u.cause.Load() != nil {
		u.close()
		return
	}
	u.src.release()
	u.pool.put(u)
}
