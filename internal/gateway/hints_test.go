package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client may reset its stream while an interim answer is being written to
// it, which net/http then goes on with, beside us: a header that both use ends
// the process. Under the race detector this fails where it could come to that.
func TestEarlyHintsOfAStreamThatIsReset(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		for range 8 {
			w.WriteHeader(http.StatusEarlyHints)
		}
		io.WriteString(w, "body")
	})
	if err := h.load(toward(plainH2C, url, "")); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	client := h2cClient(t)
	slots := make(chan bool, 8)
	for i := range 800 {
		slots <- true
		go func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%100)*20*time.Microsecond)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/%s", address, []string{"one", "two"}[i%2]), nil)
			if resp, err := client.Do(req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
	}
	for range cap(slots) {
		slots <- true
	}
	resp, err := client.Get("http://" + address + "/one")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "body" || len(resp.Header["Link"]) != 1 || resp.ContentLength == 0 || strings.Contains(h.log.String(), "panic") {
		t.Errorf("%q %v", b, resp.Header)
	}
}
