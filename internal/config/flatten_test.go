package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const layered = `
issuers: { corp: { issuer: https://login.example.com/, audience: x } }
upstreams:
  a: { targets: [http://a/], timeout: { connect: 1s, idle: 5s } }
  b: [http://b/]
defaults:
  upstream: b
  auth: { jwt: corp, scopes: [all] }
  rateLimit: 600/min
  body: { maxSize: 2MiB }
  timeout: { total: 9s }
  pass: [X-A]
apis:
  shop:
    host: shop.example.com
    basePath: /shop
    defaults: { upstream: a, auth: { apiKey: true }, forwardToken: false }
    routes:
      - { path: / }
      - { path: /** }
      - { path: /own, name: own, auth: { jwt: corp }, rateLimit: 1/s, timeout: 3s, body: {}, host: own.example.com, pass: [] }
  root:
    basePath: /
    routes: [{ path: / }, { path: /x }]
routes:
  - { path: /status, methods: [GET, HEAD], auth: none }
  - { path: /status, methods: [GET, HEAD], auth: { none: true }, match: { headers: { X-Beta: "1" } } }
`

func TestRouteOverAPIOverDefaultsEachValueWhole(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range good(t, layered).Flatten() {
		line := r.Name + " = " + r.Host + " " + r.Path + " " + r.Upstream + " " + r.MaxBody.String() + " " + strings.Join(r.Pass, ",") + " " +
			r.Timeout.Connect.String() + "," + r.Timeout.FirstByte.String() + "," + r.Timeout.Idle.String() + "," + r.Timeout.Total.String()
		if r.Public {
			line += " public"
		}
		if !r.ForwardToken {
			line += " drops-token"
		}
		for _, p := range r.Policies {
			line += "; " + p.Path + " from " + p.From
		}
		got = append(got, line)
	}
	want := []string{
		"GET,HEAD /status =  /status b 2MiB X-A 2s,30s,1m,9s public; auth.none from route; rateLimit from defaults",
		"GET,HEAD /status #2 =  /status b 2MiB X-A 2s,30s,1m,9s public; auth.none from route; rateLimit from defaults",
		"shop.example.com/shop = shop.example.com /shop a 2MiB X-A 1s,30s,5s,9s drops-token; auth.apiKey from api shop; rateLimit from defaults",
		"shop.example.com/shop/** = shop.example.com /shop/** a 2MiB X-A 1s,30s,5s,9s drops-token; auth.apiKey from api shop; rateLimit from defaults",
		"own = own.example.com /shop/own a 1MiB  1s,30s,5s,3s drops-token; auth.jwt from route; rateLimit from route",
		"/ =  / b 2MiB X-A 2s,30s,1m,9s; auth.jwt from defaults; auth.scopes from defaults; rateLimit from defaults",
		"/x =  /x b 2MiB X-A 2s,30s,1m,9s; auth.jwt from defaults; auth.scopes from defaults; rateLimit from defaults",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestWithoutMethodsARouteHasAllButTraceAndConnect(t *testing.T) {
	t.Parallel()
	r := good(t, layered).Flatten()[2]
	if diff := cmp.Diff([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, r.Methods); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

func TestOneDefaultIsOneNode(t *testing.T) {
	t.Parallel()
	flat := good(t, layered).Flatten()
	a, _ := flat[5].Policy("auth.jwt")
	b, _ := flat[6].Policy("auth.jwt")
	if a.Node != b.Node {
		t.Error("two routes that inherit the same value have different nodes")
	}
	if own, _ := flat[4].Policy("auth.jwt"); own.Node == a.Node {
		t.Error("a route's own value is the node of the defaults")
	}
	if _, ok := flat[4].Policy("auth.scopes"); ok {
		t.Error("a route's own auth inherits the scopes of the auth it replaces")
	}
}
