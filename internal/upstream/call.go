package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

const (
	heldBody   = 16 << 10 // a request body of a declared length up to this is held whole
	maxInterim = 8
	joinTime   = time.Second // how long a request body may go on once the response has ended
)

// call is one exchange over an http2Pool, and the body of its response. The
// goroutine of the exchange owns it, but for what mu guards, the watch and the
// loan of the request body.
type call struct {
	pool   *http2Pool
	x      *exchange.Exchange
	limits http1.Timeouts
	began  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc // always with a *fault.Error
	repeat bool                    // the method is idempotent
	idle   watch
	body   *loan // nil: the body is held, or there is none
	resp   *http.Response
	ended  error              // what Read returns from now on
	early  chan exchange.Head // interim answers on their way to the client
	dials  atomic.Int32       // connections it has asked for

	mu        sync.Mutex
	connected bool
	tries     int
	headSent  bool
	answered  bool
	interims  int
	firstByte time.Time
	connect   *time.Timer
	first     *time.Timer
	total     *time.Timer
}

func newCall(p *http2Pool, x *exchange.Exchange, t http1.Timeouts) *call {
	if t.Total > 0 && (t.Connect <= 0 || t.Total < t.Connect) {
		t.Connect = t.Total
	}
	c := &call{pool: p, x: x, limits: t, began: time.Now(), repeat: idempotent(x.Req.Method)}
	c.ctx, c.cancel = context.WithCancelCause(context.WithValue(context.Background(), asker{}, c))
	c.idle = watch{every: t.Idle, expire: func() { c.cancel(errIdle) }}
	return c
}

// idempotent reports whether a request may be sent twice (RFC 9110 section
// 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Cut implements exchange.Work.
func (c *call) Cut(cause error) {
	c.cancel(faultOf(cause, fault.New(fault.Draining, "the exchange was cut")))
}

// send sends the request and returns when the response head is in x.Resp.
func (c *call) send(to http1.Target) error {
	req, err := c.request(to)
	if err != nil {
		return err
	}
	if cause := c.x.Attach(c); cause != nil {
		c.Cut(cause)
		return context.Cause(c.ctx)
	}
	c.mu.Lock()
	c.connect = c.after(c.limits.Connect, errConnectTime)
	c.mu.Unlock()
	resp, err := c.roundTrip(req.WithContext(httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { c.gotConn() },
		WroteHeaders:         c.wroteHead,
		WroteRequest:         c.wrote,
		GotFirstResponseByte: c.gotByte,
		Got1xxResponse:       c.interim,
	})))
	c.mu.Lock()
	c.answered = true
	stop(c.first)
	if !c.firstByte.IsZero() {
		c.x.UpFirst = max(1, c.firstByte.Sub(c.x.Start))
	}
	c.mu.Unlock()
	if err != nil {
		return c.failure(err, errNoResponse)
	}
	c.resp = resp
	return c.begin()
}

// roundTrip runs the transport, and tells the client of interim answers.
func (c *call) roundTrip(req *http.Request) (*http.Response, error) {
	if c.x.Early == nil {
		return c.pool.transport.RoundTrip(req)
	}
	c.early = make(chan exchange.Head, maxInterim)
	var resp *http.Response
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if bug := recover(); bug != nil {
				f := errBug("sending the request", bug)
				c.cancel(f)
				resp, err = nil, f
			}
		}()
		resp, err = c.pool.transport.RoundTrip(req)
	}()
	for {
		select {
		case h := <-c.early:
			c.x.Early.Interim(&h)
		case <-done:
			for len(c.early) > 0 {
				h := <-c.early
				c.x.Early.Interim(&h)
			}
			return resp, err
		}
	}
}

// request makes the request for the transport.
func (c *call) request(to http1.Target) (*http.Request, error) {
	h := &c.x.Req
	header := http.Header{}
	if err := http1.CopyFields(header, h, &c.x.ReqEdit); err != nil {
		return nil, err
	}
	if header["User-Agent"] == nil {
		header["User-Agent"] = []string{""} // or net/http would say that it is one
	}
	if c.pool.grpc || http1.TakesTrailers(h) {
		header["Te"] = []string{"trailers"}
	}
	host := to.Host
	if host == "" {
		host = string(h.Authority)
	}
	if host == "" {
		host = c.pool.address
	}
	req := &http.Request{
		Method: string(h.Method), Host: host, Header: header, Proto: "HTTP/2.0", ProtoMajor: 2,
		// Opaque, because the path goes as it was judged, byte for byte.
		URL: &url.URL{
			Scheme: c.pool.scheme, Host: c.pool.address, Opaque: "//" + host + to.Prefix + string(h.Path),
			RawQuery: string(h.Query), ForceQuery: h.HasQuery,
		},
	}
	return req, c.giveBody(req)
}

// giveBody finds out how the body goes: held whole it can be sent again,
// otherwise it is lent to the transport.
func (c *call) giveBody(req *http.Request) error {
	x := c.x
	data, held := x.ReqBody.Replay()
	// A stream of gRPC is never waited for: its client may be silent for as
	// long as the watch says, which begins with the connection.
	if !held && !c.pool.grpc && x.Req.Length >= 0 && x.Req.Length <= heldBody {
		data, held = make([]byte, x.Req.Length), true
		if err := readWhole(x.ReqBody, data); err != nil {
			if cause := x.Cause(); cause != nil {
				err = cause
			}
			return faultOf(err, errBodyGone)
		}
	} else {
		data = bytes.Clone(data) // the transport may hold it longer than the exchange lives
	}
	if held {
		if len(data) > 0 {
			req.ContentLength = int64(len(data))
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
			req.Body, _ = req.GetBody()
		}
		return nil
	}
	if err := x.ReqBody.Continue(); err != nil {
		return faultOf(err, errBodyGone)
	}
	c.body = newLoan(c, x.ReqBody, x.Req.Length)
	req.Body, req.ContentLength = c.body, x.Req.Length
	if c.pool.grpc {
		req.Trailer = announced(&x.Req)
		c.body.trailer = req.Trailer
	}
	return nil
}

// announced returns a place for each trailer field that a request announces
// and that may go on; nil if there is none. What is not announced does not go.
func announced(h *exchange.Head) http.Header {
	names := http.Header{}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == exchange.HeaderTrailer {
			for name := range bytes.SplitSeq(f.Value, []byte(",")) {
				names[http.CanonicalHeaderKey(string(bytes.TrimSpace(name)))] = []string{""}
			}
		}
	}
	trailers, f := http1.AcceptTrailers(names, false)
	if f != nil || trailers == nil {
		return nil
	}
	clear(names)
	for i := range trailers.Fields {
		// Names of the kind that is taken out of heads, such as X-Real-IP: a
		// target may put trailers among them.
		if f := &trailers.Fields[i]; !f.Drop && !bytes.HasPrefix(f.Name, []byte("X-")) {
			names[string(f.Name)] = nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	return names
}

// readWhole fills p with all of body.
func readWhole(body exchange.Body, p []byte) error {
	if _, err := io.ReadFull(body, p); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return errBodyEnd
		}
		return err
	}
	var one [1]byte
	if n, err := body.Read(one[:]); n > 0 || err == nil {
		return errBodyEnd
	} else if err != io.EOF {
		return err
	}
	return nil
}

// after cuts the call with f when a time has passed; 0 is never.
func (c *call) after(d time.Duration, f *fault.Error) *time.Timer {
	if d <= 0 {
		return nil
	}
	return time.AfterFunc(d, func() { c.cancel(f) })
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// gotConn is told that there is a connection; again, if the transport would
// send the request again. It does so when the target says that it did not look
// at it, but also on less: so only what is safe to repeat goes again, once.
func (c *call) gotConn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tries++; c.headSent && (c.tries > 2 || !c.repeat) {
		c.cancel(errNoResponse)
		return
	}
	if !c.connected {
		c.connected = true
		stop(c.connect)
		if c.limits.Total > 0 {
			c.total = c.after(max(1, c.limits.Total-time.Since(c.began)), errTotal)
		}
	}
	c.idle.set(sending, true)
	c.idle.set(streaming, c.pool.grpc)
}

func (c *call) wroteHead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headSent = true
}

// wrote is told that the request was sent, or why not.
func (c *call) wrote(info httptrace.WroteRequestInfo) {
	if info.Err != nil {
		return
	}
	c.idle.set(sending, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.answered && c.first == nil {
		c.first = c.after(c.limits.FirstByte, errFirstByte)
	}
}

func (c *call) gotByte() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.firstByte = time.Now()
}

// interim is told of an interim answer, in a goroutine of the transport.
func (c *call) interim(code int, from textproto.MIMEHeader) error {
	c.mu.Lock()
	c.interims++
	n := c.interims
	c.mu.Unlock()
	if n > maxInterim || code == http.StatusSwitchingProtocols {
		return errInterim
	}
	if code != http.StatusEarlyHints || c.early == nil {
		return nil
	}
	h := exchange.Head{Status: code, Length: -1}
	for name, values := range from {
		for _, v := range values {
			h.Fields = append(h.Fields, exchange.Field{Name: []byte(name), Value: []byte(v), ID: exchange.IdentifyString(name)})
		}
	}
	c.early <- h // there is room for all
	return nil
}

// begin reads the response head.
func (c *call) begin() error {
	h := &c.x.Resp
	h.Reset()
	h.Major, h.Status, h.Length = 2, c.resp.StatusCode, c.resp.ContentLength
	for name, values := range c.resp.Header {
		for _, v := range values {
			h.Fields = append(h.Fields, exchange.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	if f := http1.AcceptResponse(h); f != nil {
		return f
	}
	if string(c.x.Req.Method) == http.MethodHead || h.Status == http.StatusNoContent || h.Status == http.StatusNotModified {
		c.ended = io.EOF
		return nil
	}
	if h.Length == 0 { // that nothing comes has to be seen, and trailers may
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			return errFrames
		} else if err != io.EOF {
			return err
		}
	}
	return nil
}

// streamError is how net/http shows an error of a stream to errors.As.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "a stream error" }

// failure says why the transport failed: for a reason of ours, if there is one.
func (c *call) failure(err error, otherwise *fault.Error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	if c.pool.http1.Load() { // net/http words what comes of it in many ways
		return errHTTP1
	}
	c.mu.Lock()
	connected := c.connected
	c.mu.Unlock()
	var timeout net.Error
	var stream streamError
	switch {
	case connected:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errConnectTime.Because(err)
	default:
		return faultOf(err, errUnreachable)
	}
	const protocolError = 1 // RFC 9113 section 7; said by us, if not by the peer
	if errors.As(err, &stream) && stream.Code == protocolError && (stream.Cause == nil || stream.Cause.Error() != "received from peer") {
		otherwise = errFrames
	}
	return faultOf(err, otherwise)
}

// Read implements exchange.Body.
func (c *call) Read(p []byte) (int, error) {
	if c.ended != nil {
		return 0, c.ended
	}
	c.idle.set(receiving, true)
	n, err := c.resp.Body.Read(p)
	c.idle.set(receiving, false)
	switch {
	case err == io.EOF:
		c.ended = io.EOF
	case err != nil:
		err = c.failure(err, errShort)
		c.ended = err
	}
	return n, err
}

// Continue implements exchange.Body.
func (c *call) Continue() error { return nil }

// Trailers implements exchange.Body. Only gRPC over HTTP/2 has names of its
// own there.
func (c *call) Trailers() *exchange.Head {
	if c.ended != io.EOF {
		return nil
	}
	h, f := http1.AcceptTrailers(c.resp.Trailer, c.pool.grpc && c.x.Req.Major == 2)
	if f != nil {
		return nil
	}
	return h
}

// Replay implements exchange.Body.
func (c *call) Replay() ([]byte, bool) { return nil, c.ended == io.EOF }

// Buffered implements exchange.ResponseBody. What has come cannot be told.
func (c *call) Buffered() int { return 0 }

// Close implements exchange.ResponseBody: the stream ends, the connection goes
// on.
func (c *call) Close() { c.end() }

// end returns when neither the transport nor a timer uses anything of the
// exchange any more.
func (c *call) end() {
	patience := time.Duration(0)
	if c.ended == io.EOF && c.x.Req.Major == 1 {
		patience = joinTime // so that the client's connection can go on
	}
	if c.body != nil {
		if c.ended != io.EOF {
			c.cancel(errDone)
		}
		c.body.takeBack(patience)
	}
	c.x.Detach()
	c.cancel(errDone)
	c.idle.end()
	c.mu.Lock()
	stop(c.connect)
	stop(c.first)
	stop(c.total)
	c.mu.Unlock()
	if c.resp != nil {
		c.resp.Body.Close()
	}
	c.pool.leave()
}
