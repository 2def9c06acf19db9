package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"sync"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// outbound makes the request ready for the upstream: credentials that are not
// meant for it go, what the gateway knows of the client is said anew.
func (g *Gateway) outbound(x *exchange.Exchange, r *snapshot.Route) {
	r.StripCredentials(x)
	x.Req.DropOwnCookies(x.Alloc)
	e := &x.ReqEdit
	asked := x.ForwardedFor
	if asked == nil {
		asked = x.Client.AppendTo(x.Alloc(64)[:0])
	}
	e.SetKnown(exchange.HeaderXForwardedFor, asked)
	if x.Secure {
		e.SetKnown(exchange.HeaderXForwardedProto, httpsText)
	} else {
		e.SetKnown(exchange.HeaderXForwardedProto, httpText)
	}
	host := x.ForwardedHost
	if host == nil {
		host = x.Req.Authority
	}
	e.SetKnown(exchange.HeaderXForwardedHost, host)
	e.AddKnown(exchange.HeaderVia, g.via)
	e.SetKnown(exchange.HeaderRequestID, x.IDText())
	e.SetKnown(exchange.HeaderTraceparent, traceparent(x))
	e.DelKnown(exchange.HeaderTracestate)
}

var (
	httpText  = []byte("http")
	httpsText = []byte("https")
)

// instance makes a mark of 32 random bits for this process, by which it knows
// its own Via (RFC 9110 section 7.6.3) from that of another gateway.
func instance() []byte {
	var id [4]byte
	rand.Read(id[:])
	return hex.AppendEncode(nil, id[:])
}

// loops reports whether the request has come through here before.
func (g *Gateway) loops(h *exchange.Head) bool {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == exchange.HeaderVia && bytes.Contains(f.Value, g.instance) {
			return true
		}
	}
	return false
}

// traceparent starts a new trace (W3C Trace Context): one that came with the
// request was written by a stranger. The trace id is the request id, so that
// whoever has one has both; it is not sampled until tracing says so.
func traceparent(x *exchange.Exchange) []byte {
	b := x.Alloc(55)[:0]
	b = append(b, "00-"...)
	b = append(b, x.IDText()...)
	b = append(b, '-')
	var span [8]byte
	rand.Read(span[:])
	b = hex.AppendEncode(b, span[:])
	return append(b, "-00"...)
}

// pieces are the buffers that bodies are moved through, bulks those for bodies
// that fill one piece after the other.
var (
	pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}
	bulks  = sync.Pool{New: func() any { return new([128 << 10]byte) }}
)

// bulkAfter is how many pieces in a row a body has filled when it is moved in
// bulk.
const bulkAfter = 4

// move sends the upstream's answer to the client. A body that fits one piece
// goes out together with its head; one of unknown length is flushed whenever
// the upstream pauses, its head at once.
func (g *Gateway) move(x *exchange.Exchange, sink exchange.Sink, r *snapshot.Route, lent *loan) fault.Code {
	body := x.RespBody
	open := true
	release := func() {
		if open {
			open = false
			body.Close()
		}
	}
	defer release()
	x.RespEdit.SetKnown(exchange.HeaderRequestID, x.IDText())
	pin(x)
	if whole, ok := body.Replay(); ok {
		return g.moveWhole(x, sink, whole)
	}
	piece := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(piece)
	var n int
	var err error
	switch length := x.Resp.Length; {
	case length == 0:
		err = io.EOF
	case length > 0 && length <= int64(len(piece)):
		n, err = io.ReadFull(x.RespBody, piece[:length])
	case x.RespBody.Buffered() > 0:
		n, err = x.RespBody.Read(piece[:])
	}
	if err != nil && err != io.EOF {
		// Nothing reached the client yet: this can still be told.
		code := g.upstreamFault(x, err)
		release() // the request body is ours again
		g.refuse(x, sink, code)
		return code
	}
	if werr := sink.Head(&x.Resp, &x.RespEdit, x.Resp.Length, piece[:n]); werr != nil {
		return g.clientGone(x, werr)
	}
	x.BytesOut += int64(n)
	buf, full := piece[:], 0
	if err == nil { // there is more than goes with the head
		defer g.streams.leave(g.streams.enter(x, sink, r, lent, endless(&x.Resp)), lent)
	}
	for err == nil {
		n, err = x.RespBody.Read(buf)
		if n > 0 {
			if werr := sink.Write(buf[:n], x.RespBody.Buffered() == 0); werr != nil {
				return g.clientGone(x, werr)
			}
			x.BytesOut += int64(n)
		}
		if full++; n < len(buf) {
			full = 0
		}
		if full == bulkAfter && len(buf) == len(piece) {
			bulk := bulks.Get().(*[128 << 10]byte)
			defer bulks.Put(bulk)
			buf = bulk[:]
		}
	}
	if err != io.EOF {
		g.reason(x, err)
		sink.Abort(err)
		if code := fault.Of(err); code != fault.InternalError {
			return code
		}
		return fault.UpstreamError
	}
	if werr := sink.Finish(x.RespBody.Trailers()); werr != nil {
		return g.clientGone(x, werr)
	}
	return none
}

// moveWhole is move for a body that has arrived to its end. The body is a view
// that dies when it is closed.
func (g *Gateway) moveWhole(x *exchange.Exchange, sink exchange.Sink, body []byte) fault.Code {
	if err := sink.Head(&x.Resp, &x.RespEdit, x.Resp.Length, body); err != nil {
		return g.clientGone(x, err)
	}
	x.BytesOut += int64(len(body))
	if err := sink.Finish(x.RespBody.Trailers()); err != nil {
		return g.clientGone(x, err)
	}
	return none
}

func (g *Gateway) clientGone(x *exchange.Exchange, err error) fault.Code {
	if cause := x.Cause(); errors.Is(cause, errCut) {
		err = fault.New(fault.Draining, "the exchange was cut").Because(cause)
	} else if cause != nil {
		err = cause // what was cancelled can be written no more
	}
	g.reason(x, err)
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f.Code
	}
	return fault.ClientGone
}
