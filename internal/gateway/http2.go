package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

// http2Server is net/http's own HTTP/2 server, fed with connections that our
// listeners accepted and whose TLS handshake chose h2.
type http2Server struct {
	g     *Gateway
	srv   *http.Server
	conns handover
	infos sync.Map // net.Conn -> *handed
	pool  sync.Pool
}

// handed is a connection in net/http's hands.
type handed struct {
	info *exchange.Conn
	over chan struct{}
}

type connKey struct{}

const http2Streams = 100 // concurrent streams per connection

func newHTTP2Server(g *Gateway) *http2Server {
	s := &http2Server{g: g, conns: handover{c: make(chan net.Conn), closed: make(chan struct{})}}
	s.pool.New = func() any { return &exchange.Exchange{} }
	only := new(http.Protocols)
	only.SetHTTP2(true)
	s.srv = &http.Server{
		Handler:           s,
		Protocols:         only,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: http2Streams},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			h, _ := s.infos.Load(c)
			return context.WithValue(ctx, connKey{}, h)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				if h, ok := s.infos.LoadAndDelete(c); ok {
					close(h.(*handed).over)
				}
			}
		},
	}
	go s.srv.Serve(s.conns)
	return s
}

// serve hands a connection to net/http and returns when it is over.
func (s *http2Server) serve(c *tls.Conn, info *exchange.Conn) {
	h := &handed{info, make(chan struct{})}
	s.infos.Store(c, h)
	select {
	case s.conns.c <- c:
		<-h.over
	case <-s.conns.closed:
		s.infos.Delete(c)
		c.Close()
	}
}

// shutdown sends GOAWAY everywhere and waits for the streams until ctx ends.
func (s *http2Server) shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		s.srv.Close()
	}
	return err
}

// ServeHTTP turns a request of net/http into an exchange, through the same
// functions that judge HTTP/1.1.
func (s *http2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Context().Value(connKey{}).(*handed)
	x := s.pool.Get().(*exchange.Exchange)
	x.Conn, x.Start = h.info, s.g.Now()
	body := &http2Body{r: r, x: x}
	x.ReqBody, x.ReqStop = body, body
	stop := context.AfterFunc(r.Context(), func() { x.Cancel(fault.New(fault.ClientGone, "the client reset the stream")) })
	sink := &http2Sink{w: w, head: r.Method == http.MethodHead}
	if f := readHTTP2(x, r); f != nil {
		s.g.Reject(x, sink, f)
	} else {
		s.g.Serve(x, sink)
	}
	if stop() {
		// The context can no longer touch x: only then may another request have it.
		x.Reset()
		x.Conn = nil
		s.pool.Put(x)
	}
	if sink.aborted {
		panic(http.ErrAbortHandler) // net/http's way to reset the stream
	}
}

// readHTTP2 fills the exchange's head. What HTTP/2 itself forbids, net/http
// has refused already; what goes beyond is checked as for HTTP/1.1.
func readHTTP2(x *exchange.Exchange, r *http.Request) *fault.Error {
	q := &x.Req
	q.Major, q.Minor = 2, 0
	q.Method = []byte(r.Method)
	q.Target = []byte(r.RequestURI)
	q.Length = r.ContentLength
	for name, values := range r.Header {
		for _, v := range values {
			q.Fields = append(q.Fields, exchange.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	q.Fields = append(q.Fields, exchange.Field{Name: []byte("Host"), Value: []byte(r.Host)})
	return http1.Accept(q)
}

// http2Body is the request body of a stream.
type http2Body struct {
	r *http.Request
	x *exchange.Exchange
}

func (b *http2Body) Read(p []byte) (int, error) {
	n, err := b.r.Body.Read(p)
	b.x.BytesIn += int64(n)
	if err != nil && err != io.EOF {
		err = fault.New(fault.ClientGone, "the request body was broken off").Because(err)
	}
	return n, err
}

// Interrupt ends a pending Read.
func (b *http2Body) Interrupt() { b.r.Body.Close() }

// Continue does nothing: net/http sends 100 when the body is first read.
func (b *http2Body) Continue() error { return nil }

// Trailers returns nil: request trailers do not go on.
func (b *http2Body) Trailers() *exchange.Head { return nil }

func (b *http2Body) Replay() ([]byte, bool) { return nil, b.r.ContentLength == 0 }

func (b *http2Body) Raw() (*net.TCPConn, []byte, bool) { return nil, nil, false }

// http2Sink is the client's side of a stream.
type http2Sink struct {
	w       http.ResponseWriter
	head    bool
	aborted bool
}

func (s *http2Sink) Interim(h *exchange.Head) error {
	copyFields(s.w.Header(), h, nil)
	s.w.WriteHeader(h.Status)
	clear(s.w.Header())
	return nil
}

func (s *http2Sink) Head(h *exchange.Head, e *exchange.Edits, length int64, first []byte) error {
	copyFields(s.w.Header(), h, e)
	setLength(s.w.Header(), length)
	s.w.WriteHeader(h.Status)
	if len(first) > 0 {
		if _, err := s.w.Write(first); err != nil {
			return err
		}
	}
	if length < 0 {
		return http.NewResponseController(s.w).Flush()
	}
	return nil
}

func (s *http2Sink) Write(p []byte, flush bool) error {
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	if flush {
		return http.NewResponseController(s.w).Flush()
	}
	return nil
}

// Finish drops trailers: nothing that came behind a body is passed on yet.
func (s *http2Sink) Finish(*exchange.Head) error { return nil }

func (s *http2Sink) Tunnel(*exchange.Head, *exchange.Edits, net.Conn, []byte) error {
	return fault.New(fault.RequestMalformed, "HTTP/2 has no Upgrade (RFC 9113 section 8.6)")
}

func (s *http2Sink) Abort(error) { s.aborted = true }

// handover is a listener whose connections come from elsewhere.
type handover struct {
	c      chan net.Conn
	closed chan struct{}
}

func (h handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.c:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close may be called by net/http more than once, but never at the same time.
func (h handover) Close() error {
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
	return nil
}

func (h handover) Addr() net.Addr { return &net.TCPAddr{} }
