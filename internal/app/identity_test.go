package app_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

func TestWithTheStoreDownAtTheFirstStartNothingIsSigned(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	r := serve(t, strings.Replace(`
consumers: { acme: { apiKeys: [{ hash: "`+apikey.Hash(key)+`" }] } }
upstreams: { a: [%q] }
routes:
  - { path: /x, upstream: a, auth: { apiKey: true }, identity: { jwt: { header: X-Identity } } }
  - { path: /y, upstream: a, auth: { apiKey: true } }
store: postgres://warder@127.0.0.1:1/warder
`, "%q", reflector(t), 1), "")
	if resp, body := r.do(t, request(t, "GET", r.url+"/x", "X-Api-Key", key)); resp.StatusCode != 503 || !strings.Contains(body, "identity_unavailable") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := r.do(t, request(t, "GET", r.url+"/y", "X-Api-Key", key)); resp.StatusCode != 200 {
		t.Errorf("a route that tells its backend nothing: %d %s", resp.StatusCode, body)
	}
	if resp, _ := r.do(t, request(t, "GET", r.url+"/.warder/jwks.json")); resp.StatusCode != 503 {
		t.Error("keys are published:", resp.Status)
	}
}
