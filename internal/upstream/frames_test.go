package upstream_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/upstream"
)

// frames is an origin that writes whatever frames it is told to.
type frames struct {
	*http2.Framer
	stream uint32
	t      *testing.T
}

func (f *frames) head(end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

// rawOrigin answers the head of every request by script; seen is given every
// frame that came after it.
func rawOrigin(t *testing.T, script func(f *frames, n int), seen func(http2.Frame)) *upstream.Group {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	n := 0
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
				f := &frames{Framer: http2.NewFramer(c, c), t: t}
				f.WriteSettings()
				for {
					got, err := f.ReadFrame()
					if err != nil {
						return
					}
					switch got := got.(type) {
					case *http2.SettingsFrame:
						if !got.IsAck() {
							f.WriteSettingsAck()
						}
					case *http2.HeadersFrame:
						f.stream = got.StreamID
						mu.Lock()
						n++
						turn := n
						mu.Unlock()
						script(f, turn)
					}
					if seen != nil {
						seen(got)
					}
				}
			})
		}
	})
	g := upstream.New(upstream.Config{Targets: []upstream.Target{{Name: "raw", Address: l.Addr().String(), Host: "raw"}}, Protocol: upstream.HTTP2})
	t.Cleanup(func() {
		g.Close()
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return g
}

// What HTTP/1.1 would refuse of a response is refused of HTTP/2.
func TestResponsesOverHTTP2AreHeldToTheRules(t *testing.T) {
	t.Parallel()
	many := make([]string, 0, 500)
	for range 250 {
		many = append(many, "x-a", "b")
	}
	for _, c := range []struct {
		name   string
		method string
		script func(f *frames, n int)
		status int
		body   string
		want   fault.Code
	}{
		{"well-formed", "GET", func(f *frames, _ int) { f.head(false, ":status", "200"); f.WriteData(f.stream, true, []byte("hello")) }, 200, "hello", fault.None},
		{"its length", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200", "content-length", "5")
			f.WriteData(f.stream, true, []byte("hello"))
		}, 200, "hello", fault.None},
		{"status 99", "GET", func(f *frames, _ int) { f.head(true, ":status", "99") }, 0, "", fault.ResponseMalformed},
		{"status 600", "GET", func(f *frames, _ int) { f.head(true, ":status", "600") }, 0, "", fault.ResponseMalformed},
		{"status 1000", "GET", func(f *frames, _ int) { f.head(true, ":status", "1000") }, 0, "", fault.ResponseMalformed},
		{"a status that is no number", "GET", func(f *frames, _ int) { f.head(true, ":status", "2x0") }, 0, "", fault.ResponseMalformed},
		{"no status", "GET", func(f *frames, _ int) { f.head(true, "x-a", "b") }, 0, "", fault.ResponseMalformed},
		{"101", "GET", func(f *frames, _ int) { f.head(false, ":status", "101"); f.head(true, ":status", "200") }, 0, "", fault.ResponseMalformed},
		{"two lengths", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200", "content-length", "5", "content-length", "5")
			f.WriteData(f.stream, true, []byte("hello"))
		}, 0, "", fault.ResponseMalformed},
		{"a length that is no number", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200", "content-length", "+5")
			f.WriteData(f.stream, true, []byte("hello"))
		}, 0, "", fault.ResponseMalformed},
		{"shorter than its length", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200", "content-length", "6")
			f.WriteData(f.stream, true, []byte("hello"))
		}, 200, "hello", fault.UpstreamError},
		{"nothing of its length", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "content-length", "6") }, 200, "", fault.UpstreamError},
		{"longer than its length", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200", "content-length", "4")
			f.WriteData(f.stream, true, []byte("hello"))
		}, 200, "hell", fault.UpstreamError},
		{"a field of connections", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "connection", "close") }, 0, "", fault.ResponseMalformed},
		{"transfer-encoding", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "transfer-encoding", "chunked") }, 0, "", fault.ResponseMalformed},
		{"a control character", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "x-a", "b\r\nSet-Cookie: c") }, 0, "", fault.ResponseMalformed},
		{"space around a value", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "x-a", " b") }, 0, "", fault.ResponseMalformed},
		{"an upper-case name", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "X-A", "b") }, 0, "", fault.ResponseMalformed},
		{"a name with a space", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", "x a", "b") }, 0, "", fault.ResponseMalformed},
		{"an unknown pseudo field", "GET", func(f *frames, _ int) { f.head(true, ":status", "200", ":path", "/") }, 0, "", fault.ResponseMalformed},
		{"too many fields", "GET", func(f *frames, _ int) { f.head(true, append([]string{":status", "200"}, many...)...) }, 0, "", fault.ResponseMalformed},
		{"8 interim answers", "GET", func(f *frames, _ int) {
			for range 8 {
				f.head(false, ":status", "102")
			}
			f.head(true, ":status", "200")
		}, 200, "", fault.None},
		{"9 interim answers", "GET", func(f *frames, _ int) {
			for range 9 {
				f.head(false, ":status", "102")
			}
			f.head(true, ":status", "200")
		}, 0, "", fault.ResponseMalformed},
		{"a body for HEAD", "HEAD", func(f *frames, _ int) { f.head(false, ":status", "200"); f.WriteData(f.stream, true, []byte("hello")) }, 200, "", fault.None},
		{"a length for HEAD", "HEAD", func(f *frames, _ int) { f.head(true, ":status", "200", "content-length", "5") }, 200, "", fault.None},
		{"a body of 204", "GET", func(f *frames, _ int) { f.head(false, ":status", "204"); f.WriteData(f.stream, true, []byte("hello")) }, 204, "", fault.None},
		{"a length of 204", "GET", func(f *frames, _ int) { f.head(true, ":status", "204", "content-length", "5") }, 0, "", fault.ResponseMalformed},
		{"a length of 304", "GET", func(f *frames, _ int) { f.head(true, ":status", "304", "content-length", "5") }, 304, "", fault.None},
		{"a body of 304", "GET", func(f *frames, _ int) { f.head(false, ":status", "304"); f.WriteData(f.stream, true, []byte("hello")) }, 304, "", fault.None},
		{"a reset before the head", "GET", func(f *frames, _ int) { f.WriteRSTStream(f.stream, http2.ErrCodeInternal) }, 0, "", fault.UpstreamError},
		{"a reset inside the body", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200")
			f.WriteData(f.stream, false, []byte("hello"))
			f.WriteRSTStream(f.stream, http2.ErrCodeInternal)
		}, 200, "hello", fault.UpstreamError},
		{"a reset that blames us", "POST", func(f *frames, _ int) { f.WriteRSTStream(f.stream, http2.ErrCodeProtocol) }, 0, "", fault.UpstreamError},
		{"trailers with a pseudo field", "GET", func(f *frames, _ int) {
			f.head(false, ":status", "200")
			f.WriteData(f.stream, false, []byte("hello"))
			f.head(true, ":status", "500")
		}, 200, "hello", fault.UpstreamError},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := rawOrigin(t, c.script, nil)
			x := call(c.method, "/", nil, 0)
			got, err := answer(g, x, times)
			code := fault.None
			if err != nil {
				code = fault.Of(err)
			}
			if x.Resp.Status != c.status && c.status != 0 || !strings.HasPrefix(c.body, got) || code == fault.None && got != c.body || code != c.want {
				t.Errorf("%d %q %v; want %d %q %v", x.Resp.Status, got, err, c.status, c.body, c.want)
			}
		})
	}
}
