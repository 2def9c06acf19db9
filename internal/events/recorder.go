package events

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Recorder gives the records of finished requests to all who remember them.
// Safe for concurrent use.
type Recorder struct {
	ring     *Ring
	log      *AccessLog
	security *Security
	spare    sync.Pool // of *Record: on the stack of every connection it would be there for good
}

const (
	ringRecords = 4096 // refusals, and as many others: 16 MiB together
	queuedLines = 8192 // of the access log
	closeWithin = 5 * time.Second
)

// NewRecorder starts a Recorder. Its access log has no writer yet: what is
// logged before Redirect is lost, and counted. Security events are told to
// nobody before Tell. Close ends it.
func NewRecorder(m *telemetry.Metrics) *Recorder {
	r := &Recorder{ring: NewRing(ringRecords), log: NewAccessLog(queuedLines), security: NewSecurity(slog.New(slog.DiscardHandler))}
	m.Counter(telemetry.AccessLogLines, func() float64 { return float64(r.log.Lines()) })
	m.Counter(telemetry.AccessLogDropped, func() float64 { return float64(r.log.Dropped()) })
	return r
}

// Record takes the record of an exchange; see Capture. It is called once per
// exchange, as the last thing before the exchange is reset.
func (r *Recorder) Record(x *exchange.Exchange, legend *exchange.Legend, code fault.Code, took time.Duration) {
	rec, _ := r.spare.Get().(*Record)
	if rec == nil {
		rec = new(Record)
	}
	rec.capture(x, legend, code, took)
	r.ring.Add(rec)
	r.log.Log(rec)
	r.security.Note(rec)
	*rec = Record{}
	r.spare.Put(rec)
}

// Happened tells of a security event outside of any request: a constant.
func (r *Recorder) Happened(event string) { r.security.Happened(event) }

// Redirect says where the access log is written; see AccessLog.Redirect.
func (r *Recorder) Redirect(to ...io.Writer) { r.log.Redirect(to...) }

// Tell says who is told of security events. It is called before the first
// Record.
func (r *Recorder) Tell(log *slog.Logger) { r.security = NewSecurity(log) }

// Find returns the record of a request that is still remembered.
func (r *Recorder) Find(id exchange.RequestID) (*Record, bool) { return r.ring.Find(id) }

// Last returns the newest refusal, or when there is none the newest record.
func (r *Recorder) Last() (*Record, bool) { return r.ring.Last() }

// Close writes what the access log still holds, for at most five seconds, and
// ends it. It is called after the last Record.
func (r *Recorder) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	r.security.Close()
	return r.log.Close(ctx)
}
