package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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
)

func TestAWebSocketIsJoinedBothWays(t *testing.T) {
	t.Parallel()
	words, _ := certificate(t)
	for _, secure := range []bool{false, true} {
		var early atomic.Int64
		up := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
			// What the client sent behind its request waits for the answer.
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := in.Peek(1); err == nil {
				early.Add(1)
			}
			c.SetReadDeadline(time.Now().Add(generous))
			for name, want := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Key": webSocketKey, "Sec-Websocket-Version": "13",
				"Sec-Websocket-Protocol": "a, b", "X-Forwarded-For": "127.0.0.1", "Content-Length": "",
			} {
				if got := strings.Join(r.Header[name], "|"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			head := strings.TrimSuffix(switching(r), "\r\n") + "Sec-WebSocket-Protocol: b\r\nContent-Length: 0\r\nKeep-Alive: x\r\n\r\n"
			c.Write(append([]byte(head), frame(0x81, []byte("welcome"))...))
			for {
				first, payload, err := readFrame(in)
				if err != nil {
					return
				}
				c.Write(frame(first, payload))
				if first&15 == 8 {
					c.Close()
					return
				}
			}
		})
		h := newHouse(t, nil)
		listener := `{ name: one, address: "127.0.0.1:0" }`
		if secure {
			listener = `{ name: one, address: "127.0.0.1:0"` + words + ` }`
		}
		if err := h.load(through(listener, chat+"X"+up.url)); err != nil {
			t.Fatal(err)
		}
		c := dial(t, h.Addresses()["one"])
		if secure {
			c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			c.r = bufio.NewReader(c.Conn)
		}
		head := "GET /chat HTTP/1.1\r\nHost: local\r\n" + strings.Join(handshake, "\r\n") + "\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"
		c.Write(append([]byte(head), mask(0x82, []byte("pipelined"))...))
		header := c.switched()
		id, _ := exchange.ParseRequestID(header.Get("X-Request-Id"))
		if header.Get("Sec-Websocket-Protocol") != "b" || header["Content-Length"] != nil || header["Keep-Alive"] != nil {
			t.Errorf("%v", header)
		}
		for _, want := range []string{"welcome", "pipelined"} {
			if _, got, err := readFrame(c.r); err != nil || string(got) != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		c.says("hello")
		c.says(strings.Repeat("large ", 50_000))
		c.Write(mask(0x88, []byte{3, 232}))
		if first, payload, err := readFrame(c.r); err != nil || first != 0x88 || !bytes.Equal(payload, []byte{3, 232}) {
			t.Errorf("close: %x %x %v", first, payload, err)
		}
		c.ended()
		c.Close()
		rec := h.tunnelled()
		const messages = 300_000 + 5 + 9 + 2 // and their frames
		if rec.ID != id || rec.Code != fault.None || rec.Route != "chat" || rec.BytesIn < messages || rec.BytesIn > messages+100 || rec.BytesOut < messages || rec.BytesOut > messages+100 {
			t.Errorf("%+v", rec)
		}
		if early.Load() != 0 {
			t.Error("the upstream got bytes of the tunnel before it had agreed to one")
		}
	}
}

func TestAWebSocketIsJudgedBeforeTheUpstreamHearsOfIt(t *testing.T) {
	t.Parallel()
	up := listen(t, echo)
	h := newHouse(t, nil)
	if err := h.load(sockets(up.url, chat+"  - { name: closed, path: /closed, upstream: c, auth: { apiKey: true }, upgrade: [websocket] }\n")); err != nil {
		t.Fatal(err)
	}
	with := func(extra string) []string { return append([]string{extra}, handshake...) }
	for _, q := range []struct {
		what, method, path string
		fields             []string
		status             int
		code               string
	}{
		{"no credential", "GET", "/closed", handshake, 401, "credential_missing"},
		{"a bad credential", "GET", "/closed", with("X-Api-Key: x"), 401, "key_invalid"},
		{"no credential and no handshake", "GET", "/closed", handshake[:2], 401, "credential_missing"},
		{"no such route", "GET", "/nowhere", handshake, 404, "route_unknown"},
		{"POST", "POST", "/chat", handshake, 400, "request_malformed"},
		{"a body", "GET", "/chat", with("Content-Length: 1"), 400, "request_malformed"},
		{"chunks", "GET", "/chat", with("Transfer-Encoding: chunked"), 400, "request_malformed"},
		{"no key", "GET", "/chat", handshake[:3], 400, "request_malformed"},
		{"two keys", "GET", "/chat", with(handshake[3]), 400, "request_malformed"},
		{"a hidden key", "GET", "/chat", with("Connection: Sec-WebSocket-Key"), 400, "request_malformed"},
		{"version 8", "GET", "/chat", []string{handshake[0], handshake[1], handshake[3], "Sec-WebSocket-Version: 8"}, 400, "request_malformed"},
	} {
		c := dial(t, h.Addresses()["one"])
		status, header, body := c.ask(q.method, q.path, q.fields...)
		if status != q.status || !strings.Contains(body, `"`+q.code+`"`) {
			t.Errorf("%s: %d %v %s", q.what, status, header, body)
		}
		c.ended()
		c.Close()
	}
	if n := up.conns.Load(); n != 0 {
		t.Errorf("the upstream got %d connections", n)
	}
}

// Whoever asks to switch and is answered otherwise may not go on as if
// another request followed: what comes then may be meant for the tunnel, and
// somebody in front may think that there is one.
func TestWithoutA101NothingBehindTheRequestIsHeard(t *testing.T) {
	t.Parallel()
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison" // would be the answer to the next request
	for i, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
	} {
		up := listen(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
			io.WriteString(c, answer)
			if i > 0 {
				io.WriteString(c, poison)
			}
		})
		h := newHouse(t, nil)
		if err := h.load(sockets(up.url, chat+"  - { name: x, path: /x, upstream: c, auth: none }\n")); err != nil {
			t.Fatal(err)
		}
		c := dial(t, h.Addresses()["one"])
		io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: local\r\n"+strings.Join(handshake, "\r\n")+"\r\n\r\nGET /x HTTP/1.1\r\nHost: local\r\n\r\n")
		status, header, body := c.receive("GET")
		if body != "no" || !strings.Contains(answer, fmt.Sprint(status)) || header["Upgrade"] != nil {
			t.Errorf("%d %v %q", status, header, body)
		}
		c.ended()
		if n := up.seen.Load(); n != 1 {
			t.Errorf("the upstream was asked %d times", n)
		}
		if _, _, body := dial(t, h.Addresses()["one"]).ask("GET", "/x"); body != "no" {
			t.Errorf("afterwards: %q", body)
		}
		if n := up.conns.Load(); n != 2 {
			t.Errorf("%d connections were made to the upstream, want 2", n)
		}
	}
}

func TestA101ThatIsNotRightIsRefused(t *testing.T) {
	t.Parallel()
	const right = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	for _, c := range []struct{ what, path, fields string }{
		{"no accept", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\n"},
		{"another accept", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"},
		{"the key for the accept", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + webSocketKey + "\r\n"},
		{"two accepts", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + right + "\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"an accept that Connection names", "/chat", "Upgrade: websocket\r\nConnection: Upgrade, Sec-WebSocket-Accept\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"another protocol", "/chat", "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"two protocols", "/chat", "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"no protocol", "/chat", "Connection: Upgrade\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"no Connection", "/chat", "Upgrade: websocket\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"a body", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"a body in chunks", "/chat", "Upgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\nSec-WebSocket-Accept: " + right + "\r\n"},
		{"not asked for", "/x", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + right + "\r\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(conn net.Conn, _ *bufio.Reader, r *http.Request) {
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+c.fields+"\r\nsecret")
			})
			h := newHouse(t, nil)
			if err := h.load(sockets(up.url, chat+"  - { name: x, path: /x, upstream: c, auth: none }\n")); err != nil {
				t.Fatal(err)
			}
			client := dial(t, h.Addresses()["one"])
			status, _, body := client.ask("GET", c.path, handshake...)
			if status != 502 || !strings.Contains(body, `"response_malformed"`) || strings.Contains(body, "secret") {
				t.Errorf("%d %s", status, body)
			}
			client.ended()
		})
	}
}

func TestUpgradeIsDroppedWhereNoRouteLetsIt(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
			if r.Header[name] != nil {
				t.Errorf("%s: %q went on", name, r.Header[name])
			}
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	h := newHouse(t, nil)
	if err := h.load(sockets(up.url, chat+"  - { name: x, path: /x, upstream: c, auth: none }\n")); err != nil {
		t.Fatal(err)
	}
	h2c := []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"}
	for what, q := range map[string]struct {
		path   string
		fields []string
	}{
		"a WebSocket on another route": {"/x", handshake}, "h2c on another route": {"/x", h2c}, "h2c on the route": {"/chat", h2c},
		"Upgrade alone": {"/chat", handshake[1:]}, "Connection alone": {"/chat", handshake[:1]},
	} {
		if status, _, body := dial(t, h.Addresses()["one"]).ask("GET", q.path, q.fields...); status != 200 || body != "ok" {
			t.Errorf("%s: %d %q", what, status, body)
		}
	}
}

func TestATunnelEndsWhenNothingMovesOrItsTimeIsOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, timeout, reason string }{
		{"idle", "{ idle: 200ms }", "timeout.idle"},
		{"idle from its beginning", "{ idle: 200ms }", "timeout.idle"},
		{"total of the route", "{ total: 300ms }", "timeout.total"},
	} {
		up := listen(t, echo)
		h := newHouse(t, nil)
		client := h.opens(up.url, strings.Replace(chat, "name: chat", "name: chat, timeout: "+c.timeout, 1))
		if c.what != "idle from its beginning" {
			client.says("hello")
		}
		client.ended()
		<-up.over
		if rec := h.tunnelled(); rec.Code != fault.None || !strings.Contains(rec.Reason, c.reason) {
			t.Errorf("%s: %+v", c.what, rec)
		}
	}
}

func TestTheTotalOfAnUpstreamIsNotForTunnels(t *testing.T) {
	t.Parallel()
	up := listen(t, echo)
	h := newHouse(t, nil)
	words := strings.Replace(sockets(up.url, chat), "c: ["+up.url+"]", "c: { targets: ["+up.url+"], timeout: { total: 200ms } }", 1)
	if !strings.Contains(words, "total: 200ms") {
		t.Fatal(words)
	}
	if err := h.load(words); err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addresses()["one"])
	c.open()
	for began := time.Now(); time.Since(began) < 600*time.Millisecond; {
		c.says("hello")
	}
	c.Close()
	h.tunnelled()
}

func TestEitherSideEndsATunnel(t *testing.T) {
	t.Parallel()
	t.Run("the client closes", func(t *testing.T) {
		t.Parallel()
		up := listen(t, echo)
		h := newHouse(t, nil)
		c := h.opens(up.url, chat)
		c.says("hello")
		c.Close()
		<-up.over
		if rec := h.tunnelled(); rec.Code != fault.None {
			t.Errorf("%+v", rec)
		}
	})
	t.Run("the client sends no more, and hears the rest", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
			io.WriteString(c, switching(r))
			rest, _ := io.ReadAll(in)
			<-time.After(400 * time.Millisecond) // in which a client of HTTP would be taken for gone
			c.Write(append(rest, "and the rest"...))
		})
		h := newHouse(t, nil)
		c := h.opens(up.url, chat)
		io.WriteString(c, "all of it ")
		c.Conn.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c.r); err != nil || string(b) != "all of it and the rest" {
			t.Errorf("%q, %v", b, err)
		}
		h.tunnelled()
	})
	t.Run("the client breaks off", func(t *testing.T) {
		t.Parallel()
		up := listen(t, echo)
		h := newHouse(t, nil)
		c := h.opens(up.url, chat)
		c.says("hello")
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		<-up.over
		if rec := h.tunnelled(); rec.Code != fault.ClientGone {
			t.Errorf("%+v", rec)
		}
	})
	t.Run("the upstream closes", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
			io.WriteString(c, switching(r)+"bye")
			c.Close()
		})
		h := newHouse(t, nil)
		c := h.opens(up.url, chat)
		if b, err := io.ReadAll(c.r); err != nil || string(b) != "bye" {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
		if rec := h.tunnelled(); rec.Code != fault.None {
			t.Errorf("%+v", rec)
		}
	})
	t.Run("the upstream breaks off", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
			io.WriteString(c, switching(r))
			in.ReadByte()
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		})
		h := newHouse(t, nil)
		c := h.opens(up.url, chat)
		io.WriteString(c, "x")
		if _, err := c.r.ReadByte(); err == nil {
			t.Error("something came")
		}
		if rec := h.tunnelled(); rec.Code != fault.UpstreamError {
			t.Errorf("%+v", rec)
		}
	})
}

func TestDrainTellsAClientToGoBetweenTwoFrames(t *testing.T) {
	t.Parallel()
	half, rest := make(chan bool), make(chan bool)
	up := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
		io.WriteString(c, switching(r))
		whole := frame(0x82, []byte("in two parts"))
		c.Write(whole[:5])
		<-half
		<-rest
		c.Write(whole[5:])
		// The client's answer comes through, and nothing goes out behind the close.
		if first, payload, err := readFrame(in); err != nil || first != 0x88 || !bytes.Equal(payload, []byte{3, 233}) {
			t.Errorf("%x %x %v", first, payload, err)
		}
		c.Write(frame(0x82, []byte("too late")))
		c.Close()
	})
	h := newHouse(t, nil)
	c := h.opens(up.url, chat)
	if b, err := c.r.Peek(5); err != nil {
		t.Fatalf("%q %v", b, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	defer cancel()
	drained := make(chan error, 1)
	half <- true
	go func() { drained <- h.Drain(ctx) }()
	eventually(t, "no new connections", func() bool {
		n, err := net.Dial("tcp", c.RemoteAddr().String())
		if err == nil {
			n.Close()
		}
		return err != nil
	})
	rest <- true
	if _, payload, err := readFrame(c.r); err != nil || string(payload) != "in two parts" {
		t.Errorf("%q %v", payload, err)
	}
	if first, payload, err := readFrame(c.r); err != nil || first != 0x88 || !bytes.Equal(payload, []byte{3, 233}) {
		t.Errorf("%x %x %v", first, payload, err)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained with a tunnel open: %v", err)
	default:
	}
	c.Write(mask(0x88, []byte{3, 233}))
	c.ended()
	c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if rec := h.tunnelled(); rec.Code != fault.None {
		t.Errorf("%+v", rec)
	}
}

func TestDrainLeavesTunnelsTheirTimeAndCutsThemThen(t *testing.T) {
	t.Parallel()
	up := listen(t, echo)
	h := newHouse(t, nil)
	c := h.opens(up.url, chat)
	ctx, cancel := context.WithCancel(context.Background())
	drained := make(chan error)
	go func() { drained <- h.Drain(ctx) }()
	if first, payload, err := readFrame(c.r); err != nil || first != 0x88 || !bytes.Equal(payload, []byte{3, 233}) {
		t.Errorf("%x %x %v", first, payload, err)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained before its time: %v", err)
	case <-up.over:
		t.Error("the upstream was cut before the time")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, c.r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	<-up.over
	if rec := h.tunnelled(); rec.Code != fault.Draining {
		t.Errorf("%+v", rec)
	}
}
