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

// Idle returns how long the connection has waited for a request, to a tenth
// of a second, and false if it does not wait for one.
func (c *Conn) Idle() (time.Duration, bool) {
	v := c.c.reading.v.Load()
	if v <= stampOff || v&stampIdle == 0 {
		return 0, false
	}
	clock, wait := c.c.srv.sweeper, c.c.srv.limits.IdleTimeout
	if v&stampFirst != 0 {
		wait = c.c.srv.limits.HeaderTimeout
	}
	return max(0, time.Duration(clock.in(wait)-v)), true
}

// EndIdle ends the connection if it is idle, and reports whether it was.
func (c *Conn) EndIdle() bool { return c.c.endIdle() }
