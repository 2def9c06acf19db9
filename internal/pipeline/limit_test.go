package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

func rate(t testing.TB, s string) (r scalar.Rate) {
	t.Helper()
	if err := r.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLimitIsReadFromText(t *testing.T) {
	t.Parallel()
	per := func(p ...pipeline.Per) scalar.List[pipeline.Per] { return p }
	for text, want := range map[string]pipeline.Limit{
		"1000/min":                     {Rate: rate(t, "1000/min")},
		"100/min per consumer":         {Rate: rate(t, "100/min"), Per: per(pipeline.Per{Kind: pipeline.PerConsumer})},
		"50/hour per subject":          {Rate: rate(t, "50/hour"), Per: per(pipeline.Per{Kind: pipeline.PerSubject})},
		"10/s per ip":                  {Rate: rate(t, "10/s"), Per: per(pipeline.Per{Kind: pipeline.PerIP})},
		"10/s per route":               {Rate: rate(t, "10/s"), Per: per(pipeline.Per{Kind: pipeline.PerRoute})},
		"10/s per global":              {Rate: rate(t, "10/s"), Per: per(pipeline.Per{Kind: pipeline.PerGlobal})},
		"10/day per claim:realm.Tid":   {Rate: rate(t, "10/day"), Per: per(pipeline.Per{Kind: pipeline.PerClaim, Name: "realm.Tid"})},
		"10/month per header:X-Tenant": {Rate: rate(t, "10/month"), Per: per(pipeline.Per{Kind: pipeline.PerHeader, Name: "x-tenant"})},
		"orders-writes":                {Name: "orders-writes"},
		"2nd.tier_a":                   {Name: "2nd.tier_a"},
		"unlimited":                    {None: true},
	} {
		var got pipeline.Limit
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(scalar.Rate{})); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
		if s := got.String(); !strings.EqualFold(s, text) {
			t.Errorf("%q prints as %q", text, s)
		}
	}
}

func TestLimitThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "10 per ip", "-10", "10/s ", "10/s per", "10/s per ", "10/s  per ip", "10/s per IP", "10/s per ip per route", "10/s per ip, route",
		"0/s", "-1/s", "010/s", "1e3/s", "10/week", "10/s per claim:", "10/s per header:", "10/s per header:a b", "10/s per header:x_y",
		"10/s per claim:a b", "10/s per claim:\x00", "10/s per claim:\x7f", "10/s per claim:é", "10/s per tenant", "two words", "a/b", "name!", strings.Repeat("n", 129),
	} {
		got := pipeline.Limit{Name: "before"}
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
		if got.Name != "before" {
			t.Errorf("%q was refused but changed the limit", text)
		}
	}
}

func TestLimitCompiles(t *testing.T) {
	t.Parallel()
	ip, route := pipeline.Per{Kind: pipeline.PerIP}, pipeline.Per{Kind: pipeline.PerRoute}
	for _, c := range []struct {
		what   string
		limit  pipeline.Limit
		period time.Duration
		burst  int64
		path   string // of the complaint
	}{
		{"the burst is the calls", pipeline.Limit{Rate: rate(t, "100/min")}, 600 * time.Millisecond, 100, ""},
		{"the burst is as written", pipeline.Limit{Rate: rate(t, "100/min"), Burst: 5}, 600 * time.Millisecond, 5, ""},
		{"the period is rounded up", pipeline.Limit{Rate: rate(t, "7/s")}, 142857143, 7, ""},
		{"a month is thirty days", pipeline.Limit{Rate: rate(t, "30/month")}, 24 * time.Hour, 30, ""},
		{"the fastest", pipeline.Limit{Rate: rate(t, "1000000/s")}, time.Microsecond, 1000000, ""},
		{"zero limit", pipeline.Limit{}, 0, 0, "rate"},
		{"a reference alone", pipeline.Limit{Name: "x"}, 0, 0, "rate"},
		{"unlimited", pipeline.Limit{None: true}, 0, 0, ""},
		{"too fast to count", pipeline.Limit{Rate: rate(t, "1000001/s")}, 0, 0, "rate"},
		{"a burst that takes decades", pipeline.Limit{Rate: rate(t, "1/month"), Burst: 122}, 0, 0, "burst"},
		{"a negative burst", pipeline.Limit{Rate: rate(t, "1/s"), Burst: -1}, 0, 0, "burst"},
		{"the same thing twice", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{ip, route, ip}}, 0, 0, "per"},
		{"global beside others", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{{Kind: pipeline.PerGlobal}, ip}}, 0, 0, "per"},
		{"nothing to count by", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{{}}}, 0, 0, "per"},
		{"global alone", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{{Kind: pipeline.PerGlobal}}}, time.Second, 1, ""},
		{"two things", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{ip, route}}, time.Second, 1, ""},
		{"five things", pipeline.Limit{Rate: rate(t, "1/s"), Per: []pipeline.Per{ip, route, {Kind: pipeline.PerConsumer}, {Kind: pipeline.PerSubject}, {Kind: pipeline.PerClaim, Name: "a"}}}, 0, 0, "per"},
		{"too many things", pipeline.Limit{Rate: rate(t, "1/s"), Per: make([]pipeline.Per, 5)}, 0, 0, "per"},
	} {
		charge, err := c.limit.Compile()
		period, burst := charge.Period, charge.Burst
		if period != c.period || burst != c.burst || (err == nil) != (c.period > 0) {
			t.Errorf("%s: %v %d %v", c.what, period, burst, err)
		}
		var p *pipeline.Problem
		if err != nil && (!errors.As(err, &p) || p.Path != c.path) {
			t.Errorf("%s: complaint %q, want one about %q", c.what, err, c.path)
		}
		if err == nil && burst > int64(counters.MaxSpan/period) {
			t.Errorf("%s: the counters would refuse it", c.what)
		}
	}
}

func TestALimitIsPrintedWithWhatItsShortFormCannotSay(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]pipeline.Limit{
		"5/s":                     {Rate: rate(t, "5/s"), Burst: 5},
		"5/s (burst 9)":           {Rate: rate(t, "5/s"), Burst: 9},
		"writes: 5/s per ip":      {Name: "writes", Rate: rate(t, "5/s"), Per: []pipeline.Per{{Kind: pipeline.PerIP}}},
		"5/s per ip and route":    {Rate: rate(t, "5/s"), Per: []pipeline.Per{{Kind: pipeline.PerIP}, {Kind: pipeline.PerRoute}}},
		"5/s per (no such thing)": {Rate: rate(t, "5/s"), Per: []pipeline.Per{{Kind: 200, Name: "x"}}},
	} {
		if got := l.String(); got != strings.TrimSuffix(want, "(no such thing)") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var l pipeline.Limit
	if err := l.UnmarshalText([]byte(strings.Repeat("n", 40) + "!")); err == nil || !strings.Contains(err.Error(), `"`+strings.Repeat("n", 40)+`…"`) {
		t.Errorf("what is shown of a long text: %v", err)
	}
}

func TestBurstIsACountFromOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pipeline.Burst{
		"1": 1, "1000000000": 1000000000,
		"0": 0, "-1": 0, "+1": 0, "01": 0, "": 0, "1.0": 0, "1e3": 0, "1000000001": 0, "99999999999999999999": 0,
	} {
		var b pipeline.Burst
		if err := b.UnmarshalText([]byte(text)); b != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, b, err)
		}
	}
}

func TestLimitsMaySlideAndMayBeClosed(t *testing.T) {
	t.Parallel()
	l := pipeline.Limit{Rate: rate(t, "1000/min")}
	if c, err := l.Compile(); err != nil || c.Sliding || c.Closed {
		t.Errorf("%+v, %v", c, err)
	}
	if err := errors.Join(l.Window.UnmarshalText([]byte("sliding")), l.Unavailable.UnmarshalText([]byte("closed"))); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Compile(); err != nil || !c.Sliding || !c.Closed || c.Period*time.Duration(c.Burst) != time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	if s := l.String(); s != "1000/min (sliding) (closed)" {
		t.Errorf("explained as %q", s)
	}
	if err := l.Unavailable.UnmarshalText([]byte("local")); err != nil {
		t.Error(err)
	}
	if c, err := l.Compile(); err != nil || c.Closed {
		t.Errorf("%+v, %v", c, err)
	}
	var p *pipeline.Problem
	l.Burst = 1000
	if _, err := l.Compile(); !errors.As(err, &p) || p.Path != "burst" {
		t.Errorf("a burst beside a sliding window: %v", err)
	}
	l.Burst, l.Rate = 0, rate(t, "1001/day")
	if _, err := l.Compile(); !errors.As(err, &p) || p.Path != "window" {
		t.Errorf("a window larger than is remembered: %v", err)
	}
	if err := l.Window.UnmarshalText([]byte("gcra")); err == nil {
		t.Error("an unknown window was accepted")
	}
	if err := l.Unavailable.UnmarshalText([]byte("open")); err == nil {
		t.Error("a limit may be open")
	}
}

func FuzzLimit(f *testing.F) {
	for _, s := range []string{"100/min per consumer", "1000/min", "10/s per ip", "orders-writes", "unlimited", "1/s per claim:a", "1/s per header:X-Y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var l pipeline.Limit
		if l.UnmarshalText([]byte(text)) != nil {
			return
		}
		if !strings.EqualFold(l.String(), text) {
			t.Fatalf("%q prints as %q", text, l)
		}
		var again pipeline.Limit
		if err := again.UnmarshalText([]byte(l.String())); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(l, again, cmp.AllowUnexported(scalar.Rate{})); d != "" {
			t.Fatal(d)
		}
		if c, err := l.Compile(); err == nil && (c.Period < time.Microsecond || c.Burst < 1) {
			t.Fatalf("%q compiles to %+v", text, c)
		}
	})
}
