//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// turn starts one proxy, measures it under load and ends it.
// beside, if there is one, is called with its process when the measured load
// has begun, and waited for.
func (r *rig) turn(ctx context.Context, s scenario, c contender, w *work, seconds int, beside func(*process) error) (*figures, error) {
	r.turns++
	dir := filepath.Join(r.dir, fmt.Sprintf("run-%d", r.turns))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // the folder above goes in any case
	proxyCore, loadCore, threads := r.cores()
	t := trial{scenario: s, contender: c, backend: r.nginx}
	if s.sink {
		t.backend = r.sink
	}
	page := site{
		Dir: dir, Backend: t.backend.port, Cores: threads, Root: os.Geteuid() == 0, Guarded: c.guarded, Keyed: s.keys > 0,
		State: cmp.Or(w.state, filepath.Join(dir, "state")),
		TLS:   s.tls, H2: s.tool == h2load, Cert: filepath.Join(r.dir, certFile), Key: filepath.Join(r.dir, keyFile),
		Large: s.tool == down || s.tool == up, Buffers: c.buffers,
		Issuer: tokenIssuer, Audience: tokenAudience, Scope: tokenScope,
	}
	var paths []string
	if c.routes > 0 {
		page.Others, paths = manyRoutes(c.routes)
	}
	if c.log != "" {
		page.Log = filepath.Join(dir, c.log)
	}
	for _, port := range []*int{&page.Port, &page.Admin} {
		var err error
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	if c.kind.config != "" {
		if err := r.render(c.kind.config, dir, page); err != nil {
			return nil, err
		}
	}
	requests, err := w.requests(dir, paths)
	if err != nil {
		return nil, err
	}
	t.load = load{
		tool: s.tool, scheme: "http", host: fmt.Sprintf("127.0.0.1:%d", page.Port), path: cmp.Or(s.path, path),
		connections: cmp.Or(s.connections, r.connections), streams: max(1, s.streams),
		threads: min(2, threads), core: loadCore, requests: requests, dir: r.dir,
	}
	if s.tls {
		t.load.scheme = "https"
	}
	t.prober = newProber(t.load.scheme+"://"+t.load.host+path, r.body, r.roots)
	if c.kind.metrics {
		t.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", page.Admin)
	}
	p, l := t.prober, &t.load
	if len(w.fields) > 0 {
		p.field, l.field = w.fields[0], w.fields[0]
	}
	if w.signer != nil {
		if err := w.signer.publish(dir); err != nil {
			return nil, err
		}
	}
	if c.guarded {
		p.bad = w.bad
	}
	env := []string{}
	if r.pinned {
		env = append(env, "GOMAXPROCS=1")
	}
	began := time.Now()
	t.proxy, err = start(dir, env, pin(proxyCore, append([]string{r.program(c)}, c.kind.args(page)...)...)...)
	if err != nil {
		return nil, err
	}
	proxy := t.proxy
	defer proxy.stop()
	if err := proxy.until(ctx, func() bool { return p.allowed(ctx) == nil }); err != nil {
		return nil, err
	}
	up := time.Since(began)
	if err := p.all(ctx); err != nil {
		return nil, fmt.Errorf("before the run: %w", err)
	}
	warm, err := r.warmUp(ctx, &t)
	if err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	m, err := t.measured(ctx, seconds, beside)
	if err != nil {
		return nil, err
	}
	passed, turned := p.counts()
	passed += m.load.Requests + warm.Requests
	honest := m.judge(l.concurrency())
	if c.log != "" {
		lines, err := logged(ctx, page.Log, passed, turned, 2*l.concurrency())
		honest = errors.Join(honest, err)
		if t.metrics != "" {
			n, err := p.metric(ctx, t.metrics, "warder_requests_total")
			honest = errors.Join(honest, err, within("requests in the metrics", int(n), lines, lines))
		}
	}
	if honest != nil {
		return nil, honest
	}
	f := m.figures()
	f.ready = float64(up.Microseconds()) / 1000
	return f, nil
}

// program returns the program of a contender.
func (r *rig) program(c contender) string {
	switch {
	case c.program != "":
		return c.program
	case c.kind.program == "warder":
		return r.warder
	case c.kind.program == "kit":
		return filepath.Join(r.dir, "kit")
	}
	return c.kind.program
}

// warmUp puts load on a proxy that is not measured. A paced load takes its
// rate from it; idle connections come to a proxy that has done little.
func (r *rig) warmUp(ctx context.Context, t *trial) (o outcome, err error) {
	l, seconds := t.load, max(r.warm, t.warm)
	switch l.tool {
	case idle:
		return o, nil
	case paced:
		l.tool, seconds = wrk, max(1, seconds)
	}
	if seconds == 0 {
		return o, nil
	}
	o, err = l.run(ctx, seconds, nil)
	if err == nil {
		t.load.rate = float64(o.Requests) / (float64(o.Micros) / 1e6) / 2
	}
	return o, err
}

// trial is one run of one proxy, with what takes part in it.
type trial struct {
	scenario
	contender
	backend *backend
	proxy   *process
	load    load
	prober  *prober
	metrics string // URL; empty: it has none
}

// sight is what is read before and after the measured load.
type sight struct {
	at       time.Time
	proxy    tree
	backend  tree
	busy     time.Duration
	upstream upstream
	rss      int     // of the proxy, bytes
	peak     int     // bytes, since the sight before
	heap     float64 // bytes of Go's heap and stacks
	mallocs  float64 // Go's allocations, without those of asking for them
}

// measurement is one run under load, before it is judged.
type measurement struct {
	tool           tool
	goProgram      bool // heap and mallocs say something
	load           outcome
	due            float64 // requests per second of a paced load
	before, after  sight
	probes, passed int   // passed: of the prober's questions
	wrong          error // what the prober met
}

// look reads everything once. The CPU times are read last before the load and
// first after it, so that asking is not measured.
func (t *trial) look(ctx context.Context, s *sight, after bool) error {
	times := func() error {
		s.at = time.Now()
		var errs [3]error
		s.busy, errs[0] = busy()
		s.backend, errs[1] = readTree(t.backend.cmd.Process.Pid)
		s.proxy, errs[2] = readTree(t.proxy.cmd.Process.Pid)
		return errors.Join(errs[:]...)
	}
	counts := func() (err error) {
		s.upstream, err = t.prober.readUpstream(ctx, t.backend.url("/stub"))
		if err != nil || t.metrics == "" {
			return err
		}
		return t.lookInside(ctx, s, after)
	}
	if after {
		err := times()
		s.rss, s.peak = s.proxy.rss(), s.proxy.peak()
		return errors.Join(err, counts())
	}
	if err := errors.Join(counts(), times()); err != nil {
		return err
	}
	s.rss = s.proxy.rss()
	return s.proxy.resetPeak()
}

// lookInside reads what a Go program says of its memory. Before the load it
// asks three times: what lies between the last two is what asking costs, and
// is added once, as the question after the load pays it once more. The first
// pays for what later ones use again.
func (t *trial) lookInside(ctx context.Context, s *sight, after bool) error {
	read := func() (mallocs float64, err error) {
		m, err := t.prober.metricsOf(ctx, t.metrics, "go_memstats_mallocs_total", "go_memstats_heap_inuse_bytes", "go_memstats_stack_inuse_bytes")
		s.heap = m[1] + m[2]
		return m[0], err
	}
	if after {
		var err error
		s.mallocs, err = read()
		return err
	}
	var all [3]float64
	for i := range all {
		var err error
		if all[i], err = read(); err != nil {
			return err
		}
	}
	s.mallocs = all[2] + (all[2] - all[1])
	return nil
}

// measured runs the load once while the prober asks its questions.
func (t *trial) measured(ctx context.Context, seconds int, beside func(*process) error) (m measurement, err error) {
	m.tool, m.goProgram, m.due = t.load.tool, t.metrics != "", t.load.rate
	passed, _ := t.prober.counts()
	if err := t.look(ctx, &m.before, false); err != nil {
		return m, err
	}
	probing, stop := context.WithCancel(ctx)
	defer stop()
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		m.probes, m.wrong = t.prober.during(probing)
	}()
	watched := make(chan error, 1)
	go func() {
		if beside == nil {
			watched <- nil
			return
		}
		watched <- beside(t.proxy)
	}()
	// Idle connections are looked at while they are open.
	var held func() error
	if t.load.tool == idle {
		held = func() error {
			t.settle(ctx)
			stop()
			<-probed
			return t.look(ctx, &m.after, true)
		}
	}
	m.load, err = t.load.run(ctx, seconds, held)
	stop()
	<-probed
	if err := errors.Join(err, <-watched); err != nil {
		return m, err
	}
	if held == nil {
		if err := t.look(ctx, &m.after, true); err != nil {
			return m, err
		}
	}
	m.passed, _ = t.prober.counts()
	m.passed -= passed
	return m, nil
}

// settle waits until the proxy's memory has moved by less than 1% for two
// seconds, and at most twenty.
func (t *trial) settle(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last, calm := 0, 0
	for range 40 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tree, err := readTree(t.proxy.cmd.Process.Pid)
		if err != nil {
			return // the look that follows says so
		}
		if now := tree.rss(); now-last < now/100 && last-now < now/100 {
			calm++
		} else {
			last, calm = now, 0
		}
		if calm == 4 {
			return
		}
	}
}

// judge says what makes the run dishonest.
func (m *measurement) judge(concurrency int) error {
	var errs []error
	if m.wrong != nil {
		errs = append(errs, fmt.Errorf("during the run: %w", m.wrong))
	}
	if m.probes == 0 {
		errs = append(errs, errors.New("nothing was asked during the run"))
	}
	if !m.before.proxy.same(m.after.proxy) {
		errs = append(errs, errors.New("the proxy's processes changed during the run"))
	}
	if got := float64(m.load.Requests) / (float64(m.load.Micros) / 1e6); m.tool == paced && got < 0.9*m.due {
		errs = append(errs, fmt.Errorf("%.0f requests per second were to be made and %.0f were", m.due, got))
	}
	asked := m.load.Requests + m.passed
	// The question for the counters is one of each itself.
	requests := m.after.upstream.requests - m.before.upstream.requests - 1
	opened := m.opened()
	return errors.Join(append(errs,
		within("answers of 400 and above", m.load.StatusErrors, 0, 0),
		within("broken connections and time-outs", m.load.SocketErrors, 0, 0),
		// Every completed request came from the backend, and none twice.
		within("requests that reached the backend", requests, asked, asked+2*concurrency),
		// A proxy that keeps few pays for it in its figure; one that keeps none
		// does other work.
		within("connections opened to the backend", opened, 0, max(3*concurrency, requests/2)),
	)...)
}

// opened returns how many connections to the backend the run added.
func (m *measurement) opened() int {
	return m.after.upstream.connections - m.before.upstream.connections - 1
}

// figures returns what was measured.
func (m *measurement) figures() *figures {
	const kib, mib = 1 << 10, 1 << 20
	n, seconds := float64(m.load.Requests), float64(m.load.Micros)/1e6
	cpu := m.after.proxy.cpu() - m.before.proxy.cpu()
	backend := m.after.backend.cpu() - m.before.backend.cpu()
	none := math.NaN()
	f := &figures{
		cpu:       float64(cpu.Microseconds()) / n,
		rate:      n / seconds,
		p50:       none,
		p99:       none,
		rss:       float64(m.after.rss) / mib,
		growth:    max(0, float64(m.after.peak-m.before.rss)/mib),
		perGB:     none,
		perConn:   none,
		heap:      none,
		allocs:    none,
		elsewhere: max(0, (m.after.busy-m.before.busy-cpu-backend-m.load.cpu).Seconds()/m.after.at.Sub(m.before.at).Seconds()),
		opened:    m.opened(),
		probes:    m.probes,
	}
	if m.load.P99 > 0 {
		f.p50, f.p99 = float64(m.load.P50)/1000, float64(m.load.P99)/1000
	}
	if m.goProgram {
		f.allocs = (m.after.mallocs - m.before.mallocs) / n
	}
	switch m.tool {
	case up, down:
		f.perGB = cpu.Seconds() * 1000 / (float64(m.load.Bytes) / 1e9)
	case idle:
		f.perConn = float64(m.after.rss-m.before.rss) / kib / n
		if m.goProgram {
			f.heap = (m.after.heap - m.before.heap) / kib / n
		}
	}
	return f
}
