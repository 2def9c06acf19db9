package gateway_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/events"
)

const webSocketKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshake are the fields of a client that opens a WebSocket.
var handshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + webSocketKey}

// socketServer is an upstream that is written by hand.
type socketServer struct {
	url   string
	seen  atomic.Int64 // requests
	conns atomic.Int64
	over  chan struct{} // a talk has ended
}

// listen lets talk answer every request. What talk leaves open is closed.
func listen(t *testing.T, talk func(c net.Conn, in *bufio.Reader, r *http.Request)) *socketServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &socketServer{url: "http://" + ln.Addr().String(), over: make(chan struct{}, 100)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			c.SetDeadline(time.Now().Add(generous))
			go func() {
				defer func() { s.over <- struct{}{} }()
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					s.seen.Add(1)
					talk(c, in, r)
				}
			}()
		}
	}()
	return s
}

func accept(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func switching(r *http.Request) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept(r) + "\r\n\r\n"
}

// echo answers 101 and sends back what comes, until the client says close.
func echo(c net.Conn, in *bufio.Reader, r *http.Request) {
	io.WriteString(c, switching(r))
	for {
		first, payload, err := readFrame(in)
		if err != nil {
			break
		}
		c.Write(frame(first, payload))
		if first&15 == 8 {
			break
		}
	}
	c.Close()
}

// frame makes a frame of a server.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, payload...)
}

// mask makes a frame of a client.
func mask(first byte, payload []byte) []byte {
	b := frame(first, payload)
	head := len(b) - len(payload)
	out := append([]byte{}, b[:head]...)
	out[1] |= 0x80
	out = append(out, 1, 2, 3, 4)
	for i, c := range payload {
		out = append(out, c^byte(i%4+1))
	}
	return out
}

// readFrame reads a frame of either side.
func readFrame(in *bufio.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if more := map[int]int{126: 2, 127: 8}[n]; more > 0 {
		n = 0
		for range more {
			c, err := in.ReadByte()
			if err != nil {
				return 0, nil, err
			}
			n = n<<8 | int(c)
		}
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err = io.ReadFull(in, key[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(in, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0], payload, err
}

// sockets makes the words of a gateway with one upstream c.
func sockets(url, routes string) string {
	return through(`{ name: one, address: "127.0.0.1:0" }`, routes+"X"+url)
}

const chat = "  - { name: chat, path: /chat, upstream: c, auth: none, upgrade: [websocket] }\n"

// opens loads routes and returns a client whose WebSocket to /chat is open.
func (h *house) opens(url, routes string) *conn {
	h.t.Helper()
	if err := h.load(sockets(url, routes)); err != nil {
		h.t.Fatal(err)
	}
	c := dial(h.t, h.Addresses()["one"])
	c.open()
	return c
}

// open sends the handshake and wants a 101.
func (c *conn) open() http.Header {
	c.t.Helper()
	c.send("GET", "/chat", handshake...)
	return c.switched()
}

// switched reads a 101, and leaves what is behind it.
func (c *conn) switched() http.Header {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
		!strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") || !strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
		c.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	return resp.Header
}

// says sends a message and wants it back.
func (c *conn) says(payload string) {
	c.t.Helper()
	go c.Write(mask(0x82, []byte(payload)))
	if first, back, err := readFrame(c.r); err != nil || first != 0x82 || string(back) != payload {
		c.t.Fatalf("%x, %d bytes back, %v", first, len(back), err)
	}
}

// tunnelled waits for the record of the tunnel.
func (h *house) tunnelled() (rec events.Record) {
	h.t.Helper()
	eventually(h.t, "a record of the tunnel", func() bool {
		r, ok := h.records.Last()
		if ok && r.Status == 101 {
			rec = *r
		}
		return ok && r.Status == 101
	})
	return rec
}
