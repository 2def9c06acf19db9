package upstream_test

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/upstream"
)

// A connection in the making costs a descriptor. Nobody holds one longer than
// the exchange that asked for it lasts, or who asks and leaves would soon hold
// all there are.
func TestAConnectionInTheMakingEndsWithItsExchange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		times http1.Timeouts
		leave bool // the client does, in place of timeout.connect
	}{
		{"timeout.connect is over", http1.Timeouts{Connect: 20 * time.Millisecond}, false},
		{"timeout.total is over", http1.Timeouts{Total: 20 * time.Millisecond}, false},
		{"the client is gone", http1.Timeouts{Connect: patience}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			came, open, address := mute(t)
			to := upstream.Target{Address: address, TLS: &tls.Config{ServerName: "example.com"}}
			g := group(t, upstream.Config{Targets: []upstream.Target{to}, Protocol: upstream.HTTP2})
			for range 20 {
				x := call("GET", "/", nil, 0)
				if c.leave {
					before := came.Load()
					go func() {
						until(t, func() bool { return came.Load() > before })
						x.Cancel(fault.New(fault.ClientGone, "the client reset the stream"))
					}()
				}
				if _, err := answer(g, x, c.times); err == nil {
					t.Fatal("an answer of a server that says nothing")
				}
			}
			if came.Load() == 0 {
				t.Error("nobody has connected")
			}
			until(t, func() bool { return open.Load() == 0 })
		})
	}
}

// mute is a server that takes connections, and says nothing.
func mute(t *testing.T) (came, open *atomic.Int64, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, open = new(atomic.Int64), new(atomic.Int64)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			open.Add(1)
			conns.Go(func() {
				defer open.Add(-1)
				defer c.Close()
				for b := make([]byte, 1<<10); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
	return came, open, ln.Addr().String()
}

func until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("never")
			return
		}
	}
}
