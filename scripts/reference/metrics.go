package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/app"
)

// metrics starts a gateway, has it answer, refuse and fetch keys, and lists
// what it shows.
func metrics() ([]byte, error) {
	shown, err := scrape()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		m := shown[name]
		labels := slices.Sorted(maps.Keys(m.labels))
		for i := range labels {
			labels[i] = code(labels[i])
		}
		rows = append(rows, []string{code(name), m.kind, strings.Join(labels, " "), m.help})
	}
	var b strings.Builder
	title(&b, "Metrics", "`GET /metrics` on the admin address, in the format of Prometheus. It needs the admin token unless the configuration says `admin: { metrics: open }`. Beside these there are the usual `go_*` and `process_*` metrics.\n\n"+
		"`route` is the route's name, empty for requests that matched none; `code` is the inner code of a refusal, empty for requests that nothing refused; `status` is the class, such as `4xx`. A series begins with its first event.")
	table(&b, []string{"name", "type", "labels", "what it says"}, rows)
	return []byte(b.String()), nil
}

type metric struct {
	kind, help string
	labels     map[string]bool
}

// A key of RFC 7517 appendix A.1: an issuer has to have one.
const keySet = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}]}`

// last is the metric that comes last after a start: the keys were fetched.
const last = "warder_issuer_keys_age_seconds"

func scrape() (_ map[string]*metric, err error) {
	dir, err := os.MkdirTemp("", "warder-reference-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	backend := httptest.NewServer(http.NotFoundHandler())
	defer backend.Close()
	config := fmt.Sprintf(`listeners: [{ name: public, address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0", metrics: open }
drain: { delay: 0s }
issuers: { corp: { issuer: https://login.example.com/, audience: orders-api, jwksFile: keys.json } }
upstreams: { orders: [%s] }
routes: [{ path: /orders, upstream: orders, auth: none }, { path: /mine, upstream: orders, auth: { jwt: corp } }]
`, backend.URL)
	path := filepath.Join(dir, "warder.yaml")
	if err := errors.Join(os.WriteFile(path, []byte(config), 0o600), os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keySet), 0o600)); err != nil {
		return nil, err
	}
	signals, started, ended := make(chan os.Signal, 1), make(chan app.Running, 1), make(chan error, 1)
	var log strings.Builder
	go func() {
		ended <- app.Run(app.Options{
			Config: path, State: filepath.Join(dir, "state"), Stdout: io.Discard, Stderr: &log,
			Started: func(r app.Running) { started <- r },
		}, signals)
	}()
	var running app.Running
	select {
	case running = <-started:
	case err := <-ended:
		return nil, fmt.Errorf("the gateway did not start: %w", err)
	}
	defer func() {
		signals <- syscall.SIGTERM
		err = errors.Join(err, <-ended)
	}()
	for _, path := range []string{"/orders", "/mine", "/nothing"} {
		if _, err := get("http://" + running.Gateway["public"] + path); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(10 * time.Second); ; {
		text, err := get("http://" + running.Admin + "/metrics")
		if err != nil {
			return nil, err
		}
		found := parseMetrics(text)
		if found[last] != nil {
			return found, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s did not come", last)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func get(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

var (
	series = regexp.MustCompile(`^(warder_\w+)\{([^}]*)\}`)
	label  = regexp.MustCompile(`(\w+)="`)
)

func parseMetrics(text string) map[string]*metric {
	all := map[string]*metric{}
	of := func(name string) *metric {
		if all[name] == nil {
			all[name] = &metric{labels: map[string]bool{}}
		}
		return all[name]
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		words := strings.SplitN(lines.Text(), " ", 4)
		if len(words) == 4 && words[0] == "#" && strings.HasPrefix(words[2], "warder_") {
			switch words[1] {
			case "HELP":
				of(words[2]).help = words[3]
			case "TYPE":
				of(words[2]).kind = words[3]
			}
			continue
		}
		m := series.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		name := m[1]
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if whole, ok := strings.CutSuffix(name, part); ok && all[whole] != nil {
				name = whole
			}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				of(name).labels[l[1]] = true
			}
		}
	}
	return all
}
