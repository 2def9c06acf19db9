package upstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/upstream"
)

const patience = time.Minute

var times = http1.Timeouts{Connect: patience, FirstByte: patience, Idle: patience, Total: patience}

// h2origin is a server of net/http that speaks HTTP/2 alone.
func h2origin(t *testing.T, secure bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	return watchedOrigin(t, secure, nil, handler)
}

// watchedOrigin tells of the states of its connections.
func watchedOrigin(t *testing.T, secure bool, states func(net.Conn, http.ConnState), handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ConnState = states
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	if secure {
		s.Config.Protocols.SetHTTP2(true)
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func h2group(t *testing.T, s *httptest.Server, protocol upstream.Protocol) *upstream.Group {
	t.Helper()
	to := target(s)
	if s.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		to.TLS = &tls.Config{RootCAs: roots, ServerName: "example.com"}
	}
	return group(t, upstream.Config{Targets: []upstream.Target{to}, Protocol: protocol})
}

// body is a request body that is not held.
type body struct {
	io.Reader
	trailers    *exchange.Head
	interrupted chan struct{}
	once        sync.Once
	reads       atomic.Int64
}

func (b *body) Read(p []byte) (int, error) { b.reads.Add(1); return b.Reader.Read(p) }
func (*body) Continue() error              { return nil }
func (b *body) Trailers() *exchange.Head   { return b.trailers }
func (*body) Replay() ([]byte, bool)       { return nil, false }
func (b *body) Interrupt()                 { b.once.Do(func() { close(b.interrupted) }) }

// silent is a client that says nothing until it is interrupted.
type silent struct{ b *body }

func (s silent) Read([]byte) (int, error) {
	<-s.b.interrupted
	return 0, fault.New(fault.ClientGone, "interrupted")
}

func newBody(r io.Reader) *body {
	b := &body{Reader: r, interrupted: make(chan struct{})}
	if r == nil {
		b.Reader = silent{b}
	}
	return b
}

// call makes an exchange for METHOD /path?query.
func call(method, path string, b *body, length int64, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{ReqBody: nobody{}}
	x.Req.Reset()
	x.Req.Major, x.Req.Length = 2, length
	x.Req.Method = []byte(method)
	p, q, has := strings.Cut(path, "?")
	x.Req.Path, x.Req.Query, x.Req.HasQuery = []byte(p), []byte(q), has
	x.Req.Authority = []byte("api.example.com")
	for i := 0; i < len(fields); i += 2 {
		id := exchange.IdentifyString(fields[i])
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(fields[i]), Value: []byte(fields[i+1]), ID: id, Drop: id.HopByHop()})
	}
	if b != nil {
		x.ReqBody, x.ReqStop = b, b
	}
	return x
}

// answer runs an exchange to its end.
func answer(g *upstream.Group, x *exchange.Exchange, t http1.Timeouts) (text string, err error) {
	if err := g.Do(x, t); err != nil {
		return "", err
	}
	defer x.RespBody.Close()
	b, err := io.ReadAll(struct{ io.Reader }{x.RespBody})
	return string(b), err
}

func TestHTTP2ByALPNAndByPriorKnowledge(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		s := h2origin(t, secure, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s %d %s %v ua=%q te=%q", r.Proto, r.Method, r.Host, r.RequestURI, r.ContentLength, b, err, r.UserAgent(), r.Header["Te"])
		})
		g := h2group(t, s, upstream.HTTP2)
		for _, c := range []struct {
			x    *exchange.Exchange
			want string
		}{
			{call("GET", "/a", nil, 0), `GET api.example.com /a 0  <nil> ua="" te=[]`},
			{call("GET", "//a/%2F;x?", nil, 0, "TE", "trailers", "User-Agent", "me"), `GET api.example.com //a/%2F;x? 0  <nil> ua="me" te=["trailers"]`},
			{call("GET", "/a\"{|}?b=%20&c", nil, 0, "Connection", "x", "Keep-Alive", "1"), `GET api.example.com /a"{|}?b=%20&c 0  <nil> ua="" te=[]`},
			{call("POST", "/a", newBody(strings.NewReader("hello")), 5), `POST api.example.com /a 5 hello <nil> ua="" te=[]`},
			{call("POST", "/a", newBody(strings.NewReader("hello")), -1), `POST api.example.com /a -1 hello <nil> ua="" te=[]`},
		} {
			if got, err := answer(g, c.x, times); got != "HTTP/2.0 "+c.want || err != nil {
				t.Errorf("secure %v: %s, %v\nwant HTTP/2.0 %s", secure, got, err, c.want)
			}
		}
	}
}

func TestOverTLSATargetMustChooseH2(t *testing.T) {
	t.Parallel()
	for what, protocols := range map[string][]string{"http/1.1 only": {"http/1.1"}, "no ALPN": nil} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{NextProtos: protocols}
		s.StartTLS()
		t.Cleanup(s.Close)
		if what == "no ALPN" {
			s.TLS.NextProtos = nil
		}
		if got, err := answer(h2group(t, s, upstream.HTTP2), call("GET", "/", nil, 0), times); fault.Of(err) != fault.UpstreamUnreachable {
			t.Errorf("%s: %q %v", what, got, err)
		}
	}
}

func TestHTTP2TargetsAreDialledByTheRules(t *testing.T) {
	t.Parallel()
	s := h2origin(t, false, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	g := group(t, upstream.Config{Targets: []upstream.Target{target(s)}, Protocol: upstream.HTTP2, Own: []uint16{uint16(s.Listener.Addr().(*net.TCPAddr).Port)}})
	if _, err := answer(g, call("GET", "/", nil, 0), times); fault.Of(err) != fault.UpstreamUnreachable || !strings.Contains(err.Error(), "our own") {
		t.Error(err)
	}
}

// Only what is safe to repeat goes again, once: net/http would also repeat a
// POST, and after a reset that does not say the target did not look at it.
func TestOnlyWhatIsSafeToRepeatGoesAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		x     *exchange.Exchange
		code  http2.ErrCode
		times int // how often it is refused
		ok    bool
		came  int
	}{
		{"GET", call("GET", "/", nil, 0), http2.ErrCodeRefusedStream, 1, true, 2},
		{"GET, refused twice", call("GET", "/", nil, 0), http2.ErrCodeRefusedStream, 2, false, 2},
		{"PUT with a held body", call("PUT", "/", newBody(strings.NewReader("hello")), 5), http2.ErrCodeRefusedStream, 1, true, 2},
		{"POST with a held body", call("POST", "/", newBody(strings.NewReader("hello")), 5), http2.ErrCodeRefusedStream, 1, false, 1},
		{"POST without a body", call("POST", "/", nil, 0), http2.ErrCodeProtocol, 1, false, 1},
		{"POST with a held body, and blame", call("POST", "/", newBody(strings.NewReader("hello")), 5), http2.ErrCodeProtocol, 1, false, 1},
		{"PUT with a stream", call("PUT", "/", newBody(strings.NewReader("hello")), -1), http2.ErrCodeRefusedStream, 1, false, 1},
	} {
		var came atomic.Int64
		g := rawOrigin(t, func(f *frames, n int) {
			came.Store(int64(n))
			if n <= c.times {
				f.WriteRSTStream(f.stream, c.code)
				return
			}
			f.head(true, ":status", "200")
		}, nil)
		if _, err := answer(g, c.x, times); (err == nil) != c.ok || int(came.Load()) != c.came || err != nil && fault.Of(err) != fault.UpstreamError {
			t.Errorf("%s: %v, came %d times", c.name, err, came.Load())
		}
	}
}

func TestTimeoutsOfHTTP2(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	const soon = 50 * time.Millisecond
	nothing := func(*frames, int) {}
	begins := func(f *frames, _ int) { f.head(false, ":status", "200"); f.WriteData(f.stream, false, []byte("a")) }
	for _, c := range []struct {
		name   string
		script func(*frames, int)
		times  http1.Timeouts
		x      *exchange.Exchange
		want   string
	}{
		{"the head", nothing, http1.Timeouts{FirstByte: soon}, call("GET", "/", nil, 0), "firstByte"},
		{"the next bytes", begins, http1.Timeouts{Idle: soon}, call("GET", "/", nil, 0), "timeout.idle"},
		{"everything, before the head", nothing, http1.Timeouts{Total: soon}, call("GET", "/", nil, 0), "timeout.total"},
		{"everything, inside the body", begins, http1.Timeouts{Total: soon}, call("GET", "/", nil, 0), "timeout.total"},
		{"an upstream that takes nothing", nothing, http1.Timeouts{Idle: soon}, call("POST", "/", newBody(bytes.NewReader(make([]byte, 1<<20))), 1<<20), "timeout.idle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := answer(rawOrigin(t, c.script, nil), c.x, c.times); fault.Of(err) != fault.UpstreamTimeout || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
	to := upstream.Target{Address: mute.Addr().String(), TLS: &tls.Config{ServerName: "example.com"}}
	g := group(t, upstream.Config{Targets: []upstream.Target{to}, Protocol: upstream.HTTP2})
	if _, err := answer(g, call("GET", "/", nil, 0), http1.Timeouts{Connect: soon}); fault.Of(err) != fault.UpstreamTimeout || !strings.Contains(err.Error(), "connect") {
		t.Errorf("a TLS handshake that never ends: %v", err)
	}
}

// Of a request body that is cut short the upstream must never think that it
// was whole.
func TestABrokenRequestBodyResetsTheStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		reader io.Reader
		length int64
		want   fault.Code
	}{
		{"the client is gone", io.MultiReader(strings.NewReader("hello"), broken{}), -1, fault.ClientGone},
		{"shorter than declared", strings.NewReader(strings.Repeat("a", 20_000)), 30_000, fault.RequestMalformed},
		{"longer than declared", strings.NewReader(strings.Repeat("a", 40_000)), 30_000, fault.RequestMalformed},
		{"a bug in what reads it", io.MultiReader(strings.NewReader("hello"), buggy{}), -1, fault.InternalError},
		{"shorter, and held", strings.NewReader("hell"), 5, fault.RequestMalformed},
		{"longer, and held", strings.NewReader("hello!"), 5, fault.RequestMalformed},
	} {
		var ended, reset atomic.Bool
		done := make(chan bool, 4)
		g := rawOrigin(t, func(*frames, int) {}, func(f http2.Frame) {
			switch f := f.(type) {
			case *http2.DataFrame:
				if f.StreamEnded() {
					ended.Store(true)
				}
			case *http2.RSTStreamFrame:
				reset.Store(true)
				done <- true
			}
		})
		_, err := answer(g, call("POST", "/", newBody(c.reader), c.length), times)
		if fault.Of(err) != c.want || ended.Load() {
			t.Errorf("%s: %v; ended %v", c.name, err, ended.Load())
		}
		if !strings.HasSuffix(c.name, "held") {
			<-done
			if !reset.Load() {
				t.Errorf("%s: the stream was not reset", c.name)
			}
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

type buggy struct{}

func (buggy) Read([]byte) (int, error) { panic("a bug") }

// When an exchange is over, nobody reads its request body any more: the next
// request of the connection begins there.
func TestNobodyReadsTheBodyWhenTheExchangeIsOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script func(*frames, int)
		times  http1.Timeouts
		want   fault.Code
	}{
		{"an answer before the end of the body", func(f *frames, _ int) { f.head(true, ":status", "200") }, times, fault.None},
		{"an answer and a reset", func(f *frames, _ int) { f.head(true, ":status", "200"); f.WriteRSTStream(f.stream, http2.ErrCodeNo) }, times, fault.None},
		{"a malformed answer", func(f *frames, _ int) { f.head(true, ":status", "600") }, times, fault.ResponseMalformed},
		{"a reset", func(f *frames, _ int) { f.WriteRSTStream(f.stream, http2.ErrCodeCancel) }, times, fault.UpstreamError},
		{"no answer", func(*frames, int) {}, http1.Timeouts{Total: 50 * time.Millisecond}, fault.UpstreamTimeout},
	} {
		b := newBody(nil)
		if _, err := answer(rawOrigin(t, c.script, nil), call("POST", "/", b, -1), c.times); err != nil && fault.Of(err) != c.want || err == nil && c.want != fault.None {
			t.Errorf("%s: %v", c.name, err)
		}
		reads := b.reads.Load()
		select {
		case <-b.interrupted:
		default:
			if reads > 0 {
				t.Errorf("%s: the pending read was not ended", c.name)
			}
		}
		if b.reads.Load() != reads {
			t.Errorf("%s: read again", c.name)
		}
	}
}

func TestCancelResetsTheStream(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := h2origin(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	x := call("GET", "/", nil, 0)
	if err := h2group(t, s, upstream.GRPC).Do(x, times); err != nil {
		t.Fatal(err)
	}
	x.Cancel(fault.New(fault.ClientGone, "the client reset the stream"))
	if _, err := x.RespBody.Read(make([]byte, 1)); fault.Of(err) != fault.ClientGone {
		t.Error(err)
	}
	x.RespBody.Close()
	<-gone
}

type links struct{ got []string }

func (l *links) Interim(h *exchange.Head) error {
	l.got = append(l.got, fmt.Sprint(h.Status, " ", string(h.Fields[0].Value)))
	return nil
}

func TestInterimAnswersAreTold(t *testing.T) {
	t.Parallel()
	s := h2origin(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(102)
		w.Header().Set("Link", "</b>")
		w.WriteHeader(103)
	})
	x, told := call("GET", "/", nil, 0), &links{}
	x.Early = told
	if _, err := answer(h2group(t, s, upstream.HTTP2), x, times); err != nil || strings.Join(told.got, ",") != "103 </a>,103 </b>" {
		t.Errorf("%q %v", told.got, err)
	}
}

func TestTrailersOverHTTP2(t *testing.T) {
	t.Parallel()
	s := h2origin(t, false, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "body")
		for _, name := range []string{"Grpc-Status", "X-Sum", "Set-Cookie", "My-Meta", "X-Forwarded-For", "Etag", "Traceparent"} {
			w.Header().Set(http.TrailerPrefix+name, "v")
		}
		w.Header().Set(http.TrailerPrefix+"X-Got", fmt.Sprint(r.Trailer))
	})
	sum := &exchange.Head{}
	for _, name := range []string{"Content-Digest", "Grpc-A", "Dropped", "X-Sum", "x-real-ip", "X_Forwarded_For", "X-Forwarded_For"} {
		sum.Fields = append(sum.Fields, exchange.Field{Name: []byte(name), Value: []byte("1"), Drop: name == "Dropped"})
	}
	for _, c := range []struct {
		protocol upstream.Protocol
		major    int
		want     string
	}{
		{upstream.HTTP2, 2, "Grpc-Status X-Got X-Sum / map[]"},
		{upstream.GRPC, 1, "Grpc-Status X-Got X-Sum / map[Content-Digest:[1] Grpc-A:[1]]"},
		{upstream.GRPC, 2, "Grpc-Status My-Meta X-Got X-Sum / map[Content-Digest:[1] Grpc-A:[1]]"},
	} {
		b := newBody(strings.NewReader("hello"))
		b.trailers = sum
		x := call("POST", "/", b, -1, "Trailer", "content-digest, Grpc-A, Dropped, X-Sum, x-real-ip, X_Forwarded_For, X-Forwarded_For")
		x.Req.Major = c.major
		if text, err := answer(h2group(t, s, c.protocol), x, times); text != "body" || err != nil {
			t.Fatal(text, err)
		}
		names, got := map[string]bool{}, ""
		for _, f := range x.RespBody.Trailers().Fields {
			if !f.Drop {
				names[string(f.Name)] = true
			}
			if string(f.Name) == "X-Got" {
				got = string(f.Value)
			}
		}
		if text := strings.Join(slices.Sorted(maps.Keys(names)), " ") + " / " + got; text != c.want {
			t.Errorf("protocol %d, client HTTP/%d: %s; want %s", c.protocol, c.major, text, c.want)
		}
	}
}

// A closed pool takes nothing new, and its connections end with the last
// exchange.
func TestConnectionsOfAClosedPoolEndWithTheirExchange(t *testing.T) {
	t.Parallel()
	going, on := make(chan bool), make(chan bool)
	closed := make(chan struct{})
	var once sync.Once
	s := watchedOrigin(t, false, func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			once.Do(func() { close(closed) })
		}
	}, func(w http.ResponseWriter, _ *http.Request) {
		going <- true
		<-on
		io.WriteString(w, "whole")
	})
	g := upstream.New(upstream.Config{Targets: []upstream.Target{target(s)}, Protocol: upstream.HTTP2})
	done := make(chan string)
	go func() {
		text, err := answer(g, call("GET", "/", nil, 0), times)
		done <- fmt.Sprint(text, " ", err)
	}()
	<-going
	g.Close()
	if _, err := answer(g, call("GET", "/", nil, 0), times); fault.Of(err) != fault.UpstreamUnreachable {
		t.Errorf("after Close: %v", err)
	}
	on <- true
	if got := <-done; got != "whole <nil>" {
		t.Error(got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the connection stays open")
	}
}

// However the bytes come, and whatever breaks first, the operator reads what
// to mend.
func TestATargetThatAnswersInHTTP1IsSaidNotToSpeakHTTP2(t *testing.T) {
	t.Parallel()
	const answered = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for what, serve := range map[string]func(c *net.TCPConn){
		"it answers the preface": func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
			io.WriteString(c, answered)
			io.Copy(io.Discard, c)
		},
		"it answers before it reads": func(c *net.TCPConn) {
			io.WriteString(c, answered)
			io.Copy(io.Discard, c)
		},
		"byte by byte": func(c *net.TCPConn) {
			for i := range len(answered) {
				io.WriteString(c, answered[i:i+1])
			}
			io.Copy(io.Discard, c)
		},
		"it breaks the connection behind the answer": func(c *net.TCPConn) {
			io.WriteString(c, answered)
			c.Close() // what is unread makes it a reset
		},
		"it breaks it amid the request": func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
			io.WriteString(c, answered)
			c.Close()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			all.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					all.Go(func() { defer c.Close(); serve(c.(*net.TCPConn)) })
				}
			})
			t.Cleanup(func() { l.Close(); all.Wait() })
			for _, protocol := range []upstream.Protocol{upstream.HTTP2, upstream.GRPC} {
				g := group(t, upstream.Config{Targets: []upstream.Target{{Name: "old", Address: l.Addr().String(), Host: "old"}}, Protocol: protocol})
				var calls sync.WaitGroup
				for range 20 {
					for _, x := range []*exchange.Exchange{call("GET", "/", nil, 0), call("POST", "/", newBody(strings.NewReader(strings.Repeat("x", 100<<10))), 100<<10)} {
						calls.Go(func() {
							_, err := answer(g, x, times)
							var f *fault.Error
							if !errors.As(err, &f) || f.Code != fault.UpstreamError || f.Reason != "the target speaks HTTP/1.1, not HTTP/2: take protocol out of its upstream" {
								t.Errorf("%v", err)
							}
						})
					}
				}
				calls.Wait()
			}
		})
	}
}
