// Package policytest runs scenario files: a configuration, requests, and what
// must become of them. A policy's folder holds its scenarios in testdata, so
// that what it promises can be read without reading code.
//
// A file in txtar form is one of two kinds. A good one has a section config,
// which is a whole document, and then pairs of
//
//	-- request NAME [from ADDRESS] [N times] --
//	GET /orders/1 HTTP/1.1
//	Host: api.example.com
//	-- want NAME --
//	403 scope_missing
//	want scopes [orders:read]
//
// The first line of want is 200 for a request that passes, or status and
// inner code of the refusal; each further line must occur in what the gateway
// has to say of the request: its trail, the challenges, Retry-After, the
// identity, the names of the fields that go on to the upstream, and those that
// the gateway puts in for it, with their values. Requests run in order over the same counters, with the clock
// standing still at Now; a section "wait 10s" moves it.
//
// A bad file has config and a section problems, which lists every complaint,
// line by line.
//
// Templates stand for what cannot be written down: {{token issuer=corp
// scope="orders:read" exp=+5m}} is a token signed with a key made for this
// run (see token), {{keys}} the name of the file with its public half,
// {{key NAME}} and {{hash NAME}} are an API key and its hash, {{phc NAME}} is
// the hash of a password, {{basic USER NAME}} the Basic credential of a user
// with it and {{base64 TEXT}} one of any text.
package policytest

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// Now is what the clock says when a scenario begins.
var Now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Run runs every scenario file of the folder. That there is none is a failure.
func Run(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) < 2 || a.Files[0].Name != "config" {
				t.Fatal("a scenario begins with a section config and goes on with requests or problems")
			}
			s := &scenario{templates: newTemplates(t), now: Now, counters: counters.NewMemory(1 << 16)}
			document := s.fill(t, string(a.Files[0].Data))
			if a.Files[1].Name == "problems" {
				s.refuses(t, document, string(a.Files[1].Data))
				return
			}
			s.load(t, document)
			s.play(t, a.Files[1:])
		})
	}
}

// scenario is one file being run.
type scenario struct {
	*templates
	now      time.Time
	counters *counters.Memory
	snapshot *snapshot.Snapshot
}

const documentName = "warder.yaml"

// compile takes a document down the road that a file takes.
func (s *scenario) compile(document string) (*snapshot.Snapshot, config.Problems) {
	compiler := &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: telemetry.NewMetrics("test", nil),
		Verdicts: keys.NewVerdicts(), Counters: counters.NewMemory(1 << 16), Guard: guessing.NewGuard(), Nonces: binding.NewNonces(), Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile,
		Assertions: authority(), Local: func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, nil },
	}
	doc, problems := config.Decode(filepath.Join(s.dir, documentName), []byte(document), compiler.Vocabulary())
	if doc == nil {
		return nil, problems
	}
	config.Resolve(doc, config.Sources{File: secret.ReadFile})
	s.document = doc
	return compiler.Compile(doc)
}

// authority signs with a key of its own.
func authority() *assertion.Authority {
	a := assertion.New(slog.New(slog.DiscardHandler))
	if key, err := keys.NewLocalSigner(); err == nil {
		a.Use(key) // with one key it cannot fail; without any, requests are refused
	}
	return a
}

func (s *scenario) load(t *testing.T, document string) {
	snap, problems := s.compile(document)
	if len(problems) > 0 {
		t.Fatalf("the configuration has problems:\n%v", problems)
	}
	s.snapshot = snap
	t.Cleanup(snap.Release)
	snap.Prepare()
}

func (s *scenario) refuses(t *testing.T, document, want string) {
	snap, problems := s.compile(document)
	if snap != nil {
		snap.Release()
		t.Fatal("the configuration was accepted")
	}
	got := strings.ReplaceAll(problems.Error(), filepath.Join(s.dir, documentName), documentName) + "\n"
	if diff := cmp.Diff(strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// play runs the sections in order.
func (s *scenario) play(t *testing.T, sections []txtar.File) {
	for len(sections) > 0 {
		head := strings.Fields(sections[0].Name)
		switch {
		case len(head) == 2 && head[0] == "wait":
			d, err := time.ParseDuration(head[1])
			if err != nil {
				t.Fatal(err)
			}
			s.now = s.now.Add(d)
			sections = sections[1:]
		case len(head) >= 2 && head[0] == "request" && len(sections) > 1 && sections[1].Name == "want "+head[1]:
			req, want := string(sections[0].Data), string(sections[1].Data)
			t.Run(head[1], func(t *testing.T) { s.ask(t, head[2:], req, want) })
			sections = sections[2:]
		default:
			t.Fatalf("section %q is neither a wait nor a request with its want behind it", sections[0].Name)
		}
	}
}

// ask runs one request, maybe more than once, and holds every outcome against
// want.
func (s *scenario) ask(t *testing.T, options []string, request, want string) {
	times, from := 1, netip.MustParseAddr("192.0.2.1")
	for len(options) >= 2 {
		var err error
		if options[0] == "from" {
			from, err = netip.ParseAddr(options[1])
		} else if times, err = strconv.Atoi(options[0]); options[1] != "times" {
			t.Fatalf("what is %q", options)
		}
		if err != nil {
			t.Fatal(err)
		}
		options = options[2:]
	}
	if len(options) > 0 {
		t.Fatalf("what is %q", options)
	}
	request = s.fill(t, request)
	lines := strings.Split(strings.TrimSpace(want), "\n")
	for n := range times {
		outcome, said := s.decide(t, from, request)
		if outcome != lines[0] {
			t.Errorf("call %d: %s, want %s\n%s", n+1, outcome, lines[0], said)
		}
		for _, line := range lines[1:] {
			if !strings.Contains(said, s.fill(t, line)) {
				t.Errorf("call %d: nothing says %q in\n%s", n+1, line, said)
			}
		}
		for _, secret := range s.secrets {
			if strings.Contains(said, secret) {
				t.Errorf("call %d: a credential is told:\n%s", n+1, said)
			}
		}
	}
}

// decide asks the one decision function, and returns the outcome and all there
// is to say of it.
func (s *scenario) decide(t *testing.T, from netip.Addr, request string) (outcome, said string) {
	t.Helper()
	x := &exchange.Exchange{Start: s.now, Client: from, Conn: &exchange.Conn{Listener: "test"}}
	x.Req.Reset()
	readHead(t, &x.Req, request)
	code := fault.None
	if f := http1.Accept(&x.Req); f != nil {
		code, x.Reason = f.Code, f.Reason
	} else {
		var verdict pipeline.Verdict
		var route *snapshot.Route
		route, verdict = s.snapshot.Decide(x, &pipeline.World{Now: s.now, Counters: s.counters, Replays: s.counters, Remote: true})
		if verdict.Passed() {
			verdict = route.Chain.Transform(x, &pipeline.World{Now: s.now})
		}
		if code = verdict.Code(); verdict.Passed() {
			route.StripCredentials(x)
		}
	}
	rec := events.Capture(x, s.snapshot.Legend(), code, 0)
	e := events.Explain(&rec)
	var b strings.Builder
	for _, step := range e.Steps {
		fmt.Fprintln(&b, strings.TrimSpace(strings.Join(strings.Fields(step.Outcome+" "+step.Phase+" "+step.Name+" "+step.Saw), " ")))
	}
	for _, challenge := range x.Challenges {
		fmt.Fprintln(&b, "WWW-Authenticate: "+challenge)
	}
	x.RespEdit.Each(func(name string, value []byte) { fmt.Fprintf(&b, "%s: %s\n", name, value) })
	if x.RetryAfter > 0 {
		fmt.Fprintln(&b, "retry after", x.RetryAfter)
	}
	if id := x.Identity; id != nil {
		fmt.Fprintf(&b, "identity %s consumer %q subject %q\n", id.Method, id.Consumer, id.Subject)
	}
	fmt.Fprintf(&b, "public %s\nreason %s\nmend %s\n", e.Public, e.Reason, e.Mend)
	if code == fault.None {
		b.WriteString("goes on:")
		for i := range x.Req.Fields {
			if f := &x.Req.Fields[i]; !f.Drop {
				fmt.Fprintf(&b, " %s", f.Name)
			}
		}
		b.WriteByte('\n')
		x.ReqEdit.Each(func(name string, value []byte) { fmt.Fprintf(&b, "put in %s: %s\n", name, value) })
		return "200", b.String()
	}
	return fmt.Sprint(code.Status(), " ", code), b.String()
}

// readHead reads a request head as it is written in a file: its lines end
// with a newline alone.
func readHead(t *testing.T, h *exchange.Head, text string) {
	t.Helper()
	first, fields, _ := strings.Cut(strings.TrimSpace(text), "\n")
	method, rest, _ := strings.Cut(first, " ")
	target, ok := strings.CutSuffix(rest, " HTTP/1.1")
	if !ok {
		t.Fatalf("%q is no request line", first)
	}
	h.Method, h.Target, h.Major, h.Minor = []byte(method), []byte(target), 1, 1
	for line := range strings.Lines(fields) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%q is no header field", line)
		}
		h.Fields = append(h.Fields, exchange.Field{Name: []byte(name), Value: []byte(strings.TrimSpace(value))})
	}
}

// write puts a file beside the document.
func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}
