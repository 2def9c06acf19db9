package telemetry

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds every metric of one gateway, in a registry of its own. Safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	routes   *routes

	reloads        *prometheus.CounterVec
	reloadTime     prometheus.Gauge
	reloadOK       prometheus.Gauge
	reloadDuration prometheus.Gauge

	http2 *prometheus.CounterVec
	kinds sync.Map // of errors, seen
	known atomic.Int64

	mu     sync.Mutex
	config *prometheus.GaugeVec
	hash   string // of the configuration in force
}

// NewMetrics returns the metrics of a gateway of the given version. codes
// are the refusal codes, by their number; the first stands for unknown ones.
func NewMetrics(version string, codes []Code) *Metrics {
	m := &Metrics{
		registry:       prometheus.NewRegistry(),
		routes:         newRoutes(codes),
		reloads:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricReloads, Help: "Attempts to put a configuration in force."}, []string{labelResult}),
		reloadTime:     prometheus.NewGauge(prometheus.GaugeOpts{Name: metricReloadTime, Help: "When a configuration was last put in force."}),
		reloadOK:       prometheus.NewGauge(prometheus.GaugeOpts{Name: metricReloadOK, Help: "1 if the last attempt succeeded, 0 if what ran before still runs."}),
		reloadDuration: prometheus.NewGauge(prometheus.GaugeOpts{Name: metricReloadDuration, Help: "How long the last attempt took."}),
		config:         prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: metricConfigInfo, Help: "The hash of the configuration in force; always 1."}, []string{labelHash}),
	}
	m.http2 = prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricHTTP2Errors, Help: "Streams and connections that were ended because a client broke the rules of HTTP/2; the request, if there was one, has no record."}, []string{labelKind})
	m.http2.WithLabelValues(otherKind)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricBuildInfo, Help: "What runs; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	for _, result := range []string{reloadFailed, reloadDone} {
		m.reloads.WithLabelValues(result)
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.routes, m.reloads, m.reloadTime, m.reloadOK, m.reloadDuration, m.config, m.http2, build,
	)
	return m
}

const (
	reloadDone   = "success"
	reloadFailed = "failure"
)

// Handler serves the metrics in the formats of Prometheus. Who may ask is for
// the caller to decide.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Reloaded notes that a configuration was put in force, at a time, after
// took.
func (m *Metrics) Reloaded(hash string, at time.Time, took time.Duration) {
	m.reloads.WithLabelValues(reloadDone).Inc()
	m.reloadTime.Set(float64(at.UnixMilli()) / 1000)
	m.reloadOK.Set(1)
	m.reloadDuration.Set(took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	if hash != m.hash {
		m.config.Reset()
		m.config.WithLabelValues(hash).Set(1)
		m.hash = hash
	}
}

// ReloadFailed notes that a configuration was refused, after took.
func (m *Metrics) ReloadFailed(took time.Duration) {
	m.reloads.WithLabelValues(reloadFailed).Inc()
	m.reloadOK.Set(0)
	m.reloadDuration.Set(took.Seconds())
}

const (
	otherKind = "other"
	maxKinds  = 64
)

// HTTP2Error counts what a client did against HTTP/2. Of kinds there are few,
// named by the library; should there be more than 64, the rest are one.
func (m *Metrics) HTTP2Error(kind string) {
	if _, seen := m.kinds.Load(kind); !seen {
		if m.known.Add(1) > maxKinds {
			kind = otherKind
		} else {
			m.kinds.Store(kind, true)
		}
	}
	m.http2.WithLabelValues(kind).Inc()
}

// Gauge lets the owner of a value show it; read is called at every scrape.
// A metric that is registered already is an error of the program and panics.
func (m *Metrics) Gauge(name Metric, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name.name, Help: name.help}, read))
}

// Counter is Gauge for a value that only grows.
func (m *Metrics) Counter(name Metric, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name.name, Help: name.help}, read))
}

// IssuerKeys is what is known of the key set of an issuer.
type IssuerKeys struct {
	Issuer string // its name in the configuration
	Loaded bool   // keys were fetched at least once
	Age    time.Duration
	OK     bool // the last fetch succeeded
}

// Issuers lets the owner of the key sets show them; read is called at every
// scrape. Names must not repeat.
func (m *Metrics) Issuers(read func() []IssuerKeys) { m.registry.MustRegister(issuers(read)) }

type issuers func() []IssuerKeys

var (
	keysAge = prometheus.NewDesc(metricKeysAge, "Time since the keys of the issuer were last fetched; absent if never.", []string{labelIssuer}, nil)
	keysOK  = prometheus.NewDesc(metricKeysOK, "1 if the last fetch of the issuer's keys succeeded.", []string{labelIssuer}, nil)
)

// Describe implements prometheus.Collector.
func (issuers) Describe(ch chan<- *prometheus.Desc) {
	ch <- keysAge
	ch <- keysOK
}

// Collect implements prometheus.Collector.
func (read issuers) Collect(ch chan<- prometheus.Metric) {
	for _, i := range read() {
		ok := 0.0
		if i.OK {
			ok = 1
		}
		ch <- prometheus.MustNewConstMetric(keysOK, prometheus.GaugeValue, ok, i.Issuer)
		if i.Loaded {
			ch <- prometheus.MustNewConstMetric(keysAge, prometheus.GaugeValue, i.Age.Seconds(), i.Issuer)
		}
	}
}
