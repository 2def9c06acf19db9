package http1_test

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

const opening = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// granting lets every request switch that asks for it.
func granting() *proxy {
	return &proxy{timeouts: http1.Timeouts{Idle: time.Minute}, refuse: func(x *exchange.Exchange) fault.Code {
		x.Upgrade = x.Req.Upgrade
		return fault.None
	}}
}

// mirror answers 101 and then sends back what comes.
func mirror(c net.Conn, in *bufio.Reader) { agree(c, in, in) }

// agree answers 101 and then sends what.
func agree(c net.Conn, in *bufio.Reader, what io.Reader) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	io.Copy(c, what)
}

// joined opens a tunnel and sends a frame through it, there and back.
func (c *client) joined() {
	c.t.Helper()
	c.send(opening)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != 101 {
		c.t.Fatalf("%v %v", res, err)
	}
	c.back("\x82\x05hello")
}

func (c *client) back(s string) {
	c.t.Helper()
	c.send(s)
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != s {
		c.t.Fatalf("%q back, %v; want %q", got, err, s)
	}
}

func TestATunnelOverTLS(t *testing.T) {
	t.Parallel()
	cfg, certificate := identity(t)
	for name, version := range tlsVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := script(t, func(_ int, c net.Conn, _ *bufio.Reader) {
				s := tls.Server(c, cfg)
				defer s.Close()
				mirror(s, bufio.NewReader(s))
			})
			r := start(t, granting(), "", http1.Limits{})
			r.overTLS(t, up, certificate, version)
			c := r.dial(t)
			c.joined()
			// A read that is disturbed by leave loses nothing: half a frame, then the rest.
			c.back("\x82\x06ab")
			r.srv.Drain()
			c.back("cd")
			c.send("ef")
			if got, err := io.ReadAll(io.LimitReader(c.in, 6)); string(got) != "ef\x88\x02\x03\xe9" {
				t.Errorf("%q, %v", got, err)
			}
			c.Close()
			eventually(t, "the connection ends", func() bool { return r.srv.Active() == 0 })
			if codes := r.noted(); len(codes) != 0 {
				t.Errorf("%v", codes)
			}
		})
	}
}

func TestCloseEndsTunnels(t *testing.T) {
	t.Parallel()
	r := start(t, granting(), script(t, func(_ int, c net.Conn, in *bufio.Reader) { mirror(c, in) }), http1.Limits{})
	c := r.dial(t)
	c.joined()
	r.srv.Close(errors.New("by the test"))
	if codes := r.noted(); len(codes) != 1 || codes[0] != fault.Draining {
		t.Errorf("%v", codes)
	}
	if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAClientThatDoesNotReadItsTunnelIsCutOff(t *testing.T) {
	t.Parallel()
	up := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		agree(c, in, endless{})
	})
	r := start(t, granting(), up, http1.Limits{WriteTimeout: 200 * time.Millisecond})
	c := r.dial(t)
	c.send(opening)
	eventually(t, "the tunnel ends", func() bool { return len(r.noted()) == 1 })
	if codes := r.noted(); codes[0] != fault.ClientGone {
		t.Errorf("%v", codes)
	}
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
