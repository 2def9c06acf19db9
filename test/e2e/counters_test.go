package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

const canaryPassword = "canary-of-the-counters"

// Two gateways at one Redis are one: their callers share each limit exactly.
// Without Redis traffic goes on, each gateway counting for itself, but for
// limits that say otherwise.
func TestTwoGatewaysShareTheirLimits(t *testing.T) {
	redis := harness.StartRedis(t, canaryPassword)
	backend := harness.Nginx(t, "a")
	password := filepath.Join(t.TempDir(), "redis.password")
	if err := os.WriteFile(password, []byte(canaryPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`counters: "redis://:${file:%s}@%s"
limits:
  shared: { rate: 300/day, unavailable: closed }
upstreams: { b: [%s] }
routes:
  - { path: /shared, upstream: b, auth: none, rateLimit: shared }
  - { path: /window, upstream: b, auth: none, rateLimit: { rate: 100/day, window: sliding, unavailable: closed } }
  - { path: /learned, upstream: b, auth: none, rateLimit: 40/day per ip }
  - { path: /local, upstream: b, auth: none, rateLimit: 20/day per ip }
  - { path: /closed, upstream: b, auth: none, rateLimit: { rate: 1000/day, per: ip, unavailable: closed } }`, password, redis.Address, backend.URL)
	one, two := harness.Warder(t, config), harness.Warder(t, config)
	all := []*harness.Gateway{one, two}

	for path, limit := range map[string]int64{"/shared": 300, "/window": 100} {
		// A call whose answer came late on a busy machine may have been charged.
		if passed, late := rush(t, all, path, 500); passed > limit || passed+late < limit {
			t.Errorf("%s: %d of 500 calls passed and %d met with late counters, want exactly %d", path, passed, late, limit)
		}
	}
	rush(t, all, "/learned", 100)

	one.Complains(t, func() {
		redis.Kill()
		rush(t, all, "/local", 2)
	}, "does not answer")
	if passed, _ := rush(t, all, "/local", 60); passed != 38 {
		t.Errorf("without Redis: %d of 60 calls passed, want what is left of 20 at each of two gateways, 38", passed)
	}
	if passed, _ := rush(t, all, "/learned", 20); passed != 0 {
		t.Errorf("the end of Redis let %d calls pass that had no limit left", passed)
	}
	for _, g := range all {
		res, err := http.Get(g.URL + "/closed")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("a closed limit without Redis: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
		}
		if r := g.Record(t, res.Header.Get("X-Request-Id")); r.Code != "limits_unavailable" {
			t.Errorf("its record says %q", r.Code)
		}
	}

	one.Complains(t, func() { redis.Revive(t, canaryPassword) }, "limits are counted by the counters' server")
	harness.Eventually(t, "closed limits let calls pass again", func() bool {
		return one.Status(t, one.URL+"/closed") == http.StatusOK && two.Status(t, two.URL+"/closed") == http.StatusOK
	})

	// Another place is a matter of a reload.
	moved := strings.Replace(config, config[:strings.IndexByte(config, '\n')], "counters: memory", 1)
	one.Complains(t, func() { one.Write(t, moved) }, "config")
	harness.Eventually(t, "the new place is in force", func() bool {
		redis.Kill()
		return one.Status(t, one.URL+"/closed") == http.StatusOK
	})
	for _, g := range all {
		if strings.Contains(g.Stderr.String()+g.Stdout.String(), canaryPassword) {
			t.Error("the password of Redis was logged")
		}
	}
}

// rush sends so many requests to all gateways in turn, eight at once, and
// returns how many passed, and how many were refused for want of counters.
func rush(t *testing.T, all []*harness.Gateway, path string, n int64) (int64, int64) {
	t.Helper()
	var passed, late, sent atomic.Int64
	var wait sync.WaitGroup
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	for range 8 {
		wait.Go(func() {
			for i := sent.Add(1); i <= n; i = sent.Add(1) {
				res, err := client.Get(all[i%int64(len(all))].URL + path)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				switch res.StatusCode {
				case http.StatusOK:
					passed.Add(1)
				case http.StatusServiceUnavailable:
					late.Add(1)
				case http.StatusTooManyRequests:
				default:
					t.Errorf("%s: status %d", path, res.StatusCode)
				}
			}
		})
	}
	wait.Wait()
	return passed.Load(), late.Load()
}
