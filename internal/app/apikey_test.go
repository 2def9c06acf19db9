package app_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
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
	eventually(t, func() bool { return strings.Count(r.log.String(), "\n") >= 6 }, "the access log: %s", r.log)
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

// What nobody but the caller may know: a key that was imported, one that is like
// it, and one that never was any.
func TestImportedKeysAreGoodOnEveryGatewayAndInNoLog(t *testing.T) {
	t.Parallel()
	for engine, address := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return store.DefaultAddress },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			state, at := filepath.Join(t.TempDir(), "state"), address(t)
			config := fmt.Sprintf(keyed, chatty(t), at) + "  - { name: query, path: /query, upstream: a, auth: { apiKey: { in: query, name: key } } }\n"
			one := serveFrom(t, state, "127.0.0.1:0", config, "")
			two := serveFrom(t, state, "127.0.0.1:0", config, "")
			office := storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
			const key, like, none = "canary-one/tGzv3JOkF0XG5Qx2TlKWIAtGzv9aB7c", "canary-one/tGzv3JOkF0XG5Qx2TlKWIAtGzv9aB7d", "canary-two"
			for _, name := range []string{"acme", "globex"} {
				if err := directory.AddConsumer(t.Context(), office, name, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			one.answers(t, key, 401)
			sealer, err := app.ImportSealer("", state)
			if err != nil {
				t.Fatal(err)
			}
			made, clashes, err := directory.ImportKeys(t.Context(), office, sealer, "acme", []directory.ToImport{{Key: []byte(key)}}, time.Now())
			if err != nil || len(clashes) > 0 {
				t.Fatal(clashes, err)
			}
			for _, r := range []*running{one, two} {
				if took := r.answers(t, key, 200); took > time.Second {
					t.Logf("an imported key is good after %s", took)
				}
				if resp, body := r.do(t, request(t, "GET", r.url+"/query?key="+url.QueryEscape(key))); resp.StatusCode != 200 {
					t.Errorf("in the query: %d %s", resp.StatusCode, body)
				}
			}
			// What a caller sees does not tell what was wrong.
			said := map[string]string{}
			for _, wrong := range []string{like, none, apikey.Generate(), key + "x", strings.Repeat("canary", 50)} {
				said[refusal(one.do(t, request(t, "GET", one.url+"/hello", "X-Api-Key", wrong)))] = wrong
			}
			if len(said) != 1 {
				t.Errorf("refusals differ: %v", said)
			}
			resp, explained := one.do(t, request(t, "GET", one.admin+"/v1/requests/last", "Authorization", "Bearer "+one.token))
			if resp.StatusCode != 200 || !strings.Contains(explained, "key_") {
				t.Errorf("explain: %d %s", resp.StatusCode, explained)
			}
			ended := one.webSocket(t, key)
			if _, err := directory.RevokeKey(t.Context(), office, made[0].ID(), time.Now()); err != nil {
				t.Fatal(err)
			}
			for _, r := range []*running{one, two} {
				r.answers(t, key, 401)
			}
			if status := <-ended; status != 1008 {
				t.Errorf("its stream ended with status %d", status)
			}
			eventually(t, func() bool { return strings.Contains(one.log.String(), "key_revoked") }, "%s", one.log)
			_, metrics := one.do(t, request(t, "GET", one.admin+"/metrics", "Authorization", "Bearer "+one.token))
			for what, text := range map[string]string{"access log": one.log.String(), "other access log": two.log.String(), "log": one.errors.String(), "metrics": metrics, "explain": explained} {
				if strings.Contains(text, "canary") {
					t.Errorf("the %s holds a key: %s", what, text)
				}
			}
			filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
				if content, _ := os.ReadFile(path); strings.Contains(string(content), "canary") {
					t.Errorf("%s holds a key", path)
				}
				return err
			})
		})
	}
}
