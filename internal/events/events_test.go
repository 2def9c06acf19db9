package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/telemetry"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var legend = &exchange.Legend{Config: "c0ffee", Checks: []exchange.Check{
	{Phase: "route", Name: "read-orders"}, {Phase: "authenticate", Name: "jwt okta"}, {Phase: "scopes", Want: "orders:read"},
}}

// finished makes an exchange as the gateway hands it over.
func finished() *exchange.Exchange {
	x := &exchange.Exchange{
		ID: exchange.RequestID{1, 2, 3}, Client: netip.MustParseAddr("203.0.113.9"), Secure: true,
		Conn:     &exchange.Conn{Listener: "public", Proto: "HTTP/1.1"},
		Route:    &exchange.Route{Name: "read-orders"},
		Start:    time.Date(2026, 11, 22, 12, 4, 31, 42e6, time.UTC),
		Identity: &exchange.Identity{Method: "jwt", Issuer: "okta", Subject: "alice", Client: "0oa1", Consumer: "okta/mobile-app", Scopes: []string{"profile", "email"}, Roles: []string{"buyer"}, Claims: exchange.Claims{{Name: "sub", Raw: `"canary-claim"`}}},
		Target:   "10.0.0.1:8443", BytesIn: 7, BytesOut: 1024,
	}
	x.UpStart, x.UpFirst = time.Millisecond, 3500*time.Microsecond
	x.Req.Reset()
	x.Req.Method, x.Req.Host, x.Req.Path = []byte("GET"), []byte("api.example.com"), []byte("/orders/42")
	x.Req.Query, x.Req.HasQuery = []byte("page=2"), true
	field(x, "User-Agent", "curl/8.5")
	field(x, "X-Request-Id", "abc-1.2_3")
	x.Resp.Status = 200
	x.Trail.Begin(0)
	x.Trail.Saw("path", "/orders/**")
	x.Trail.End(exchange.Passed, fault.None)
	x.Trail.Begin(1)
	x.Trail.Saw("sub", "alice")
	x.Trail.Saw("client", "0oa1")
	x.Trail.Saw("issuer", "okta")
	x.Trail.SawNumber("left", 252)
	x.Trail.End(exchange.Passed, fault.None)
	return x
}

func refused() *exchange.Exchange {
	x := finished()
	x.Resp.Status = 403
	x.Trail.Begin(2)
	x.Trail.Saw("has", "profile email")
	x.Trail.Saw("missing", "orders:read")
	x.Trail.End(exchange.Refused, fault.ScopeMissing)
	return x
}

func field(x *exchange.Exchange, name, value string) {
	x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.IdentifyString(name)})
}

func capture(x *exchange.Exchange, code fault.Code) events.Record {
	return events.Capture(x, legend, code, 4*time.Millisecond)
}

func TestLine(t *testing.T) {
	t.Parallel()
	want := `{"time":"2026-11-22T12:04:31.042Z","id":"01020300000000000000000000000000","clientRequestId":"abc-1.2_3","client":"203.0.113.9","listener":"public","proto":"HTTP/1.1","tls":true,"method":"GET","host":"api.example.com","path":"/orders/42","query":"page=2","route":"read-orders","status":200,"auth":"jwt","issuer":"okta","clientId":"0oa1","consumer":"okta/mobile-app","subject":"alice","scopes":["profile","email"],"roles":["buyer"],"target":"10.0.0.1:8443","durationMs":4.000,"upstreamMs":2.500,"bytesIn":7,"bytesOut":1024,"userAgent":"curl/8.5","config":"c0ffee"}` + "\n"
	r := capture(finished(), fault.None)
	if diff := cmp.Diff(want, string(events.AppendLine(nil, &r))); diff != "" {
		t.Error(diff)
	}
	x := &exchange.Exchange{}
	x.Req.Reset()
	x.Req.Target = []byte("/x/../y?a=b")
	x.Reason = "a \"dot\" segment"
	x.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r = events.Capture(x, nil, fault.KeyUnknown, 0)
	want = `{"time":"2026-01-02T03:04:05.000Z","id":"00000000000000000000000000000000","tls":false,"path":"/x/../y","query":"a=[redacted]","status":401,"code":"key_unknown","publicCode":"key_invalid","reason":"a \"dot\" segment","durationMs":0.000,"bytesIn":0,"bytesOut":0}` + "\n"
	if diff := cmp.Diff(want, string(events.AppendLine(nil, &r))); diff != "" {
		t.Error(diff)
	}
}

func TestTelemetryKnowsWhatIsNoRefusal(t *testing.T) {
	t.Parallel()
	if telemetry.NotRefused != uint8(fault.None) {
		t.Error("telemetry and the catalogue number requests that were not refused differently")
	}
}

func TestClientRequestIDIsKeptOnlyIfWellFormed(t *testing.T) {
	t.Parallel()
	for id, keep := range map[string]bool{
		"a": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "": false, "a b": false, "a\"b": false, "a\x1b": false, "ü": false,
	} {
		x := &exchange.Exchange{}
		field(x, "X-Request-Id", id)
		if r := capture(x, fault.None); string(r.ClientRequestID) != id && keep || r.ClientRequestID != nil && !keep {
			t.Errorf("%q: kept %q", id, r.ClientRequestID)
		}
	}
	x := &exchange.Exchange{}
	field(x, "X-Request-Id", "a")
	field(x, "X-Request-Id", "b")
	if r := capture(x, fault.None); r.ClientRequestID != nil {
		t.Errorf("two ids: kept %q", r.ClientRequestID)
	}
}

func TestTargetsThatWereNeverNormalised(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][2]string{
		"/a%zz?b=c":                        {"/a%zz", "b=c"},
		"*":                                {"*", ""},
		"http://u:canary@h/a?token=canary": {"/a", "token=[redacted]"},
		"http://u:canary@h":                {"", ""},
		"u:canary@h:443":                   {"", ""},
		"":                                 {"", ""},
	} {
		x := &exchange.Exchange{}
		x.Req.Target = []byte(target)
		if r := capture(x, fault.RequestMalformed); string(r.Path) != want[0] || string(r.Query) != want[1] {
			t.Errorf("%q: %q, %q", target, r.Path, r.Query)
		}
	}
}

func TestTerminalsAreNotFooled(t *testing.T) {
	t.Parallel()
	evil := "\x1b[31mred\r\n\u202egnp.exe\u2066\u200b\u009b\x7f\u2028\x00\ufeff"
	x := refused()
	x.Reason = evil
	x.Req.Fields = nil
	field(x, "User-Agent", evil)
	x.Trail.Begin(1)
	x.Trail.Saw("kid", evil)
	x.Trail.End(exchange.Refused, fault.TokenKeyUnknown)
	r := capture(x, fault.TokenKeyUnknown)
	explained := events.Explain(&r)
	for _, text := range []string{strings.TrimSuffix(string(events.AppendLine(nil, &r)), "\n"), explained.Reason, explained.Mend, explained.Steps[3].Saw} {
		for _, c := range evil {
			if !strings.ContainsRune("[31mredgnp.exe", c) && strings.ContainsRune(text, c) {
				t.Errorf("%U is left raw in %q", c, text)
			}
		}
	}
	if !strings.Contains(explained.Mend, "publishes no key \\u001b") {
		t.Errorf("mend: %q", explained.Mend)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	r := capture(refused(), fault.ScopeMissing)
	got := events.Explain(&r)
	want := &events.Explanation{
		ID: "01020300000000000000000000000000", Time: r.Time, Client: "203.0.113.9", Method: "GET", Host: "api.example.com", Path: "/orders/42", Route: "read-orders",
		Status: 403, Code: "scope_missing", Public: "scope_missing", Mend: "grant scope orders:read to client 0oa1 at issuer okta", Target: "10.0.0.1:8443", Config: "c0ffee",
		Steps: []events.ExplanationStep{
			{"ok", "route", "read-orders", "path /orders/**"},
			{"ok", "authenticate", "jwt okta", "sub alice · client 0oa1 · issuer okta · left 252"},
			{"NO", "scopes", "", "want orders:read · has profile email · missing orders:read"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("/a", "curl", "reason", "a=b")
	f.Add("/\x1b\"\\", "\xff\xc3", "\u202e…", "eyJ&token=x")
	f.Add(strings.Repeat("ü", 2000), strings.Repeat("\x01", 300), strings.Repeat("\"", 300), strings.Repeat("a=b&", 300))
	f.Fuzz(func(t *testing.T, path, agent, reason, query string) {
		x := finished()
		x.Req.Path, x.Req.Query, x.Reason = []byte(path), []byte(query), reason
		x.Req.Fields = nil
		field(x, "User-Agent", agent)
		x.Identity = &exchange.Identity{Method: "jwt", Subject: agent, Scopes: []string{path, agent}}
		r := capture(x, fault.PathNotNormal)
		line := events.AppendLine(nil, &r)
		if bytes.Count(line, []byte("\n")) != 1 || len(line) > 12<<10 {
			t.Fatalf("%d bytes: %q", len(line), line)
		}
		var got struct {
			Path, UserAgent, Reason, Query, Subject string
			Scopes                                  []string
		}
		d := json.NewDecoder(bytes.NewReader(line))
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if len(path) > 0 {
			same(t, "path", string(r.Path), got.Path, 2048)
		}
		same(t, "userAgent", agent, got.UserAgent, 256)
		same(t, "reason", reason, got.Reason, 256)
		same(t, "subject", agent, got.Subject, 256)
		same(t, "scope", agent, got.Scopes[1], 64)
		ring := events.NewRing(1)
		ring.Add(&r)
		back, ok := ring.Last()
		if !ok || len(back.Path) > 192 || len(path) <= 192 && string(back.Path) != string(r.Path) {
			t.Errorf("ring: %q came back as %q", path, back.Path)
		}
		events.Explain(back)
	})
}

// same reports a text that did not come back from JSON: as it was, or if its
// JSON form is longer than limit, a part of it with a mark.
func same(t *testing.T, name, want, got string, limit int) {
	t.Helper()
	valid := string([]rune(want)) // as JSON has it: U+FFFD for what is not UTF-8
	full := len(events.AppendJSON(nil, want, 1<<30)) - 2
	if full <= limit && got != valid {
		t.Errorf("%s: %q came back as %q", name, want, got)
	}
	if full > limit {
		part, marked := strings.CutSuffix(got, "…")
		if !marked || !strings.HasPrefix(valid, part) || !utf8.ValidString(got) || len(got) > limit {
			t.Errorf("%s: %q was cut to %q", name, want, got)
		}
	}
}

func TestRingKeepsRefusalsApart(t *testing.T) {
	t.Parallel()
	ring := events.NewRing(4)
	if _, ok := ring.Last(); ok {
		t.Error("an empty ring has a last record")
	}
	add := func(id byte, code fault.Code) {
		x := finished()
		x.ID = exchange.RequestID{id}
		r := capture(x, code)
		ring.Add(&r)
	}
	add(1, fault.None)
	if r, ok := ring.Last(); !ok || r.ID != (exchange.RequestID{1}) {
		t.Errorf("last of one success: %v", r)
	}
	add(2, fault.KeyUnknown)
	for id := byte(3); id < 20; id++ {
		add(id, fault.None)
	}
	if r, ok := ring.Last(); !ok || r.ID != (exchange.RequestID{2}) || r.Code != fault.KeyUnknown {
		t.Errorf("successes pushed a refusal out: %v", r)
	}
	for id := byte(1); id < 20; id++ {
		if _, ok := ring.Find(exchange.RequestID{id}); ok != (id == 2 || id >= 16) {
			t.Errorf("record %d: found %v", id, ok)
		}
	}
	add(20, fault.InternalError)
	if r, _ := ring.Last(); r.ID != (exchange.RequestID{20}) {
		t.Errorf("last: %v", r)
	}
}

func TestRingGivesBackWhatItGot(t *testing.T) {
	t.Parallel()
	ring := events.NewRing(1)
	r := capture(refused(), fault.ScopeMissing)
	ring.Add(&r)
	got, _ := ring.Last()
	want := r
	want.Identity = &exchange.Identity{Method: "jwt", Issuer: "okta", Subject: "alice", Client: "0oa1", Consumer: "okta/mobile-app"}
	if diff := cmp.Diff(events.Explain(&want), events.Explain(got)); diff != "" {
		t.Error(diff)
	}
	a, b := events.AppendLine(nil, &want), events.AppendLine(nil, got)
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestRingCutsWithAMark(t *testing.T) {
	t.Parallel()
	x := finished()
	long := strings.Repeat("x", 5000)
	x.Req.Path, x.Reason, x.Target = []byte(long), long, long
	x.Trail.Reset()
	for check := range uint32(20) {
		x.Trail.Begin(check)
		for range 5 {
			x.Trail.Saw("name", long)
		}
		x.Trail.End(exchange.Passed, fault.None)
	}
	ring := events.NewRing(1)
	r := capture(x, fault.PolicyDenied)
	ring.Add(&r)
	got, _ := ring.Last()
	for _, s := range []string{string(got.Path), got.Reason, got.Target, got.Trail.Steps()[0].Operands()[0].Text} {
		if !strings.HasSuffix(s, "…") || len(s) > 200 {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	}
	steps := got.Trail.Steps()
	if len(steps) != 16 || steps[15].Check != 19 || steps[15].Outcome != exchange.Passed || len(steps[15].Operands()) == 0 {
		t.Errorf("steps: %+v", steps)
	}
	if events.EntryBytes > 2048 {
		t.Errorf("a slot takes %d bytes, 2 KiB are promised", events.EntryBytes)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	log := events.NewAccessLog(64)
	log.Redirect(io.Discard)
	defer log.Close(context.Background())
	ring := events.NewRing(8)
	x := refused()
	record := func() {
		r := capture(x, fault.ScopeMissing)
		ring.Add(&r)
		log.Log(&r)
	}
	for range 1000 { // the slots of the queue get their memory
		record()
	}
	if n := testing.AllocsPerRun(1000, record); n > 0.5 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	rec := events.NewRecorder(telemetry.NewMetrics("bench", []telemetry.Code{{Name: "internal_error", Status: 500}}))
	rec.Redirect(io.Discard)
	defer rec.Close()
	for _, c := range []struct {
		name string
		x    func() *exchange.Exchange
		code fault.Code
	}{{"passed", finished, fault.None}, {"refused", refused, fault.ScopeMissing}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				x := c.x()
				for pb.Next() {
					rec.Record(x, legend, c.code, 0)
				}
			})
		})
	}
}

// BenchmarkRecordBetweenOtherWork measures a record's own time when the nearer
// caches hold nothing of the recorder, and apart the ring and the line.
func BenchmarkRecordBetweenOtherWork(b *testing.B) {
	rec := events.NewRecorder(telemetry.NewMetrics("bench", []telemetry.Code{{Name: "internal_error", Status: 500}}))
	rec.Redirect(io.Discard)
	defer rec.Close()
	ring := events.NewRing(4096)
	log := events.NewAccessLog(8192)
	log.Redirect(io.Discard)
	defer log.Close(b.Context())
	x := finished()
	r := capture(x, fault.None)
	var buf []byte
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"all", func() { rec.Record(x, legend, fault.None, 0) }},
		{"ring", func() { ring.Add(&r) }},
		{"access log", func() { log.Log(&r) }},
		{"line", func() { buf = events.AppendLine(buf[:0], &r) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			other := make([]byte, 16<<20)
			at := 0
			took := make([]time.Duration, 0, 1<<16)
			for range 20_000 {
				c.do()
			}
			b.ReportAllocs()
			for b.Loop() {
				for range 512 << 10 / 64 {
					at = (at + 64) % len(other)
					other[at]++
				}
				start := time.Now()
				c.do()
				took = append(took, time.Since(start))
			}
			slices.Sort(took) // the median: others share the machine
			b.ReportMetric(float64(took[len(took)/2]), "own-ns/op")
		})
	}
}

func BenchmarkLine(b *testing.B) {
	b.ReportAllocs()
	x := finished()
	var buf []byte
	for b.Loop() {
		r := capture(x, fault.None)
		buf = events.AppendLine(buf[:0], &r)
	}
}

func BenchmarkRing(b *testing.B) {
	b.ReportAllocs()
	ring := events.NewRing(4096)
	r := capture(refused(), fault.ScopeMissing)
	for b.Loop() {
		ring.Add(&r)
	}
}
