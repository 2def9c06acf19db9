package http1

import (
	"net"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Conn is a client connection that a server serves. Whoever has to make room
// asks it whether it is idle; that costs those who serve it nothing. Idle and
// EndIdle are safe for concurrent use and do not block.
type Conn struct{ c *serverConn }

// NewConn makes a Conn of c: a TCP connection, or a *tls.Conn over one after
// its handshake. info describes it. It must be served.
func (s *Server) NewConn(c net.Conn, info *exchange.Conn) *Conn {
	return &Conn{newServerConn(s, c, info)}
}

// Serve serves the connection until it is over, and closes it.
func (c *Conn) Serve() { c.c.srv.serve(c.c) }

// Idle returns how long the connection has waited for a request to be there,
// its whole head, to a tenth of a second, and false if it does not wait for
// one.
func (c *Conn) Idle() (time.Duration, bool) {
	v, ok := c.waits()
	if !ok {
		return 0, false
	}
	clock, wait := c.c.srv.sweeper, c.c.srv.limits.HeaderTimeout
	if v&stampIdle != 0 && v&stampFirst == 0 {
		wait = c.c.srv.limits.IdleTimeout
	}
	return max(0, time.Duration(clock.in(wait)-v)), true
}

// EndIdle ends the connection if it is idle, and reports whether it was. There
// is no answer, also if a head has begun to come: a client that sees a kept
// connection end without one knows that it can ask again (RFC 9112 section
// 9.3.1).
func (c *Conn) EndIdle() bool {
	v, ok := c.waits()
	if !ok || !c.c.reading.v.CompareAndSwap(v, stampEvicted) {
		return false
	}
	c.c.conn.SetReadDeadline(past)
	return true
}

// waits returns the deadline of the wait for a request, if there is one. A
// deadline while nothing is in flight is none of a body.
func (c *Conn) waits() (int64, bool) {
	v := c.c.reading.v.Load()
	return v, v > stampOff && (v&stampIdle != 0 || c.c.inFlight.Load() == 0)
}
