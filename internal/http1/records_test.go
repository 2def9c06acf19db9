package http1_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/http1"
)

// bundled is a connection whose writes go out together when it is told to.
type bundled struct {
	net.Conn
	mu   sync.Mutex
	hold bool
	held bytes.Buffer
}

func (b *bundled) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold {
		return b.held.Write(p)
	}
	return b.Conn.Write(p)
}

// together sends all that f writes in one piece.
func (b *bundled) together(f func()) {
	b.mu.Lock()
	b.hold = true
	b.mu.Unlock()
	f()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = false
	b.Conn.Write(b.held.Bytes())
	b.held.Reset()
}

// overTLS makes the rig speak TLS, of one version, with its upstream.
func (r *rig) overTLS(t testing.TB, address string, certificate *x509.Certificate, version uint16) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	r.pool.Close()
	r.proxy.pool = http1.NewPool(http1.PoolConfig{
		Address: address,
		TLS:     &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: version, MaxVersion: version},
	})
}

// identity is what httptest shows as a server.
func identity(t testing.TB) (*tls.Config, *x509.Certificate) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates}, s.Certificate()
}

var tlsVersions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// What an upstream sends behind its answer is never the next answer, wherever
// it waits: in the socket, in a record that came along, or in the record that
// held the end of the answer.
func TestRecordsAfterAnAnswerAreNeverTheNextAnswer(t *testing.T) {
	t.Parallel()
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	long := strings.Repeat("x", 20000)
	longHead := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(long))
	config, certificate := identity(t)
	for _, tt := range []struct {
		name    string
		records []string
	}{
		{"in a record of its own", []string{ok, poison}},
		{"in the same record", []string{ok + poison}},
		{"in two records", []string{ok, poison[:20], poison[20:]}},
		{"in the record of the body", []string{ok[:len(ok)-2], "ok" + poison}},
		{"in the last record of a long body", []string{longHead + long[:6000], long[6000:] + poison}},
		{"behind the last record of a long body", []string{longHead + long[:6000], long[6000:], poison}},
		{"behind the last chunk", []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", poison}},
		{"behind 204", []string{"HTTP/1.1 204 No Content\r\n\r\n", poison}},
		{"a single byte", []string{ok, "H"}},
	} {
		for name, version := range tlsVersions {
			t.Run(tt.name+" of "+name, func(t *testing.T) {
				t.Parallel()
				address := script(t, func(n int, raw net.Conn, _ *bufio.Reader) {
					b := &bundled{Conn: raw}
					c := tls.Server(b, config)
					in := bufio.NewReader(c)
					if readRequest(in); n > 0 {
						io.WriteString(c, ok)
					} else {
						b.together(func() {
							for _, record := range tt.records {
								io.WriteString(c, record)
							}
						})
					}
					io.Copy(io.Discard, in)
				})
				r := start(t, &proxy{}, address, http1.Limits{})
				r.overTLS(t, address, certificate, version)
				c := r.dial(t)
				c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
				if _, body := c.response("GET"); strings.Contains(body, "poison") {
					t.Errorf("the first got %q", body)
				}
				c.send("GET /b HTTP/1.1\r\n" + h + "\r\n")
				if _, body := c.response("GET"); body != "ok" {
					t.Errorf("the second got %q", body)
				}
			})
		}
	}
}

// The session tickets of TLS 1.3 come behind the handshake. They must not cost
// a connection each.
func TestConnectionsOverTLSAreUsedAgain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100000)
	for name, version := range tlsVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opened atomic.Int64
			up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				switch r.URL.Path {
				case "/length":
					w.Header().Set("Content-Length", fmt.Sprint(len(long)))
					io.WriteString(w, long)
				case "/chunks":
					for i := range 10 {
						io.WriteString(w, long[:1000*i])
						w.(http.Flusher).Flush()
					}
				case "/empty":
					w.WriteHeader(204)
				default:
					io.WriteString(w, "ok")
				}
			}))
			up.Config.ErrorLog = log.New(io.Discard, "", 0)
			up.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			up.StartTLS()
			t.Cleanup(up.Close)
			r := start(t, &proxy{}, "", http1.Limits{})
			r.overTLS(t, up.Listener.Addr().String(), up.Certificate(), version)
			c := r.dial(t)
			for i := range 20 {
				path := []string{"/small", "/length", "/chunks", "/empty"}[i%4]
				go io.WriteString(c, fmt.Sprintf("POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", path, h, 3000*i, long[:3000*i]))
				if res, _ := c.response("POST"); res.StatusCode >= 300 {
					t.Fatalf("%s: %v", path, res)
				}
			}
			if n := opened.Load(); n != 1 {
				t.Errorf("%d connections for 20 requests", n)
			}
		})
	}
}

func TestAnUpstreamOverTLSThatEndsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	config, certificate := identity(t)
	for name, version := range tlsVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := script(t, func(_ int, raw net.Conn, _ *bufio.Reader) {
				c := tls.Server(raw, config)
				readRequest(bufio.NewReader(c))
			})
			r := start(t, &proxy{}, address, http1.Limits{})
			r.overTLS(t, address, certificate, version)
			c := r.dial(t)
			c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
			if res, body := c.response("GET"); res.StatusCode != 502 || body != "upstream_error\n" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		})
	}
}
