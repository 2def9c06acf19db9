package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/gateway"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generous is how long tests wait for what comes at once: a busy machine makes
// them slow and never red.
const generous = time.Minute

// house is a gateway on real sockets.
type house struct {
	*gateway.Gateway
	t        testing.TB
	live     *snapshot.Live
	records  *events.Recorder
	compiler *snapshot.Compiler
	log      *lockedBuffer
	metrics  *telemetry.Metrics
	patience time.Duration // with bodies; 0: the default
	ahead    atomic.Int64  // of the clock by which streams are judged
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newHouse makes a gateway that serves nothing yet. Policies are put over
// those of the catalog; locals are answered by ourselves on host local.
func newHouse(t testing.TB, locals http.Handler, policies ...pipeline.Kind) *house {
	t.Helper()
	h := &house{t: t, live: &snapshot.Live{}, log: &lockedBuffer{}}
	var codes []telemetry.Code
	for _, c := range fault.Codes() {
		codes = append(codes, telemetry.Code{Name: c.String(), Status: c.Status()})
	}
	metrics := telemetry.NewMetrics("test", codes)
	h.records, h.metrics = events.NewRecorder(metrics), metrics
	catalog := policy.Catalog()
	for _, p := range policies {
		for i := range catalog {
			if catalog[i].Path == p.Path {
				catalog[i] = p
			}
		}
	}
	h.compiler = &snapshot.Compiler{
		Catalog: catalog, Pool: snapshot.NewPool(), Metrics: metrics, Verdicts: keys.NewVerdicts(), Counters: counters.NewMemory(1 << 16),
		Nonces: binding.NewNonces(), Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile,
		Local: func(*config.Document) (l snapshot.Local, err error) {
			if locals != nil {
				l.Routes = []snapshot.LocalRoute{{Name: "ours", Host: "local", Path: "/ours", Methods: []string{"GET", "HEAD", "POST"}, Handler: locals, MaxBody: 1000}}
			}
			return l, nil
		},
	}
	h.Gateway = gateway.New(gateway.Config{
		Live: h.live, Records: h.records, Unrouted: metrics.Route(""),
		Log:        slog.New(slog.NewTextHandler(h.log, nil)),
		Now:        func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) },
		HTTP2Error: metrics.HTTP2Error,
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		if err := h.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		h.live.Swap(nil)
		h.records.Close()
	})
	return h
}

func (h *house) compile(document string) *snapshot.Snapshot {
	h.t.Helper()
	doc, problems := config.Decode("warder.yaml", []byte(document), h.compiler.Vocabulary())
	if len(problems) > 0 {
		h.t.Fatal(problems)
	}
	config.Resolve(doc, config.Sources{})
	s, problems := h.compiler.Compile(doc)
	if len(problems) > 0 {
		h.t.Fatal(problems)
	}
	return s
}

// load puts a document in force; what Prepare says is returned.
func (h *house) load(document string) error {
	h.t.Helper()
	s := h.compile(document)
	for _, l := range s.Listeners {
		l.Limits.BodyTimeout, l.Limits.WriteTimeout = h.patience, h.patience
	}
	commit, _, err := h.Prepare(s)
	if err != nil {
		s.Release()
		return err
	}
	s.Prepare()
	h.live.Swap(s)
	commit()
	return nil
}

// serve loads a document with one listener and returns its address. rest
// stands behind the listener's address; routes behind upstream b.
func (h *house) serve(rest, routes string) string {
	h.t.Helper()
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0"`+rest+` }`, routes)); err != nil {
		h.t.Fatal(err)
	}
	return h.Addresses()["one"]
}

func document(listeners, routes string) string {
	return "listeners: [" + listeners + "]\nupstreams: { b: [http://127.0.0.1:1] }\nroutes:\n" + routes
}

const closed = "  - { name: x, path: /x, upstream: b, auth: { apiKey: true } }\n"

// backend answers with "backend" after the handler, if any, has had its say.
func backend(t *testing.T, handler func(w http.ResponseWriter, r *http.Request)) (routes string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler != nil {
			handler(w, r)
		}
		io.WriteString(w, "backend")
	}))
	t.Cleanup(srv.Close)
	return "  - { name: x, path: /x, upstream: c, auth: none }\nX" + srv.URL
}

// through makes a document of listeners and the routes of a backend.
func through(listeners, routes string) string {
	routes, url, _ := strings.Cut(routes, "X")
	return strings.Replace(document(listeners, routes), "upstreams: { ", "upstreams: { c: ["+url+"], ", 1)
}

// conn is a client that speaks by hand.
type conn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, address string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return talk(t, c)
}

func talk(t testing.TB, c net.Conn) *conn {
	c.SetDeadline(time.Now().Add(generous))
	t.Cleanup(func() { c.Close() })
	return &conn{c, t, bufio.NewReader(c)}
}

func (c *conn) send(method, path string, fields ...string) {
	c.t.Helper()
	head := method + " " + path + " HTTP/1.1\r\nHost: local\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the status, the header and the body of a response.
func (c *conn) receive(method string) (int, http.Header, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func (c *conn) ask(method, path string, fields ...string) (int, http.Header, string) {
	c.t.Helper()
	c.send(method, path, fields...)
	return c.receive(method)
}

// ended waits until the peer has closed the connection.
func (c *conn) ended() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Fatalf("there is another byte: %q", b)
	} else if os.IsTimeout(err) {
		c.t.Fatal("the connection stays open")
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(generous)
	for !holds() {
		select {
		case <-deadline:
			t.Fatal("never: " + what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// certificate returns the words of a TLS listener for 127.0.0.1 and a client
// that speaks HTTP/2 and trusts it.
func certificate(t testing.TB) (words string, client *http.Client) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(files["tls.crt"])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return fmt.Sprintf(", tls: { certificates: [{ certFile: %q, keyFile: %q }] }", filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")),
		&http.Client{Transport: transport, Timeout: generous}
}
