package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxy is the least that stands between a Server and a Pool.
type proxy struct {
	pool     *http1.Pool
	timeouts http1.Timeouts
	target   http1.Target
	refuse   func(x *exchange.Exchange) fault.Code // fault.None lets it pass

	mu    sync.Mutex
	codes []fault.Code // of what was refused or failed
	seen  atomic.Int64 // requests served
}

var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

func (p *proxy) Serve(x *exchange.Exchange, sink exchange.Sink) {
	p.seen.Add(1)
	if p.refuse != nil {
		if code := p.refuse(x); code != fault.None {
			p.fail(x, sink, fault.New(code, "by the test"))
			return
		}
	}
	if err := p.pool.Do(x, p.timeouts, p.target); err != nil {
		p.fail(x, sink, err)
		return
	}
	defer x.RespBody.Close()
	if up := x.Switched; up.Conn != nil {
		if err := sink.Tunnel(&x.Resp, &x.RespEdit, up.Conn, up.Buffered); err != nil {
			p.note(fault.Of(err))
		}
		return
	}
	if err := move(x, sink); err != nil {
		p.note(fault.Of(err))
	}
}

func (p *proxy) Reject(x *exchange.Exchange, sink exchange.Sink, f *fault.Error) {
	p.fail(x, sink, f)
}

func (p *proxy) note(c fault.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes = append(p.codes, c)
}

func (p *proxy) noted() []fault.Code {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]fault.Code(nil), p.codes...)
}

func (p *proxy) fail(x *exchange.Exchange, sink exchange.Sink, err error) {
	code := fault.Of(err)
	p.note(code)
	x.Resp.Reset()
	x.Resp.Status = code.Status()
	x.RespEdit.Set("X-Code", []byte(code.String()))
	page := []byte(code.String() + "\n")
	if sink.Head(&x.Resp, &x.RespEdit, int64(len(page)), page) == nil {
		sink.Finish(nil)
	}
}

func move(x *exchange.Exchange, sink exchange.Sink) error {
	piece := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(piece)
	var n int
	var err error
	switch length := x.Resp.Length; {
	case length > 0 && length <= int64(len(piece)):
		n, err = io.ReadFull(x.RespBody, piece[:length])
	case length != 0 && x.RespBody.Buffered() > 0:
		n, err = x.RespBody.Read(piece[:])
	}
	if err != nil && err != io.EOF {
		sink.Abort(err)
		return err
	}
	if werr := sink.Head(&x.Resp, &x.RespEdit, x.Resp.Length, piece[:n]); werr != nil {
		return werr
	}
	for err == nil {
		n, err = x.RespBody.Read(piece[:])
		if n > 0 {
			if werr := sink.Write(piece[:n], false); werr != nil {
				return werr
			}
		}
	}
	if err != io.EOF {
		sink.Abort(err)
		return err
	}
	return sink.Finish(x.RespBody.Trailers())
}

// rig is a proxy on a port of its own.
type rig struct {
	*proxy
	srv  *http1.Server
	addr string
}

// start serves h, or p itself, on a free port until the test ends.
func start(t testing.TB, p *proxy, upstream string, l http1.Limits) *rig {
	t.Helper()
	p.pool = http1.NewPool(http1.PoolConfig{Address: upstream})
	r := &rig{proxy: p, srv: http1.NewServer(p, l)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	done := make(chan struct{})
	var conns sync.WaitGroup
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conns.Done()
				r.srv.ServeConn(c, &exchange.Conn{Proto: "HTTP/1.1", Peer: netip.MustParseAddrPort(c.RemoteAddr().String())})
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		r.srv.Close(io.ErrClosedPipe)
		conns.Wait()
		r.pool.Close()
	})
	return r
}

// origin is an httptest server; its handler answers what the name says.
func origin(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// script is an upstream of raw bytes: every connection is handed to talk.
func script(t testing.TB, talk func(n int, c net.Conn, in *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				talk(n, c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// readRequest reads one request and its body, nil at the end.
func readRequest(in *bufio.Reader) (*http.Request, []byte) {
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, nil
	}
	body, _ := io.ReadAll(req.Body)
	return req, body
}

// client is a raw connection to a rig.
type client struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (r *rig) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client { return &client{t, c, bufio.NewReader(c)} }

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// response reads one response with its whole body.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("body: %v", err)
	}
	return res, string(body)
}

// over fails the test unless the connection has ended.
func (c *client) over() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 {
		c.t.Errorf("more came: %q (%v)", rest, err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	w.Header().Set("X-Seen", fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", r.ContentLength, " ", r.TransferEncoding))
	w.Write(body)
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	r := start(t, &proxy{target: http1.Target{Prefix: "/base"}}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/chunked":
			w.Header().Set("Trailer", "X-Sum")
			for i := range 5 {
				fmt.Fprintf(w, "part %d;", i)
				w.(http.Flusher).Flush()
			}
			w.Header().Set("X-Sum", "42")
		case "/base/big":
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			io.WriteString(w, big)
		case "/base/empty":
			w.WriteHeader(204)
		case "/base/same":
			w.WriteHeader(304)
		default:
			echo(w, r)
		}
	}), http1.Limits{})
	for _, tt := range []struct{ name, send, method, status, seen, body string }{
		{"a small GET", "GET /a?b=c HTTP/1.1\r\nHost: h.example\r\n\r\n", "GET", "200", "GET /base/a?b=c h.example 0 []", ""},
		{"an empty query is kept", "GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "200", "GET /base/a? h 0 []", ""},
		{"absolute form", "GET http://H/x HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "200", "GET /base/x h 0 []", ""},
		{"a small body", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST", "200", "POST /base/a h 5 []", "hello"},
		{"a POST without a body", "POST /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST", "200", "POST /base/a h 0 []", ""},
		{"chunks", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=\"y;z\"\r\nde\r\n0\r\nX-T: 1\r\n\r\n", "POST", "200", "POST /base/a h -1 [chunked]", "abcde"},
		{"a large body", fmt.Sprintf("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(big), big), "PUT", "200", "PUT /base/a h 1048576 []", big},
		{"a large body in chunks", fmt.Sprintf("PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), "PUT", "200", "PUT /base/a h -1 [chunked]", big},
		{"HEAD", "HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD", "200", "", ""},
		{"204", "GET /empty HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "204", "", ""},
		{"304", "GET /same HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "304", "", ""},
		{"a chunked response", "GET /chunked HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n", "GET", "200", "", "part 0;part 1;part 2;part 3;part 4;"},
		{"a large response", "GET /big HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "200", "", big},
		{"HTTP/1.0 that keeps alive", "GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "GET", "200", "GET /base/a h 0 []", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial(t)
			for range 3 { // on one connection
				go io.WriteString(c, tt.send)
				res, body := c.response(tt.method)
				if !strings.HasPrefix(res.Status, tt.status) || body != tt.body {
					t.Fatalf("%s with %d bytes; want %s with %d", res.Status, len(body), tt.status, len(tt.body))
				}
				if seen := res.Header.Get("X-Seen"); tt.seen != "" && seen != tt.seen {
					t.Errorf("the upstream saw %q; want %q", seen, tt.seen)
				}
				if res.Header.Get("Date") == "" || res.Close {
					t.Errorf("head %v, close %v", res.Header, res.Close)
				}
				if tt.name == "a chunked response" && res.Trailer.Get("X-Sum") != "42" {
					t.Errorf("trailers %v", res.Trailer)
				}
			}
		})
	}
	if codes := r.noted(); len(codes) > 0 {
		t.Error(codes)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{})
	c := r.dial(t)
	var all strings.Builder
	for i := range 200 {
		body := strings.Repeat("x", i)
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
	}
	go io.WriteString(c, all.String())
	for i := range 200 {
		res, body := c.response("POST")
		if len(body) != i || !strings.HasPrefix(res.Header.Get("X-Seen"), fmt.Sprintf("POST /%d ", i)) {
			t.Fatalf("answer %d: %v %q", i, res.Header, body)
		}
	}
}

func BenchmarkKeepAliveGET(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	up := script(b, func(_ int, c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 8192)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			c.Write(answer)
		}
	})
	r := start(b, &proxy{timeouts: http1.Timeouts{Connect: time.Second, FirstByte: 30 * time.Second, Idle: time.Minute}}, up, http1.Limits{})
	c := r.dial(b)
	c.SetDeadline(time.Time{})
	request := []byte("GET /orders/42?x=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1\r\nAccept: */*\r\nAuthorization: Bearer " + strings.Repeat("t", 700) + "\r\n\r\n")
	buf := make([]byte, 8192)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(request)
		got := 0
		for want := 1024; got < want; {
			n, err := c.Conn.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			if got == 0 {
				want += bytes.Index(buf[:n], []byte("\r\n\r\n")) + 4
			}
			got += n
		}
	}
}

// once is an upstream that answers each connection's first request with raw
// bytes and closes.
func once(t testing.TB, raw string) string {
	return script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if req, _ := readRequest(in); req != nil {
			io.WriteString(c, raw)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, in)
		}
	})
}
