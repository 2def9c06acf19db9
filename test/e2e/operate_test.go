package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// explain runs warder explain against a gateway.
func explain(t *testing.T, g *harness.Gateway, what ...string) string {
	t.Helper()
	args := append([]string{"explain", "--admin", g.Admin, "--token-file", filepath.Join(g.State, "admin.token")}, what...)
	out, stderr, code := harness.Run(t, args...)
	if code != 0 {
		t.Fatalf("explain %v: status %d: %s", what, code, stderr)
	}
	return out
}

// newKey runs warder key new and returns the key and its hash.
func newKey(t *testing.T) (key, hash string) {
	t.Helper()
	out, _, code := harness.Run(t, "key", "new", "--output", "json")
	var made struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 {
		t.Fatalf("key new: %d %v %s", code, err, out)
	}
	return made.Key, made.Hash
}

func withKey(key string) []string { return []string{"-H", "X-Api-Key: " + key} }

func TestAPIKeysFromTheFile(t *testing.T) {
	t.Parallel()
	b := harness.Nginx(t, "b")
	good, goodHash := newKey(t)
	old, oldHash := newKey(t)
	stranger, _ := newKey(t)
	g := harness.Warder(t, fmt.Sprintf(`consumers:
  acme: { apiKeys: [{ hash: %q }, { hash: %q, expires: 2024-01-31 }] }
  other: {}
upstreams: { b: [%s] }
routes:
  - { name: keyed, path: /k, upstream: b, auth: { apiKey: true } }
  - { name: others, path: /o, upstream: b, auth: { apiKey: true, consumers: [other] } }
  - { name: open, path: /open, upstream: b, auth: none, rateLimit: 2/hour per ip }`, goodHash, oldHash, b.URL))
	r := harness.Curl(t, append(withKey(good), g.URL+"/k")...)
	if r.Status != 200 {
		t.Fatalf("a good key: %d %s", r.Status, r.Body)
	}
	if rec := g.Record(t, r.ID()); rec.Consumer != "acme" {
		t.Errorf("consumer %q in the log", rec.Consumer)
	}
	if strings.Contains(string(r.Body), good) {
		t.Error("the backend saw the key")
	}
	altered := good[:len(good)-1] + "0"
	if altered == good {
		altered = good[:len(good)-1] + "1"
	}
	before := hits(t, b)
	for _, c := range []struct {
		name, path    string
		args          []string
		status        int
		inner, public string
	}{
		{"no key", "/k", nil, 401, "credential_missing", "credential_missing"},
		{"a stranger's", "/k", withKey(stranger), 401, "key_unknown", "key_invalid"},
		{"an expired one", "/k", withKey(old), 401, "key_expired", "key_invalid"},
		{"an altered one", "/k", withKey(altered), 401, "key_malformed", "key_invalid"},
		{"garbage", "/k", withKey("garbage"), 401, "key_malformed", "key_invalid"},
		{"two", "/k", append(withKey(good), withKey(good)...), 400, "credential_ambiguous", "credential_ambiguous"},
		{"another consumer's route", "/o", withKey(good), 403, "consumer_not_allowed", "consumer_not_allowed"},
	} {
		r := harness.Curl(t, append(c.args, g.URL+c.path)...)
		p := r.Problem(t)
		rec := g.Record(t, r.ID())
		if r.Status != c.status || p.Code != c.public || rec.Code != c.inner {
			t.Errorf("%s: %d %s, in the log %s; want %d %s, %s", c.name, r.Status, p.Code, rec.Code, c.status, c.public, c.inner)
		}
	}
	if after := hits(t, b); after != before {
		t.Errorf("%d refused requests reached the backend", after-before)
	}
	for i, want := range []int{200, 200, 429} {
		if r := harness.Curl(t, g.URL+"/open"); r.Status != want {
			t.Errorf("public call %d: %d, want %d", i+1, r.Status, want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	idp := harness.StartIdP(t, 0)
	b := harness.Nginx(t, "b")
	g := harness.Warder(t, nineLines(idp.Issuer, b))
	token := idp.Token(t, "shop", "profile")
	good := idp.Token(t, "shop", "orders:read")
	ok := harness.Curl(t, append(bearer(good), g.URL+"/orders/1")...)
	refused := harness.Curl(t, append(bearer(token), g.URL+"/orders/42")...)
	if ok.Status != 200 || refused.Status != 403 {
		t.Fatalf("status %d and %d", ok.Status, refused.Status)
	}
	for _, what := range []string{"last", refused.ID()} {
		out := explain(t, g, what)
		for _, want := range []string{
			"GET /orders/42 -> 403 scope_missing", "request " + refused.ID(), "ok  route", "ok  authenticate", "jwt corp", "RS256 kid",
			"NO  scopes", "want", "orders:read", "profile", "mend: grant scope orders:read to client shop at issuer corp",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("explain %s does not say %q:\n%s", what, want, out)
			}
		}
		if strings.Contains(out, token[len(token)-20:]) {
			t.Errorf("explain shows the token:\n%s", out)
		}
	}
	if out := explain(t, g, ok.ID()); !strings.Contains(out, "GET /orders/1 -> 200") || !strings.Contains(out, "remaining") {
		t.Errorf("explain of a good request:\n%s", out)
	}
	made := g.URL + "/orders/7"
	before := hits(t, b)
	for range 150 { // more than the limit: a made-up request is charged nothing
		if out := explain(t, g, "GET", made, "-H", "Authorization: Bearer "+good); !strings.Contains(out, "-> allowed") {
			t.Fatalf("explain of a made-up good request:\n%s", out)
		}
		if testing.Short() {
			break
		}
	}
	for _, c := range []struct{ method, url, want string }{
		{"GET", made, "401 credential_missing"},
		{"DELETE", made, "405 method_not_allowed"},
		{"GET", g.URL + "/orders/../x", "400 path_not_normal"},
		{"GET", g.URL + "/nowhere", "404 route_unknown"},
	} {
		if out := explain(t, g, c.method, c.url); !strings.Contains(out, c.want) {
			t.Errorf("explain %s %s:\n%s", c.method, c.url, out)
		}
	}
	if after := hits(t, b); after != before {
		t.Errorf("%d made-up requests reached the backend", after-before)
	}
	out := explain(t, g, "route", "GET /orders/**")
	for _, want := range []string{"/orders/**", "GET", "orders", "jwt corp", "scopes", "100/min per consumer", "timeout.firstByte", "30s"} {
		if !strings.Contains(out, want) {
			t.Errorf("explain route does not say %q:\n%s", want, out)
		}
	}
}

func TestAdminListener(t *testing.T) {
	t.Parallel()
	b := harness.Nginx(t, "b")
	g := harness.Warder(t, fmt.Sprintf("upstreams: { b: [%s] }\nroutes: [{ name: open, path: /, upstream: b, auth: none }]", b.URL))
	info, err := os.Stat(filepath.Join(g.State, "admin.token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("admin.token: %v %v", info, err)
	}
	raw, _ := os.ReadFile(filepath.Join(g.State, "admin.token"))
	token := strings.TrimSpace(string(raw))
	if dir, _ := os.Stat(g.State); dir.Mode().Perm() != 0o700 {
		t.Errorf("the state folder has mode %v", dir.Mode())
	}
	harness.Curl(t, g.URL+"/")
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"livez is open", []string{g.Admin + "/livez"}, 200},
		{"readyz is open", []string{g.Admin + "/readyz"}, 200},
		{"metrics needs the token", []string{g.Admin + "/metrics"}, 401},
		{"a wrong token", append(bearer("wat_wrong"), g.Admin+"/metrics"), 401},
		{"the token", append(bearer(token), g.Admin+"/metrics"), 200},
		{"status needs the token", []string{g.Admin + "/v1/status"}, 401},
		{"an unknown path tells nothing without it", []string{g.Admin + "/v1/nothing"}, 401},
		{"another host name (DNS rebinding)", append(bearer(token), "-H", "Host: evil.example", g.Admin+"/metrics"), 421},
		{"a page of another site", append(bearer(token), "-H", "Sec-Fetch-Site: cross-site", g.Admin+"/metrics"), 403},
	} {
		if r := harness.Curl(t, c.args...); r.Status != c.want {
			t.Errorf("%s: %d, want %d", c.name, r.Status, c.want)
		}
	}
	page := string(harness.Curl(t, append(bearer(token), g.Admin+"/metrics")...).Body)
	for _, want := range []string{
		`warder_requests_total{code="",route="open",status="2xx"} 1`, "warder_request_duration_seconds_bucket", "warder_config_info{", "warder_config_last_reload_successful 1", "warder_token_cache_hits_total", "warder_access_log_dropped_total 0",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// A credential that was sent anywhere in a request must not turn up in
// anything that the gateway writes or shows.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	idp := harness.StartIdP(t, 0)
	b := harness.Nginx(t, "b")
	key, hash := newKey(t)
	g := harness.Warder(t, fmt.Sprintf(`issuers: { corp: { issuer: %q, audience: orders-api } }
consumers: { acme: { apiKeys: [{ hash: %q }] } }
upstreams: { b: [%s] }
routes:
  - { name: jwt, path: /jwt, upstream: b, auth: { jwt: corp } }
  - { name: key, path: /key, upstream: b, auth: { apiKey: true } }
  - { name: query, path: /query, upstream: b, auth: { anyOf: [{ apiKey: { in: query, name: partner } }, { jwt: corp }] } }
  - { name: open, path: /open/**, upstream: b, auth: none }`, idp.Issuer, hash, b.URL))
	token := idp.Token(t, "shop", "orders:read")
	signature := token[strings.LastIndex(token, ".")+1:]
	canaries := map[string]string{
		"token": signature, "key": key, "wrong key": "wk_canary01_canarycanary", "basic": "canary02:canary03", "cookie": "canary04", "proxy": "canary05",
		"query token": "canary06", "query key": "canary07", "dpop": "canary08", "referer": "canary09", "userinfo": "canary10",
		"key of a configured parameter": "canary11", "key in an address": "canary12",
	}
	partner := "&partner=" + canaries["key of a configured parameter"] + "&back=https%3A%2F%2Fx%2F%3Fpartner%3D" + canaries["key in an address"]
	harness.Curl(t, "-H", "Not a field: x", g.URL+"/query?"+partner)
	harness.Curl(t, g.URL+"/query?page=2&partner="+key)
	harness.Curl(t, g.URL+"/query?page=2&partner="+key+"&partner="+key)
	explain(t, g, "GET", g.URL+"/query?page=2"+partner)
	for _, path := range []string{"/jwt", "/key", "/query", "/open/x", "/nowhere", "/open/../x"} {
		for _, auth := range [][]string{bearer(token), {"-u", canaries["basic"]}, bearer("canary02." + signature)} {
			for _, k := range []string{key, canaries["wrong key"]} {
				args := append([]string{
					"-H", "X-Api-Key: " + k, "-H", "Cookie: session=" + canaries["cookie"], "-H", "Proxy-Authorization: Basic " + canaries["proxy"],
					"-H", "DPoP: " + canaries["dpop"], "-H", "Referer: https://x.example/?access_token=" + canaries["referer"],
				}, auth...)
				harness.Curl(t, append(args, g.URL+path+"?access_token="+canaries["query token"]+"&api_key="+canaries["query key"]+"&page=2"+partner)...)
			}
		}
	}
	r := harness.Curl(t, append(bearer(token), g.URL+"/jwt?page=2")...)
	g.Record(t, r.ID()) // all earlier lines are written
	raw, _ := os.ReadFile(filepath.Join(g.State, "admin.token"))
	adminToken := strings.TrimSpace(string(raw))
	places := map[string]string{
		"the access log":        g.Stdout.String(),
		"the application log":   g.Stderr.String(),
		"explain last":          explain(t, g, "last"),
		"explain":               explain(t, g, r.ID(), "--output", "json"),
		"explain of a question": explain(t, g, "GET", g.URL+"/query?page=2"+partner),
		"the metrics":           string(harness.Curl(t, append(bearer(adminToken), g.Admin+"/metrics")...).Body),
	}
	filepath.WalkDir(g.State, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "admin.token" {
			content, _ := os.ReadFile(path)
			places["the state folder: "+d.Name()] = string(content)
		}
		return nil
	})
	for place, text := range places {
		for what, canary := range canaries {
			for _, piece := range strings.Split(canary, ":") {
				if strings.Contains(text, piece) {
					t.Errorf("%s holds the %s", place, what)
				}
			}
		}
		if strings.Contains(text, adminToken) {
			t.Errorf("%s holds the admin token", place)
		}
	}
	if !strings.Contains(places["the access log"], "page=2") {
		t.Error("the harmless part of the query is not in the access log: the test may look at nothing")
	}
}

func TestBadInputIsOneSentence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b := harness.Nginx(t, "b")
	busy := strings.TrimPrefix(b.URL, "http://")
	base := "upstreams: { b: [" + b.URL + "] }\n"
	for _, c := range []struct{ name, config, want string }{
		{"an unknown key", base + "routes: [{ path: /, upstream: b, auth: none, ratelimit: 1/s }]\n", `:2:\d+: .*ratelimit.*rateLimit`},
		{"a route without auth", base + "routes: [{ path: /, upstream: b }]\n", `:2:\d+: .*auth`},
		{"an issuer without audience", base + "issuers: { i: { issuer: https://i.example } }\nroutes: [{ path: /, upstream: b, auth: { jwt: i } }]\n", `:2:\d+: .*audience`},
		{"a dangling upstream", base + "routes: [{ path: /, upstream: c, auth: none }]\n", `:2:\d+: .*c`},
		{"a dangling issuer", base + "routes: [{ path: /, upstream: b, auth: { jwt: nobody } }]\n", `:2:\d+: .*nobody`},
		{"a duplicate key", base + base + "routes: []\n", `:2:1: .*upstreams`},
		{"two equal routes", base + "routes:\n - { path: /a, upstream: b, auth: none }\n - { path: /a, upstream: b, auth: none }\n", `:[34]:\d+: `},
		{"per consumer on a public route", base + "routes: [{ path: /, upstream: b, auth: none, rateLimit: 1/s per consumer }]\n", `:2:\d+: .*consumer`},
		{"a key of a later build", base + "routes: [{ path: /, upstream: b, auth: none, waf: block }]\n", `:2:\d+: .*waf.* is not in this build`},
		{"no YAML", "{", `:\d+:\d+: `},
	} {
		path := file("bad.yaml", c.config)
		for _, args := range [][]string{{"check", "-c", path}, {"run", "-c", path, "--state", filepath.Join(dir, "state")}} {
			out, stderr, code := harness.Run(t, args...)
			if code != 1 || !regexp.MustCompile(regexp.QuoteMeta(path)+c.want).MatchString(out+stderr) {
				t.Errorf("%s, %s: status %d\n%s%s\nwant %s", c.name, args[0], code, out, stderr, c.want)
			}
		}
	}
	good := base + "routes: [{ path: /, upstream: b, auth: none }]\n"
	for _, c := range []struct{ name, config string }{
		{"the port of the gateway", good + "listeners: [{ address: \"" + busy + "\" }]\nadmin: { address: \"127.0.0.1:0\" }\n"},
		{"the port of admin", good + "listeners: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: \"" + busy + "\" }\n"},
	} {
		_, stderr, code := harness.Run(t, "run", "-c", file("busy.yaml", c.config), "--state", filepath.Join(dir, "state"))
		if code != 1 || strings.Count(strings.TrimSpace(stderr), "\n") != 0 || !strings.Contains(stderr, busy+" is in use") {
			t.Errorf("%s is busy: status %d, %s", c.name, code, stderr)
		}
	}
}
