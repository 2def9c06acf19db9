package gateway_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// dialFor connects, and says for whom.
func dialFor(t *testing.T, address, client string) *conn {
	c := dial(t, address)
	a := netip.MustParseAddr(client)
	family, local := "TCP4", "127.0.0.1"
	if a.Is6() {
		family, local = "TCP6", "::1"
	}
	io.WriteString(c, "PROXY "+family+" "+client+" "+local+" 4711 80\r\n")
	return c
}

// serves asks once and lets the connection be idle.
func (c *conn) serves(what string) {
	c.t.Helper()
	if status, _, _ := c.ask("GET", "/x"); status != 401 {
		c.t.Errorf("%s: %d", what, status)
	}
}

func TestAnIdleConnectionMakesRoomForANewOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serve(", limits: { connections: 3 }", closed)
	other := dialFrom(t, "127.0.0.2", address)
	other.serves("a neighbour")
	greedy := []*conn{dial(t, address), dial(t, address)}
	for _, c := range greedy {
		c.serves("greedy")
	}
	for range 3 {
		more := dial(t, address)
		more.serves("when all are taken")
		greedy = append(greedy, more)
	}
	eventually(t, "three idle connections were ended", func() bool { return h.Door().Evicted >= 3 && h.Connections() <= 3 })
	other.serves("the neighbour, who holds only one")
	if n := h.Door().Refused; n != 0 {
		t.Errorf("%d were refused", n)
	}
}

// Also those that never say a word go: before PROXY headers and TLS handshakes
// are whole.
func TestConnectionsThatNeverBeginMakeRoom(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	address := h.serve(words+", limits: { connections: 2 }", closed)
	for range 5 {
		c := dial(t, address)
		c.Write([]byte{22, 3, 1}) // the beginning of a ClientHello
	}
	res, err := client.Get("https://" + address + "/x")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 401 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestAnIdleHTTP2ConnectionMakesRoom(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	address := h.serve(words+", limits: { connections: 1 }", closed)
	transport := client.Transport.(*http.Transport)
	for range 3 {
		again := transport.Clone()
		defer again.CloseIdleConnections()
		res, err := (&http.Client{Transport: again, Timeout: generous}).Get("https://" + address + "/x")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 401 || res.ProtoMajor != 2 {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
	}
	if d := h.Door(); d.Evicted < 2 {
		t.Errorf("%+v", d)
	}
}

func TestAnAddressHasItsShareOfConnections(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	defer close(let)
	var asked atomic.Int64
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Wait") != "" {
			asked.Add(1)
			<-let
		}
	})
	h := newHouse(t, nil)
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0", proxyProtocol: { from: [127.0.0.1/32] }, limits: { connectionsPerAddress: 1 } }`, routes)); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	works := func(what string, c *conn) {
		t.Helper()
		if status, _, _ := c.ask("GET", "/x"); status != 200 {
			t.Errorf("%s: %d", what, status)
		}
	}
	one := dialFor(t, address, "203.0.113.9")
	works("the first", one)
	// instead connects in place of one that was answered, once that is idle:
	// which may be a moment after its answer has come.
	instead := func(what, client string) (c *conn) {
		t.Helper()
		eventually(t, what, func() bool {
			c = dialFor(t, address, client)
			io.WriteString(c, "GET /x HTTP/1.1\r\nHost: local\r\n\r\n")
			_, err := c.r.Peek(1)
			return err == nil
		})
		c.receive("GET")
		return c
	}
	two := instead("the second, in place of the first", "203.0.113.9")
	one.ended()
	works("another address", dialFor(t, address, "203.0.113.10"))
	works("IPv6", dialFor(t, address, "2001:db8::1"))
	works("another network of IPv6", dialFor(t, address, "2001:db8:0:1::1"))

	two.send("GET", "/x", "Wait: yes")
	eventually(t, "the second is served", func() bool { return asked.Load() == 1 })
	six := instead("one of IPv6, in place of another of its network", "2001:db8::1")
	six.send("GET", "/x", "Wait: yes")
	eventually(t, "one of IPv6 is served", func() bool { return asked.Load() == 2 })
	refused := h.Door().Refused
	dialFor(t, address, "203.0.113.9").ended()
	dialFor(t, address, "2001:db8::ffff").ended()
	if d := h.Door(); d.Refused != refused+2 || d.Evicted != 2 {
		t.Errorf("%+v", d)
	}
}

func TestProxiesAreNotCountedPerAddress(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"trustedProxies":     ", trustedProxies: [127.0.0.1/32], limits: { connectionsPerAddress: 1 }",
		"proxyProtocol.from": ", proxyProtocol: { from: [127.0.0.1/32] }, limits: { connectionsPerAddress: 1 }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			address := h.serve(words, closed)
			var all []*conn
			for range 3 {
				c := dial(t, address)
				if name != "trustedProxies" {
					io.WriteString(c, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00") // LOCAL: for itself
				}
				c.serves("once")
				all = append(all, c)
			}
			for _, c := range all {
				c.serves("again")
			}
		})
	}
}

// Drain waits for requests, not for those that have not begun to speak.
func TestWhoHasNotSpokenDoesNotHoldTheDrain(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	trust := client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	h := newHouse(t, nil)
	if err := h.load(document(`{ name: intro, address: "127.0.0.1:0", proxyProtocol: { from: [127.0.0.1/32] } }, { name: secure, address: "`+freePort(t)+`"`+words+` }`, closed)); err != nil {
		t.Fatal(err)
	}
	at := h.Addresses()
	silent, half := dial(t, at["intro"]), dial(t, at["intro"])
	io.WriteString(half, "PROXY TCP4 203.")
	handshake, mute := dial(t, at["secure"]), dial(t, at["secure"])
	handshake.Write([]byte{22, 3, 1})
	preface, err := tls.Dial("tcp", at["secure"], &tls.Config{RootCAs: trust, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := tls.Dial("tcp", at["secure"], &tls.Config{RootCAs: trust})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are there", func() bool { return h.Connections() == 6 })
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second) // less than any of their times
	defer cancel()
	if err := h.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	for _, c := range []net.Conn{silent, half, handshake, mute, preface, plain} {
		c.SetReadDeadline(time.Now().Add(generous))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("%v stays open", c.LocalAddr())
		}
	}
	preface.Close()
	plain.Close()
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestAnOpenWebSocketIsNeverEndedForOthers(t *testing.T) {
	t.Parallel()
	s := listen(t, echo)
	h := newHouse(t, nil)
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0", limits: { connections: 2 } }`, chat+"X"+s.url)); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	socket := dial(t, address)
	socket.open()
	for range 4 {
		dial(t, address).ask("GET", "/nothing")
	}
	eventually(t, "idle connections were ended", func() bool { return h.Door().Evicted >= 3 })
	socket.says("still here")
}
