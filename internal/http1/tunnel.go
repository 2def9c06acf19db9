package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errTunnelClient = fault.New(fault.ClientGone, "the client broke the tunnel off")
	errTunnelUp     = fault.New(fault.UpstreamError, "the upstream broke the tunnel off")
)

const (
	// How long one direction of a tunnel goes on when the other has ended. A
	// WebSocket has no use for half a connection (RFC 6455 section 7.1.1).
	lastWords = 10 * time.Second
	// How long a client has to go that was told to. It hears nothing more.
	farewell = time.Minute
	// How long a tunnel has to end whose client may use it no longer: to come
	// to the end of a frame, to take our last one, and to close.
	dismissal = 500 * time.Millisecond
)

// The close frames that are ours to send (RFC 6455 section 7.4.1): of an
// endpoint that goes away, and to a client that may stay no longer.
var (
	goingAway     = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}
	policyOffence = []byte{0x88, 2, 1008 >> 8, 1008 & 0xff}
)

// lastFrame returns the close frame with which a tunnel ends that is cut for
// f; nil: it is broken off.
func lastFrame(f *fault.Error) []byte {
	switch {
	case f.Code == fault.RouteUnknown || f.Code == fault.UpstreamUnreachable:
		return goingAway // what it led to is gone
	case f.Code.Status() == http.StatusUnauthorized || f.Code.Status() == http.StatusForbidden:
		return policyOffence
	}
	return nil
}

// leaveHTTP makes x.Switched of a connection whose upstream has answered 101.
func (u *upstreamConn) leaveHTTP() error {
	x := u.x
	if f := checkSwitch(x); f != nil {
		return f
	}
	u.pump.answered.Store(true)
	if !u.awaiting.off() {
		return errFirstByte
	}
	if !u.total.off() {
		return errTotal
	}
	clock := u.pool.sweeper
	u.last = true
	u.body.reader.begin(&u.src, noBody, 0)
	if u.tunnel > 0 {
		u.total.arm(clock.in(max(1, u.tunnel-(x.Elapsed()-x.UpStart))))
	}
	u.reading.arm(clock.in(u.idleTime))
	x.Resp.Length = 0
	x.Switched = exchange.Switched{Conn: &switched{u.conn, u}, Buffered: u.src.buffered()}
	return nil
}

// switched is an upstream's connection that has left HTTP. Whatever moves on
// it, either way, puts off the end of its idle time. Its errors are
// *fault.Error, but for io.EOF and a read deadline.
type switched struct {
	net.Conn
	u *upstreamConn
}

func (s *switched) moved() { s.u.reading.arm(s.u.pool.sweeper.in(s.u.idleTime)) }

func (s *switched) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.moved()
	}
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return n, s.u.failure(errTunnelUp, err)
}

func (s *switched) Write(p []byte) (int, error) {
	s.moved()
	n, err := s.u.write(p)
	if err != nil {
		return n, s.u.failure(errTunnelUp, err)
	}
	return n, nil
}

// Close breaks the connection off; its memory goes back with RespBody.Close.
func (s *switched) Close() error {
	s.u.end(errTunnelUp)
	return nil
}

func (s *switched) CloseWrite() error { return closeWrite(s.Conn) }

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil // lastWords ends it
}

// Tunnel implements exchange.Sink.
func (s *sink) Tunnel(h *exchange.Head, e *exchange.Edits, up net.Conn, buffered []byte) error {
	c, x := s.c, &s.c.x
	if s.headed || s.ended || h.Status != http.StatusSwitchingProtocols || x.Upgrade == "" {
		return errSinkOrder
	}
	out := appendStatusLine(c.lendOut(smallBuffer)[:0], h.Status)
	out, err := appendFields(out, h, e)
	if err != nil {
		return err
	}
	out = append(appendUpgrade(out, x.Upgrade), '\r', '\n')
	s.headed, s.ended, s.closing = true, true, true
	t := &tunnel{c: c, up: up}
	if cause := x.Attach(t); cause != nil {
		t.end(causeFault(cause))
		return causeFault(cause)
	}
	defer func() {
		x.Detach() // nobody cuts it any more
		if t.limit != nil {
			t.limit.Stop()
		}
	}()
	c.inBody = false
	c.tunnel.Store(t)
	if c.srv.draining.Load() { // Drain has looked at this connection before it was a tunnel
		t.leave()
	}
	if err := c.write(out); err != nil {
		t.end(errWrite)
		return err
	}
	c.returnOut()
	defer func() { x.BytesIn, x.BytesOut = t.in, t.out }()
	return t.run(buffered)
}

// tunnel joins a client's connection with an upstream's. The goroutine of the
// exchange moves what the upstream sends; another one moves what the client
// sends, and is joined before the tunnel is over.
type tunnel struct {
	c       *serverConn
	up      net.Conn
	frames  frames // of what the upstream sends
	in, out int64  // bytes moved
	said    bool   // the client was told to go: nothing more is sent to it

	leaving atomic.Bool // the client is to be told
	halved  atomic.Bool // one side has ended
	cause   atomic.Pointer[fault.Error]
	half    *time.Timer // ends the other side; set by who set halved
	told    *time.Timer // ends a client that was told to go

	dismissed atomic.Pointer[[]byte] // the close frame of a client that may stay no longer
	limit     *time.Timer            // ends it; set by Cut
}

// run moves bytes until both sides have ended.
func (t *tunnel) run(first []byte) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.upwards()
	}()
	t.downwards(first)
	<-done
	for _, timer := range []*time.Timer{t.half, t.told} {
		if timer != nil {
			timer.Stop()
		}
	}
	if f := t.cause.Load(); f != nil {
		return f
	}
	return nil
}

// upwards moves what the client sends, what came behind its request first.
func (t *tunnel) upwards() {
	src := &t.c.src
	for {
		if p := src.buffered(); len(p) > 0 && t.dismissed.Load() == nil {
			n, err := t.up.Write(p)
			t.in += int64(n)
			if err != nil && t.dismissed.Load() == nil {
				t.end(asTunnelFault(err, errTunnelUp))
				return
			}
		}
		src.r = src.w
		switch err := src.fill(smallBuffer); {
		case errors.Is(err, os.ErrDeadlineExceeded) && t.dismissed.Load() != nil:
			// Nothing of it goes on; it is waited for until it closes too.
			t.c.conn.SetReadDeadline(time.Time{})
		case err == io.EOF:
			t.ended(t.up)
			return
		case err != nil:
			t.end(asTunnelFault(err, errTunnelClient))
			return
		}
	}
}

// downwards moves what the upstream sends, first first.
func (t *tunnel) downwards(first []byte) {
	bufs := &t.c.srv.bufs
	buf := bufs.get(smallBuffer)
	defer bufs.put(buf)
	for p, err := first, error(nil); ; {
		if len(p) > 0 && !t.said {
			t.frames.pass(p)
			if werr := t.c.write(p); werr != nil {
				t.end(asTunnelFault(werr, errTunnelClient))
				return
			}
			t.out += int64(len(p))
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && (t.leaving.Load() || t.dismissed.Load() != nil):
			t.up.SetReadDeadline(time.Time{}) // it was leave or Cut that wanted our attention
		case err == io.EOF:
			t.ended(t.c.conn)
			return
		default:
			t.end(asTunnelFault(err, errTunnelUp))
			return
		}
		if last := t.dismissed.Load(); last != nil && (t.said || t.frames.between() || t.frames.closed) {
			t.dismiss(*last)
			return
		}
		if t.leaving.Load() && !t.said && t.frames.between() {
			t.said = true
			t.told = time.AfterFunc(farewell, func() { t.end(causeFault(errToldToGo)) })
			if werr := t.c.write(goingAway); werr != nil {
				t.end(asTunnelFault(werr, errTunnelClient))
				return
			}
		}
		var n int
		n, err = t.up.Read(buf)
		p = buf[:n]
	}
}

var errToldToGo = errors.New("the client was told to go and stayed")

// ended hands on that one side sends no more.
func (t *tunnel) ended(other net.Conn) {
	if !t.halved.Swap(true) {
		t.half = time.AfterFunc(lastWords, func() { t.end(nil) })
	}
	closeWrite(other)
}

// end breaks both sides off, from any goroutine. The first cause counts, and
// none once a side has ended of itself.
func (t *tunnel) end(f *fault.Error) {
	if !t.halved.Load() {
		t.cause.CompareAndSwap(nil, f)
	}
	t.up.Close()
	t.c.broken.Store(true)
	t.c.raw.Close()
}

// Cut implements exchange.Work. It is called once.
func (t *tunnel) Cut(cause error) {
	f := causeFault(cause)
	last := lastFrame(f)
	if last == nil {
		t.end(f)
		return
	}
	t.cause.CompareAndSwap(nil, f)
	t.limit = time.AfterFunc(dismissal, func() { t.end(f) })
	t.dismissed.Store(&last)
	t.up.SetReadDeadline(past)
	t.c.conn.SetReadDeadline(past)
}

// dismiss tells the client, with its last frame, that it may stay no longer.
// The upstream hears nothing more of it.
func (t *tunnel) dismiss(last []byte) {
	t.up.Close()
	if t.said || t.frames.closed { // it has heard that already
		t.end(nil)
		return
	}
	t.said = true
	if t.c.write(last) == nil {
		closeWrite(t.c.conn)
	}
}

// leave asks the tunnel, from any goroutine, to tell the client to go.
func (t *tunnel) leave() {
	if t.leaving.CompareAndSwap(false, true) {
		t.up.SetReadDeadline(past)
	}
}

// asTunnelFault makes a fault of what broke a tunnel off.
func asTunnelFault(err error, otherwise *fault.Error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return otherwise.Because(err)
}

// frames follows the frames of a WebSocket as a server sends them (RFC 6455
// section 5.2), far enough to know where one ends. The zero frames is before
// the first.
type frames struct {
	head   [10]byte
	n      int    // bytes of head that came
	left   uint64 // payload still to come, once the head is whole
	closed bool   // a close frame was sent: none may follow
	lost   bool   // these are no frames of a server
}

// pass follows the next bytes.
func (f *frames) pass(p []byte) {
	for len(p) > 0 && !f.lost {
		if f.left > 0 {
			k := min(f.left, uint64(len(p)))
			p = p[k:]
			f.left -= k
			continue
		}
		f.head[f.n] = p[0]
		f.n++
		p = p[1:]
		if f.n < 2 || f.n < f.size() {
			continue
		}
		f.begin()
	}
}

// size returns the length of the head, of which two bytes have come.
func (f *frames) size() int {
	switch f.head[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// begin reads the head, which is whole.
func (f *frames) begin() {
	const masked, control, opcode, closing = 0x80, 0x08, 0x0f, 0x08
	if f.head[1]&masked != 0 {
		f.lost = true // a server does not mask
		return
	}
	f.left = uint64(f.head[1])
	if n := f.size(); n > 2 {
		f.left = 0
		for _, c := range f.head[2:n] {
			f.left = f.left<<8 | uint64(c)
		}
	}
	f.lost = f.left>>63 != 0 || f.head[0]&control != 0 && f.left > 125
	f.closed = f.closed || f.head[0]&opcode == closing
	f.n = 0
}

// between reports whether a frame of ours may follow.
func (f *frames) between() bool { return f.n == 0 && f.left == 0 && !f.closed && !f.lost }
