package http1

import (
	"net"
	"net/http"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errSinkOrder = fault.New(fault.InternalError, "a response was written out of order")
	errTooMuch   = fault.New(fault.InternalError, "a response body is longer than was declared")
	errTooLittle = fault.New(fault.InternalError, "a response body is shorter than was declared")
	errWriteTime = fault.New(fault.ClientGone, "the client did not take the response in time")
	errWrite     = fault.New(fault.ClientGone, "the client closed its connection inside the response")
)

// sink is the exchange.Sink of a client connection. Its errors are
// *fault.Error.
type sink struct {
	c       *serverConn
	framing framing
	left    int64 // of byLength: body bytes still to be written
	headed  bool  // the head was sent
	ended   bool  // Finish or Abort was called
	aborted bool
	closing bool // the connection ends with this response
}

func (s *sink) begin() { *s = sink{c: s.c} }

// Head implements exchange.Sink. For a response without content (to HEAD,
// 204, 304) length is what a GET would have, and first is not sent.
func (s *sink) Head(h *exchange.Head, e *exchange.Edits, length int64, first []byte) error {
	if s.headed || s.ended || h.Status < 200 || h.Status > 599 {
		return errSinkOrder
	}
	c, x := s.c, &s.c.x
	// What follows a request to switch that was not granted may be no request.
	s.closing = x.Req.Close || x.Req.Upgrade != "" || c.srv.draining.Load() || !c.settle()
	s.frame(h.Status, length)
	if s.framing == byClose {
		s.closing = true
	}
	size := smallBuffer
	if len(first) > smallBuffer/2 {
		size = bodyBuffer
	}
	out := appendStatusLine(c.lendOut(size)[:0], h.Status)
	out, err := appendFields(out, h, e)
	if err != nil {
		return err
	}
	if !hasDate(h, e) {
		out = append(out, "Date: "...)
		out = append(out, c.srv.sweeper.httpDate()...)
		out = append(out, '\r', '\n')
	}
	switch {
	case s.framing == byChunks:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0 && h.Status != http.StatusNoContent:
		out = appendLength(out, length)
	}
	switch {
	case s.closing:
		out = append(out, "Connection: close\r\n"...)
	case x.Req.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	out = append(out, '\r', '\n')
	if err := s.count(first); err != nil {
		return err
	}
	s.headed = true
	apart := len(first) > heldBody
	if !apart {
		out = s.appendBody(out, first)
	}
	if err := c.write(out); err != nil || !apart {
		return err
	}
	return s.send(first)
}

// frame decides how the end of the body will be known.
func (s *sink) frame(status int, length int64) {
	switch x := &s.c.x; {
	case string(x.Req.Method) == "HEAD" || status == http.StatusNoContent || status == http.StatusNotModified:
		s.framing = noBody
	case length >= 0:
		s.framing, s.left = byLength, length
	case x.Req.Minor == 0:
		s.framing = byClose
	default:
		s.framing = byChunks
	}
}

// count charges body bytes to the declared length.
func (s *sink) count(p []byte) error {
	if s.framing != byLength {
		return nil
	}
	if int64(len(p)) > s.left {
		return errTooMuch
	}
	s.left -= int64(len(p))
	return nil
}

// appendBody adds body bytes to out, framed.
func (s *sink) appendBody(out, p []byte) []byte {
	switch {
	case len(p) == 0 || s.framing == noBody:
		return out
	case s.framing == byChunks:
		return appendChunk(out, p)
	}
	return append(out, p...)
}

// send writes body bytes, framed.
func (s *sink) send(p []byte) error {
	if s.framing != byChunks {
		return s.c.write(p)
	}
	for len(p) > 0 {
		n := min(len(p), heldBody)
		if err := s.c.write(appendChunk(s.c.lendOut(bodyBuffer)[:0], p[:n])); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Write implements exchange.Sink. Nothing is held back, so flush has nothing
// to do.
func (s *sink) Write(p []byte, flush bool) error {
	if !s.headed || s.ended {
		return errSinkOrder
	}
	if len(p) == 0 || s.framing == noBody {
		return nil
	}
	if err := s.count(p); err != nil {
		return err
	}
	return s.send(p)
}

// Finish implements exchange.Sink.
func (s *sink) Finish(trailers *exchange.Head) error {
	switch {
	case !s.headed || s.ended:
		return errSinkOrder
	case s.framing == byLength && s.left > 0:
		s.Abort(errTooLittle)
		return errTooLittle
	}
	s.ended = true
	if s.framing != byChunks {
		return nil
	}
	if trailers != nil && !TakesTrailers(&s.c.x.Req) {
		trailers = nil
	}
	out, err := appendLastChunk(s.c.lendOut(smallBuffer)[:0], trailers)
	if err != nil {
		return err
	}
	return s.c.write(out)
}

// Abort implements exchange.Sink: the connection ends at once. Where only its
// end would mark the end of the body, it is reset.
func (s *sink) Abort(error) {
	s.ended, s.aborted, s.closing = true, true, true
	s.breakOff()
}

// Cut implements exchange.Sink.
func (s *sink) Cut() {
	s.c.broken.Store(true)
	s.breakOff()
}

func (s *sink) breakOff() {
	if tcp, ok := s.c.raw.(*net.TCPConn); ok && s.framing == byClose {
		tcp.SetLinger(0)
	}
	s.c.raw.Close()
}

// lendOut returns the buffer responses are written in, of at least n bytes.
func (c *serverConn) lendOut(n int) []byte {
	if cap(c.out) < n {
		c.returnOut()
		c.out = c.srv.bufs.get(n)
	}
	return c.out
}

func (c *serverConn) returnOut() {
	if c.out != nil {
		c.srv.bufs.put(c.out)
		c.out = nil
	}
}

// write sends p, within the time a client has for it.
func (c *serverConn) write(p []byte) error {
	if !c.writing.arm(c.srv.sweeper.in(c.srv.limits.WriteTimeout)) {
		return errWriteTime
	}
	_, err := c.conn.Write(p)
	if !c.writing.off() {
		return errWriteTime
	}
	if err != nil {
		c.broken.Store(true)
		return errWrite.Because(err)
	}
	return nil
}

// settle reports whether the connection will be usable when the response is
// sent: the request body was read, or what is left of it is small and comes
// soon enough to be thrown away. A client that waits for 100 Continue will not
// send it.
func (c *serverConn) settle() bool {
	b := &c.body
	switch {
	case b.complete.Load():
		return true
	case b.taken || b.reader.err != nil:
		return false
	}
	b.taken = true
	if _, ok := b.reader.hold(); ok {
		b.complete.Store(true)
		return true
	}
	if c.x.Req.Expect100 || b.reader.framing == byLength && b.reader.left > discardSize {
		return false
	}
	buf := c.srv.bufs.get(smallBuffer)
	defer c.srv.bufs.put(buf)
	c.conn.SetReadDeadline(time.Now().Add(discardTime))
	for left := discardSize; left > 0; {
		n, err := b.reader.Read(buf)
		left -= n
		if err != nil {
			break
		}
	}
	if !b.reader.complete() {
		return false
	}
	c.conn.SetReadDeadline(time.Time{})
	b.complete.Store(true)
	return true
}
