package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

// The fuzz targets share one rule: what this package accepts, net/http parses
// to the same meaning. What it refuses is not compared: the accepted set is a
// subset.

func fields(h *exchange.Head) http.Header {
	all := http.Header{}
	for _, f := range h.Fields {
		key := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		all[key] = append(all[key], string(f.Value))
	}
	return all
}

// sameFields compares all fields but those that net/http takes out, or adds
// to of its own accord.
func sameFields(t *testing.T, ours, theirs http.Header) {
	t.Helper()
	for _, skip := range []string{"Host", "Transfer-Encoding", "Content-Length", "Trailer", "Pragma", "Cache-Control"} {
		delete(ours, skip)
		delete(theirs, skip)
	}
	for k, v := range ours {
		if !slices.Equal(v, theirs[k]) {
			t.Errorf("%s: %q; net/http has %q", k, v, theirs[k])
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("fields %v; net/http has %v", ours, theirs)
	}
}

func FuzzRequestHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a%20b?c=d HTTP/1.1\r\nHost: H.example.:80\r\nConnection: close, X-A\r\nX-A:  b\t\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a HTTP/1.0\r\nContent-Length: 007\r\nConnection: keep-alive\r\n\r\n",
		"POST /a HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\nX_Y: \xff\r\n\r\n",
		"GET /\nHost: h\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\n x\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := bytes.Index(b, headEnd)
		if end < 0 {
			return
		}
		b = b[:end+4]
		var h exchange.Head
		h.Reset()
		early := peek(b, 0)
		if parseRequest(&h, b, 100) != nil {
			return
		}
		if early != nil {
			t.Fatalf("refused early (%v), accepted as a whole", early)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			// Bad escapes are refused where paths and queries are judged.
			if _, uri := url.ParseRequestURI(string(h.Target)); uri != nil {
				return
			}
			t.Fatalf("net/http refuses: %v", err)
		}
		if r.Method != string(h.Method) || r.RequestURI != string(h.Target) || r.ProtoMinor != h.Minor {
			t.Errorf("%s %s %d", r.Method, r.RequestURI, r.ProtoMinor)
		}
		if !strings.EqualFold(r.Host, string(h.Authority)) {
			t.Errorf("host %q; net/http has %q", h.Authority, r.Host)
		}
		if r.URL.Path != "" && r.URL.EscapedPath() != string(h.Path) && !bytes.HasPrefix(h.Path, []byte("//")) {
			if p, _ := url.PathUnescape(string(h.Path)); p != r.URL.Path {
				t.Errorf("path %q; net/http has %q", h.Path, r.URL.Path)
			}
		}
		length := h.Length
		if h.Chunked != (len(r.TransferEncoding) == 1) || length != r.ContentLength || h.Close != r.Close {
			t.Errorf("chunked %v length %d close %v; net/http has %v %d %v", h.Chunked, length, h.Close, r.TransferEncoding, r.ContentLength, r.Close)
		}
		sameFields(t, fields(&h), r.Header)
	})
}

func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.0 404 \r\nX: y\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 204\r\n\r\n",
		"HTTP/1.1 500 It broke\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 200 OK\nX: y\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := bytes.Index(b, headEnd)
		if end < 0 {
			return
		}
		b = b[:end+4]
		var h exchange.Head
		h.Reset()
		if parseResponse(&h, b, 100) != nil {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			t.Fatalf("net/http refuses: %v", err)
		}
		if r.StatusCode != h.Status || r.ProtoMinor != h.Minor {
			t.Errorf("%d %d; net/http has %d %d", h.Status, h.Minor, r.StatusCode, r.ProtoMinor)
		}
		if bodyless := h.Status < 200 || h.Status == 204 || h.Status == 304; !bodyless &&
			(h.Chunked != (len(r.TransferEncoding) == 1) || h.Length != r.ContentLength) {
			t.Errorf("chunked %v length %d; net/http has %v %d", h.Chunked, h.Length, r.TransferEncoding, r.ContentLength)
		}
		ours := fields(&h)
		delete(ours, "Connection") // net/http takes it out of responses
		delete(r.Header, "Connection")
		sameFields(t, ours, r.Header)
	})
}

// pieces reads b in pieces of n bytes.
func pieces(b []byte, n int) func(p []byte) (int, error) {
	return func(p []byte) (int, error) {
		if len(b) == 0 {
			return 0, io.EOF
		}
		m := copy(p, b[:min(n, len(b))])
		b = b[m:]
		return m, nil
	}
}

// decode reads a chunked body and returns what it held and what was left.
func decode(raw []byte, piece, read int) (body []byte, trailers http.Header, rest int, err error) {
	next := pieces(raw, piece)
	left := len(raw)
	src := source{bufs: new(buffers), read: func(p []byte) (int, error) {
		n, err := next(p)
		left -= n
		return n, err
	}}
	var r bodyReader
	r.begin(&src, byChunks, -1)
	p := make([]byte, read)
	for {
		n, err := r.Read(p)
		body = append(body, p[:n]...)
		if err == io.EOF {
			return body, fields(&r.trailer), left + len(src.buffered()), nil
		}
		if err != nil {
			return body, nil, 0, err
		}
	}
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "0\r\n\r\n", "1;a=b;c=\"d;e\"\r\nx\r\n00\r\nX-T: 1\r\n\r\n",
		"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "2\nab\n0\n\n", "0x1\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(1), uint8(7))
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece, read uint8) {
		body, trailers, rest, err := decode(raw, int(piece)+1, int(read)+1)
		whole, _, _, err2 := decode(raw, len(raw)+1, 4096)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("in pieces %v, at once %v", err, err2)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Fatal("a fault that is io.EOF")
			}
			return
		}
		if !bytes.Equal(body, whole) {
			t.Fatalf("in pieces %q, at once %q", body, whole)
		}
		in := bufio.NewReaderSize(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(raw)), 1<<20)
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(theirs, body) {
			t.Fatalf("%q; net/http has %q %v", body, theirs, err)
		}
		left, _ := io.ReadAll(in)
		if len(left) != rest {
			t.Errorf("%d bytes left; net/http leaves %d", rest, len(left))
		}
		sameFields(t, trailers, http.Header(r.Trailer))
	})
}

func TestAWarmExchangeParsesAndWritesWithoutAllocating(t *testing.T) {
	head := []byte("POST /orders/42?x=1 HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n")
	x := &exchange.Exchange{}
	out := make([]byte, 0, smallBuffer)
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		if f := parseRequest(&x.Req, head, 100); f != nil {
			t.Fatal(f)
		}
		x.ReqEdit.Set("X-Request-Id", head[:4])
		var err error
		if out, err = appendRequest(out[:0], x, Target{Prefix: "/v1"}, "127.0.0.1:1", 12); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHeadWithEdits(b *testing.B) {
	head := []byte("GET /orders/42?x=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer " +
		strings.Repeat("t", 700) + "\r\nX-Tenant: 7\r\n\r\n")
	x := &exchange.Exchange{}
	out := make([]byte, 0, smallBuffer)
	value := []byte("0123456789abcdef0123456789abcdef")
	x.Req.Reset()
	if f := parseRequest(&x.Req, head, 100); f != nil {
		b.Fatal(f)
	}
	b.ReportAllocs()
	for b.Loop() {
		x.ReqEdit.Reset()
		x.ReqEdit.Set("X-Forwarded-For", value)
		x.ReqEdit.Set("X-Forwarded-Proto", value)
		x.ReqEdit.Set("X-Forwarded-Host", value)
		x.ReqEdit.Add("Via", value)
		x.ReqEdit.Set("X-Request-Id", value)
		x.ReqEdit.Set("Traceparent", value)
		x.ReqEdit.Del("Tracestate")
		out, _ = appendRequest(out[:0], x, Target{Prefix: "/v1"}, "127.0.0.1:1", 0)
	}
}

// reading is a connection that only reads.
type reading struct {
	net.Conn
	read func(p []byte) (int, error)
}

func (r reading) Read(p []byte) (int, error) { return r.read(p) }

// FuzzRecords holds that nothing is lost and that no Read crosses the end of a
// header or of a record, whatever the lengths say.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x02ab\x17\x03\x03\x00\x00\x17\x03\x03\x01\x00abc"), uint8(1), uint8(7))
	f.Add([]byte("\x16\x03\x03\xff\xff"), uint8(9), uint8(0))
	f.Fuzz(func(t *testing.T, raw []byte, piece, read uint8) {
		s := records{Conn: reading{read: pieces(raw, int(piece)+1)}, bufs: new(buffers)}
		p := make([]byte, int(read)+1)
		edge, at := recordHeader, 0 // where the header or record ends, and what was read
		for inHeader := true; ; {
			n, err := s.Read(p)
			if !bytes.Equal(p[:n], raw[at:at+n]) {
				t.Fatalf("%q at %d of %q", p[:n], at, raw)
			}
			if at += n; at > edge {
				t.Fatalf("read to %d, past %d", at, edge)
			}
			if err == io.EOF {
				break
			}
			if at == edge {
				if inHeader = !inHeader; inHeader {
					edge += recordHeader
				} else if length := int(raw[edge-2])<<8 | int(raw[edge-1]); length > 0 {
					edge += length
				} else {
					inHeader, edge = true, edge+recordHeader
				}
			}
			if between := inHeader && at == edge-recordHeader; between != (s.head == 0 && s.left == 0) {
				t.Fatalf("at %d: head %d, left %d", at, s.head, s.left)
			}
		}
		if at != len(raw) {
			t.Fatalf("%d of %d bytes", at, len(raw))
		}
	})
}

func BenchmarkTinyChunks(b *testing.B) {
	raw := []byte(strings.Repeat("1\r\nx\r\n", 1<<20) + "0\r\n\r\n")
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if body, _, _, err := decode(raw, len(raw), heldBody); err != nil || len(body) != 1<<20 {
			b.Fatal(len(body), err)
		}
	}
}
