package http1

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Server serves client connections: it reads requests, hands them to a
// handler and writes what the handler answers. It is safe for concurrent use.
type Server struct {
	handler   exchange.Handler
	limits    Limits
	bufs      buffers
	exchanges sync.Pool // of *served
	sweeper   *sweeper
	draining  atomic.Bool

	mu     sync.Mutex
	active int
	cause  error          // set by Close
	conns  sync.WaitGroup // guarded by mu when it grows
}

// NewServer returns a server that hands requests to h. Close it.
func NewServer(h exchange.Handler, l Limits) *Server {
	return &Server{handler: h, limits: l.withDefaults(), sweeper: newSweeper(nil)}
}

// ServeConn serves a connection that nobody asks whether it is idle.
func (s *Server) ServeConn(c net.Conn, info *exchange.Conn) { s.NewConn(c, info).Serve() }

func (s *Server) serve(conn *serverConn) {
	if !s.enter() {
		conn.conn.Close()
		return
	}
	defer s.leave()
	if !s.sweeper.add(conn) {
		conn.conn.Close()
		return
	}
	defer s.sweeper.remove(conn)
	conn.serve()
}

// UnderTLS returns c as a connection for a tls.Server that ServeConn or NewConn
// will get: over it, an idle connection holds no buffer.
func (s *Server) UnderTLS(c net.Conn) net.Conn { return newRecords(c, &s.bufs) }

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil || s.draining.Load() || s.active >= s.limits.Connections {
		return false
	}
	s.active++
	s.conns.Add(1)
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.conns.Done()
}

// Drain makes every response from now on the last of its connection, closes
// idle connections and takes no new ones. The clients of WebSockets are told
// to go (RFC 6455 section 7.4.1, 1001), as soon as the upstream is between two
// frames; those that do not go are left to Close.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.sweeper.each(func(e swept) { e.(*serverConn).drain() })
}

// Close cancels every exchange with cause, closes every connection and waits
// until their goroutines have ended.
func (s *Server) Close(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = cause
	}
	s.mu.Unlock()
	s.draining.Store(true)
	s.sweeper.refuse()
	s.sweeper.each(func(e swept) { e.(*serverConn).cut(cause) })
	s.conns.Wait()
	s.sweeper.done.Wait()
}

// Active returns the number of open connections.
func (s *Server) Active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}
