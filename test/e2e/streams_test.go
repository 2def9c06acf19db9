package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// events starts an upstream that sends an event a tick until its client is
// gone.
func events(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := io.WriteString(w, "data: tick\n\n"); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// listenTo opens a stream of events and returns its request id; ends reads to
// its end, which must be seen not to be the upstream's own.
func listenTo(t *testing.T, url, token string) (id string, lines *bufio.Scanner) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{}
	res, err := (&http.Client{Transport: transport, Timeout: harness.Patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close(); transport.CloseIdleConnections() })
	lines = bufio.NewScanner(res.Body)
	if res.StatusCode != http.StatusOK || !lines.Scan() || lines.Text() != "data: tick" {
		t.Fatalf("status %d, first line %q", res.StatusCode, lines.Text())
	}
	return res.Header.Get("X-Request-Id"), lines
}

func streaming(issuer, upstream string) string {
	return fmt.Sprintf(`issuers: { corp: { issuer: %q, audience: orders-api, clockSkew: 0s } }
upstreams: { orders: [%s] }
routes:
  - { name: events, path: /events, upstream: orders, auth: { jwt: corp } }`, issuer, upstream)
}

// A stream ends with the token that opened it, within a second, and with its
// route; one whose token and route hold goes on across both.
func TestStreamsEndWithTheirTokenAndTheirRoute(t *testing.T) {
	idp, up := harness.StartIdP(t, 0), events(t)
	config := streaming(idp.Issuer, up.URL)
	g := harness.Warder(t, config)
	long, others := listenTo(t, g.URL+"/events", idp.Token(t, "shop", "orders:read"))
	claims := idp.Claims("shop", "orders:read")
	expires := time.Now().Add(5 * time.Second).Truncate(time.Second)
	brief, lines := listenTo(t, g.URL+"/events", idp.Sign(t, nil, with(claims, "exp", expires.Unix())))
	for lines.Scan() { // until it is ended
	}
	if early := time.Until(expires); lines.Err() == nil || early > 0 {
		t.Errorf("ended %v before its token, as if whole: %v", early, lines.Err())
	}
	if r := g.Record(t, brief); r.Code != "token_expired" || r.Status != http.StatusOK || r.Route != "events" {
		t.Errorf("%+v", r)
	}
	reload(t, g, config+"\n  - { path: /more, upstream: orders, auth: { jwt: corp } }", 1)
	for range 4 {
		if !others.Scan() {
			t.Fatalf("a stream that nothing has changed for ended: %v", others.Err())
		}
	}
	reload(t, g, strings.Replace(config, "path: /events", "path: /news", 1), 2)
	for others.Scan() {
	}
	if r := g.Record(t, long); others.Err() == nil || r.Code != "route_unknown" {
		t.Errorf("%v %+v", others.Err(), r)
	}
}

// On SIGTERM a stream runs on through delay and limit, and is then cut.
func TestTerminationLetsStreamsRunToTheLimit(t *testing.T) {
	idp, up := harness.StartIdP(t, 0), events(t)
	g := harness.Warder(t, streaming(idp.Issuer, up.URL), harness.Drain("4s", "1s"))
	token := idp.Token(t, "shop", "orders:read")
	id, lines := listenTo(t, g.URL+"/events", token)
	began := time.Now()
	g.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "/readyz says 503", func() bool {
		return g.Status(t, g.Admin+"/readyz") == http.StatusServiceUnavailable
	})
	if _, more := listenTo(t, g.URL+"/events", token); !more.Scan() { // opened within the delay
		t.Error(more.Err())
	}
	for lines.Scan() {
	}
	if ran := time.Since(began); ran < 5*time.Second || lines.Err() == nil {
		t.Errorf("cut after %v: %v", ran, lines.Err())
	}
	if code := g.ExitCode(t); code != 0 {
		t.Errorf("ended with status %d", code)
	}
	if r := g.Record(t, id); r.Code != "draining" {
		t.Errorf("%+v", r)
	}
}
