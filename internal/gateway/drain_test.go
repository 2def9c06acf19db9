package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// Events, calls and downloads run on through a drain: to their end, or until
// its limit, when they are cut and their records say why.
func TestDrainLetsStreamsRunUntilItsLimit(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{
		{"events over HTTP/1.1", "/events", false, false}, {"events over HTTP/2", "/events", true, true},
		{"a download over HTTP/1.1", "/long", true, false}, {"a download over HTTP/2", "/long", true, true},
		{"a call of gRPC over HTTP/2", "/grpc", true, true},
	} {
		for _, late := range []bool{false, true} {
			words, client := "", (*http.Client)(nil)
			if k.secure {
				words, client = certificate(t)
			}
			f, h := newFountain(t), newHouse(t, nil)
			if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, "  - { name: all, path: /**, upstream: c, auth: none }\nX"+f.url)); err != nil {
				t.Fatal(err)
			}
			address := h.Addresses()["one"]
			r := f.opens(h, k, client, "a", "")
			r.carries("before")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			drained := make(chan error, 1)
			go func() { drained <- h.Drain(ctx) }()
			eventually(t, "no new connections", func() bool {
				c, err := net.Dial("tcp", address)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			r.carries("while it drains")
			if k.h2 {
				eventually(t, k.name+": the client was told to go elsewhere", func() bool { _, err := r.again(); return err != nil })
				r.carries("after GOAWAY")
			}
			select {
			case err := <-drained:
				t.Fatalf("%s: drained with a stream open: %v", k.name, err)
			default:
			}
			var end error
			want := fault.None
			if late {
				cancel()
				end, want = context.Canceled, fault.Draining
			} else {
				f.line("a") <- ""
			}
			if rest, err := io.ReadAll(r.lines); len(rest) > 0 || (err != nil) != late {
				t.Errorf("%s: ended with %q, %v", k.name, rest, err)
			}
			if err := <-drained; !errors.Is(err, end) {
				t.Errorf("%s: drained with %v", k.name, err)
			}
			// Every record is there when Drain returns.
			if rec, ok := h.records.Find(r.id); !ok || rec.Code != want {
				t.Errorf("%s: %+v", k.name, rec)
			}
			if n := h.Connections(); n != 0 && !late {
				t.Errorf("%s: %d connections are left", k.name, n)
			}
		}
	}
}

// What HTTP/2 has in flight is finished, on every stream of a connection.
func TestDrainFinishesWhatHTTP2HasInFlight(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	h := newHouse(t, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	routes := backend(t, func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-answer })
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	url := "https://" + h.Addresses()["one"] + "/x"
	const calls = 5
	answers := make(chan string, calls)
	for range calls {
		go func() {
			resp, err := client.Get(url)
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			answers <- resp.Proto + " " + string(b)
		}()
		<-asked
	}
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		drained <- h.Drain(ctx)
	}()
	select {
	case err := <-drained:
		t.Fatalf("drained with requests in flight: %v", err)
	case <-time.After(50 * time.Millisecond): // long enough to see the mistake
	}
	close(answer)
	for range calls {
		if got := <-answers; got != "HTTP/2.0 backend" {
			t.Error(got)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// An answer to HEAD is its head alone, whatever its length says, and nobody
// waits for a body.
func TestHEADIsAnsweredByItsHead(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	for _, fields := range []string{"Content-Length: 5000000\r\n", "Transfer-Encoding: chunked\r\n", "Content-Type: text/event-stream\r\n"} {
		up := listen(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n"+fields+"\r\n")
		})
		h := newHouse(t, nil)
		if err := h.load(streamed(up.url, words, apikey.Generate())); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			resp, err := client.Head("https://" + h.Addresses()["one"] + "/x")
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil || resp.StatusCode != 200 {
				t.Errorf("%q %v", b, err)
			}
		}
		eventually(t, "no stream is left", func() bool { open, _ := h.Streams(); return open == 0 })
	}
}
