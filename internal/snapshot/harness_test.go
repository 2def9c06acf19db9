package snapshot_test

import (
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newCompiler returns a compiler with the real catalog and nothing of our own
// to answer.
func newCompiler() *snapshot.Compiler {
	return &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: telemetry.NewMetrics("test", nil),
		Verdicts: keys.NewVerdicts(), Counters: counters.NewMemory(1 << 16), Log: slog.New(slog.DiscardHandler),
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		Local:    func(*config.Document) (snapshot.Local, error) { return snapshot.Local{}, nil },
	}
}

// compileAll takes a document as far as it goes.
func compileAll(c *snapshot.Compiler, src string) (*snapshot.Snapshot, config.Problems) {
	doc, problems := config.Decode("warder.yaml", []byte(src), c.Vocabulary())
	if doc == nil {
		return nil, problems
	}
	config.Resolve(doc, config.Sources{})
	return c.Compile(doc)
}

// compile compiles a document without problems; the snapshot is released when
// the test ends.
func compile(t testing.TB, c *snapshot.Compiler, src string) *snapshot.Snapshot {
	t.Helper()
	s, problems := compileAll(c, src)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%v", problems)
	}
	t.Cleanup(s.Release)
	return s
}

// complaints compiles a document with problems.
func complaints(t testing.TB, c *snapshot.Compiler, src string) string {
	t.Helper()
	s, problems := compileAll(c, src)
	if s != nil {
		s.Release()
		t.Fatalf("was accepted:\n%s", src)
	}
	return problems.Error()
}

// ask decides one request; fields are "Name: value".
func ask(s *snapshot.Snapshot, method, target string, fields ...string) (*exchange.Exchange, *snapshot.Route, fault.Code) {
	x := &exchange.Exchange{Start: now, Client: netip.MustParseAddr("192.0.2.1"), Conn: &exchange.Conn{}}
	x.Req.Reset()
	x.Req.Method, x.Req.Target, x.Req.Major, x.Req.Minor = []byte(method), []byte(target), 1, 1
	for _, f := range append([]string{"Host: api.example.com"}, fields...) {
		name, value, _ := strings.Cut(f, ":")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte(strings.TrimSpace(value))})
	}
	if f := http1.Accept(&x.Req); f != nil {
		return x, nil, f.Code
	}
	r, v := s.Decide(x, &pipeline.World{Now: now, Counters: counters.NewMemory(1 << 16)})
	return x, r, v.Code()
}

// local is what an authorization server at auth.example.com/auth would bring.
func local(*config.Document) (snapshot.Local, error) {
	h := http.NotFoundHandler()
	return snapshot.Local{Routes: []snapshot.LocalRoute{
		{Name: "token", Host: "auth.example.com", Path: "/auth/token", Methods: []string{"POST"}, Handler: h, MaxBody: 100},
		{Name: "discovery", Host: "auth.example.com", Path: "/.well-known/openid-configuration", Methods: []string{"GET"}, Handler: h},
	}}, nil
}

const upstreams = "upstreams: { b: [http://127.0.0.1:9000] }\n"
