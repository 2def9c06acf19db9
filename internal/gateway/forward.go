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
	r.StripCredentials(&x.Req)
	e := &x.ReqEdit
	asked := x.ForwardedFor
	if asked == nil {
		asked = x.Client.AppendTo(x.Alloc(64)[:0])
	}
	e.Set("X-Forwarded-For", asked)
	if x.Secure {
		e.Set("X-Forwarded-Proto", httpsText)
	} else {
		e.Set("X-Forwarded-Proto", httpText)
	}
	host := x.ForwardedHost
	if host == nil {
		host = x.Req.Authority
	}
	e.Set("X-Forwarded-Host", host)
	e.Add("Via", g.via)
	e.Set("X-Request-Id", x.ID.Append(x.Alloc(32)[:0]))
	e.Set("Traceparent", traceparent(x))
	e.Del("Tracestate")
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
	b = x.ID.Append(b)
	b = append(b, '-')
	var span [8]byte
	rand.Read(span[:])
	b = hex.AppendEncode(b, span[:])
	return append(b, "-00"...)
}

// pieces are the buffers that bodies are moved through.
var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// move sends the upstream's answer to the client. A body that fits one piece
// goes out together with its head; one of unknown length is flushed whenever
// the upstream pauses, its head at once.
func (g *Gateway) move(x *exchange.Exchange, sink exchange.Sink) fault.Code {
	body := x.RespBody
	open := true
	release := func() {
		if open {
			open = false
			body.Close()
		}
	}
	defer release()
	x.RespEdit.Set("X-Request-Id", x.ID.Append(x.Alloc(32)[:0]))
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
		g.refuse(x, sink, nil, code)
		return code
	}
	if werr := sink.Head(&x.Resp, &x.RespEdit, x.Resp.Length, piece[:n]); werr != nil {
		return g.clientGone(x, werr)
	}
	x.BytesOut += int64(n)
	for err == nil {
		n, err = x.RespBody.Read(piece[:])
		if n > 0 {
			if werr := sink.Write(piece[:n], x.RespBody.Buffered() == 0); werr != nil {
				return g.clientGone(x, werr)
			}
			x.BytesOut += int64(n)
		}
	}
	if err != io.EOF {
		x.Reason = fault.Reason(err)
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

func (g *Gateway) clientGone(x *exchange.Exchange, err error) fault.Code {
	x.Reason = fault.Reason(err)
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f.Code
	}
	return fault.ClientGone
}
