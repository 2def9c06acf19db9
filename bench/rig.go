//go:build linux

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed cfg
var cfg embed.FS

// rig holds what all runs share.
type rig struct {
	options
	dir     string
	machine []string // facts, one a line

	backend     *process
	backendPort int
	body        []byte // of its answers
	turns       int    // runs so far; each has a folder of its own
}

// site is what the templates know.
type site struct {
	Dir                     string
	Port, Admin, Backend    int
	Cores                   int // threads or workers
	Root, Guarded           bool
	Log                     string // path; empty: none
	Body                    string
	Issuer, Audience, Scope string
}

// figures are what one run of one proxy measured.
type figures struct {
	cpu       float64 // microseconds per request
	rate      float64 // requests per second
	p50, p99  float64 // milliseconds
	rss       float64 // MiB, at the end
	elsewhere float64 // cores that neither proxy nor load nor backend took
	opened    int     // connections to the backend
	probes    int     // pairs of questions asked during the run
}

const path = "/orders/1"

// cores returns where proxy and load run, and with how many threads.
func (r *rig) cores() (proxy, load, threads int) {
	if r.pinned {
		return 0, 1, 1
	}
	return -1, -1, runtime.NumCPU()
}

// render writes a template of cfg to a folder.
func (r *rig) render(name, dir string, s site) error {
	t, err := template.ParseFS(cfg, "cfg/"+name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, s), f.Close())
}

// body1K is 1 KiB of JSON.
func body1K() []byte {
	var b strings.Builder
	b.WriteString(`{"id":12345,"name":"bench","items":[`)
	for i := range 24 {
		fmt.Fprintf(&b, `{"sku":"A-%04d","qty":%d,"price":%d.5},`, i, i%7+1, 10+i)
	}
	b.WriteString(`{"sku":"Z","qty":1}],"pad":"`)
	return []byte(b.String() + strings.Repeat("x", 1024-b.Len()-2) + `"}`)
}

// backendUp starts the backend.
func (r *rig) backendUp(ctx context.Context) (err error) {
	dir := filepath.Join(r.dir, "backend")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	script, err := cfg.ReadFile("cfg/wrk.lua")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.script(), script, 0o600); err != nil {
		return err
	}
	if r.backendPort, err = freePort(); err != nil {
		return err
	}
	r.body = body1K()
	if err := r.render("backend.conf", dir, site{Dir: dir, Port: r.backendPort, Root: os.Geteuid() == 0, Body: string(r.body)}); err != nil {
		return err
	}
	_, core, _ := r.cores()
	r.backend, err = start(dir, nil, pin(core, "nginx", "-p", dir+"/", "-e", filepath.Join(dir, stderrFile), "-c", filepath.Join(dir, "backend.conf"))...)
	if err != nil {
		return err
	}
	p := newProber(r.backendURL(path), r.body)
	if err := r.backend.until(ctx, func() bool { return p.allowed(ctx) == nil }); err != nil {
		r.backend.stop()
		return fmt.Errorf("the backend: %w", err)
	}
	return nil
}

func (r *rig) script() string { return filepath.Join(r.dir, "wrk.lua") }

func (r *rig) backendURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", r.backendPort, path)
}

// work is what a scenario sends and what must be refused, made once.
type work struct {
	signer *signer
	tokens []string
	file   string // that holds them, if they are many
	bad    []refusable
}

func (r *rig) prepare(s scenario) (*work, error) {
	w := &work{}
	if s.tokens == 0 {
		return w, nil
	}
	var err error
	if w.signer, err = newSigner(); err != nil {
		return nil, err
	}
	if w.tokens, err = w.signer.tokens(s.tokens); err != nil {
		return nil, err
	}
	if w.bad, err = w.signer.bad(); err != nil {
		return nil, err
	}
	if s.tokens > 1 {
		w.file = filepath.Join(r.dir, s.name+".tokens")
		err = os.WriteFile(w.file, []byte(strings.Join(w.tokens, "\n")+"\n"), 0o600)
	}
	return w, err
}

// play runs all rounds of a scenario. A run that proves dishonest is refused
// and does not end the rest.
func (r *rig) play(ctx context.Context, s scenario) (*result, error) {
	if r.before != "" {
		at := len(s.peers) - 1 // warder, which is last
		other := s.peers[at]
		other.name, other.program = "warder before", r.before
		s.peers = slices.Insert(slices.Clone(s.peers), at, other)
	}
	res := &result{scenario: s, options: r.options, runs: make([][]*figures, len(s.peers))}
	fmt.Fprintf(os.Stderr, "\n%s: %s\n", s.name, s.about)
	w, err := r.prepare(s)
	if err != nil {
		return nil, err
	}
	for round := range r.rounds {
		for i := range s.peers {
			i = (i + round) % len(s.peers)
			c := s.peers[i]
			f, err := r.turn(ctx, c, w)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			label := fmt.Sprintf("  round %d of %d  %-14s", round+1, r.rounds, c.name)
			if err != nil {
				res.refused = append(res.refused, fmt.Sprintf("round %d, %s: %s", round+1, c.name, strings.ReplaceAll(err.Error(), "\n", "; ")))
				fmt.Fprintf(os.Stderr, "%s REFUSED: %v\n", label, err)
				f = nil
			} else {
				fmt.Fprintf(os.Stderr, "%s %6.1f µs  %7.0f/s  p99 %6.2f ms  elsewhere %.2f cores\n", label, f.cpu, f.rate, f.p99, f.elsewhere)
			}
			res.runs[i] = append(res.runs[i], f)
		}
	}
	return res, nil
}

// turn starts one proxy, measures it under load and ends it.
func (r *rig) turn(ctx context.Context, c contender, w *work) (*figures, error) {
	r.turns++
	dir := filepath.Join(r.dir, fmt.Sprintf("run-%d", r.turns))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // the folder above goes in any case
	proxyCore, loadCore, threads := r.cores()
	s := site{Dir: dir, Backend: r.backendPort, Cores: threads, Root: os.Geteuid() == 0, Guarded: c.guarded, Issuer: tokenIssuer, Audience: tokenAudience, Scope: tokenScope}
	if c.log != "" {
		s.Log = filepath.Join(dir, c.log)
	}
	for _, port := range []*int{&s.Port, &s.Admin} {
		var err error
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	if err := r.render(c.kind.config, dir, s); err != nil {
		return nil, err
	}
	p := newProber(fmt.Sprintf("http://127.0.0.1:%d%s", s.Port, path), r.body)
	l := load{url: p.url, connections: r.connections, threads: min(2, threads), core: loadCore, tokens: w.file}
	if w.signer != nil {
		p.token, l.token = w.tokens[0], w.tokens[0]
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
	program := c.kind.program
	switch {
	case c.program != "":
		program = c.program
	case c.kind.program == "warder":
		program = r.warder
	}
	proxy, err := start(dir, env, pin(proxyCore, append([]string{program}, c.kind.args(dir)...)...)...)
	if err != nil {
		return nil, err
	}
	defer proxy.stop()
	if err := proxy.until(ctx, func() bool { return p.allowed(ctx) == nil }); err != nil {
		return nil, err
	}
	if err := p.all(ctx); err != nil {
		return nil, fmt.Errorf("before the run: %w", err)
	}
	var warm outcome
	if r.warm > 0 {
		if warm, err = l.run(ctx, r.script(), r.warm); err != nil {
			return nil, fmt.Errorf("warming up: %w", err)
		}
	}

	m, err := r.loaded(ctx, proxy, p, l)
	if err != nil {
		return nil, err
	}
	passed, turned := p.counts()
	passed += m.load.Requests + warm.Requests
	honest := m.judge(r.connections)
	if c.log != "" {
		lines, err := logged(ctx, s.Log, passed, turned, 2*r.connections)
		honest = errors.Join(honest, err)
		if c.kind.metrics {
			n, err := p.counted(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", s.Admin))
			honest = errors.Join(honest, err, within("requests in the metrics", n, lines, lines))
		}
	}
	if honest != nil {
		return nil, honest
	}
	return m.figures(), nil
}

// measurement is one run under load, before it is judged.
type measurement struct {
	load                outcome
	before, after       tree // of the proxy
	backend, busy       time.Duration
	upstream            upstream // that the run added
	rss, probes, passed int      // passed: of the prober's questions
	wrong               error    // what the prober met
}

// loaded runs the load once while the prober asks its questions.
func (r *rig) loaded(ctx context.Context, proxy *process, p *prober, l load) (m measurement, err error) {
	var backend [2]tree
	var machine [2]time.Duration
	var seen [2]upstream
	look := func(i int, proxyTree *tree) (err error) {
		var errs [4]error
		seen[i], errs[0] = p.readUpstream(ctx, r.backendURL("/stub"))
		backend[i], errs[1] = readTree(r.backend.cmd.Process.Pid)
		machine[i], errs[2] = busy()
		*proxyTree, errs[3] = readTree(proxy.cmd.Process.Pid)
		return errors.Join(errs[:]...)
	}
	passed, _ := p.counts()
	if err := look(0, &m.before); err != nil {
		return m, err
	}
	probing, stop := context.WithCancel(ctx)
	defer stop()
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		m.probes, m.wrong = p.during(probing)
	}()
	m.load, err = l.run(ctx, r.script(), r.seconds)
	stop()
	<-probed
	if err != nil {
		return m, err
	}
	if err := look(1, &m.after); err != nil {
		return m, err
	}
	m.rss = m.after.rss()
	m.backend, m.busy = backend[1].cpu()-backend[0].cpu(), machine[1]-machine[0]
	m.upstream = upstream{seen[1].connections - seen[0].connections - 1, seen[1].requests - seen[0].requests - 1}
	m.passed, _ = p.counts()
	m.passed -= passed
	return m, nil
}

// judge says what makes the run dishonest.
func (m *measurement) judge(connections int) error {
	var errs []error
	if m.wrong != nil {
		errs = append(errs, fmt.Errorf("during the run: %w", m.wrong))
	}
	if m.probes == 0 {
		errs = append(errs, errors.New("nothing was asked during the run"))
	}
	if !m.before.same(m.after) {
		errs = append(errs, errors.New("the proxy's processes changed during the run"))
	}
	asked := m.load.Requests + m.passed
	return errors.Join(append(errs,
		within("answers of 400 and above", m.load.StatusErrors, 0, 0),
		within("broken connections and time-outs", m.load.SocketErrors, 0, 0),
		// Every completed request came from the backend, and none twice.
		within("requests that reached the backend", m.upstream.requests, asked, asked+2*connections),
		within("connections opened to the backend", m.upstream.connections, 0, 3*connections),
	)...)
}

// figures returns what was measured.
func (m *measurement) figures() *figures {
	n, seconds := float64(m.load.Requests), float64(m.load.Micros)/1e6
	cpu := m.after.cpu() - m.before.cpu()
	return &figures{
		cpu:       float64(cpu.Microseconds()) / n,
		rate:      n / seconds,
		p50:       float64(m.load.P50) / 1000,
		p99:       float64(m.load.P99) / 1000,
		rss:       float64(m.rss) / (1 << 20),
		elsewhere: max(0, (m.busy-cpu-m.backend-m.load.cpu).Seconds()/seconds),
		opened:    m.upstream.connections,
		probes:    m.probes,
	}
}
