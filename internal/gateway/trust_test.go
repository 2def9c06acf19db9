package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A connection of HTTP/2 lives as long as its last stream. That must not let
// its client go on asking by trust that was taken back.
func TestAStreamKeepsNoTrustForOthersOfItsConnection(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	on := make(chan bool)
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-For")+" ")
		if r.Header.Get("X-Wait") != "" {
			http.NewResponseController(w).Flush()
			<-on
		}
	})
	load := func(rest string) {
		t.Helper()
		if err := h.load(through(`{ name: one, address: "127.0.0.1:0", h2c: true`+rest+` }`, routes)); err != nil {
			t.Fatal(err)
		}
	}
	load(", trustedProxies: 127.0.0.1/32")
	client := h2cClient(t)
	get := func(fields ...string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest("GET", "http://"+h.Addresses()["one"]+"/x", nil)
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		for _, f := range fields {
			req.Header.Set(f, "1")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	long := get("X-Wait")
	load("")
	resp := get()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 421 || strings.Contains(string(b), "203.0.113.9") {
		t.Errorf("on the connection of before: %d %s", resp.StatusCode, b)
	}
	resp = get()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != "127.0.0.1 backend" {
		t.Errorf("on another: %d %s", resp.StatusCode, b)
	}
	close(on) // what was let in ends as it began
	if b, err := io.ReadAll(long.Body); err != nil || string(b) != "203.0.113.9, 127.0.0.1 backend" {
		t.Errorf("the stream of before: %s %v", b, err)
	}
}
