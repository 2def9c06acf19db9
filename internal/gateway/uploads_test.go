package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// A body that is long in coming, of a call of gRPC that waits for all of it
// for instance, outlives neither the key it was sent with nor its route.
func TestALongRequestBodyOutlivesNoCredential(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, length string
		h2, reload   bool
		want         int
	}{
		{"/one", "", false, false, 401},
		{"/one", "100000", false, true, 404},
		{"/one", "", true, false, 401},
		{"/two", "", false, true, 404},
		{"/two", "", true, false, 401},
		{"/two", "100000", true, true, 404},
		{"/rpc", "", true, false, 401},
		{"/rpc", "", false, true, 404},
	} {
		t.Run(fmt.Sprintf("%s, HTTP/2 %v, length %q, reload %v", c.path, c.h2, c.length, c.reload), func(t *testing.T) {
			t.Parallel()
			h, key := newHouse(t, nil), apikey.Generate()
			came := make(chan string, 10)
			url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
				for b := make([]byte, 100); ; {
					n, err := r.Body.Read(b)
					if n > 0 {
						came <- string(b[:n])
					}
					if err != nil {
						return
					}
				}
			})
			words := fmt.Sprintf("consumers: { acme: { apiKeys: [{ hash: %q, expires: %s }] } }\n", apikey.Hash(key), time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)) +
				strings.Replace(toward(plainH2C, url, ""), "auth: none", "auth: { apiKey: true }", 1)
			if err := h.load(words); err != nil {
				t.Fatal(err)
			}
			body, upload := io.Pipe()
			t.Cleanup(func() { upload.Close() })
			req, _ := http.NewRequest("POST", "http://"+h.Addresses()["one"]+c.path, body)
			req.Header.Set("X-Api-Key", key)
			if c.length != "" {
				req.ContentLength = 100000
			}
			client := h2cClient(t)
			if !c.h2 {
				transport := &http.Transport{}
				t.Cleanup(transport.CloseIdleConnections)
				client = &http.Client{Transport: transport}
			}
			status := make(chan int, 1)
			go func() {
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					status <- 0
					return
				}
				resp.Body.Close()
				status <- resp.StatusCode
			}()
			io.WriteString(upload, "before")
			<-came
			if c.reload {
				h.ahead.Store(int64(time.Minute)) // it is a stream by now
				h.Look()
				if err := h.load(strings.Replace(words, "path: "+c.path, "path: /other", 1)); err != nil {
					t.Fatal(err)
				}
			} else {
				h.ahead.Store(int64(48 * time.Hour))
			}
			h.Look()
			select {
			case got := <-status:
				if got != c.want {
					t.Errorf("ended with %d, want %d", got, c.want)
				}
			case <-time.After(generous):
				t.Error("it goes on")
				upload.Close()
				<-status
			}
		})
	}
}
