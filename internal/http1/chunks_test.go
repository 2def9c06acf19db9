package http1_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/http1"
)

// inChunks frames body in chunks of n bytes.
func inChunks(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		m := min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", m, body[:m])
		body = body[m:]
	}
	return b.String() + "0\r\n\r\n"
}

// A body in single bytes must not become a write, and a packet, for each.
func TestTinyChunksGoOnInLargePieces(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789abcdef", 1<<13) // 128 KiB
	flood := inChunks(body, 1)
	var chunks, got atomic.Int64
	up := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			for { // the head
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
			}
			for {
				var size int64
				if _, err := fmt.Fscanf(in, "%x\r\n", &size); err != nil {
					return
				}
				if io.CopyN(io.Discard, in, size+2); size == 0 {
					break
				}
				chunks.Add(1)
				got.Add(size)
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+flood)
		}
	})
	r := start(t, &proxy{}, up, http1.Limits{})
	c := r.dial(t)
	for range 2 {
		chunks.Store(0)
		got.Store(0)
		go io.WriteString(c, "POST / HTTP/1.1\r\n"+h+"Transfer-Encoding: chunked\r\n\r\n"+flood)
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		pieces, size := 0, 0
		for { // net/http's reader stops at chunks it would wait for; ours are larger than its buffer
			line, err := c.in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var n int
			fmt.Sscanf(line, "%x\r\n", &n)
			if _, err := c.in.Discard(n + 2); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			pieces++
			size += n
		}
		if res.StatusCode != 200 || size != len(body) || got.Load() != int64(len(body)) {
			t.Fatalf("%d: %d bytes back, %d bytes there", res.StatusCode, size, got.Load())
		}
		if most := int64(len(body) / 100); chunks.Load() > most || int64(pieces) > most {
			t.Errorf("%d chunks went up and %d came back for %d bytes", chunks.Load(), pieces, len(body))
		}
	}
}

// One small event at a time is legal for as long as it lasts.
func TestEventsThatTrickleInChunksAreNotCut(t *testing.T) {
	t.Parallel()
	const events = 30000
	next := make(chan bool, 1)
	up := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		readRequest(in)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range events {
			io.WriteString(c, "1\r\nx\r\n")
			<-next
		}
		io.WriteString(c, "0\r\n\r\n")
		io.Copy(io.Discard, in)
	})
	r := start(t, &proxy{}, up, http1.Limits{})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	for i := range events {
		if _, err := io.ReadFull(res.Body, one); err != nil {
			t.Fatalf("after %d events: %v", i, err)
		}
		next <- true
	}
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

// Chunks that are nearly all frame cost us more than they are worth.
func TestChunksThatAreMostlyFrameAreRefused(t *testing.T) {
	t.Parallel()
	padded := strings.Repeat("0000000000000001\r\nx\r\n", 3000) + "0\r\n\r\n"
	r := start(t, &proxy{}, origin(t, echo), http1.Limits{})
	c := r.dial(t)
	go io.WriteString(c, "POST / HTTP/1.1\r\n"+h+"Transfer-Encoding: chunked\r\n\r\n"+padded)
	if res, body := c.response("POST"); res.StatusCode != 400 || body != "request_malformed\n" || !res.Close {
		t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
	}
	r = start(t, &proxy{}, once(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+padded), http1.Limits{})
	c = r.dial(t)
	c.send("GET / HTTP/1.1\r\n" + h + "\r\n")
	if all, _ := io.ReadAll(c.in); strings.HasSuffix(string(all), "0\r\n\r\n") {
		t.Error("it was passed on whole")
	}
}

// RFC 9110 section 6.5.1: a trailer that whoever comes behind us could merge
// into the head must not change what the head says.
func TestOnlyTrailersThatMeanNothingInAHeadGoOn(t *testing.T) {
	t.Parallel()
	trailers := "Grpc-Status: 0\r\ngrpc-message: ok\r\nX-Sum: 42\r\nContent-Digest: sha-256=:x:\r\n" +
		"Set-Cookie: a=b\r\nWWW-Authenticate: Basic\r\nLocation: //evil.example\r\nCache-Control: public\r\nAge: 0\r\n" +
		"Content-Range: bytes 0-1/2\r\nContent-Security-Policy: x\r\nContent-Location: /x\r\nAccess-Control-Allow-Origin: *\r\nDate: x\r\n" +
		"X-Requested-With: x\r\nRetry-After: 1\r\nServer: x\r\nKind: x\r\n"
	r := start(t, &proxy{}, once(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"+trailers+"\r\n"), http1.Limits{})
	for _, tt := range []struct {
		te   string
		want http.Header
	}{
		{"TE: trailers\r\n", http.Header{"Grpc-Status": {"0"}, "Grpc-Message": {"ok"}, "X-Sum": {"42"}, "Content-Digest": {"sha-256=:x:"}}},
		{"", nil},
	} {
		c := r.dial(t)
		c.send("GET / HTTP/1.1\r\n" + h + tt.te + "\r\n")
		if res, body := c.response("GET"); body != "ok" || !reflect.DeepEqual(res.Trailer, tt.want) {
			t.Errorf("%q: %q %v", tt.te, body, res.Trailer)
		}
	}
}
