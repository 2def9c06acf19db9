package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// script is a client connection on which everything was sent at once. What is
// written to it is lost.
type script struct {
	net.Conn
	read func(p []byte) (int, error)
}

func (s *script) Read(p []byte) (int, error)       { return s.read(p) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// taken is a request as a handler was given it.
type taken struct {
	method, target string
	body           []byte
	whole          bool   // body was read, to its clean end
	onward         []byte // what would go upstream
}

// taking is a handler that reads the bodies of those requests whose bit in
// reads is set and leaves the others alone.
type taking struct {
	reads uint8
	seen  []taken
	fault error // of this test
}

func (h *taking) Serve(x *exchange.Exchange, s exchange.Sink) {
	i := len(h.seen)
	q := taken{method: string(x.Req.Method), target: string(x.Req.Target)}
	if h.reads>>(i%8)&1 == 1 {
		var err error
		if q.body, err = io.ReadAll(x.ReqBody); err == nil {
			q.whole = true
			q.onward, h.fault = onward(x, q.body)
		}
	}
	h.seen = append(h.seen, q)
	x.Resp.Status = 200
	if err := s.Head(&x.Resp, nil, 0, nil); err != nil {
		s.Abort(err)
		return
	}
	s.Finish(nil)
}

func (h *taking) Reject(x *exchange.Exchange, s exchange.Sink, f *fault.Error) {
	x.Resp.Status = f.Code.Status()
	if s.Head(&x.Resp, nil, 0, nil) == nil {
		s.Finish(nil)
	}
}

// onward writes the request as an upstream gets it.
func onward(x *exchange.Exchange, body []byte) ([]byte, error) {
	length := int64(len(body))
	if x.Req.Chunked {
		length = -1
	}
	b, err := appendRequest(nil, x, Target{}, "origin:1", length)
	if err != nil {
		return nil, err
	}
	if !x.Req.Chunked {
		return append(b, body...), nil
	}
	for at := 0; at < len(body); {
		const room = 16
		n := min(len(body)-at, heldBody)
		buf := make([]byte, room+n+room)
		copy(buf[room:], body[at:at+n])
		b = append(b, frameChunk(buf, room, n, false)...)
		at += n
	}
	buf := make([]byte, 32)
	return append(b, frameChunk(buf, 16, 0, true)...), nil
}

// FuzzConnection holds that whatever a client sends over one connection, with
// bodies that are read and bodies that are not: the requests that a handler is
// given are those that net/http finds in the same bytes, in their order, none
// more; a body is theirs; behind a message that was not clean nothing is
// served; and what goes on of a request is, to net/http, one request of the
// same meaning and no byte more.
func FuzzConnection(f *testing.F) {
	const get, chunks = "GET /g HTTP/1.1\r\nHost: h\r\n\r\n", "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, s := range []string{
		get + get, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + get,
		chunks + "3\r\nabc\r\n0\r\n\r\n" + get, chunks + "3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" + get, chunks + "1\nx\n0\n\n" + get,
		chunks + "2\r\nabXX0\r\n\r\n" + get, chunks + "0\r\nHost: i\r\n\r\n" + get, chunks + "2 \r\nab\r\n0\r\n\r\n" + get, "GET /g HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + get,
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: " + fmt.Sprint(len(get)) + "\r\n\r\n" + get + get,
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get,
		"POST /p HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx" + get,
		"POST /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx" + get,
		"GET /g HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + get, "GET /g HTTP/1.0\r\n\r\n" + get,
		"GET http://h/g HTTP/1.1\r\nHost: h\r\n\r\n" + "\r\n" + get, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc",
	} {
		f.Add([]byte(s), uint8(0xff), uint8(255))
		f.Add([]byte(s), uint8(0xaa), uint8(0))
	}
	h := &taking{}
	srv := NewServer(h, Limits{})
	f.Cleanup(func() { srv.Close(io.EOF) })
	f.Fuzz(func(t *testing.T, raw []byte, reads, piece uint8) {
		*h = taking{reads: reads}
		srv.ServeConn(&script{read: pieces(raw, int(piece)+1)}, &exchange.Conn{Proto: "HTTP/1.1"})
		if h.fault != nil {
			t.Fatal(h.fault)
		}
		in := bufio.NewReaderSize(bytes.NewReader(raw), 1<<16)
		for i, q := range h.seen {
			if i+1 < len(h.seen) && h.reads>>(i%8)&1 == 1 && !q.whole {
				t.Fatalf("request %d was not whole, and another was served behind it", i)
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				if _, uri := url.ParseRequestURI(q.target); uri != nil {
					return // bad escapes are refused where paths and queries are judged
				}
				t.Fatalf("request %d is %s %s; net/http refuses: %v", i, q.method, q.target, err)
			}
			body, err := io.ReadAll(r.Body)
			if r.Method != q.method || r.RequestURI != q.target {
				t.Fatalf("request %d is %s %s; net/http has %s %s", i, q.method, q.target, r.Method, r.RequestURI)
			}
			if q.whole {
				if err != nil || !bytes.Equal(body, q.body) {
					t.Fatalf("body %d is %q; net/http has %q %v", i, q.body, body, err)
				}
				goesOn(t, q)
			}
			if i+1 < len(h.seen) && (r.Close || err != nil) {
				t.Fatalf("net/http ends the connection behind request %d (%v); we did not", i, err)
			}
		}
	})
}

// goesOn holds that the onward form is one request.
func goesOn(t *testing.T, q taken) {
	t.Helper()
	in := bufio.NewReaderSize(bytes.NewReader(q.onward), 1<<16)
	r, err := http.ReadRequest(in)
	if err != nil {
		if _, uri := url.ParseRequestURI(strings.SplitN(string(q.onward), " ", 3)[1]); uri != nil {
			return
		}
		t.Fatalf("net/http refuses what goes on: %v\n%q", err, q.onward)
	}
	body, err := io.ReadAll(r.Body)
	left, _ := io.ReadAll(in)
	if err != nil || !bytes.Equal(body, q.body) || len(left) > 0 || r.Method != q.method {
		t.Fatalf("what goes on is %s with body %q (%v), %q is left; want %s with %q\n%q", r.Method, body, err, left, q.method, q.body, q.onward)
	}
}
