package telemetry

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper bounds of the latency buckets.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// RouteMetrics counts the requests of one route. Whoever compiles the route
// asks for it once and keeps it; requests only add to it. It lives as long as
// somebody keeps it, which is how the series of a route that is gone end.
type RouteMetrics struct {
	name     string
	passed   [6]atomic.Uint64 // by class of the status; 0: outside 100 to 599
	refused  []atomic.Uint64  // by code
	duration histogram
	upstream histogram
}

// NotRefused is the code of a request that ended in no fault.
const NotRefused = 255

// Observe counts a request that ended with a code of the catalogue, or with
// NotRefused, and was answered with status. upstream is the time until the
// first byte of the upstream's answer, 0 if no upstream was asked.
func (r *RouteMetrics) Observe(code uint8, status int, duration, upstream time.Duration) {
	switch {
	case int(code) < len(r.refused):
		r.refused[code].Add(1)
	case code == NotRefused:
		r.passed[class(status)].Add(1)
	default:
		r.refused[0].Add(1)
	}
	r.duration.observe(duration)
	if upstream > 0 {
		r.upstream.observe(upstream)
	}
}

// histogram counts durations without a lock.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// read returns the histogram as Prometheus wants it. The count is that of the
// buckets, so that they always agree.
func (h *histogram) read() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(bounds) {
			buckets[bounds[i].Seconds()] = count
		}
	}
	return count, time.Duration(h.sum.Load()).Seconds(), buckets
}

// routes collects the RouteMetrics that somebody keeps.
type routes struct {
	codes    []Code
	requests *prometheus.Desc
	duration *prometheus.Desc
	upstream *prometheus.Desc

	mu     sync.Mutex
	byName map[string]weak.Pointer[RouteMetrics]
}

// Code is a refusal code as metrics show it.
type Code struct {
	Name   string
	Status int
}

// Route returns the metrics of the route called name, the same for all who
// ask while one of them keeps it; "" stands for requests without a route.
func (m *Metrics) Route(name string) *RouteMetrics { return m.routes.get(name) }

func newRoutes(codes []Code) *routes {
	return &routes{
		codes:    codes,
		requests: prometheus.NewDesc(metricRequests, "Requests by how they ended. code is empty for those that no check refused.", []string{labelRoute, labelCode, labelStatus}, nil),
		duration: prometheus.NewDesc(metricDuration, "Time from the request's head to the end of the response; of a stream, to its head.", []string{labelRoute}, nil),
		upstream: prometheus.NewDesc(metricUpstream, "Time until the first byte of the upstream's answer.", []string{labelRoute}, nil),
		byName:   map[string]weak.Pointer[RouteMetrics]{},
	}
}

func (rs *routes) get(name string) *RouteMetrics {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.byName[name].Value(); r != nil {
		return r
	}
	r := &RouteMetrics{name: name, refused: make([]atomic.Uint64, len(rs.codes))}
	rs.byName[name] = weak.Make(r)
	runtime.AddCleanup(r, rs.forget, name)
	return r
}

// forget drops the entry of a route whose metrics nobody keeps any more.
func (rs *routes) forget(name string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byName[name].Value() == nil { // not made anew meanwhile
		delete(rs.byName, name)
	}
}

// Describe implements prometheus.Collector.
func (rs *routes) Describe(ch chan<- *prometheus.Desc) {
	ch <- rs.requests
	ch <- rs.duration
	ch <- rs.upstream
}

// Collect implements prometheus.Collector. What never happened has no series.
func (rs *routes) Collect(ch chan<- prometheus.Metric) {
	rs.mu.Lock()
	all := make([]*RouteMetrics, 0, len(rs.byName))
	for _, p := range rs.byName {
		if r := p.Value(); r != nil {
			all = append(all, r)
		}
	}
	rs.mu.Unlock()
	for _, r := range all {
		rs.collect(r, ch)
	}
}

var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (rs *routes) collect(r *RouteMetrics, ch chan<- prometheus.Metric) {
	for i := range r.passed {
		if n := r.passed[i].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(rs.requests, prometheus.CounterValue, float64(n), r.name, "", classes[i])
		}
	}
	for code := range r.refused {
		if n := r.refused[code].Load(); n > 0 {
			c := rs.codes[code]
			ch <- prometheus.MustNewConstMetric(rs.requests, prometheus.CounterValue, float64(n), r.name, c.Name, classes[class(c.Status)])
		}
	}
	for _, h := range []struct {
		desc *prometheus.Desc
		h    *histogram
	}{{rs.duration, &r.duration}, {rs.upstream, &r.upstream}} {
		if count, sum, buckets := h.h.read(); count > 0 {
			ch <- prometheus.MustNewConstHistogram(h.desc, count, sum, buckets, r.name)
		}
	}
}

// class returns the index in classes of a status.
func class(status int) int {
	if c := status / 100; c >= 1 && c <= 5 {
		return c
	}
	return 0
}
