package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Limit is a rate limit as written: 100/min per consumer, the name of a limit
// shared under limits:, unlimited, or the long form. The zero Limit is none
// of them and does not compile.
type Limit struct {
	Name   string           `json:"-"` // of a shared limit; alone, it refers to it
	None   bool             `json:"-"` // unlimited
	Rate   scalar.Rate      `json:"rate"`
	Burst  Burst            `json:"burst"`  // default: the calls of Rate
	Per    scalar.List[Per] `json:"per"`    // empty: all calls together
	Window Window           `json:"window"` // empty: a bucket that fills at Rate

	Unavailable Unavailable `json:"unavailable"` // what to do while the counters' server does not answer; empty: local
}

const (
	maxPer    = 4                // things one limit may be counted by
	maxName   = 128              // bytes of a shared limit's, a claim's or a header's name
	minPeriod = time.Microsecond // keeps the rounding of a period under 0.1%
)

// UnmarshalText reads the short forms.
func (l *Limit) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "unlimited" {
		*l = Limit{None: true}
		return nil
	}
	if !strings.Contains(s, "/") { // which every rate has and no name
		if !plainName(s) {
			return fmt.Errorf(`%s is not a limit: write "100/min", "100/min per consumer", or the name of one under limits`, quote(text))
		}
		*l = Limit{Name: s}
		return nil
	}
	rate, per, keyed := strings.Cut(s, " per ")
	var read Limit
	if err := read.Rate.UnmarshalText([]byte(rate)); err != nil {
		return err
	}
	if keyed {
		read.Per = make(scalar.List[Per], 1)
		if err := read.Per[0].UnmarshalText([]byte(per)); err != nil {
			return err
		}
	}
	*l = read
	return nil
}

// String returns l in its short form, with what the short form cannot say in
// brackets.
func (l Limit) String() string {
	if l.None {
		return "unlimited"
	}
	if l.Rate.IsZero() {
		return l.Name
	}
	s := l.Rate.String()
	for i, p := range l.Per {
		s += [...]string{" per ", " and "}[min(i, 1)] + p.String()
	}
	if l.Burst != 0 && int64(l.Burst) != l.Rate.Calls() {
		s += " (burst " + strconv.FormatInt(int64(l.Burst), 10) + ")"
	}
	if l.Window == sliding {
		s += " (sliding)"
	}
	if l.Unavailable == closed {
		s += " (closed)"
	}
	if l.Name != "" {
		s = l.Name + ": " + s
	}
	return s
}

// Compile checks l and returns what one call takes of it, without a key. Its
// error is a *Problem with a path below the limit. The period is rounded up:
// never more calls than written.
func (l Limit) Compile() (counters.Charge, error) {
	period, burst, err := l.numbers()
	if err != nil {
		return counters.Charge{}, err
	}
	if l.Window == sliding {
		if l.Burst != 0 {
			return counters.Charge{}, Complain("burst", "has no meaning with a sliding window, which lets the calls of its rate come at any time")
		}
		if burst > counters.MaxWindow {
			return counters.Charge{}, Complain("window", "a sliding window remembers every call; at most %d are allowed; leave window out, or use a smaller unit", counters.MaxWindow)
		}
	}
	return counters.Charge{Period: period, Burst: burst, Sliding: l.Window == sliding, Closed: l.Unavailable == closed}, nil
}

func (l Limit) numbers() (period time.Duration, burst int64, err error) {
	switch {
	case l.None:
		return 0, 0, Complain("", "unlimited is no limit; it stands alone")
	case l.Rate.IsZero():
		return 0, 0, Complain("rate", "is missing; write it as 100/min")
	case l.Burst < 0:
		return 0, 0, Complain("burst", "must be at least 1")
	case len(l.Per) > maxPer:
		return 0, 0, Complain("per", "names %d things to count by; at most %d are allowed", len(l.Per), maxPer)
	}
	for i, p := range l.Per {
		if p.Kind == 0 {
			return 0, 0, Complain("per", "names nothing to count by")
		}
		if p.Kind == PerGlobal && len(l.Per) > 1 {
			return 0, 0, Complain("per", "global counts all calls together and stands alone")
		}
		for _, q := range l.Per[:i] {
			if p == q {
				return 0, 0, Complain("per", "names %s twice", p)
			}
		}
	}
	calls := l.Rate.Calls()
	if calls > int64(l.Rate.Period()/minPeriod) {
		return 0, 0, Complain("rate", "%s is more than 1000000 a second, the most that can be counted", l.Rate)
	}
	period = (l.Rate.Period() + time.Duration(calls) - 1) / time.Duration(calls)
	burst = int64(l.Burst)
	if burst == 0 {
		burst = calls
	}
	if most := int64(counters.MaxSpan / period); burst > most {
		return 0, 0, Complain("burst", "%d calls at %s take more than ten years to come back; at most %d are allowed", burst, l.Rate, most)
	}
	return period, burst, nil
}

// Burst is how many calls may come at once. Zero was not written.
type Burst int64

// UnmarshalText reads a number of calls, 1 to 1000000000.
func (b *Burst) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 1 || n > scalar.MaxCalls || text[0] < '1' || text[0] > '9' {
		return fmt.Errorf("%s is not a number of calls from 1 to %d", quote(text), scalar.MaxCalls)
	}
	*b = Burst(n)
	return nil
}

// Window says how calls are counted. It is sliding or was not written.
type Window string

const sliding Window = "sliding"

// UnmarshalText reads sliding.
func (w *Window) UnmarshalText(text []byte) error {
	if Window(text) != sliding {
		return fmt.Errorf("%s is not a window; write sliding, or leave window out", quote(text))
	}
	*w = sliding
	return nil
}

// Unavailable says what becomes of a limit while the counters' server does not
// answer: each gateway counts for itself (local, also if it was not written),
// or calls are refused (closed).
type Unavailable string

const closed Unavailable = "closed"

// UnmarshalText reads local or closed.
func (u *Unavailable) UnmarshalText(text []byte) error {
	if Unavailable(text) != closed && string(text) != "local" {
		return fmt.Errorf("%s is neither local nor closed", quote(text))
	}
	*u = Unavailable(text)
	return nil
}

// PerKind is what calls are counted by. The zero PerKind is nothing.
type PerKind uint8

// The kinds.
const (
	PerConsumer PerKind = iota + 1
	PerSubject
	PerIP // IPv6 by /64
	PerRoute
	PerGlobal
	PerClaim
	PerHeader
)

var perWords = [...]string{PerConsumer: "consumer", PerSubject: "subject", PerIP: "ip", PerRoute: "route", PerGlobal: "global", PerClaim: "claim:", PerHeader: "header:"}

// Per is one thing that calls are counted by.
type Per struct {
	Kind PerKind
	Name string // of the claim, or of the header in lower case
}

// UnmarshalText reads consumer, subject, ip, route, global, claim:NAME or
// header:NAME.
func (p *Per) UnmarshalText(text []byte) error {
	s := string(text)
	for k := PerConsumer; k <= PerGlobal; k++ {
		if s == perWords[k] {
			*p = Per{Kind: k}
			return nil
		}
	}
	if name, ok := strings.CutPrefix(s, perWords[PerClaim]); ok && name != "" && len(name) <= maxName && printable(name) {
		*p = Per{PerClaim, name}
		return nil
	}
	if name, ok := strings.CutPrefix(s, perWords[PerHeader]); ok && headerName(name) {
		*p = Per{PerHeader, strings.ToLower(name)}
		return nil
	}
	return fmt.Errorf("%s is nothing to count by; use consumer, subject, ip, route, global, claim:NAME or header:NAME", quote(text))
}

// String returns p as it is written.
func (p Per) String() string {
	if int(p.Kind) >= len(perWords) {
		return ""
	}
	return perWords[p.Kind] + p.Name
}

// quote returns text from outside, quoted and cut.
func quote(text []byte) string {
	if len(text) > 40 {
		return strconv.Quote(string(text[:40]) + "…")
	}
	return strconv.Quote(string(text))
}

func plainName(s string) bool {
	for i := range len(s) {
		if !letterOrDigit(s[i]) && (i == 0 || s[i] != '.' && s[i] != '-' && s[i] != '_') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// headerName reports whether s is a field name (RFC 9110 section 5.1) that
// can arrive: fields with an underscore are dropped when received.
func headerName(s string) bool {
	for i := range len(s) {
		if !letterOrDigit(s[i]) && strings.IndexByte("!#$%&'*+-.^`|~", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func letterOrDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
