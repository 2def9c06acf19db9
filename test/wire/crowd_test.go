package wire

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// Clients that take connections and give nothing are not felt by a steady
// client beside them, who keeps a connection and also opens new ones: neither
// many of one address, nor few of many.
func TestHostileConnectionsAreNotFeltBeside(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	const most = 160
	g := harness.StartWire(t, config(origin), harness.Listeners(fmt.Sprintf("limits: { connections: %d, headerTimeout: 1s, idleTimeout: 10s }", most)))
	for _, c := range []struct {
		name string
		at   string
		one  func(c net.Conn) // what each does, until it is cut off or the case is over
	}{
		{"silent", g.Plain, func(c net.Conn) {}},
		{"idle behind an answer", g.Plain, func(c net.Conn) {
			io.WriteString(c, lines("GET /open/a HTTP/1.1", "Host: h"))
		}},
		{"slow heads", g.Plain, func(c net.Conn) {
			drip(c, lines("GET /open/a HTTP/1.1", "Host: h", "X-A: "+strings.Repeat("a", 10_000)))
		}},
		{"slow heads over TLS", g.TLS, func(c net.Conn) {
			drip(over(c, g, "http/1.1"), lines("GET /open/a HTTP/1.1", "Host: h", "X-A: "+strings.Repeat("a", 10_000)))
		}},
		{"no handshake", g.TLS, func(c net.Conn) {}},
		{"half a handshake", g.TLS, func(c net.Conn) { c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}) }},
		{"a handshake and no preface", g.TLS, func(c net.Conn) { over(c, g, "h2") }},
		{"idle HTTP/2", g.TLS, func(c net.Conn) {
			c = over(c, g, "h2")
			io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			c.Write(appendFrame(nil, frameSettings, 0, 0, nil))
		}},
		{"half a head of HTTP/2", g.TLS, func(c net.Conn) {
			c = over(c, g, "h2")
			io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			c.Write(appendFrame(appendFrame(nil, frameSettings, 0, 0, nil), frameHeaders, 0, 1, []byte{0x82}))
		}},
	} {
		for _, addresses := range []int{1, 200} {
			t.Run(fmt.Sprintf("%s, from %d addresses", c.name, addresses), func(t *testing.T) {
				neighbour := startSteady(t, g)
				before := g.Counter(t, "warder_connections_evicted_total")
				a := attack(t, c.at, 2*most, addresses, c.one)
				neighbour.end(t)
				a.end()
				t.Logf("%v idle connections were ended for others", g.Counter(t, "warder_connections_evicted_total")-before)
			})
		}
	}
}

// What is being served is never ended for others; so an address has its share
// of connections, and the rest is for everybody else.
func TestOneAddressCannotHaveAllConnectionsByKeepingThemBusy(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin), harness.Listeners("limits: { connections: 200 }"))
	for _, c := range []struct {
		name string
		at   string
		one  func(c net.Conn)
	}{
		{"slow bodies", g.Plain, func(c net.Conn) {
			io.WriteString(c, lines("POST /open/slow HTTP/1.1", "Host: h", "Content-Length: 100000"))
			drip(c, strings.Repeat("x", 100_000))
		}},
		{"answers that nobody takes", g.Plain, func(c net.Conn) {
			io.WriteString(c, lines("GET /open"+harness.BigPath+" HTTP/1.1", "Host: h"))
		}},
		{"answers that nobody takes, over TLS", g.TLS, func(c net.Conn) {
			io.WriteString(over(c, g, "http/1.1"), lines("GET /open"+harness.BigPath+" HTTP/1.1", "Host: h"))
		}},
		{"answers taken byte by byte", g.Plain, func(c net.Conn) {
			io.WriteString(c, lines("GET /open"+harness.BigPath+" HTTP/1.1", "Host: h"))
			for one := make([]byte, 1); ; time.Sleep(10 * time.Millisecond) {
				if _, err := c.Read(one); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			neighbour := startSteady(t, g)
			turned := func() float64 { // away, or out before its handshake was over
				return g.Counter(t, "warder_connections_refused_total") + g.Counter(t, "warder_connections_evicted_total")
			}
			before := turned()
			a := attack(t, c.at, 300, 1, c.one)
			harness.Eventually(t, "connections beyond the share are closed", func() bool { return turned() >= before+150 })
			neighbour.end(t)
			a.end()
		})
	}
}

// Connections that come and go as fast as can be are not felt either.
func TestAFloodOfConnectionsIsNotFeltBeside(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin), harness.Listeners("limits: { connections: 100 }"))
	for name, address := range map[string]string{"plain": g.Plain, "TLS": g.TLS} {
		t.Run(name, func(t *testing.T) {
			neighbour := startSteady(t, g)
			var floods sync.WaitGroup
			for i := range 4 {
				floods.Go(func() {
					for range 1000 {
						c, err := from(2+i, address)
						if err != nil {
							t.Error(err)
							return
						}
						c.(*net.TCPConn).SetLinger(0) // no state is left here
						c.Close()
					}
				})
			}
			floods.Wait()
			neighbour.end(t)
		})
	}
}

// A process with few descriptors stops accepting before it is out of them:
// what is accepted is served, and it can still be managed. When it runs out
// nevertheless, it goes on as soon as there are some again.
func TestDescriptorsDoNotRunOut(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin), harness.OpenFiles(160), harness.Listeners("limits: { connections: 5000 }"))
	const said = "accepting waits"
	t.Run("idle connections", func(t *testing.T) {
		neighbour := startSteady(t, g)
		a := attack(t, g.Plain, 400, 200, func(c net.Conn) {
			io.WriteString(c, lines("GET /open/a HTTP/1.1", "Host: h"))
		})
		neighbour.end(t)
		if n := g.Counter(t, "warder_connections_evicted_total"); n < 300 {
			t.Errorf("%v idle connections were ended", n)
		}
		a.end()
	})
	t.Run("busy connections", func(t *testing.T) {
		a := attack(t, g.Plain, 100, 100, func(c net.Conn) {
			io.WriteString(c, lines("POST /open/slow HTTP/1.1", "Host: h", "Content-Length: 100000"))
			drip(c, strings.Repeat("x", 100_000))
		})
		harness.Eventually(t, "accepting waits", func() bool { return g.Counter(t, "warder_accept_paused_total") > 0 })
		a.end()
		startSteady(t, g).end(t)
	})
	t.Run("none left at all", func(t *testing.T) {
		a := attack(t, strings.TrimPrefix(g.Admin, "http://"), 300, 1, func(net.Conn) {})
		crowd := attack(t, g.Plain, 20, 20, func(net.Conn) {})
		harness.Eventually(t, "the gateway is out of descriptors", func() bool {
			c, err := net.Dial("tcp", g.Plain)
			if err != nil {
				return false
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			io.WriteString(c, lines("GET /open/a HTTP/1.1", "Host: h", "Connection: close"))
			_, err = io.ReadAll(c)
			return isTimeout(err)
		})
		a.end()
		crowd.end()
		startSteady(t, g).end(t)
	})
	if n := strings.Count(g.Stderr.String(), said); n < 1 || n > 2 {
		t.Errorf("%d lines in the log, want one a minute:\n%.3000s", n, g.Stderr)
	}
	if code := g.Terminate(t); code != 0 {
		t.Errorf("the gateway ended with status %d", code)
	}
}

// attackers are connections that somebody holds on purpose.
type attackers struct {
	mu    sync.Mutex
	conns []net.Conn
	over  sync.WaitGroup
}

// attack opens n connections from a number of addresses and has each do one.
// It returns when all are open, or were refused.
func attack(t *testing.T, address string, n, addresses int, one func(net.Conn)) *attackers {
	a := &attackers{}
	t.Cleanup(a.end)
	for i := range n {
		c, err := from(2+i%addresses, address)
		if err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).SetReadBuffer(4 << 10) // or the system takes a large answer in its place
		a.mu.Lock()
		a.conns = append(a.conns, c)
		a.mu.Unlock()
		a.over.Go(func() { one(c) })
	}
	return a
}

// end closes all connections.
func (a *attackers) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	a.conns = nil
	a.over.Wait()
}

// from dials from the i-th address of this machine, where it has many.
func from(i int, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(i))}, Timeout: harness.Patience}
	c, err := d.Dial("tcp", address)
	if err != nil && strings.Contains(err.Error(), "assign requested address") {
		return net.DialTimeout("tcp", address, harness.Patience)
	}
	return c, err
}

// over speaks TLS on c. A handshake that fails is seen by whoever writes.
func over(c net.Conn, g *harness.Wire, proto string) net.Conn {
	s := tls.Client(c, &tls.Config{RootCAs: g.Roots, ServerName: "127.0.0.1", NextProtos: []string{proto}})
	s.Handshake()
	return s
}

// drip writes text byte by byte until the connection ends.
func drip(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
}
