package telemetry_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/warder-gateway/warder/internal/telemetry"
)

var codes = []telemetry.Code{{Name: "internal_error", Status: 500}, {Name: "token_expired", Status: 401}}

// scrape returns what a Prometheus server would read, after checking its form.
func scrape(t testing.TB, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	text := w.Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", err, problems)
	}
	return text
}

func contains(t testing.TB, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

func TestLogIsSafeToShow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	telemetry.NewLogger(&b, slog.LevelInfo).Info("a\nb", "file", "x\x1b[31m\u202ey\u009b", telemetry.FieldError, fmt.Errorf("c\r\nlevel=ERROR"))
	line := b.String()
	if strings.Count(line, "\n") != 1 || strings.ContainsAny(line, "\x1b\r\u202e\u009b") || !strings.HasPrefix(line, "time=2") || !strings.Contains(line, "Z level=INFO msg=\"a\\nb\" file=") {
		t.Errorf("%q", line)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3", codes)
	orders, none := m.Route("orders"), m.Route("")
	if m.Route("orders") != orders {
		t.Error("a route that is compiled again gets other metrics")
	}
	orders.Observe(telemetry.NotRefused, 200, 3*time.Millisecond, 2*time.Millisecond)
	orders.Observe(telemetry.NotRefused, 204, time.Minute, 0)
	orders.Observe(telemetry.NotRefused, 0, 0, 0)
	orders.Observe(1, 401, time.Millisecond, 0)
	orders.Observe(99, 500, time.Millisecond, 0)
	none.Observe(0, 500, 0, 0)
	contains(t, scrape(t, m),
		`warder_requests_total{code="",route="orders",status="2xx"} 2`,
		`warder_requests_total{code="",route="orders",status="other"} 1`,
		`warder_requests_total{code="token_expired",route="orders",status="4xx"} 1`,
		`warder_requests_total{code="internal_error",route="orders",status="5xx"} 1`,
		`warder_requests_total{code="internal_error",route="",status="5xx"} 1`,
		`warder_request_duration_seconds_bucket{route="orders",le="0.0005"} 1`,
		`warder_request_duration_seconds_bucket{route="orders",le="0.001"} 3`,
		`warder_request_duration_seconds_bucket{route="orders",le="0.005"} 4`,
		`warder_request_duration_seconds_bucket{route="orders",le="30"} 4`,
		`warder_request_duration_seconds_bucket{route="orders",le="+Inf"} 5`,
		`warder_request_duration_seconds_sum{route="orders"} 60.005`,
		`warder_request_duration_seconds_count{route="orders"} 5`,
		`warder_upstream_duration_seconds_count{route="orders"} 1`,
	)
	runtime.KeepAlive(orders)
	runtime.KeepAlive(none)
}

func TestRoutesThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("", codes)
	kept := m.Route("kept")
	kept.Observe(telemetry.NotRefused, 200, 0, 0)
	m.Route("gone").Observe(telemetry.NotRefused, 200, 0, 0)
	for deadline := time.Now().Add(time.Minute); strings.Contains(scrape(t, m), `route="gone"`); runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the series of a route that nobody keeps goes on")
		}
	}
	if !strings.Contains(scrape(t, m), `route="kept"`) {
		t.Error("the series of a route that is kept ended")
	}
	runtime.KeepAlive(kept)
}

func TestConfigurationAndOwners(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3", codes)
	m.Reloaded("aaa", time.Unix(1000, 5e8), 2*time.Second)
	m.Reloaded("bbb", time.Unix(2000, 0), time.Second)
	m.ReloadFailed(3 * time.Second)
	m.Gauge(telemetry.ActiveConnections, func() float64 { return 7 })
	m.Counter(telemetry.TokenCacheHits, func() float64 { return 8 })
	m.Issuers(func() []telemetry.IssuerKeys {
		return []telemetry.IssuerKeys{{Issuer: "okta", Loaded: true, Age: time.Minute, OK: true}, {Issuer: "dead"}}
	})
	text := scrape(t, m)
	contains(t, text,
		`warder_config_reloads_total{result="success"} 2`, `warder_config_reloads_total{result="failure"} 1`,
		`warder_config_last_reload_timestamp_seconds 2000`, `warder_config_last_reload_successful 0`, `warder_config_last_reload_duration_seconds 3`,
		`warder_config_info{hash="bbb"} 1`, `warder_connections_active 7`, `warder_token_cache_hits_total 8`,
		`warder_issuer_keys_age_seconds{issuer="okta"} 60`, `warder_issuer_keys_last_fetch_successful{issuer="okta"} 1`, `warder_issuer_keys_last_fetch_successful{issuer="dead"} 0`,
	)
	if strings.Contains(text, `hash="aaa"`) || strings.Contains(text, `age_seconds{issuer="dead"}`) || !strings.Contains(text, `version="1.2.3"`) || !strings.Contains(text, "go_goroutines") {
		t.Error(text)
	}
}

func TestScrapeWhileServing(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("", codes)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 200 {
				m.Route(fmt.Sprint(i%5)).Observe(uint8(i), 200+i, time.Duration(i), time.Duration(i))
			}
		})
	}
	for range 5 {
		scrape(t, m)
	}
	all.Wait()
}

func TestObserveAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	r := telemetry.NewMetrics("", codes).Route("x")
	if n := testing.AllocsPerRun(100, func() { r.Observe(1, 401, time.Second, time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	r := telemetry.NewMetrics("", codes).Route("x")
	for b.Loop() {
		r.Observe(telemetry.NotRefused, 200, 3*time.Millisecond, 2*time.Millisecond)
	}
}

func BenchmarkScrapeOf1000Routes(b *testing.B) {
	m := telemetry.NewMetrics("", codes)
	var keep []*telemetry.RouteMetrics
	for i := range 1000 {
		r := m.Route(fmt.Sprint(i))
		r.Observe(telemetry.NotRefused, 200, 3*time.Millisecond, 2*time.Millisecond)
		keep = append(keep, r)
	}
	for b.Loop() {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		io.Copy(io.Discard, w.Body)
	}
	runtime.KeepAlive(keep)
}
