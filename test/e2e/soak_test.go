//go:build long

package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

var soak = flag.Duration("soak", 3*time.Minute, "how long the soak takes")

// Minutes of everything at once: good requests must not notice the reloads,
// key rotations, strangers, broken clients and uploads beside them, and what
// the gateway holds must be no more at the end than after the first third.
func TestSoak(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	a, b := harness.Nginx(t, "a"), harness.Nginx(t, "b")
	config := unlimited(idp.Issuer, a, b) + `
  - { name: upload, path: /upload, methods: [POST], upstream: orders, auth: none }`
	g := harness.Warder(t, config)
	raw, err := os.ReadFile(filepath.Join(g.State, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	admin := strings.TrimSpace(string(raw))

	good := startLoad(t, g.URL+"/orders/1", idp.Token(t, "shop", "orders:read"), 4)
	version := 0
	reloads := until(300*time.Millisecond, func() {
		version++
		g.Write(t, config+fmt.Sprintf("\n  - { path: /version-%d, upstream: orders, auth: none }", version))
	})
	stranger := &http.Client{Timeout: harness.Patience}
	defer stranger.CloseIdleConnections()
	claims := idp.Claims("shop", "orders:read")
	strangers := until(5*time.Millisecond, func() {
		header := harness.Claims{"alg": "RS256", "typ": "at+jwt", "kid": strconv.FormatUint(rand.Uint64(), 36)}
		if err := get(stranger, g.URL+"/orders/1", forge(t, header, claims), 401, 503); err != nil {
			t.Error("a stranger:", err)
		}
	})
	broken := until(20*time.Millisecond, func() { // clients that leave in the middle of things
		c, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			return
		}
		say := []string{"GET /ord", "GET /orders/1 HTTP/1.1\r\nHost: x\r\n\r\n", "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc", "\x16\x03\x01", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff"}
		c.Write([]byte(say[rand.IntN(len(say))]))
		c.Close()
	})
	body := bytes.Repeat([]byte("x"), 512<<10)
	uploads := until(50*time.Millisecond, func() {
		res, err := stranger.Post(g.URL+"/upload", "text/plain", bytes.NewReader(body))
		if err != nil {
			t.Error("an upload:", err)
			return
		}
		res.Body.Close()
	})
	rotations := until(20*time.Second, func() {
		idp.Rotate(t)
		token := idp.Token(t, "shop", "orders:read")
		if err := get(stranger, g.URL+"/orders/1", token, 200); err != nil {
			t.Error("a token of a fresh key:", err)
		}
		good.token.Store(&token)
	})

	time.Sleep(*soak / 3) // the length of a soak is time itself
	early := measure(t, g, admin)
	time.Sleep(*soak * 2 / 3)
	late := measure(t, g, admin)
	for _, stop := range []func(){rotations, uploads, broken, strangers, reloads, good.stop} {
		stop()
	}
	// The next collection comes when the heap is five times what was alive at the last.
	const share, mib = 5, 1 << 20
	t.Logf("%d good requests, %d reloads in %v; alive %.1f MiB, then %.1f; resident %.1f MiB, then %.1f; goroutines %.0f, then %.0f; descriptors %.0f, then %.0f",
		good.done.Load(), version, *soak, early["go_memstats_next_gc_bytes"]/share/mib, late["go_memstats_next_gc_bytes"]/share/mib,
		early["process_resident_memory_bytes"]/mib, late["process_resident_memory_bytes"]/mib,
		early["go_goroutines"], late["go_goroutines"], early["process_open_fds"], late["process_open_fds"])
	for _, c := range []struct {
		name   string
		factor float64
		slack  float64 // what may come with use: the slots of the access log keep their memory
	}{
		{"go_memstats_next_gc_bytes", 1.2, share * 12 * mib},
		{"process_resident_memory_bytes", 1.2, 64 * mib},
		{"go_goroutines", 1.2, 20},
		{"process_open_fds", 1.2, 20},
	} {
		if late[c.name] > c.factor*early[c.name]+c.slack {
			t.Errorf("%s grew from %.0f to %.0f", c.name, early[c.name], late[c.name])
		}
	}
	if dropped := late["warder_access_log_dropped_total"]; dropped > 0 {
		t.Errorf("%.0f log lines were lost", dropped)
	}
}

var sample = regexp.MustCompile(`(?m)^([a-z_]+) (\S+)$`)

// measure reads the metrics that have no labels.
func measure(t *testing.T, g *harness.Gateway, token string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	page := harness.Curl(t, append(bearer(token), g.Admin+"/metrics")...).Body
	for _, m := range sample.FindAllStringSubmatch(string(page), -1) {
		values[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	if values["go_goroutines"] == 0 {
		t.Fatalf("no metrics: %.200s", page)
	}
	return values
}
