package gateway

import (
	"math"
	"strconv"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/upstream"
)

// asksGRPC reports whether the caller speaks gRPC: HTTP/2, and a content type
// of application/grpc, whatever the encoding of its messages.
func asksGRPC(h *exchange.Head) bool {
	const media = "application/grpc"
	if h.Major != 2 {
		return false
	}
	kind, n := h.Get(exchange.HeaderContentType)
	if n != 1 || len(kind) < len(media) || !exchange.EqualFold(kind[:len(media)], media) {
		return false
	}
	return len(kind) == len(media) || kind[len(media)] == '+' || kind[len(media)] == ';'
}

// refuseGRPC writes a refusal as gRPC has it: status 200, and what happened in
// a head that is also the end. The edits of the refusal page are made. It
// returns false when nothing could be sent any more.
func refuseGRPC(x *exchange.Exchange, sink exchange.Sink, code fault.Code) bool {
	x.Resp.Status = 200
	e := &x.RespEdit
	e.Set("Content-Type", []byte("application/grpc"))
	status := code.GRPC()
	if t, ok := timeoutGRPC(&x.Req); ok && status == unavailable && x.Elapsed() >= t {
		status = deadlineExceeded // the upstream was given the same time, and may have ended the call for it
	}
	e.Set("Grpc-Status", strconv.AppendInt(x.Alloc(2)[:0], int64(status), 10))
	// Constants of the catalogue that need no escaping, and the request id.
	message := x.Alloc(256)[:0]
	message = append(message, code.Public().String()...)
	message = append(message, ": "...)
	message = append(message, code.Detail()...)
	message = append(message, " (request "...)
	message = append(message, x.IDText()...)
	e.Set("Grpc-Message", append(message, ')'))
	return sink.Head(&x.Resp, e, 0, nil) == nil && sink.Finish(nil) == nil
}

// Statuses of gRPC.
const (
	deadlineExceeded = 4
	unavailable      = 14
)

// timeoutGRPC returns the time that the caller of gRPC gives the call: one to
// eight digits and a unit.
func timeoutGRPC(h *exchange.Head) (time.Duration, bool) {
	text, n := h.GetName("grpc-timeout")
	if n != 1 || len(text) < 2 || len(text) > 9 {
		return 0, false
	}
	var unit time.Duration
	switch text[len(text)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	}
	count, err := strconv.ParseUint(string(text[:len(text)-1]), 10, 32)
	if err != nil || unit == 0 || count > uint64(math.MaxInt64/unit) {
		return 0, false
	}
	return time.Duration(count) * unit, true
}

// letStream lets the client of a gRPC stream be silent for as long as its
// upstream may: messages go either way, when there are some.
func letStream(x *exchange.Exchange, r *snapshot.Route) {
	if b, ok := x.ReqBody.(*http2Body); ok && asksGRPC(&x.Req) && r.Upstream != nil && r.Upstream.Protocol() == upstream.GRPC {
		b.stream = true
	}
}
