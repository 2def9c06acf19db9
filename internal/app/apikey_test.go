package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

const queried = `consumers: { acme: { apiKeys: [{ hash: %q }] } }
upstreams: { b: [%s] }
routes:
  - { path: /by-query, upstream: b, auth: { apiKey: { in: query, name: key } } }
  - { path: /either, upstream: b, auth: { anyOf: [{ apiKey: true }, { apiKey: { in: query, name: key } }] } }
  - { path: /public, upstream: b, auth: none }
`

func TestTheUpstreamDoesNotSeeAKeyThatCameInTheQuery(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	r := serve(t, fmt.Sprintf(queried, apikey.Hash(key), reflector(t)), "")
	referer := r.url + "/by-query?page=1&key=" + key
	for target, want := range map[string]string{
		"/by-query?key=" + key:                                     "/by-query",
		"/by-query?b=%2f&key=" + key + "&a=x%20y+z&":               "/by-query?b=%2f&a=x%20y+z&",
		"/either?a&k%65y=" + key:                                   "/either?a",
		"/public?key=of-a-map&a=1":                                 "/public?key=of-a-map&a=1",
		"/by-query?q=" + strings.Repeat("x", 3000) + "&key=" + key: "/by-query?q=" + strings.Repeat("x", 3000),
	} {
		resp, body := r.do(t, request(t, "GET", r.url+target, "Referer", referer))
		var got reflection
		if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", target, resp.StatusCode, body)
		}
		if got.URI != want {
			t.Errorf("%s: the upstream was asked for %s, want %s", target, got.URI, want)
		}
		if strings.Contains(body, key) {
			t.Errorf("%s: the upstream sees the key: %s", target, body)
		}
	}
	_, body := r.do(t, request(t, "GET", r.url+"/public", "Referer", "https://x/?page=1"))
	if !strings.Contains(body, "https://x/?page=1") {
		t.Errorf("a harmless Referer does not go on: %s", body)
	}
	for over := time.Now().Add(10 * time.Second); strings.Count(r.log.String(), "\n") < 6; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatalf("the access log: %s", r.log)
		}
	}
	if log := r.log.String(); strings.Contains(log, key) || !strings.Contains(log, "a=x%20y+z") || !strings.Contains(log, "key=[redacted]&a=1") {
		t.Errorf("the access log: %s", log)
	}
}

var requestID = regexp.MustCompile(`[0-9a-f]{32}`)

// refusal is all that a caller sees of one, but for the request id and the date.
func refusal(resp *http.Response, body string) string {
	h := resp.Header.Clone()
	h.Del("Date")
	h.Set("X-Request-Id", "")
	return fmt.Sprintf("%d %v %s", resp.StatusCode, h, requestID.ReplaceAllString(body, ""))
}

func TestRefusedKeysInTheQueryLookTheSame(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	r := serve(t, fmt.Sprintf(queried, apikey.Hash(key), reflector(t)), "")
	said := map[string]string{}
	for _, value := range []string{apikey.Generate(), "hunter2", "", key[:len(key)-1], key + "x"} {
		said[refusal(r.do(t, request(t, "GET", r.url+"/by-query?key="+value)))] = value
	}
	if len(said) != 1 {
		t.Errorf("refusals differ: %v", said)
	}
}

func TestCheckWarnsOfKeysInTheQuery(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warder.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, queried, apikey.Hash(apikey.Generate()), "http://127.0.0.1:9"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := app.Check(file, "")
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(r, err)
	}
	if len(r.Warnings) != 2 || r.Warnings[0].Line != 4 || r.Warnings[1].Line != 5 || !strings.Contains(r.Warnings[0].Text, "ends up in the logs") {
		t.Errorf("%+v", r.Warnings)
	}
}
