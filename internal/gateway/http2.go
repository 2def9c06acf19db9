package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// http2Server is net/http's own HTTP/2 server, fed with connections that our
// listeners accepted and whose TLS handshake chose h2, or which began with h2.
type http2Server struct {
	g     *Gateway
	srv   *http.Server
	conns handover
	infos sync.Map  // net.Conn -> *handed
	pool  sync.Pool // of *http2Stream
	crews *crewSet
	cut   atomic.Bool // what ends now is ended by us

	mu      sync.Mutex
	over    bool           // no connection is taken any more
	serving sync.WaitGroup // connections; guarded by mu when it grows
}

// handed is a connection in net/http's hands.
type handed struct {
	listener *listener
	guest    *guest
	raw      net.Conn // without TLS
	info     *exchange.Conn
	crew     *crew
	security string // of the listener, when the connection came
	over     chan struct{}
	idle     *time.Timer  // ends the connection while no stream is open
	since    atomic.Int64 // when the last stream ended, Unix nanoseconds; 0 while there is one, -1 once ended for being idle
	streams  atomic.Int64 // being served
	ending   atomic.Bool  // the next response is the last

	mu       sync.Mutex
	left     bool           // no handler is taken any more
	handlers sync.WaitGroup // guarded by mu when it grows
}

type connKey struct{}

const (
	http2Streams = 100      // concurrent streams per connection
	http2Head    = 32 << 10 // bytes of a head; the listener's limits are checked within

	// What a peer has for the next bytes of a body, either way, and the least
	// rate of a request body once it has been waited for that long.
	http2Patience = 30 * time.Second
	http2Rate     = 500 // bytes a second
)

func newHTTP2Server(g *Gateway) *http2Server {
	s := &http2Server{g: g, conns: handover{c: make(chan net.Conn), closed: make(chan struct{})}}
	s.pool.New = func() any { return &http2Stream{served: make(chan struct{}, 1)} }
	s.crews = newCrewSet(s.serveStream)
	only := new(http.Protocols)
	only.SetHTTP2(true)
	only.SetUnencryptedHTTP2(true) // of listeners with h2c; others hand over TLS only
	s.srv = &http.Server{
		Handler:   s,
		Protocols: only,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: http2Streams,
			SendPingTimeout:      http2Patience, // a peer that is gone is found out
			PingTimeout:          http2Patience / 2,
			WriteByteTimeout:     http2Patience,
			CountError:           g.HTTP2Error,
		},
		MaxHeaderBytes: http2Head,
		// Every request is ours to answer and to record, OPTIONS * too.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			h, _ := s.infos.Load(c)
			return context.WithValue(ctx, connKey{}, h)
		},
		ConnState: s.changed,
	}
	go s.srv.Serve(s.conns)
	return s
}

// changed follows the state of a connection. Idle time is ours to end, because
// each listener has its own.
func (s *http2Server) changed(c net.Conn, state http.ConnState) {
	v, ok := s.infos.Load(c)
	if !ok {
		return
	}
	h := v.(*handed)
	switch state {
	case http.StateActive:
		h.since.Store(0)
		h.idle.Stop()
	case http.StateIdle: // for the first time when the preface was read
		h.since.Store(time.Now().UnixNano())
		h.listener.crowd.move(h.guest, h)
		h.idle.Reset(h.listener.spec.Load().Limits.IdleTimeout)
	case http.StateClosed:
		h.idle.Stop()
		s.infos.Delete(c)
		close(h.over)
	}
}

// Idle implements stage.
func (h *handed) Idle() (time.Duration, bool) {
	since := h.since.Load()
	return time.Duration(time.Now().UnixNano() - since), since > 0
}

// EndIdle implements stage. No word of TLS says goodbye: that could block.
func (h *handed) EndIdle() bool {
	since := h.since.Load()
	if since <= 0 || !h.since.CompareAndSwap(since, -1) {
		return false
	}
	h.raw.Close()
	return true
}

// enter counts a handler in; handlers.Done must follow. false: the connection
// has ended. net/http starts a handler in a goroutine, which may come to run
// only then.
func (h *handed) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.left {
		h.handlers.Add(1)
	}
	return !h.left
}

// leave returns when the last handler has, and lets no other in.
func (h *handed) leave() {
	h.mu.Lock()
	h.left = true
	h.mu.Unlock()
	h.handlers.Wait()
}

// serve hands a connection to net/http and returns when it is over.
func (s *http2Server) serve(l *listener, c net.Conn, guest *guest, spec *snapshot.Listener, info *exchange.Conn) {
	if !s.enter() {
		c.Close()
		return
	}
	defer s.serving.Done()
	h := &handed{listener: l, guest: guest, raw: c, info: info, crew: s.crews.pick(), security: spec.Security, over: make(chan struct{})}
	if t, ok := c.(*tls.Conn); ok {
		h.raw = t.NetConn()
	}
	h.idle = time.AfterFunc(l.spec.Load().Limits.HeaderTimeout, func() { c.Close() })
	s.infos.Store(c, h)
	if l.isOver(spec) { // end did not see this one
		h.idle.Stop()
		s.infos.Delete(c)
		c.Close()
		return
	}
	select {
	case s.conns.c <- c:
		<-h.over
		h.leave() // they have their records to write
	case <-s.conns.closed:
		h.idle.Stop()
		s.infos.Delete(c)
		c.Close()
	}
}

func (s *http2Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.serving.Add(1)
	}
	return !s.over
}

// end makes the next response the last on every connection of a listener that
// is no longer configured, and closes those that are idle.
func (s *http2Server) end(l *listener) {
	s.infos.Range(func(c, v any) bool {
		if h := v.(*handed); h.listener == l {
			h.ending.Store(true)
			if h.streams.Load() == 0 {
				c.(net.Conn).Close()
			}
		}
		return true
	})
}

// shutdown sends GOAWAY everywhere and waits for the streams until ctx ends,
// when it cuts them. Every exchange has its record when it returns.
func (s *http2Server) shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		s.cut.Store(true)
		s.srv.Close()
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.serving.Wait()
	s.crews.stop()
	return err
}

// ServeHTTP implements http.Handler.
func (s *http2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Context().Value(connKey{}).(*handed)
	if !h.enter() {
		panic(http.ErrAbortHandler) // nobody waits for an answer, nor for a record
	}
	defer h.handlers.Done()
	h.streams.Add(1)
	defer h.streams.Add(-1)
	t := s.pool.Get().(*http2Stream)
	t.w, t.r, t.conn = w.(http2Writer), r, h
	h.crew.do(t)
	aborted, panicked := t.sink.aborted, t.panicked
	if t.free && panicked == nil {
		t.reset()
		s.pool.Put(t)
	}
	switch {
	case panicked != nil:
		panic(panicked)
	case aborted:
		panic(http.ErrAbortHandler) // net/http's way to reset the stream
	}
}

// serveStream turns a request of net/http into an exchange, through the same
// functions that judge HTTP/1.1.
func (s *http2Server) serveStream(t *http2Stream) {
	defer func() { t.panicked = recover() }() // it is net/http's to deal with, as in any handler
	x, r, spec := &t.x, t.r, t.conn.listener.spec.Load()
	limits := &spec.Limits
	x.Conn, x.Start = t.conn.info, s.g.Now()
	t.body = http2Body{r: r, x: x, control: t.w, patience: patience(limits.BodyTimeout)}
	t.sink = http2Sink{w: t.w, x: x, conn: t.conn, header: &t.header, patience: patience(limits.WriteTimeout)}
	x.ReqBody, x.ReqStop, x.Early = &t.body, &t.body, &t.sink
	stop := context.AfterFunc(r.Context(), func() {
		if s.cut.Load() {
			x.Cancel(errCut)
		} else {
			x.Cancel(errReset)
		}
	})
	f := readHTTP2(x, r, limits)
	if f == nil && spec.Security != t.conn.security {
		// An earlier stream has kept the connection. 421 tells a client to ask
		// again on another.
		f = errTrust
		t.conn.ending.Store(true)
	}
	if f != nil {
		s.g.Reject(x, &t.sink, f)
	} else {
		s.g.Serve(x, &t.sink)
	}
	t.free = stop()
}

// http2Stream is what serving a stream takes, kept for the next one: of any
// connection.
type http2Stream struct {
	w    http2Writer
	r    *http.Request
	conn *handed

	x      exchange.Exchange
	body   http2Body
	sink   http2Sink
	header http1.Header

	served   chan struct{} // by a crew
	free     bool          // the request's context can no longer touch x: only then may another request have it
	panicked any
}

// reset forgets the stream and keeps the memory.
func (t *http2Stream) reset() {
	t.x.Reset()
	t.x.Conn = nil
	t.w, t.r, t.conn, t.free = nil, nil, nil, false
	t.body, t.sink = http2Body{}, http2Sink{}
	t.header.Reset()
}

// http2Writer is the http.ResponseWriter of net/http's HTTP/2, with what an
// http.ResponseController would ask it for.
type http2Writer interface {
	http.ResponseWriter
	FlushError() error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

var (
	errReset = fault.New(fault.ClientGone, "the client reset the stream")
	errTrust = fault.New(fault.MisdirectedRequest, "the connection was made before a reload changed whom the listener trusts")
)

// readHTTP2 fills the exchange's head. What HTTP/2 itself forbids, net/http
// has refused already; what goes beyond is checked as for HTTP/1.1.
func readHTTP2(x *exchange.Exchange, r *http.Request, limits *http1.Limits) *fault.Error {
	q := &x.Req
	q.Major, q.Minor = 2, 0
	q.Length = r.ContentLength
	said := func(name, value string) bool {
		return name == "Host" && value == r.Host // beside, or in place of, :authority (RFC 9113 section 8.3.1)
	}
	size, n := len(r.Method)+len(r.RequestURI)+len("Host: \r\n")+len(r.Host), 1
	for name, values := range r.Header {
		for _, v := range values {
			if !said(name, v) {
				size += len(name) + len(v) + len(": \r\n")
				n++
			}
		}
	}
	text := x.Alloc(size)[:0] // about http2Head at most, as net/http sees to that
	put := func(s string) []byte {
		text = append(text, s...)
		return text[len(text)-len(s) : len(text) : len(text)]
	}
	q.Method, q.Target = put(r.Method), put(r.RequestURI)
	if size > limits.HeaderSize || n > limits.Headers {
		return fault.New(fault.HeadersTooLarge, "the head is over limits.headerSize or limits.headers of the listener")
	}
	for name, values := range r.Header {
		for _, v := range values {
			if !said(name, v) {
				q.Fields = append(q.Fields, exchange.Field{Name: put(name), Value: put(v)})
			}
		}
	}
	q.Fields = append(q.Fields, exchange.Field{Name: put("Host"), Value: put(r.Host)})
	return http1.Accept(q)
}

// http2Body is the request body of a stream.
type http2Body struct {
	r        *http.Request
	x        *exchange.Exchange
	control  http2Writer
	patience time.Duration
	waited   time.Duration // in Read
	stream   bool          // the client may be silent: the upstream's idle time bounds the whole
}

// patience is a timeout of a listener, or the one that stands for none.
func patience(d time.Duration) time.Duration {
	if d <= 0 {
		return http2Patience
	}
	return d
}

func (b *http2Body) Read(p []byte) (int, error) {
	began := time.Now()
	if !b.stream {
		b.control.SetReadDeadline(began.Add(b.patience))
	}
	n, err := b.r.Body.Read(p)
	if !b.stream {
		b.control.SetReadDeadline(time.Time{}) // it would end the body also while nobody reads
	}
	b.x.BytesIn += int64(n)
	b.waited += time.Since(began)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == nil && !b.stream && b.waited > b.patience && float64(b.x.BytesIn) < http2Rate*b.waited.Seconds():
		err = fault.New(fault.RequestTimeout, "the request body comes too slowly")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fault.New(fault.RequestMalformed, "the request body is shorter than its content-length").Because(err)
	case err != nil && err != io.EOF:
		err = fault.New(fault.ClientGone, "the request body was broken off").Because(err)
	}
	return n, err
}

// Interrupt ends a pending Read.
func (b *http2Body) Interrupt() { b.r.Body.Close() }

// Continue does nothing: net/http sends 100 when the body is first read.
func (b *http2Body) Continue() error { return nil }

// Trailers implements exchange.Body. A section that HTTP/1.1 would refuse is
// not passed on.
func (b *http2Body) Trailers() *exchange.Head {
	h, f := http1.AcceptTrailers(b.r.Trailer, false)
	if f != nil {
		return nil
	}
	return h
}

func (b *http2Body) Replay() ([]byte, bool) { return nil, b.r.ContentLength == 0 }

// http2Sink is the client's side of a stream.
type http2Sink struct {
	w        http2Writer
	x        *exchange.Exchange
	conn     *handed
	header   *http1.Header
	patience time.Duration
	hurried  bool // a deadline is set
	headed   bool // the head was sent
	aborted  bool
}

var errSinkOrder = fault.New(fault.InternalError, "a response was written out of order")

// hurry gives the client its time for what is written next.
func (s *http2Sink) hurry() {
	s.hurried = true
	s.w.SetWriteDeadline(time.Now().Add(s.patience))
}

// rest ends what hurry began: a deadline would reset the stream also while
// nothing is being written.
func (s *http2Sink) rest() {
	s.hurried = false
	s.w.SetWriteDeadline(time.Time{})
}

func (s *http2Sink) Head(h *exchange.Head, e *exchange.Edits, length int64, first []byte) error {
	if s.headed || s.aborted {
		return errSinkOrder
	}
	s.headed = true
	s.hurry()
	to := s.w.Header()
	if err := s.header.Copy(to, h, e, length); err != nil {
		return err
	}
	if len(to["Content-Type"]) == 0 {
		to["Content-Type"] = nil // or net/http would guess one
	}
	if s.conn.ending.Load() {
		to.Set("Connection", "close") // net/http's way to send GOAWAY
	}
	s.w.WriteHeader(h.Status) // has a copy of its own from now on
	if len(first) > 0 {
		if _, err := s.w.Write(first); err != nil {
			return err
		}
	}
	if length < 0 {
		if err := s.w.FlushError(); err != nil {
			return err
		}
	}
	if length != int64(len(first)) {
		s.rest()
	}
	return nil
}

func (s *http2Sink) Write(p []byte, flush bool) error {
	if !s.headed || s.aborted {
		return errSinkOrder
	}
	s.hurry()
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	if flush {
		if err := s.w.FlushError(); err != nil {
			return err
		}
	}
	s.rest()
	return nil
}

// Interim sends the links of a 103 (RFC 8297). Nothing else of it goes on: no
// rule about responses has looked at it.
func (s *http2Sink) Interim(h *exchange.Head) error {
	if s.headed || s.aborted || h.Status != http.StatusEarlyHints {
		return errSinkOrder
	}
	var links exchange.Head
	for _, f := range h.Fields {
		if exchange.EqualFold(f.Name, "link") {
			links.Fields = append(links.Fields, f)
		}
	}
	to := s.w.Header()
	if err := http1.CopyFields(to, &links, nil); err != nil || len(links.Fields) == 0 {
		return err
	}
	// If the stream is reset meanwhile, net/http may still be reading the header
	// when WriteHeader has returned. A copy is what it reads where a length, which
	// no interim answer has, must be left out.
	to["Content-Length"] = []string{"0"}
	s.hurry()
	s.w.WriteHeader(h.Status)
	s.rest()
	clear(to)
	return nil
}

// Finish sends trailers to clients that say they take them, and to those of
// gRPC, which always do.
func (s *http2Sink) Finish(trailers *exchange.Head) error {
	if !s.headed || s.aborted {
		return errSinkOrder
	}
	if !s.hurried {
		s.hurry() // for what is still to be sent when we have returned
	}
	if trailers == nil || !http1.TakesTrailers(&s.x.Req) && !asksGRPC(&s.x.Req) {
		return nil
	}
	behind := http.Header{}
	if err := http1.CopyFields(behind, trailers, nil); err != nil {
		return err
	}
	for name, values := range behind {
		s.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

func (s *http2Sink) Tunnel(*exchange.Head, *exchange.Edits, net.Conn, []byte) error {
	return fault.New(fault.RequestMalformed, "HTTP/2 has no Upgrade (RFC 9113 section 8.6)")
}

func (s *http2Sink) Abort(error) { s.aborted = true }

// Cut resets the stream.
func (s *http2Sink) Cut() { s.w.SetWriteDeadline(time.Unix(1, 0)) }

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
