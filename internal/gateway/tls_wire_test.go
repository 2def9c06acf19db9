package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// hello returns the first flight of a client, as one record.
func hello(t *testing.T, cfg *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(near, cfg).Handshake()
	}()
	defer func() { far.Close(); <-done }()
	head := make([]byte, 5)
	if _, err := io.ReadFull(far, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(far, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// offerEarlyData puts the extension early_data (RFC 8446 section 4.2.10) into
// the record of a ClientHello.
func offerEarlyData(record []byte) []byte {
	at := 5 + 4 + 2 + 32
	at += 1 + int(record[at])
	at += 2 + int(binary.BigEndian.Uint16(record[at:]))
	at += 1 + int(record[at])
	out := append([]byte{}, record[:at+2]...)
	out = append(append(out, 0, 42, 0, 0), record[at+2:]...)
	for _, length := range []int{3, 7, at} { // of the record, the message and the extensions; none needs its third byte
		binary.BigEndian.PutUint16(out[length:], binary.BigEndian.Uint16(out[length:])+4)
	}
	return out
}

func TestEarlyDataIsNeverTaken(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	var asked atomic.Int64
	h := newHouse(t, nil)
	routes := backend(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0", tls: { certificates: [`+ca.server("a.example")+"] } }", routes)); err != nil {
		t.Fatal(err)
	}
	plain := hello(t, &tls.Config{ServerName: "a.example", RootCAs: ca.pool()})
	early := append(offerEarlyData(plain), 23, 3, 3, 0, 64)
	early = append(early, make([]byte, 64)...)
	for name, c := range map[string]struct {
		bytes []byte
		kind  byte // of the first record that comes back
	}{
		"without": {plain, 22}, // a ServerHello: the bytes are right
		"with":    {early, 21}, // an alert
	} {
		conn := dial(t, h.Addresses()["one"])
		conn.Write(c.bytes)
		kind, err := conn.r.ReadByte()
		if err != nil || kind != c.kind {
			t.Errorf("%s early data: record %d, %v", name, kind, err)
		}
		if c.kind == 21 {
			rest, _ := io.ReadAll(conn.r)
			if bytes.IndexByte(rest, 23) >= 0 {
				t.Errorf("%s early data: answered %x", name, rest)
			}
		}
		conn.Close()
	}
	if asked.Load() != 0 {
		t.Error("the upstream has seen early data")
	}
}

func TestOnlyProtocolsOfOursAreAgreedOn(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	h := newHouse(t, nil)
	address := h.serve(", tls: { certificates: ["+ca.server("a.example")+"] }", closed)
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{nil, ""}, {[]string{"http/1.1"}, "http/1.1"}, {[]string{"http/1.1", "h2"}, "h2"}, {[]string{"ftp", "h2"}, "h2"},
		{[]string{"ftp"}, "refused"}, {[]string{"smtp", "xmpp-server"}, "refused"}, {[]string{"h2c"}, "refused"}, {[]string{"H2"}, "refused"}, {[]string{"http/1.0"}, "refused"},
	} {
		conn, err := over(t, address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), NextProtos: c.offered})
		got := "refused"
		if err == nil {
			got = conn.ConnectionState().NegotiatedProtocol
		}
		if got != c.want {
			t.Errorf("%q: %q", c.offered, got)
		}
	}
	// What was not agreed on is not spoken: the preface of HTTP/2 is no request.
	conn, err := over(t, address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if b, _ := io.ReadAll(conn); !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) || bytes.HasPrefix(b, []byte("HTTP/1.1 2")) {
		t.Errorf("HTTP/2 unasked: %.80q", b)
	}
}

func TestVersionsAndKeyExchange(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	h := newHouse(t, nil)
	words := func(min string) string {
		return ", tls: { certificates: [" + ca.server("a.example") + "], minVersion: " + min + " } }"
	}
	if err := h.load(document(`{ name: "1.2", address: "127.0.0.1:0"`+words("1.2")+`, { name: "1.3", address: "127.0.0.2:0"`+words("1.3"), closed)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		listener string
		version  uint16
		good     bool
	}{
		{"1.2", tls.VersionTLS10, false}, {"1.2", tls.VersionTLS11, false}, {"1.2", tls.VersionTLS12, true}, {"1.2", tls.VersionTLS13, true},
		{"1.3", tls.VersionTLS12, false}, {"1.3", tls.VersionTLS13, true},
	} {
		conn, err := over(t, h.Addresses()[c.listener], &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), MinVersion: c.version, MaxVersion: c.version})
		if (err == nil) != c.good {
			t.Errorf("%s: TLS %x: %v", c.listener, c.version, err)
		}
		if err == nil && c.version == tls.VersionTLS13 && conn.ConnectionState().CurveID != tls.X25519MLKEM768 {
			t.Errorf("%s: keys are exchanged by %v", c.listener, conn.ConnectionState().CurveID)
		}
	}
}

func TestHSTSIsSaidOverTLSOnly(t *testing.T) {
	t.Parallel()
	const usual, own = "max-age=31536000", "max-age=63072000; includeSubDomains; preload"
	ca := newAuthority(t, "servers")
	h := newHouse(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ours") }))
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Own") != "" {
			w.Header().Set("Strict-Transport-Security", own)
		}
	})
	h1, h2, _ := strings.Cut(routes, "X")
	routes = h1 + "  - { name: key, path: /key, upstream: b, auth: { apiKey: true } }\n  - { name: dead, path: /dead, upstream: b, auth: none }\nX" + h2
	if err := h.load(through(`{ name: tls, address: "127.0.0.1:0", tls: { certificates: [`+ca.server("local")+`] } },
  { name: plain, address: "127.0.0.2:0" }, { name: front, address: "127.0.0.3:0", trustedProxies: [127.0.0.1/32] }`, routes)); err != nil {
		t.Fatal(err)
	}
	open := map[string]func() *conn{
		"tls": func() *conn {
			c, err := tls.Dial("tcp", h.Addresses()["tls"], &tls.Config{ServerName: "local", RootCAs: ca.pool()})
			if err != nil {
				t.Fatal(err)
			}
			return talk(t, c)
		},
		"plain": func() *conn { return dial(t, h.Addresses()["plain"]) },
		"front": func() *conn { return dial(t, h.Addresses()["front"]) },
	}
	for _, c := range []struct{ listener, path, field, want string }{
		{"tls", "/x", "A: b", usual}, {"tls", "/x", "Own: yes", own}, {"tls", "/key", "A: b", usual}, {"tls", "/nowhere", "A: b", usual},
		{"tls", "/dead", "A: b", usual}, {"tls", "/ours", "A: b", usual}, {"tls", "/%", "A: b", usual}, {"tls", "/x", "Transfer-Encoding: foo", usual},
		{"plain", "/x", "A: b", ""}, {"plain", "/x", "Own: yes", ""}, {"plain", "/nowhere", "A: b", ""}, {"plain", "/ours", "A: b", ""},
		{"plain", "/x", "X-Forwarded-Proto: https", ""},
		{"front", "/x", "X-Forwarded-Proto: https", usual}, {"front", "/x", "X-Forwarded-Proto: http", ""},
	} {
		_, header, _ := open[c.listener]().ask("GET", c.path, c.field)
		if got := strings.Join(header.Values("Strict-Transport-Security"), " and "); got != c.want {
			t.Errorf("%s %s with %q: %q", c.listener, c.path, c.field, got)
		}
	}
}

func TestHSTSIsNotSaidWithA101OverPlainHTTP(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		io.WriteString(c, strings.TrimSuffix(switching(r), "\r\n")+"Strict-Transport-Security: max-age=1\r\n\r\n")
		c.Close()
	})
	h := newHouse(t, nil)
	if err := h.load(sockets(up.url, chat)); err != nil {
		t.Fatal(err)
	}
	if got := dial(t, h.Addresses()["one"]).open().Values("Strict-Transport-Security"); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestUpstreamsAreShownOurCertificate(t *testing.T) {
	t.Parallel()
	ca, internal := newAuthority(t, "servers"), newAuthority(t, "internal")
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].DNSNames[0])
	}))
	pair := ca.server("target.internal")
	files := strings.FieldsFunc(pair, func(r rune) bool { return r == '"' })
	own, err := tls.LoadX509KeyPair(files[1], files[3])
	if err != nil {
		t.Fatal(err)
	}
	up.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: internal.pool()}
	up.Config.ErrorLog = log.New(io.Discard, "", 0)
	up.StartTLS()
	t.Cleanup(up.Close)
	cert, key := internal.sign(&x509.Certificate{DNSNames: []string{"gateway.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	words := fmt.Sprintf(", certFile: %q, keyFile: %q", internal.write("gw.crt", "CERTIFICATE", cert.Raw), internal.write("gw.key", "PRIVATE KEY", private))
	h := newHouse(t, nil)
	for _, c := range []struct {
		words  string
		status int
		body   string
	}{{words, 200, "gateway.internal"}, {"", 502, ""}, {words, 200, "gateway.internal"}} {
		err := h.load(fmt.Sprintf(`listeners: [{ name: one, address: "127.0.0.1:0" }]
upstreams: { up: { targets: [%s], tls: { caFile: %q, serverName: target.internal%s } } }
routes:
  - { path: /x, upstream: up, auth: none }
`, up.URL, ca.file(), c.words))
		if err != nil {
			t.Fatal(err)
		}
		status, _, body := dial(t, h.Addresses()["one"]).ask("GET", "/x")
		if status != c.status || c.body != "" && body != c.body {
			t.Errorf("with %q: %d %s", c.words, status, body)
		}
	}
}

// BenchmarkHandshake is what a new connection costs, both sides of it, from
// our tls.Config to our facts: full, and resumed.
func BenchmarkHandshake(b *testing.B) {
	ca := newAuthority(b, "servers")
	l := compileListener(b, ca)
	for name, sessions := range map[string]tls.ClientSessionCache{"full": nil, "resumed": tls.NewLRUClientSessionCache(1)} {
		b.Run(name, func(b *testing.B) {
			client := &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), ClientSessionCache: sessions}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			b.ReportAllocs()
			for b.Loop() {
				near, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				far, err := ln.Accept()
				if err != nil {
					b.Fatal(err)
				}
				done := make(chan error, 1)
				go func() {
					c := tls.Server(far, l.Handshake(time.Now()))
					err := c.Handshake()
					new(exchange.Conn).SetTLS(c.ConnectionState())
					c.Write([]byte("x"))
					done <- err
				}()
				c := tls.Client(near, client)
				if _, err := c.Read(make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				near.Close()
				far.Close()
			}
		})
	}
}

// compileListener returns a compiled listener for a.example.
func compileListener(b *testing.B, ca *authority) *snapshot.Listener {
	compiler := &snapshot.Compiler{
		Catalog: policy.Catalog(), Pool: snapshot.NewPool(), Metrics: telemetry.NewMetrics("test", nil), Verdicts: keys.NewVerdicts(),
		Log: slog.New(slog.DiscardHandler), ReadFile: secret.ReadFile,
		Local: func(*config.Document) (l snapshot.Local, err error) { return l, nil },
	}
	src := document(`{ name: one, address: "127.0.0.1:0", tls: { certificates: [`+ca.server("a.example")+"] } }", closed)
	doc, problems := config.Decode("warder.yaml", []byte(src), compiler.Vocabulary())
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	config.Resolve(doc, config.Sources{})
	s, problems := compiler.Compile(doc)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	b.Cleanup(s.Release)
	return s.Listeners[0]
}
