package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// The backend of the documentation, word for word: it believes an assertion of
// the gateway that is meant for it, and nothing else, whoever brings it.
func TestABackendChecksTheAssertion(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)\n```js\n(.*?)\n```\n").FindSubmatch(page)
	if script == nil {
		t.Fatal("the page has no backend any more")
	}
	key, hash := newKey(t)
	port, dir := harness.FreePort(t), t.TempDir()
	config := fmt.Sprintf(`consumers: { acme: { apiKeys: [{ hash: %q }], roles: [partner] } }
upstreams: { orders: ["http://127.0.0.1:%d"] }
defaults: { upstream: orders, auth: { apiKey: true } }
routes:
  - { path: /orders, identity: { jwt: { header: X-Identity } } }
  - { path: /stock, identity: { jwt: { header: X-Identity, audience: stock } } }
  - { path: /plain }
  - { path: /open, auth: none }`, hash, port)
	g := harness.Warder(t, config, harness.In(dir))
	harness.StartNode(t, string(script[1]), "jose", port, g.URL)

	good := harness.Curl(t, append(withKey(key), g.URL+"/orders")...)
	if good.Status != 200 || string(good.Body) != "hello acme\n" {
		t.Fatalf("%d %q", good.Status, good.Body)
	}
	for what, args := range map[string][]string{
		"another audience":        append(withKey(key), g.URL+"/stock"),
		"no assertion":            append(withKey(key), g.URL+"/plain"),
		"one of the client's":     {"-H", "X-Identity: eyJhbGciOiJub25lIn0.eyJpc3MiOiJ3YXJkZXIiLCJhdWQiOiJvcmRlcnMifQ.", g.URL + "/open"},
		"past the gateway":        {fmt.Sprintf("http://127.0.0.1:%d/orders", port)},
		"forged past the gateway": {"-H", "X-Identity: eyJhbGciOiJub25lIn0.eyJpc3MiOiJ3YXJkZXIiLCJhdWQiOiJvcmRlcnMifQ.", fmt.Sprintf("http://127.0.0.1:%d/orders", port)},
	} {
		if r := harness.Curl(t, args...); r.Status != 403 {
			t.Errorf("%s: %d %q", what, r.Status, r.Body)
		}
	}
	jwks := harness.Curl(t, g.URL+"/.warder/jwks.json")
	if jwks.Status != 200 || jwks.Header.Get("Content-Type") != "application/jwk-set+json" || strings.Contains(string(jwks.Body), `"d"`) {
		t.Fatalf("%d %s %s", jwks.Status, jwks.Header, jwks.Body)
	}
	if code := g.Terminate(t); code != 0 {
		t.Fatal(code)
	}
	g = harness.Warder(t, config, harness.In(dir))
	if again := harness.Curl(t, g.URL+"/.warder/jwks.json"); string(again.Body) != string(jwks.Body) {
		t.Errorf("after a restart the key is another one: %s, before %s", again.Body, jwks.Body)
	}
}
