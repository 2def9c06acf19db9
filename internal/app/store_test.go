package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const onePublicRoute = "upstreams: { a: [%q] }\nroutes: [{ path: /x, upstream: a, auth: none }]\n"

func TestAGatewayStartsAndServesWhileItsStoreIsDown(t *testing.T) {
	t.Parallel()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, strings.Replace(onePublicRoute, "%q", reflector(t), 1)+"store: postgres://warder:${file:"+password+"}@127.0.0.1:1/warder\n", "")
	if resp, body := r.do(t, request(t, "GET", r.url+"/x")); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := r.do(t, request(t, "GET", r.admin+"/readyz")); resp.StatusCode != 200 || body != "degraded\n" {
		t.Errorf("/readyz: %d %s", resp.StatusCode, body)
	}
	if _, body := r.do(t, request(t, "GET", r.admin+"/metrics", "Authorization", "Bearer "+r.token)); !strings.Contains(body, "\nwarder_store_up 0\n") {
		t.Error("warder_store_up is not 0")
	}
	if said := r.errors.String(); !strings.Contains(said, "the store is down") || strings.Contains(said, "hunter2") {
		t.Error(said)
	}
}

func TestTheStoreCannotChangeWhileTheGatewayRuns(t *testing.T) {
	t.Parallel()
	r := serve(t, strings.Replace(onePublicRoute, "%q", reflector(t), 1), "")
	if resp, body := r.do(t, request(t, "GET", r.admin+"/readyz")); resp.StatusCode != 200 || body != "ready\n" {
		t.Errorf("/readyz: %d %s", resp.StatusCode, body)
	}
	if _, body := r.do(t, request(t, "GET", r.admin+"/metrics", "Authorization", "Bearer "+r.token)); !strings.Contains(body, "\nwarder_store_up 1\n") {
		t.Error("warder_store_up is not 1")
	}
	src, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.config, append(src, "store: sqlite:other.db\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "store: it cannot change while the gateway runs; restart the gateway"
	eventually(t, func() bool { return strings.Contains(r.errors.String(), want) }, "%s", r.errors)
}
