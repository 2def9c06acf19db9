package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// BenchmarkHTTP2 is what a request over HTTP/2 and TLS costs with all that is
// behind it, and how much of that is allocated. Neither the client nor the
// backend allocates anything per request.
func BenchmarkHTTP2(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			words, client := certificate(b)
			h := newHouse(b, nil)
			routes := "  - { path: /x, upstream: c, auth: none }\nXhttp://" + quickBackend(b, size)
			if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
				b.Fatal(err)
			}
			cfg := client.Transport.(*http.Transport).TLSClientConfig.Clone()
			cfg.NextProtos = []string{"h2"}
			c := newFrameClient(b, h.Addresses()["one"], cfg)
			c.ask(10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= 10 {
				c.ask(min(10, left))
			}
		})
	}
}

// quickBackend answers every request, of a head only, with so many bytes.
func quickBackend(t testing.TB, size int) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	answer := "HTTP/1.1 200 OK\r\nServer: quick\r\nDate: Sun, 22 Nov 2026 06:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(size) + "\r\nConnection: keep-alive\r\n\r\n"
	whole := append([]byte(answer), bytes.Repeat([]byte{'x'}, size)...)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 {
						if _, err := c.Write(whole); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// frameClient asks for /x, in words that are the same each time.
type frameClient struct {
	t    testing.TB
	c    net.Conn
	r    *bufio.Reader
	head []byte // HEADERS, but for the stream
	out  []byte
	next uint32
}

func newFrameClient(t testing.TB, address string, cfg *tls.Config) *frameClient {
	t.Helper()
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := &frameClient{t: t, c: c, r: bufio.NewReaderSize(c, 64<<10), next: 1}
	var first bytes.Buffer
	first.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&first, nil)
	framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	if _, err := c.Write(first.Bytes()); err != nil {
		t.Fatal(err)
	}
	var words, frame bytes.Buffer
	e := hpack.NewEncoder(&words)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", address}, {":path", "/x"},
		{"user-agent", "bench/1"}, {"accept", "*/*"},
	} {
		e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1], Sensitive: true}) // never indexed: the same bytes each time
	}
	http2.NewFramer(&frame, nil).WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: words.Bytes(), EndHeaders: true, EndStream: true})
	f.head = frame.Bytes()
	return f
}

// ask asks n times at once and reads all answers.
func (f *frameClient) ask(n int) {
	f.out = f.out[:0]
	for range n {
		at := len(f.out)
		f.out = append(f.out, f.head...)
		binary.BigEndian.PutUint32(f.out[at+5:], f.next)
		f.next += 2
	}
	if _, err := f.c.Write(f.out); err != nil {
		f.t.Fatal(err)
	}
	f.c.SetReadDeadline(time.Now().Add(generous))
	received := 0
	for n > 0 {
		head, err := f.r.Peek(9)
		if err != nil {
			f.t.Fatal(err)
		}
		size, kind, flags := int(head[0])<<16|int(head[1])<<8|int(head[2]), http2.FrameType(head[3]), http2.Flags(head[4])
		stream := binary.BigEndian.Uint32(head[5:])
		f.r.Discard(9)
		if kind == http2.FrameRSTStream || kind == http2.FrameGoAway {
			f.t.Fatal(kind)
		}
		if kind == http2.FrameData {
			received += size
		}
		if _, err := f.r.Discard(size); err != nil && err != io.EOF {
			f.t.Fatal(err)
		}
		if stream != 0 && flags.Has(http2.FlagDataEndStream) {
			n--
		}
		if received > 16<<10 {
			f.grant(received)
			received = 0
		}
	}
	f.grant(received)
}

// grant opens the connection's window for as much as was received.
func (f *frameClient) grant(n int) {
	if n == 0 {
		return
	}
	f.out = append(f.out[:0], 0, 0, 4, byte(http2.FrameWindowUpdate), 0, 0, 0, 0, 0)
	f.out = binary.BigEndian.AppendUint32(f.out, uint32(n))
	if _, err := f.c.Write(f.out); err != nil {
		f.t.Fatal(err)
	}
}
