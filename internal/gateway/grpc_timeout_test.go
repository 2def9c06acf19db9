package gateway_test

import (
	"net/http"
	"strings"
	"testing"
)

// A call whose time is over is told so, also when the upstream, which was
// given the same time, has broken it off before the client did.
func TestAGRPCCallWhoseTimeIsOverIsToldSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	words, client := certificate(t)
	routes := backend(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
		t.Fatal(err)
	}
	for timeout, want := range map[string]string{"": "14", "1n": "4", "1u": "4", "99999999H": "14", "1x": "14", "-1n": "14", "n": "14"} {
		req, err := http.NewRequest("POST", "https://"+h.Addresses()["one"]+"/x", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		if timeout != "" {
			req.Header.Set("Grpc-Timeout", timeout)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Grpc-Status"); got != want {
			t.Errorf("timeout %q: status %s, want %s", timeout, got, want)
		}
	}
}
