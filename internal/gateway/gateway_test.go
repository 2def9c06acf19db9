package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// bug is a policy that panics in one of its parts.
type bug struct{}

func (bug) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	panic("authenticate: secret-of-the-caller")
}

func (bug) Limit(*exchange.Exchange, *pipeline.Charges) { panic("limit") }

func TestAPanicIsA500AndTheProcessLives(t *testing.T) {
	t.Parallel()
	h := newHouse(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("ours") }),
		pipeline.Policy("auth.jwt", func(string, pipeline.Env) (pipeline.Parts, error) {
			return pipeline.Parts{Authenticate: bug{}, Scoped: true}, nil
		}),
		pipeline.Policy("rateLimit", func(string, pipeline.Env) (pipeline.Parts, error) { return pipeline.Parts{Screen: bug{}}, nil }),
	)
	address := h.serve("", closed+`  - { path: /authenticate, upstream: b, auth: { jwt: x } }
  - { path: /limit, upstream: b, auth: none, rateLimit: x }
`)
	c := dial(t, address)
	for _, path := range []string{"/authenticate", "/limit", "/ours", "/limit"} {
		status, header, body := c.ask("GET", path)
		if status != 500 || !strings.Contains(body, `"code":"internal_error"`) || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, status, body)
		}
		id := header.Get("X-Request-Id")
		if !strings.Contains(h.log.String(), id) || !strings.Contains(h.log.String(), "gateway_test.go") {
			t.Errorf("%s: the log does not have the stack under %s", path, id)
		}
		rid, _ := exchange.ParseRequestID(id)
		eventually(t, "a record of "+path, func() bool { r, ok := h.records.Find(rid); return ok && r.Status == 500 && r.Reason != "" })
	}
	// The same connection, and the same world, serve on.
	if status, _, _ := c.ask("GET", "/x"); status != 401 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestWithoutASnapshotEverythingIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serve("", closed)
	h.live.Swap(nil)
	status, header, body := dial(t, address).ask("GET", "/x")
	if status != 503 || header.Get("Retry-After") != "1" || !strings.Contains(body, `"code":"draining"`) {
		t.Errorf("%d %v %s", status, header, body)
	}
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	var asked atomic.Int64
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Wait") != "" {
			asked.Add(1)
			<-let
		}
	})
	defer close(let) // whatever fails
	h := newHouse(t, nil)
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0", limits: { connections: 2 } }`, routes)); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	one, two := dial(t, address), dial(t, address)
	for _, c := range []*conn{one, two} { // what is being served is never ended for others
		c.send("GET", "/x", "Wait: yes")
	}
	eventually(t, "both are served", func() bool { return asked.Load() == 2 })
	three := dial(t, address)
	three.send("GET", "/x")
	eventually(t, "accepting waits", func() bool { return h.Door().Paused == 1 })
	if n := h.Connections(); n != 2 {
		t.Errorf("%d connections are open", n)
	}
	three.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := three.r.Peek(1); err == nil {
		t.Error("a third connection was served")
	}
	three.SetReadDeadline(time.Now().Add(generous))
	one.Close()
	if status, _, _ := three.receive("GET"); status != 200 {
		t.Errorf("the third, when there was room: %d", status)
	}
	three.send("GET", "/x", "Wait: yes")
	eventually(t, "the third is served", func() bool { return asked.Load() == 3 })
	// A reload that allows more lets more in at once.
	four := dial(t, address)
	four.send("GET", "/x")
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0", limits: { connections: 3 } }`, routes)); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := four.receive("GET"); status != 200 {
		t.Errorf("the fourth, after the reload: %d", status)
	}
	if n := strings.Count(h.log.String(), "accepting waits"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, h.log)
	}
	if d := h.Door(); d.Evicted != 0 || d.Refused != 0 {
		t.Errorf("%+v", d)
	}
}

// ports counts the ports that were tried, from one at random on: none is given
// twice.
var ports = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(rand.Int64N(22_000))
	return n
}()

// freePort returns an address that nobody listens on. Its port is below those
// that the system gives to clients, and to whoever asks for any: one of those
// may be somebody else's before it is used.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+ports.Add(1)%22_000))
		if err == nil {
			ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no port of 127.0.0.1 is free")
	return ""
}

func TestListenersFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	a := h.serve("", closed)
	b := freePort(t)
	first := `{ name: one, address: "127.0.0.1:0" }`
	stays := dial(t, a)
	stays.ask("GET", "/x")
	if err := h.load(document(first+`, { name: two, address: "`+b+`" }`, closed)); err != nil {
		t.Fatal(err)
	}
	if got := h.Addresses(); len(got) != 2 || got["one"] != a || got["two"] != b {
		t.Errorf("addresses %v", got)
	}
	idle := dial(t, b)
	if status, _, _ := idle.ask("GET", "/x"); status != 401 {
		t.Errorf("the listener that was added: %d", status)
	}
	if status, _, _ := stays.ask("GET", "/x"); status != 401 {
		t.Errorf("the one that stayed: %d", status)
	}
	if err := h.load(document(first, closed)); err != nil {
		t.Fatal(err)
	}
	idle.ended()
	if c, err := net.Dial("tcp", b); err == nil {
		c.Close()
		t.Error("the listener that was removed still accepts")
	}
	if status, _, _ := stays.ask("GET", "/x"); status != 401 {
		t.Errorf("the one that stayed, after the other was removed: %d", status)
	}
	if h.Addresses()["two"] != "" {
		t.Error("the removed listener is still named")
	}
}

func TestANewLimitHoldsForEveryConnectionFromThenOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serve("", closed)
	before := dial(t, address)
	long := "X-Long: " + strings.Repeat("x", 2000)
	if status, _, _ := before.ask("GET", "/x", long); status != 401 {
		t.Fatalf("%d", status)
	}
	// A reload that changes no limit leaves connections alone.
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0" }`, closed+"  - { path: /y, upstream: b, auth: none }\n")); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := before.ask("GET", "/x", long); status != 401 {
		t.Errorf("after a reload that changed no limit: %d", status)
	}
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0", limits: { headerSize: 1KiB } }`, closed)); err != nil {
		t.Fatal(err)
	}
	before.ended()
	if status, _, body := dial(t, address).ask("GET", "/x", long); status != 431 {
		t.Errorf("%d %s", status, body)
	}
}

func TestAListenerThatCannotBeBoundChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	a := h.serve("", closed)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := freePort(t)
	err = h.load(document(`{ name: free, address: "`+free+`" }, { name: busy, address: "`+taken.Addr().String()+`" }`, closed))
	if err == nil || err.Error() != "listener busy: address "+taken.Addr().String()+" is in use by another program; stop it or choose another address" {
		t.Errorf("%v", err)
	}
	if c, err := net.Dial("tcp", free); err == nil {
		c.Close()
		t.Error("the listener that could be bound is still open")
	}
	if status, _, _ := dial(t, a).ask("GET", "/x"); status != 401 || len(h.Addresses()) != 1 {
		t.Errorf("what ran before: %d, %v", status, h.Addresses())
	}
	// Abort gives the address back.
	s := h.compile(document(`{ name: free, address: "`+free+`" }`, closed))
	defer s.Release()
	_, abort, err := h.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	abort()
	if ln, err := net.Listen("tcp", free); err != nil {
		t.Errorf("after abort: %v", err)
	} else {
		ln.Close()
	}
}

func TestDrainLetsExchangesEndAndCutsWhatIsLate(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		h := newHouse(t, nil)
		going, on := make(chan bool), make(chan bool)
		routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
			going <- true
			select {
			case <-on:
			case <-r.Context().Done():
			}
		})
		if err := h.load(through(`{ name: one, address: "127.0.0.1:0" }`, routes)); err != nil {
			t.Fatal(err)
		}
		address := h.Addresses()["one"]
		idle, busy := dial(t, address), dial(t, address)
		idle.ask("GET", "/y")
		busy.send("GET", "/x")
		<-going
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.Drain(ctx) }()
		idle.ended()
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Error("a draining gateway accepts")
		}
		if late {
			cancel()
			if err := <-done; err == nil {
				t.Error("cut, and nothing said")
			}
			continue
		}
		close(on)
		if status, _, body := busy.receive("GET"); status != 200 || body != "backend" {
			t.Errorf("what was going on: %d %s", status, body)
		}
		busy.ended()
		if err := <-done; err != nil {
			t.Error(err)
		}
		cancel()
		if h.Connections() != 0 {
			t.Errorf("%d connections are left", h.Connections())
		}
	}
}

func TestOurOwnAnswers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("X-Seen", strings.Join([]string{r.Method, r.RequestURI, r.Host, r.RemoteAddr, r.Header.Get("X-Forwarded-For"), r.Header.Get("Connection"), string(b)}, "|"))
		w.WriteHeader(201)
		w.WriteHeader(500) // the first counts
		io.WriteString(w, "ours")
	}))
	c := dial(t, h.serve("", closed))
	for _, q := range []struct{ method, seen, body string }{
		{"GET", "GET|/ours?a=b|local|127.0.0.1:0|||", "ours"},
		{"HEAD", "HEAD|/ours?a=b|local|127.0.0.1:0|||", ""},
	} {
		status, header, body := c.ask(q.method, "/ours?a=b", "X-Forwarded-For: 6.6.6.6", "Connection: keep-alive")
		if status != 201 || header.Get("X-Seen") != q.seen || body != q.body || header.Get("Content-Length") != "4" || len(header.Get("X-Request-Id")) != 32 {
			t.Errorf("%s: %d %v %q", q.method, status, header, body)
		}
	}
	c.send("POST", "/ours", "Content-Length: 5")
	io.WriteString(c, "hello")
	if status, header, _ := c.receive("POST"); status != 201 || !strings.HasSuffix(header.Get("X-Seen"), "|hello") {
		t.Errorf("POST: %d %v", status, header)
	}
	if status, _, _ := c.ask("POST", "/ours", "Content-Length: 1001"); status != 413 {
		t.Errorf("a body over the bound: %d", status)
	}
}

func TestHTTP2EndsWithItsListener(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	going, on := make(chan bool), make(chan bool)
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Wait") != "" {
			going <- true
			<-on
		}
	})
	secure := freePort(t)
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0" }, { name: two, address: "`+secure+`"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	get := func(fields ...string) (string, error) {
		req, err := http.NewRequest("GET", "https://"+secure+"/x", nil)
		if err != nil {
			return "", err
		}
		for _, f := range fields {
			req.Header.Set(f, "1")
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.Proto + " " + string(b), err
	}
	if got, err := get(); got != "HTTP/2.0 backend" || err != nil {
		t.Fatal(got, err)
	}
	late := make(chan string)
	go func() {
		got, err := get("X-Wait")
		if err != nil {
			got = err.Error()
		}
		late <- got
	}()
	<-going
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0" }`, routes)); err != nil {
		t.Fatal(err)
	}
	on <- true
	if got := <-late; got != "HTTP/2.0 backend" {
		t.Errorf("what was going on: %s", got)
	}
	if got, err := get(); err == nil {
		t.Errorf("a connection outlived its listener: %s", got)
	}
	eventually(t, "no connection is left", func() bool { return h.Connections() == 0 })
}

func TestHTTP2KeepsTheListenersLimits(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	address := h.serve(words+", limits: { headerSize: 2KiB, headers: 20 }", closed)
	for _, c := range []struct {
		what   string
		change func(http.Header)
		status int
	}{
		{"a small head", func(http.Header) {}, 401},
		{"a large head", func(h http.Header) { h.Set("X-Long", strings.Repeat("x", 2048)) }, 431},
		{"many fields", func(h http.Header) {
			for range 20 {
				h.Add("X-Many", "x")
			}
		}, 431},
	} {
		req, err := http.NewRequest("GET", "https://"+address+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.change(req.Header)
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		var page struct{ Code string }
		json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != c.status || page.Code == "" {
			t.Errorf("%s: %s %d %s", c.what, resp.Proto, resp.StatusCode, page.Code)
		}
	}
}

// The upstream may answer before it has the whole body; a client that is slow
// to send the rest must not keep the exchange.
func TestAnEarlyAnswerEndsASlowUploadOverHTTP2(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	routes := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // or net/http reads the body first
		w.WriteHeader(403)
	})
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	body, feed := io.Pipe()
	defer feed.Close()
	go io.WriteString(feed, "some of it")
	resp, err := client.Post("https://"+h.Addresses()["one"]+"/x", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 403 || string(b) != "backend" || err != nil {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
	id, _ := exchange.ParseRequestID(resp.Header.Get("X-Request-Id"))
	eventually(t, "a record", func() bool { _, ok := h.records.Find(id); return ok })
}

// Over HTTP/2, too, nobody holds an upstream's connection by being slow: not
// with a body that never comes, and not with an answer that is never taken.
func TestSlowPeersOverHTTP2AreCutOff(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	h.patience = 100 * time.Millisecond
	over := make(chan struct{}, 2)
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			io.Copy(io.Discard, r.Body) // ends when the gateway gives up
		} else {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
		}
		over <- struct{}{}
	})
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	url := "https://" + h.Addresses()["one"] + "/x"
	body, feed := io.Pipe()
	defer feed.Close()
	go io.WriteString(feed, "some of it")
	req, _ := http.NewRequest("POST", url, body)
	req.ContentLength = 100_000 // more than is read before the upstream is asked
	if resp, err := client.Do(req); err == nil {
		if resp.Body.Close(); resp.StatusCode != 408 {
			t.Errorf("a body that never comes: %d", resp.StatusCode)
		}
	}
	<-over
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() // of which not a byte is read
	<-over
}

// net/http answers nothing on its own: every request has a record and an id.
func TestHTTP2HasNoDoorOfItsOwn(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	routes := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil })
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	req, _ := http.NewRequest("OPTIONS", "https://"+address+"/", nil)
	req.URL.Opaque = "*"
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	id, _ := exchange.ParseRequestID(resp.Header.Get("X-Request-Id"))
	if _, ok := h.records.Find(id); resp.StatusCode != 404 || !ok {
		t.Errorf("OPTIONS *: %d, recorded %v", resp.StatusCode, ok)
	}
	if resp, err = client.Get("https://" + address + "/x"); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if types, there := resp.Header["Content-Type"]; there {
		t.Errorf("an answer without Content-Type got one by guessing: %q", types)
	}
}

// An exchange on a listener that a reload removed is still ours to finish.
func TestDrainWaitsForListenersThatAreGone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	routes := backend(t, func(http.ResponseWriter, *http.Request) { close(asked); <-answer })
	if err := h.load(through(`{ name: old, address: "127.0.0.1:0" }`, routes)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addresses()["old"])
	c.send("GET", "/x")
	<-asked
	if err := h.load(through(`{ name: new, address: "127.0.0.2:0" }`, routes)); err != nil {
		t.Fatal(err)
	}
	if n := h.Connections(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}
	drained := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		drained <- h.Drain(ctx)
	}()
	select {
	case err := <-drained:
		t.Fatalf("drained with a request in flight: %v", err)
	case <-time.After(50 * time.Millisecond): // long enough to see the mistake; more would only be slower
	}
	close(answer)
	if status, _, body := c.receive("GET"); status != 200 || body != "backend" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// Connections that were made before a listener got its certificate do not go
// on in the clear.
func TestAListenerThatGetsTLSEndsItsPlainConnections(t *testing.T) {
	t.Parallel()
	words, _ := certificate(t)
	h := newHouse(t, nil)
	routes := backend(t, nil)
	const free = `{ name: one, address: "127.0.0.1:0"`
	if err := h.load(through(free+" }", routes)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addresses()["one"])
	if status, header, _ := c.ask("GET", "/x"); status != 200 || header.Get("Connection") == "close" {
		t.Fatal(status, header)
	}
	if err := h.load(through(free+words+" }", routes)); err != nil {
		t.Fatal(err)
	}
	c.ended()
}
