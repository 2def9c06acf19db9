package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// A hundred reloads under ten thousand requests: none of them fails, and an
// answer that is under way is finished.
func TestReloadUnderLoad(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	a, b := harness.Nginx(t, "a"), harness.Nginx(t, "b")
	config := unlimited(idp.Issuer, a, b)
	g := harness.Warder(t, config)
	token := idp.Token(t, "shop", "orders:read")

	slow := download(t, g.URL+harness.SlowPath, token)
	good := startLoad(t, g.URL+"/orders/1", token, 4)
	for i := 1; i <= 100 || good.done.Load() < 10_000; i++ {
		reload(t, g, config, i)
	}
	good.stop()
	slow(t)
	t.Logf("%d requests", good.done.Load())
}

// reload writes the configuration with one more route, whose name tells the
// versions apart, and waits until it is in force.
func reload(t *testing.T, g *harness.Gateway, config string, version int) {
	t.Helper()
	path := fmt.Sprintf("/version-%d", version)
	g.Write(t, config+fmt.Sprintf("\n  - { path: %s, upstream: orders, auth: none }", path))
	harness.Eventually(t, path+" is in force", func() bool { return g.Status(t, g.URL+path) == http.StatusOK })
}

// download starts to fetch the slow answer; the returned function waits for
// its end and checks that it is whole.
func download(t *testing.T, url, token string) (finish func(t *testing.T)) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{}}
	res, err := client.Do(req) // returns with the head
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	return func(t *testing.T) {
		t.Helper()
		defer client.CloseIdleConnections()
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != harness.SlowSize {
			t.Errorf("the answer under way ended after %d of %d bytes: %v", n, harness.SlowSize, err)
		}
	}
}

// A file that does not load changes nothing, and is reported with the place
// of each problem.
func TestBrokenFileChangesNothing(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	config := unlimited(idp.Issuer, harness.Nginx(t, "a"))
	g := harness.Warder(t, config)
	token := idp.Token(t, "shop", "orders:read")
	good := startLoad(t, g.URL+"/orders/1", token, 2)
	good.atLeast(t, 50)

	for _, c := range []struct {
		name, config string
		complaints   []string
	}{
		{
			"not YAML", config + "\n  - { path: /new",
			[]string{`warder\.yaml:\d+:\d+\b`},
		}, {
			"an unknown key", strings.Replace(config, "    methods:", "    methdos:", 1),
			[]string{`warder\.yaml:6:5\b.*methdos`},
		}, {
			"a route without auth, to an upstream that is not there",
			config + "\n  - path: /new\n    upstream: ordres",
			[]string{`warder\.yaml:9:5\b.*auth`, `warder\.yaml:10:15\b.*ordres`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.Complains(t, func() { g.Write(t, c.config) }, c.complaints...)
			good.atLeast(t, 50)
			if status := g.Status(t, g.URL+"/new"); status != http.StatusNotFound {
				t.Errorf("a route of the broken file answers %d", status)
			}
		})
	}

	reload(t, g, config, 1) // and a good one is taken after all of them
	good.stop()
}

// On SIGTERM the gateway says that it is not ready, serves on for a while,
// finishes what is under way, and ends with status 0.
func TestTerminationDrains(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	g := harness.Warder(t, nineLines(idp.Issuer, harness.Nginx(t, "a")), harness.Drain("4s", "20s"))
	token := idp.Token(t, "shop", "orders:read")
	slow := download(t, g.URL+harness.SlowPath, token)

	g.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "/readyz says 503", func() bool {
		return g.Status(t, g.Admin+"/readyz") == http.StatusServiceUnavailable
	})
	if r := harness.Curl(t, append(bearer(token), g.URL+"/orders/1")...); r.Status != http.StatusOK {
		t.Errorf("while others notice, a new request is answered %d", r.Status)
	}
	slow(t)
	if code := g.ExitCode(t); code != 0 {
		t.Errorf("ended with status %d", code)
	}
}
