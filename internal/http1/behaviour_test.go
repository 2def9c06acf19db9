package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestUntilCloseBodies(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, once(t, "HTTP/1.1 200 OK\r\n\r\nuntil the end"), http1.Limits{})
	c := r.dial(t)
	for range 2 {
		c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
		if res, body := c.response("GET"); body != "until the end" || len(res.TransferEncoding) != 1 || res.Close {
			t.Errorf("%q %v", body, res)
		}
	}
	c = r.dial(t)
	c.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if res, body := c.response("GET"); body != "until the end" || len(res.TransferEncoding) != 0 || !res.Close {
		t.Errorf("%q %v", body, res)
	}
	c.over()
}

func TestAnAnswerCutShortIsCutShortForTheClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, raw string }{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"},
		{"a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nxyz\r\n0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, &proxy{}, once(t, tt.raw), http1.Limits{})
			c := r.dial(t)
			c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				return // nothing of it went out
			}
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("took %q for the whole", body)
			}
		})
	}
}

func TestALengthOfASmallBodyCutShortIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, once(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"), http1.Limits{})
	c := r.dial(t)
	c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
	c.over() // nothing of it: the test's move aborts
}

func TestInterimResponsesAreSkipped(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, once(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 8)+ok), http1.Limits{})
	c := r.dial(t)
	c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
	if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" || res.Header.Get("Link") != "" {
		t.Errorf("%v %q", res, body)
	}
}

func TestAStaleConnectionIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request string
		again         bool
	}{
		{"GET", "GET /b HTTP/1.1\r\n" + h + "\r\n", true},
		{"PUT with a held body", "PUT /b HTTP/1.1\r\n" + h + "Content-Length: 3\r\n\r\nabc", true},
		{"POST", "POST /b HTTP/1.1\r\n" + h + "Content-Length: 3\r\n\r\nabc", false},
		{"PUT with a body that is not held", "PUT /b HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			r := start(t, &proxy{}, script(t, func(n int, c net.Conn, in *bufio.Reader) {
				readRequest(in)
				asked.Add(1)
				io.WriteString(c, ok)
				if n > 0 {
					io.Copy(io.Discard, in)
					return
				}
				readRequest(in) // and close without a word
				asked.Add(1)
			}), http1.Limits{})
			c := r.dial(t)
			c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
			c.response("GET")
			c.send(tt.request)
			res, _ := c.response("GET")
			if again := res.StatusCode == 200; again != tt.again {
				t.Errorf("status %d", res.StatusCode)
			}
			if want := int64(3); tt.again && asked.Load() != want || !tt.again && asked.Load() != 2 {
				t.Errorf("asked %d times", asked.Load())
			}
		})
	}
}

func TestAConnectionThatEndedWhileIdleCostsNoRequest(t *testing.T) {
	t.Parallel()
	closed := make(chan bool)
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		readRequest(in)
		io.WriteString(c, ok)
		c.Close()
		closed <- true
	}), http1.Limits{})
	for _, body := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		c := r.dial(t)
		for range 5 {
			c.send("POST /a HTTP/1.1\r\n" + h + body) // must not be sent twice
			if res, body := c.response("POST"); res.StatusCode != 200 || body != "ok" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			<-closed
		}
	}
}

// What an upstream says before it was asked is the answer to a connection's
// first request only.
func TestAnUpstreamThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, in)
	}), http1.Limits{})
	c := r.dial(t)
	for range 5 {
		c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
		if res, body := c.response("GET"); res.StatusCode != 503 || body != "busy" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
}

func TestAFreshConnectionIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		readRequest(in)
		asked.Add(1)
	}), http1.Limits{})
	c := r.dial(t)
	c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
	if res, body := c.response("GET"); res.StatusCode != 502 || body != "upstream_error\n" || asked.Load() != 1 {
		t.Errorf("%d %q, asked %d times", res.StatusCode, body, asked.Load())
	}
}

func TestBytesAfterAnAnswerAreNeverTheNextAnswer(t *testing.T) {
	t.Parallel()
	poison := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for _, tt := range []struct{ name, with, later string }{
		{"in the same packet", ok + poison, ""},
		{"afterwards", ok, poison},
		{"behind 204", "HTTP/1.1 204 No Content\r\n\r\n" + poison, ""},
		{"behind the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan bool, 1)
			r := start(t, &proxy{}, script(t, func(n int, c net.Conn, in *bufio.Reader) {
				readRequest(in)
				if n > 0 {
					io.WriteString(c, ok)
					return
				}
				io.WriteString(c, tt.with)
				if tt.later != "" {
					<-sent
					io.WriteString(c, tt.later)
					sent <- true
				}
				io.Copy(io.Discard, in)
			}), http1.Limits{})
			c := r.dial(t)
			c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
			c.response("GET")
			if tt.later != "" {
				sent <- true
				<-sent
			}
			c.send("GET /b HTTP/1.1\r\n" + h + "\r\n")
			if _, body := c.response("GET"); body != "ok" {
				t.Errorf("got %q", body)
			}
		})
	}
}

func TestAnEarlyAnswerDuringAnUpload(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		http.ReadRequest(in)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		io.Copy(io.Discard, in)
	}), http1.Limits{})
	c := r.dial(t)
	c.send("POST /a HTTP/1.1\r\n" + h + "Content-Length: 1000000000\r\n\r\nthe beginning")
	if res, body := c.response("POST"); res.StatusCode != 413 || body != "big" || !res.Close {
		t.Errorf("%v %q", res, body)
	}
	c.over()
	eventually(t, "the connection is over", func() bool { return r.srv.Active() == 0 })
}

func TestBothBodiesMoveAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, strings.ToUpper(line))
			w.(http.Flusher).Flush()
		}
	}), http1.Limits{})
	c := r.dial(t)
	c.send("POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n")
	c.send("4\r\none\n\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for _, word := range []string{"one", "two", "three"} {
		if line, err := lines.ReadString('\n'); line != strings.ToUpper(word)+"\n" {
			t.Fatalf("%q %v", line, err)
		}
		if word == "one" {
			c.send("4\r\ntwo\n\r\n")
		} else if word == "two" {
			c.send("6\r\nthree\n\r\n0\r\n\r\n")
		}
	}
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

func TestAClientThatLeavesDuringAnUploadCutsTheUpstreamOff(t *testing.T) {
	t.Parallel()
	seen := make(chan error, 1)
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		seen <- err
	}), http1.Limits{})
	c := r.dial(t)
	c.send("POST /a HTTP/1.1\r\n" + h + "Content-Length: 1000000\r\n\r\nthe beginning")
	eventually(t, "the request is served", func() bool { return r.seen.Load() == 1 })
	c.Close()
	if err := <-seen; err == nil {
		t.Error("the upstream took it for the whole")
	}
	eventually(t, "it is recorded", func() bool { return len(r.noted()) == 1 })
	if codes := r.noted(); codes[0] != fault.ClientGone {
		t.Error(codes)
	}
}

func TestAClientThatLeavesCancelsTheUpstream(t *testing.T) {
	t.Parallel()
	cut := make(chan bool)
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		readRequest(in)
		in.ReadByte() // until the gateway closes
		close(cut)
	}), http1.Limits{})
	c := r.dial(t)
	c.send("GET /slow HTTP/1.1\r\n" + h + "\r\n")
	eventually(t, "the request is served", func() bool { return r.seen.Load() == 1 })
	c.Close()
	<-cut
	eventually(t, "it is recorded", func() bool { return len(r.noted()) == 1 })
	if codes := r.noted(); codes[0] != fault.ClientGone {
		t.Error(codes)
	}
	eventually(t, "the connection is over", func() bool { return r.srv.Active() == 0 })
}

func TestUpstreamTimeouts(t *testing.T) {
	t.Parallel()
	silent := func(say string) func(t testing.TB) string {
		return func(t testing.TB) string {
			return script(t, func(_ int, c net.Conn, in *bufio.Reader) {
				readRequest(in)
				io.WriteString(c, say)
				in.ReadByte()
			})
		}
	}
	for _, tt := range []struct {
		name     string
		timeouts http1.Timeouts
		upstream func(t testing.TB) string
	}{
		{"first byte", http1.Timeouts{FirstByte: time.Millisecond}, silent("")},
		{"first byte with half a head", http1.Timeouts{FirstByte: time.Millisecond}, silent("HTTP/1.1 200 OK\r\n")},
		{"first byte with interim responses", http1.Timeouts{FirstByte: time.Millisecond}, silent("HTTP/1.1 103 Early\r\n\r\n")},
		{"total", http1.Timeouts{Total: time.Millisecond}, silent("")},
		{"total in the body", http1.Timeouts{Total: time.Second}, silent("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nab")},
		{"idle in the body", http1.Timeouts{Idle: time.Millisecond}, silent("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nab")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, &proxy{timeouts: tt.timeouts}, tt.upstream(t), http1.Limits{})
			c := r.dial(t)
			c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
			if strings.Contains(tt.name, "body") {
				c.over()
			} else if res, body := c.response("GET"); res.StatusCode != 504 || body != "upstream_timeout\n" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			eventually(t, "it is recorded", func() bool { return len(r.noted()) == 1 }) // after the client was cut off
			if codes := r.noted(); codes[0] != fault.UpstreamTimeout {
				t.Error(codes)
			}
		})
	}
}

func TestAnUpstreamThatIsNotThere(t *testing.T) {
	t.Parallel()
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	ln.Close()
	r := start(t, &proxy{timeouts: http1.Timeouts{Connect: 5 * time.Second}}, ln.Addr().String(), http1.Limits{})
	c := r.dial(t)
	c.send("POST /a HTTP/1.1\r\n" + h + "Content-Length: 30000\r\n\r\n" + strings.Repeat("x", 30000))
	if res, body := c.response("GET"); res.StatusCode != 502 || body != "upstream_unreachable\n" || res.Close {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestASlowHeadIsCutOff(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, "127.0.0.1:1", http1.Limits{HeaderTimeout: time.Millisecond})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\nHost:")
	if res, body := c.response("GET"); res.StatusCode != 408 || body != "request_timeout\n" || !res.Close {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	c.over()
	r.dial(t).over() // says nothing at all, is told nothing
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{IdleTimeout: time.Millisecond})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	c.response("GET")
	c.over()
}

func TestASlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	for _, length := range []int{100, 100000} {
		r := start(t, &proxy{}, origin(t, echo), http1.Limits{BodyTimeout: time.Millisecond})
		c := r.dial(t)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\n"+h+"Content-Length: %d\r\n\r\nabc", length))
		if res, body := c.response("POST"); res.StatusCode != 408 || body != "request_timeout\n" || !res.Close {
			t.Errorf("%d: %d %q", length, res.StatusCode, body)
		}
		c.over()
	}
}

func TestABodyThatDripsIsCutOff(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{BodyTimeout: 300 * time.Millisecond})
	c := r.dial(t)
	c.send("POST / HTTP/1.1\r\n" + h + "Content-Length: 100000\r\n\r\n")
	stop, stopped := make(chan bool), make(chan bool)
	go func() { // a byte every few milliseconds is progress, but not enough
		defer close(stopped)
		for drip := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				drip.Stop()
				return
			case <-drip.C:
				c.Write([]byte("x"))
			}
		}
	}()
	if res, body := c.response("POST"); res.StatusCode != 408 || body != "request_timeout\n" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	close(stop)
	<-stopped
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}), http1.Limits{WriteTimeout: time.Millisecond})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	eventually(t, "the connection is over", func() bool { return len(r.noted()) == 1 && r.srv.Active() == 0 })
	if codes := r.noted(); codes[0] != fault.ClientGone {
		t.Error(codes)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	release := make(chan bool)
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}), http1.Limits{})
	idle, busy := r.dial(t), r.dial(t)
	idle.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	idle.response("GET")
	busy.send("GET /slow HTTP/1.1\r\n" + h + "\r\n")
	eventually(t, "both are served", func() bool { return r.seen.Load() == 2 })
	r.srv.Drain()
	idle.over()
	r.dial(t).over()
	close(release)
	if res, _ := busy.response("GET"); res.StatusCode != 200 || !res.Close {
		t.Errorf("%v", res)
	}
	busy.over()
	eventually(t, "all are over", func() bool { return r.srv.Active() == 0 })
}

func TestCloseCutsWhatIsServed(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		readRequest(in)
		in.ReadByte()
	}), http1.Limits{})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	eventually(t, "it is served", func() bool { return r.seen.Load() == 1 })
	r.srv.Close(errors.New("the end"))
	if r.srv.Active() != 0 {
		t.Error("still active")
	}
	if codes := r.noted(); len(codes) != 1 || codes[0] != fault.Draining {
		t.Error(codes)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{Connections: 1})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	c.response("GET")
	r.dial(t).over()
}

func TestARefusalKeepsTheConnectionOnlyIfTheBodyIsOutOfTheWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, head, body string
		keeps            bool
	}{
		{"no body", "", "", true},
		{"a body at hand", "Content-Length: 5\r\n", "hello", true},
		{"a body on its way", "Content-Length: 50000\r\n", strings.Repeat("x", 50000), true},
		{"chunks on their way", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", true},
		{"a body that does not come", "Content-Length: 50000\r\n", "", false},
		{"a body that is too large", "Content-Length: 70000\r\n", strings.Repeat("x", 70000), false},
		{"chunks that are too large", "Transfer-Encoding: chunked\r\n", "11170\r\n" + strings.Repeat("x", 70000) + "\r\n0\r\n\r\n", false},
		{"chunks that are malformed", "Transfer-Encoding: chunked\r\n", "zz\r\n", false},
		{"a body held back", "Content-Length: 5\r\nExpect: 100-continue\r\n", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &proxy{refuse: func(*exchange.Exchange) fault.Code { return fault.ScopeMissing }}
			r := start(t, p, "127.0.0.1:1", http1.Limits{})
			c := r.dial(t)
			request := "POST / HTTP/1.1\r\n" + h + tt.head + "\r\n" + tt.body
			go io.WriteString(c, request)
			res, body := c.response("POST")
			if res.StatusCode != 403 || body != "scope_missing\n" || res.Close == tt.keeps {
				t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
			}
			if !tt.keeps {
				c.over()
				return
			}
			go io.WriteString(c, request)
			c.response("POST")
			if n := r.seen.Load(); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestContinueIsSentOnceSomebodyWantsTheBody(t *testing.T) {
	t.Parallel()
	for _, length := range []int{5, 50000} {
		r := start(t, &proxy{}, origin(t, echo), http1.Limits{})
		c := r.dial(t)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\n"+h+"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", length))
		line, err := c.in.ReadString('\n')
		if line != "HTTP/1.1 100 Continue\r\n" || err != nil {
			t.Fatalf("%q %v", line, err)
		}
		c.in.ReadString('\n')
		c.send(strings.Repeat("x", length))
		if res, body := c.response("POST"); res.StatusCode != 200 || len(body) != length || res.Close {
			t.Errorf("%v", res)
		}
	}
}

func TestEditsAreMergedAndCannotSplitAHead(t *testing.T) {
	t.Parallel()
	p := &proxy{refuse: func(x *exchange.Exchange) fault.Code {
		x.ReqEdit.Set("X-User", []byte("alice"))
		x.ReqEdit.Del("Authorization")
		x.ReqEdit.Set("Content-Length", []byte("99"))
		x.ReqEdit.Set("Transfer-Encoding", []byte("chunked"))
		x.ReqEdit.Set("Host", []byte("elsewhere"))
		x.RespEdit.Set("Server", []byte("warder"))
		if v, n := x.Req.GetName("x-evil"); n > 0 {
			x.ReqEdit.Set("X-Evil", append([]byte(v), "\r\nX-Injected: 1"...))
		}
		return fault.None
	}}
	r := start(t, p, origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Server"] = []string{"other/1"}
		fmt.Fprintln(w, r.Host, r.Header, r.ContentLength)
	}), http1.Limits{})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "Authorization: secret\r\nX-User: mallory\r\nx-user: mallory\r\n\r\n")
	res, body := c.response("GET")
	if body != "h map[X-User:[alice]] 0\n" || res.Header.Get("Server") != "warder" {
		t.Errorf("%s %v", body, res.Header)
	}
	c.send("GET / HTTP/1.1\r\n" + h + "X-Evil: 1\r\n\r\n")
	if res, body := c.response("GET"); res.StatusCode != 500 || body != "internal_error\n" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestARequestInSingleBytes(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{})
	c := r.dial(t)
	body := bytes.Repeat([]byte("x"), 300)
	request := fmt.Sprintf("POST /a HTTP/1.1\r\n"+h+"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nX-T: 1\r\n\r\n", len(body), body)
	for range 3 {
		go func() {
			for i := range len(request) {
				io.WriteString(c, request[i:i+1])
			}
		}()
		if res, got := c.response("POST"); res.StatusCode != 200 || got != string(body) {
			t.Fatalf("%v", res)
		}
	}
}
