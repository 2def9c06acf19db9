// Package events holds what a finished request leaves behind: a Record, taken
// from the exchange before it is reset, the Ring that remembers the latest
// records so that they can be explained, the AccessLog, and Security, which
// tells of what may be an attack.
//
// Nothing here may slow a request down: no global lock, no allocation, no
// waiting for a writer. What does not fit is cut with a mark or dropped and
// counted. No credential ever enters a Record: of the request's fields only
// the user agent and the caller's request id are taken, and path and query
// are redacted before they get here.
package events

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Record is one finished request. A Record made by Capture holds views into
// its exchange and dies with it; one read from a Ring owns what it holds.
// Everything that came from outside is unescaped.
type Record struct {
	Time            time.Time // when the head was complete
	ID              exchange.RequestID
	ClientRequestID []byte     // the caller's own, if it was well-formed
	Client          netip.Addr // after trusted proxies
	Listener        string
	Proto           string
	TLS             bool // the client's side was encrypted
	Method          []byte
	Host            []byte
	Path            []byte // normal form; of a request refused before: as received; redacted
	HasQuery        bool
	Query           []byte // redacted
	Route           string // "" if none matched
	Status          int
	Code            fault.Code // inner code of a refusal; fault.None of others
	Reason          string
	Event           string             // of security, beside a refusal; not remembered
	Identity        *exchange.Identity // nil if none was proved
	Target          string
	Duration        time.Duration
	Upstream        time.Duration // until the upstream's first byte; 0 if there was none
	BytesIn         int64
	BytesOut        int64
	UserAgent       []byte
	Trail           *exchange.Trail
	Legend          *exchange.Legend // of the snapshot that judged; nil if none was asked
}

// Refused reports whether the request ended in a fault.
func (r *Record) Refused() bool { return r.Code != fault.None }

// Config returns the hash of the configuration that judged the request.
func (r *Record) Config() string {
	if r.Legend == nil {
		return ""
	}
	return r.Legend.Config
}

// Capture takes the record of an exchange that took so long, and ended with a
// code, fault.None if it was not refused. legend
// is that of the snapshot that judged, nil if none did. The record is valid
// until the exchange is reset. What the trail tells of the path is redacted
// too, in the exchange itself.
func Capture(x *exchange.Exchange, legend *exchange.Legend, code fault.Code, took time.Duration) Record {
	var r Record
	r.capture(x, legend, code, took)
	return r
}

func (r *Record) capture(x *exchange.Exchange, legend *exchange.Legend, code fault.Code, took time.Duration) {
	*r = Record{
		Time:            x.Start,
		ID:              x.ID,
		ClientRequestID: clientRequestID(&x.Req),
		Client:          x.Client,
		TLS:             x.Secure,
		Method:          x.Req.Method,
		Host:            x.Req.Host,
		Path:            x.Req.Path,
		HasQuery:        x.Req.HasQuery,
		Status:          x.Resp.Status,
		Code:            code,
		Reason:          x.Reason,
		Event:           x.Event,
		Identity:        x.Identity,
		Target:          x.Target,
		BytesIn:         x.BytesIn,
		BytesOut:        x.BytesOut,
		Duration:        took,
		Trail:           &x.Trail,
		Legend:          legend,
	}
	if r.Status == 0 { // nothing was sent
		r.Status = code.Status()
	}
	if x.Conn != nil {
		r.Listener, r.Proto = x.Conn.Listener, x.Conn.Proto
	}
	if x.Route != nil {
		r.Route = x.Route.Name
	}
	query := x.Req.Query
	if len(r.Path) == 0 {
		r.Path, query, r.HasQuery = splitTarget(x.Req.Target)
	}
	if len(query) > 0 {
		r.Query = redactQuery(query, legend, x.Alloc)
	}
	var found bool
	if r.Path, found = redactPath(r.Path, x.Alloc); found {
		redactTrail(&x.Trail, r.Path)
	}
	if x.UpFirst > 0 {
		r.Upstream = x.UpFirst - x.UpStart
	}
	r.UserAgent, _ = x.Req.Get(exchange.HeaderUserAgent)
}

// splitTarget takes path and query from a target that was refused before it
// was normalised. An authority is left out: it may hold a password.
func splitTarget(target []byte) (path, query []byte, hasQuery bool) {
	if len(target) > 0 && target[0] != '/' && string(target) != "*" {
		_, rest, absolute := bytes.Cut(target, []byte("://"))
		slash := bytes.IndexByte(rest, '/')
		if !absolute || slash < 0 {
			return nil, nil, false
		}
		target = rest[slash:]
	}
	return bytes.Cut(target, []byte("?"))
}

// clientRequestID returns the caller's own request id if there is one and it
// is made of 1 to 64 letters, digits, dots, dashes and underscores.
func clientRequestID(h *exchange.Head) []byte {
	id, n := h.Get(exchange.HeaderRequestID)
	if n != 1 || len(id) == 0 || len(id) > maxClientRequestID {
		return nil
	}
	for _, c := range id {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return nil
		}
	}
	return id
}

const maxClientRequestID = 64
