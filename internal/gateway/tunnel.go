package gateway

import (
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// loan is a snapshot that is given back once, whoever comes first.
type loan struct {
	s        *snapshot.Snapshot
	hold     snapshot.Loan // since it was given back to a stream
	streamed bool          // it was, before the exchange was over
}

func (l *loan) end() {
	if l.s != nil {
		l.s.Release()
		l.s = nil
	}
	l.hold.End()
	l.hold = snapshot.Loan{}
}

// tunnel joins client and upstream after a 101. The snapshot is given back
// first: a tunnel may live for days. What the record needs (labels, legend,
// metrics) holds no resource of the snapshot.
func (g *Gateway) tunnel(x *exchange.Exchange, sink exchange.Sink, r *snapshot.Route, lent *loan) fault.Code {
	x.RespEdit.SetKnown(exchange.HeaderRequestID, x.IDText())
	pin(x)
	defer x.RespBody.Close()
	defer g.streams.leave(g.streams.enter(x, nil, r, lent, true), lent)
	err := sink.Tunnel(&x.Resp, &x.RespEdit, x.Switched.Conn, x.Switched.Buffered)
	if err == nil {
		return none
	}
	x.Reason = fault.Reason(err)
	switch code := fault.Of(err); code {
	case fault.UpstreamTimeout:
		return none // a tunnel that has served its time
	case fault.InternalError: // nothing was sent
		g.refuse(x, sink, code)
		return code
	default:
		return code
	}
}
