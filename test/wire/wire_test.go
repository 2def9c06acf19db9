// Package wire holds proofs about bytes: what a client writes, however it is
// bent, and what of it reaches an origin that takes the bytes apart itself.
package wire

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// config has an open route, one that wants a key, and one for small bodies.
func config(origin *harness.Origin) string {
	return `
consumers:
  acme: { apiKeys: [{ hash: "sha256:5f0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b" }] }
upstreams: { origin: [` + origin.URL + `] }
routes:
  - { name: open, path: /open/**, upstream: origin, auth: none }
  - { name: closed, path: /closed/**, upstream: origin, auth: { apiKey: true, consumers: [acme] } }
  - { name: reads, path: /reads/**, methods: [GET], upstream: origin, auth: none }
  - { name: small, path: /small/**, upstream: origin, auth: none, body: { maxSize: 1KiB } }
`
}

// answer is a status and the inner code of the access log.
type answer struct {
	status int
	code   string
}

var ok = answer{200, ""}

// received is what a client got for what it wrote.
type received struct {
	status int
	id     string
}

// say writes raw over a new connection and returns the final responses until
// the other side ends the connection, or is silent for longer than patience.
func say(t testing.TB, address, raw string, patience time.Duration) []received {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	defer c.Close()
	writing.Go(func() { io.WriteString(c, raw) }) // a refusal may come before all of it is taken
	var all []received
	in := bufio.NewReader(c)
	for {
		c.SetReadDeadline(time.Now().Add(patience))
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			if patience == harness.Patience && isTimeout(err) {
				t.Errorf("the connection stays open after %d responses", len(all))
			}
			return all
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Logf("a response was broken off: %v", err)
			return all
		}
		if res.StatusCode >= 200 {
			all = append(all, received{res.StatusCode, res.Header.Get("X-Request-Id")})
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// same compares what reached the origin with what was decided.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%.4000q\nwant\n%.4000q", what, got, want)
	}
}

// steady is a well-behaved client that asks again and again. It must not
// notice what others do.
type steady struct {
	stop   func()
	over   sync.WaitGroup
	done   atomic.Int64
	again  atomic.Int64 // asked once more, because the connection ended without an answer
	failed atomic.Int64
	first  atomic.Pointer[string] // failure
	peak   atomic.Int64           // bytes of memory of the gateway; base at the start
	base   int64
}

// startSteady begins asking for /open/steady and watching the memory of the
// gateway.
func startSteady(t *testing.T, g *harness.Wire) *steady {
	t.Helper()
	stop := make(chan struct{})
	s := &steady{stop: sync.OnceFunc(func() { close(stop) })}
	t.Cleanup(func() { s.stop(); s.over.Wait() })
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{}}
	fresh := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: g.Roots}}}
	ask := func(client *http.Client, url string) {
		res, err := client.Get(url + "/open/steady")
		// On a machine that is so busy that a newcomer looks idle; what it has
		// said and nobody has read makes a reset of the end.
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			s.again.Add(1)
			res, err = client.Get(url + "/open/steady")
		}
		text := ""
		switch {
		case err != nil:
			text = err.Error()
		case res.StatusCode != 200:
			text = res.Status
		}
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if text != "" {
			s.failed.Add(1)
			s.first.CompareAndSwap(nil, &text)
		}
		s.done.Add(1)
	}
	ask(client, g.URL)
	s.base, _ = g.Resident() // where the system does not tell, memory is not judged
	s.over.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		defer client.CloseIdleConnections()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			switch n % 20 { // most requests over the connection it has, some over a new one
			case 5:
				ask(fresh, g.URL)
			case 15:
				ask(fresh, "https://"+g.TLS)
			default:
				ask(client, g.URL)
			}
			if n%10 == 0 {
				held, _ := g.Resident()
				s.peak.Store(max(s.peak.Load(), held))
			}
		}
	})
	return s
}

// growth is what a flood may make the gateway hold in addition.
const growth = 192 << 20

// end stops the client and judges.
func (s *steady) end(t *testing.T) {
	t.Helper()
	for before := s.done.Load(); s.done.Load() < before+20; { // also after the flood
		time.Sleep(time.Millisecond)
	}
	s.stop()
	s.over.Wait()
	t.Logf("steady client: %d requests, %d failed; resident %.1f MiB, at most %.1f",
		s.done.Load(), s.failed.Load(), float64(s.base)/(1<<20), float64(s.peak.Load())/(1<<20))
	if n := s.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests of the steady client failed; the first: %s", n, s.done.Load(), *s.first.Load())
	}
	if n := s.again.Load(); n > 2+s.done.Load()/50 {
		t.Errorf("%d of %d requests of the steady client had to be asked twice", n, s.done.Load())
	}
	if s.peak.Load() > s.base+growth {
		t.Errorf("the gateway grew from %d to %d bytes", s.base, s.peak.Load())
	}
}

// lines is a head of HTTP/1.1 from its lines.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }
