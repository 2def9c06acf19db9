//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
)

//go:embed cfg
var cfg embed.FS

// rig holds what all runs share.
type rig struct {
	options
	dir     string
	machine []string // facts, one a line

	nginx, sink *backend
	body        []byte         // of their answers
	roots       *x509.CertPool // of the certificate that all proxies have
	turns       int            // runs so far; each has a folder of its own
}

// backend is a server behind the proxies, which counts what reaches it.
type backend struct {
	*process
	port int
}

func (b *backend) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", b.port, path) }

// site is what the templates know.
type site struct {
	Dir                     string
	Port, Admin, Backend    int
	Cores                   int    // threads or workers
	State                   string // folder of Warder's
	Root, Guarded, Keyed    bool
	TLS, H2                 bool
	Cert, Key               string
	Large, Buffers          bool     // bodies are large; answers are held in buffers
	Others                  []string // paths of further routes
	Log                     string   // path; empty: none
	Body                    string
	Issuer, Audience, Scope string
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

// up writes what all runs share, and starts the backends.
func (r *rig) up(ctx context.Context) (err error) {
	script, err := cfg.ReadFile("cfg/wrk.lua")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "wrk.lua"), script, 0o600); err != nil {
		return err
	}
	if r.roots, err = writeCertificate(r.dir); err != nil {
		return err
	}
	r.body = body1K()
	defer func() {
		if err != nil {
			r.down()
		}
	}()
	r.nginx, err = r.serve(ctx, "nginx", func(dir string, port int) ([]string, error) {
		s := site{Dir: dir, Port: port, Root: os.Geteuid() == 0, Body: string(r.body)}
		hole := filepath.Join(dir, "large.bin")
		err := errors.Join(r.render("backend.conf", dir, s), os.WriteFile(hole, nil, 0o600), os.Truncate(hole, large))
		return []string{"nginx", "-p", dir + "/", "-e", filepath.Join(dir, stderrFile), "-c", filepath.Join(dir, "backend.conf")}, err
	})
	if err != nil {
		return err
	}
	r.sink, err = r.serve(ctx, "sink", func(dir string, port int) ([]string, error) {
		file := filepath.Join(dir, "body.json")
		return []string{filepath.Join(r.dir, "kit"), "sink", "-address", fmt.Sprintf("127.0.0.1:%d", port), "-body", file}, os.WriteFile(file, r.body, 0o600)
	})
	return err
}

// serve starts a backend in a folder of its own and waits until it answers.
func (r *rig) serve(ctx context.Context, name string, command func(dir string, port int) ([]string, error)) (*backend, error) {
	dir := filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args, err := command(dir, port)
	if err != nil {
		return nil, err
	}
	_, core, _ := r.cores()
	p, err := start(dir, nil, pin(core, args...)...)
	if err != nil {
		return nil, err
	}
	b := &backend{p, port}
	ask := newProber(b.url(path), r.body, nil)
	if err := p.until(ctx, func() bool { return ask.allowed(ctx) == nil }); err != nil {
		p.stop()
		return nil, fmt.Errorf("the backend %s: %w", name, err)
	}
	return b, nil
}

// ended says why a backend does not serve any more; nothing can be measured
// without it.
func (b *backend) ended() error {
	select {
	case <-b.done:
		return errors.Join(fmt.Errorf("a backend ended by itself: %s", b.cmd.ProcessState), b.said())
	default:
		return nil
	}
}

// down ends the backends that were started.
func (r *rig) down() {
	for _, b := range []*backend{r.nginx, r.sink} {
		if b != nil {
			b.stop()
		}
	}
}

// work is what a scenario sends and what must be refused, made once.
type work struct {
	signer *signer
	fields []string // that carry a credential: "Name: value"
	bad    []refusable
	state  string // folder with a store of keys; empty: everyone makes one of their own
}

func (r *rig) prepare(ctx context.Context, s scenario) (*work, error) {
	w := &work{}
	if s.tokens == 0 {
		return w, nil
	}
	var err error
	if s.keys > 0 {
		w.state = filepath.Join(r.dir, "stocked")
		keys, err := r.stock(ctx, w.state, s.keys, s.tokens)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			w.fields = append(w.fields, "X-Api-Key: "+key)
		}
		stranger, err := apiKey()
		w.bad = []refusable{{"a key that nobody has", "X-Api-Key: " + stranger, []int{401}}, {what: "no key", status: []int{401}}}
		return w, err
	}
	if w.signer, err = newSigner(); err != nil {
		return nil, err
	}
	tokens, err := w.signer.tokens(s.tokens)
	if err != nil {
		return nil, err
	}
	for _, token := range tokens {
		w.fields = append(w.fields, "Authorization: Bearer "+token)
	}
	w.bad, err = w.signer.bad()
	return w, err
}

// requests writes the requests that are sent in turn to a file of dir, a path
// and the field of a credential on a line. It returns an empty name if all are the same.
func (w *work) requests(dir string, paths []string) (string, error) {
	var b strings.Builder
	switch {
	case len(w.fields) > 1:
		for _, field := range w.fields {
			fmt.Fprintf(&b, "%s\t%s\n", path, field)
		}
	case len(paths) > 0:
		for _, p := range paths {
			fmt.Fprintf(&b, "%s\t\n", p)
		}
	default:
		return "", nil
	}
	name := filepath.Join(dir, "requests")
	return name, os.WriteFile(name, []byte(b.String()), 0o600)
}

// manyRoutes returns n-1 patterns of routes beside the one that is always
// there, and a path for each of the n.
func manyRoutes(n int) (patterns, paths []string) {
	shapes := [...]struct{ pattern, path string }{{"", ""}, {"/{id}", "/42"}, {"/{id}/items", "/42/items"}, {"/search", "/search"}, {"/**", "/a/b/c"}}
	paths = []string{path}
	for i := range n - 1 {
		base, s := fmt.Sprintf("/api/v%d/service-%d", i%3+1, i/len(shapes)), shapes[i%len(shapes)]
		patterns, paths = append(patterns, base+s.pattern), append(paths, base+s.path)
	}
	return patterns, paths
}

// play runs all rounds of a scenario. A run that proves dishonest is refused
// and does not end the rest.
func (r *rig) play(ctx context.Context, s scenario) (*result, error) {
	if r.before != "" {
		at := len(s.peers) - 1 // warder, which is last
		other := s.peers[at]
		other.name, other.program = other.name+" before", r.before
		s.peers = slices.Insert(slices.Clone(s.peers), at, other)
	}
	rounds := r.rounds
	if s.rounds > 0 {
		rounds = min(rounds, s.rounds)
	}
	res := &result{scenario: s, rounds: rounds, runs: make([][]*figures, len(s.peers))}
	fmt.Fprintf(os.Stderr, "\n%s: %s\n", s.name, s.about)
	w, err := r.prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	for round := range rounds {
		for i := range s.peers {
			i = (i + round) % len(s.peers)
			c := s.peers[i]
			f, err := r.turn(ctx, s, c, w, r.seconds, nil)
			if err := errors.Join(ctx.Err(), r.nginx.ended(), r.sink.ended()); err != nil {
				return nil, err
			}
			label := fmt.Sprintf("  round %d of %d  %-14s", round+1, rounds, c.name)
			if err != nil {
				res.refuse(fmt.Sprintf("round %d, %s", round+1, c.name), err)
				fmt.Fprintf(os.Stderr, "%s REFUSED: %v\n", label, err)
				f = nil
			} else {
				fmt.Fprintf(os.Stderr, "%s %s\n", label, f.line(s.measures))
			}
			res.runs[i] = append(res.runs[i], f)
		}
	}
	if s.benchmarks != "" {
		if res.notes, err = benchmarks(ctx, s.benchmarks); err != nil {
			res.refuse("Go benchmarks", err)
		}
	}
	if r.profile {
		if res.profile, err = r.profiled(ctx, s, w); err != nil {
			res.refuse("profile", err)
		}
	}
	return res, ctx.Err()
}
