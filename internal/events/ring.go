package events

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Ring remembers the latest records: of requests that were refused, and apart
// from them, so that they never push a refusal out, of all others. Its memory
// is taken once: 2 KiB per record at most. A record keeps nothing of its
// request alive; of the identity it keeps the names, not scopes or claims.
// Safe for concurrent use.
type Ring struct{ passed, refused lane }

// lane is one ring of entries.
type lane struct {
	next    atomic.Uint64 // records so far
	entries []entry
}

// entry is a remembered record. Its texts and then its trail are written into
// memory of its own, without gaps: each entry has been out of reach for
// thousands of requests when its turn comes, and costs by the places written.
type entry struct {
	mu       sync.Mutex
	seq      uint64 // position in the lane, counted from 1; 0: empty
	at       int64  // Unix nanoseconds
	id       exchange.RequestID
	client   netip.Addr
	tls      bool
	query    bool
	identity bool
	code     fault.Code
	status   int
	duration time.Duration
	upstream time.Duration
	in, out  int64
	legend   *exchange.Legend
	steps    uint16            // of the trail
	ends     [textCount]uint16 // where each text ends in data
	data     [textBytes + trailBytes]byte
}

const (
	textBytes  = 1024 // what textLimits add up to
	trailBytes = 512  // for the trail at least
)

// The texts of an entry, in their order, and how many bytes each may have.
const (
	textClientID = iota // the caller's request id
	textListener
	textProto
	textMethod
	textHost
	textPath
	textQuery
	textRoute
	textReason
	textTarget
	textAgent
	textAuth
	textIssuer
	textClient
	textConsumer
	textSubject
	textCount
)

var textLimits = [textCount]int{
	textClientID: maxClientRequestID, textListener: 32, textProto: 16, textMethod: 16, textHost: 96, textPath: 192, textQuery: 96, textRoute: 64, textReason: 128,
	textTarget: 48, textAgent: 48, textAuth: 16, textIssuer: 32, textClient: 48, textConsumer: 64, textSubject: 64,
}

// NewRing returns a Ring for as many refusals and as many other records.
func NewRing(records int) *Ring {
	return &Ring{lane{entries: make([]entry, records)}, lane{entries: make([]entry, records)}}
}

// Add remembers a copy of the record. It never waits: an entry that is being
// read is passed over.
func (r *Ring) Add(rec *Record) {
	l := &r.passed
	if rec.Refused() {
		l = &r.refused
	}
	for range attempts {
		seq := l.next.Add(1)
		e := &l.entries[(seq-1)%uint64(len(l.entries))]
		if !e.mu.TryLock() {
			continue
		}
		if e.seq < seq { // not overtaken by a whole round
			e.write(seq, rec)
		}
		e.mu.Unlock()
		return
	}
}

// attempts bounds how many entries that are being read a record passes over.
const attempts = 8

// Find returns the record of a request.
func (r *Ring) Find(id exchange.RequestID) (*Record, bool) {
	for _, l := range []*lane{&r.refused, &r.passed} {
		for i := range l.entries {
			if rec, ok := l.entries[i].read(func(e *entry) bool { return e.id == id }); ok {
				return rec, true
			}
		}
	}
	return nil, false
}

// Last returns the newest refusal, or when there is none the newest record.
func (r *Ring) Last() (*Record, bool) {
	for _, l := range []*lane{&r.refused, &r.passed} {
		newest := l.next.Load()
		for back := range uint64(len(l.entries)) {
			if back == newest {
				break
			}
			seq := newest - back
			e := &l.entries[(seq-1)%uint64(len(l.entries))]
			if rec, ok := e.read(func(e *entry) bool { return e.seq >= seq }); ok {
				return rec, true
			}
		}
	}
	return nil, false
}

func (e *entry) write(seq uint64, r *Record) {
	e.seq, e.at, e.id, e.client = seq, r.Time.UnixNano(), r.ID, r.Client.WithZone("")
	e.tls, e.query, e.code, e.status = r.TLS, r.HasQuery, r.Code, r.Status
	e.duration, e.upstream, e.in, e.out = r.Duration, r.Upstream, r.BytesIn, r.BytesOut
	e.legend, e.identity = r.Legend, r.Identity != nil

	w := textWriter{e: e}
	put(&w, textClientID, r.ClientRequestID)
	put(&w, textListener, r.Listener)
	put(&w, textProto, r.Proto)
	put(&w, textMethod, r.Method)
	put(&w, textHost, r.Host)
	put(&w, textPath, r.Path)
	put(&w, textQuery, r.Query)
	put(&w, textRoute, r.Route)
	put(&w, textReason, r.Reason)
	put(&w, textTarget, r.Target)
	put(&w, textAgent, r.UserAgent)
	id := r.Identity
	if id == nil {
		id = &noIdentity
	}
	put(&w, textAuth, id.Method)
	put(&w, textIssuer, id.Issuer)
	put(&w, textClient, id.Client)
	put(&w, textConsumer, id.Consumer)
	put(&w, textSubject, id.Subject)

	e.steps = 0
	if r.Trail != nil {
		e.steps = uint16(packTrail(e.data[w.used:], r.Trail))
	}
}

var noIdentity exchange.Identity

// textWriter fills the texts of an entry in their order.
type textWriter struct {
	e    *entry
	used int
}

const mark = "…" // where a text was cut

// put writes a text, cut with a mark if it is too long.
func put[T string | []byte](w *textWriter, which int, s T) {
	w.used += copyCut(w.e.data[w.used:w.used+textLimits[which]], s)
	w.e.ends[which] = uint16(w.used)
}

// copyCut copies s to dst, cut with a mark if it is too long. It returns the
// number of bytes written.
func copyCut[T string | []byte](dst []byte, s T) int {
	n := copy(dst, s)
	if n < len(s) {
		copy(dst[max(n-len(mark), 0):], mark)
	}
	return n
}

// text returns a copy of a text.
func (e *entry) text(which int) string {
	from := uint16(0)
	if which > 0 {
		from = e.ends[which-1]
	}
	return string(e.data[from:e.ends[which]])
}

// read returns a copy of the entry, if it holds one and want agrees.
func (e *entry) read(want func(*entry) bool) (*Record, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seq == 0 || !want(e) {
		return nil, false
	}
	r := &Record{
		Time: time.Unix(0, e.at).UTC(), ID: e.id, Client: e.client, TLS: e.tls, HasQuery: e.query, Code: e.code, Status: e.status,
		Duration: e.duration, Upstream: e.upstream, BytesIn: e.in, BytesOut: e.out, Legend: e.legend,
		ClientRequestID: []byte(e.text(textClientID)), Listener: e.text(textListener), Proto: e.text(textProto), Method: []byte(e.text(textMethod)),
		Host: []byte(e.text(textHost)), Path: []byte(e.text(textPath)), Query: []byte(e.text(textQuery)), Route: e.text(textRoute), Reason: e.text(textReason),
		Target: e.text(textTarget), UserAgent: []byte(e.text(textAgent)), Trail: unpackTrail(e.data[e.ends[textCount-1]:], int(e.steps)),
	}
	if e.identity {
		r.Identity = &exchange.Identity{
			Method: e.text(textAuth), Issuer: e.text(textIssuer), Client: e.text(textClient), Consumer: e.text(textConsumer), Subject: e.text(textSubject),
		}
	}
	return r, true
}
