package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Streams are served at the same time, however many: the goroutines that are
// kept for them are not all that there are. What is kept is bounded, and gone
// after Drain (goleak, in TestMain).
func TestAnyNumberOfStreamsIsServedAtOnce(t *testing.T) {
	t.Parallel()
	const n = 90 // on one connection
	var all sync.WaitGroup
	all.Add(n)
	h := newHouse(t, nil)
	words, client := certificate(t)
	routes := backend(t, func(http.ResponseWriter, *http.Request) {
		all.Done()
		all.Wait()
	})
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	url := "https://" + h.Addresses()["one"] + "/x"
	for range 2 {
		var asked sync.WaitGroup
		for range n {
			asked.Go(func() {
				resp, err := client.Get(url)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 || string(b) != "backend" {
					t.Error(resp.Status, resp.Proto, err, string(b))
				}
			})
		}
		asked.Wait()
		all.Add(n) // for the second time
	}
	if kept := h.CrewResting(); kept == 0 || kept > 16*16 {
		t.Errorf("%d goroutines are kept", kept)
	}
}

// HEADERS and then the end of the connection: the handler may run only when
// everybody who would wait for its record has gone.
func TestAHandlerThatComesAfterTheConnectionIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("it was served, or ended with %v", p)
		}
	}()
	h.ServeLate(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}
