package http1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/http1"
)

// More connections rest than are looked at in one go. Those that the upstream
// closes are given up although nobody asks for one; the others are kept, and
// used again.
func TestManyConnectionsRest(t *testing.T) {
	t.Parallel()
	const n = 70
	var all sync.WaitGroup
	all.Add(n)
	var opened, givenUp, lost atomic.Int64
	r := start(t, &proxy{}, script(t, func(i int, c net.Conn, in *bufio.Reader) {
		opened.Add(1)
		readRequest(in)
		all.Done()
		all.Wait()
		io.WriteString(c, ok)
		if i%2 == 0 {
			c.(*net.TCPConn).CloseWrite()
			in.ReadByte()
			givenUp.Add(1)
			return
		}
		for {
			if req, _ := readRequest(in); req == nil {
				lost.Add(1)
				return
			}
			io.WriteString(c, ok)
		}
	}), http1.Limits{})
	client := &http.Client{Transport: &http.Transport{}}
	ask := func(n int) {
		var asked sync.WaitGroup
		for range n {
			asked.Go(func() {
				res, err := client.Get("http://" + r.addr + "/a")
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				if res.StatusCode != 200 {
					t.Error(res.Status)
				}
			})
		}
		asked.Wait()
		client.CloseIdleConnections()
	}
	ask(n)
	eventually(t, "the closed ones are given up", func() bool { return givenUp.Load() == n/2 })
	if lost.Load() > 0 {
		t.Errorf("%d open ones too", lost.Load())
	}
	for range n {
		ask(1)
	}
	if opened.Load() != n {
		t.Errorf("%d connections, not %d", opened.Load(), n)
	}
}
