package events

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Security tells the application log of refusals that may be an attack, and of
// what was taken back. They are gathered for a while and told together, one
// line for each code and network, so that an attack writes few lines however
// many requests it makes: the requests themselves are in the access log. Safe
// for concurrent use.
type Security struct {
	log *slog.Logger

	mu     sync.Mutex
	events map[securityEvent]*securityTally
	others uint64 // of networks there was no room for
	timer  *time.Timer
	closed bool
}

const (
	securityEvery = 10 * time.Second
	securityKinds = 1024 // codes and networks told apart at a time
	securityLines = 20   // written at a time
)

// securityEvent is a refusal, or something else that happened.
type securityEvent struct {
	code  fault.Code // None: it was no refusal
	event string
	from  netip.Prefix // zero: of nobody's request
}

type securityTally struct {
	securityEvent
	count    uint64
	consumer string             // the last one that was named, if it exists
	request  exchange.RequestID // the last, if there was one
}

// NewSecurity returns a Security that tells log. Close ends it.
func NewSecurity(log *slog.Logger) *Security {
	return &Security{log: log, events: map[securityEvent]*securityTally{}}
}

// concerns says which refusals are security events: credentials that failed
// where an honest caller's seldom do, and those that came in the clear.
func concerns(c fault.Code) bool {
	switch c {
	case fault.PasswordWrong, fault.AccountLocked, fault.KeyUnknown, fault.TokenSignatureInvalid, fault.TransportInsecure,
		fault.LoginFailed, fault.KeyRevoked, fault.TokenRevoked:
		return true
	}
	return false
}

// Note takes a record in, if it is of a security event. It never waits for
// the log.
func (s *Security) Note(r *Record) {
	key := securityEvent{r.Code, r.Event, guessing.Network(r.Client)}
	switch {
	case r.Event != "":
		key.code = fault.None
	case !concerns(r.Code):
		return
	}
	s.add(key, r.ID, named(r.Trail))
}

// Happened takes in what happened outside of any request: a constant.
func (s *Security) Happened(event string) {
	s.add(securityEvent{code: fault.None, event: event}, exchange.RequestID{}, "")
}

func (s *Security) add(key securityEvent, request exchange.RequestID, consumer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(securityEvery, s.tell)
	}
	t := s.events[key]
	if t == nil {
		if len(s.events) >= securityKinds {
			s.others++
			return
		}
		t = &securityTally{securityEvent: key}
		s.events[key] = t
	}
	t.count++
	t.request = request
	if consumer != "" {
		t.consumer = consumer
	}
}

// named returns the consumer that the trail names.
func named(t *exchange.Trail) string {
	if t == nil {
		return ""
	}
	for _, step := range t.Steps() {
		for _, o := range step.Operands() {
			if o.Name == "consumer" {
				return o.Text
			}
		}
	}
	return ""
}

// tell writes what was gathered: those that came most often, and a line for
// all the rest.
func (s *Security) tell() {
	s.mu.Lock()
	all := make([]*securityTally, 0, len(s.events))
	for _, t := range s.events {
		all = append(all, t)
	}
	others := s.others
	s.events, s.others, s.timer = map[securityEvent]*securityTally{}, 0, nil
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *securityTally) int {
		if a.count != b.count {
			return int(min(b.count, 1<<31)) - int(min(a.count, 1<<31))
		}
		return a.from.Addr().Compare(b.from.Addr())
	})
	rest := all[min(len(all), securityLines):]
	for _, t := range all[:len(all)-len(rest)] {
		args := []any{telemetry.FieldCode, t.code.String()}
		if t.event != "" {
			args = []any{"event", t.event}
		}
		if t.from.IsValid() {
			args = append(args, "from", t.from.String(), "count", t.count, "last", t.request.String())
		} else {
			args = append(args, "count", t.count)
		}
		if t.consumer != "" {
			args = append(args, telemetry.FieldConsumer, t.consumer)
		}
		s.log.Warn("security event", args...)
	}
	for _, t := range rest {
		others += t.count
	}
	if others > 0 {
		s.log.Warn("security events of other networks", "count", others)
	}
}

// Close tells what is left.
func (s *Security) Close() {
	s.mu.Lock()
	s.closed = true
	pending := s.timer != nil && s.timer.Stop()
	s.mu.Unlock()
	if pending {
		s.tell()
	}
}
