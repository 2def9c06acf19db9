package snapshot_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

const frontRoutes = upstreams + `consumers: { c: { apiKeys: [{ hash: "sha256:abababababababababababababababababababababababababababababababab" }] } }
routes:
  - { name: open, path: /open, upstream: b, auth: none }
  - { name: key, path: /key, upstream: b, auth: { apiKey: true } }
`

func TestTransportIsSecureWhereAProxySaysSo(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), `listeners: [{ address: ":80", tls: none, trustedProxies: 10.0.0.5/32 }]`+"\n"+frontRoutes)
	for secure, want := range map[bool]fault.Code{true: fault.CredentialMissing, false: fault.TransportInsecure} {
		x := newExchange("GET", "x", "/key")
		x.Conn, x.Secure = &exchange.Conn{Exposed: true}, secure
		if _, v := s.Decide(x, world()); v.Code() != want {
			t.Errorf("secure %v: %v", secure, v.Code())
		}
	}
}

func TestRoutesNeverMatchOnAListenerThatOnlyRedirects(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	c.Local = local
	s := compile(t, c, `listeners: [{ name: plain, address: ":80", redirectToHttps: true }, { address: "127.0.0.1:8080", trustedProxies: 10.0.0.5/32 }]`+"\n"+frontRoutes)
	for _, path := range []string{"/open", "/key", "/auth/token", "/nowhere", "/"} {
		x := newExchange("GET", "auth.example.com", path)
		x.Conn = &exchange.Conn{Redirect: true, Exposed: true}
		r, v := s.Decide(x, world())
		if !v.Passed() || r.Upstream != nil || r.Local == nil || r.Labels.Name != "redirect/https" {
			t.Fatalf("%s: %v by %+v", path, v.Code(), r)
		}
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", path, nil)
		req.Host = "auth.example.com:8080"
		r.Local.ServeHTTP(w, req)
		if to := w.Header().Get("Location"); w.Code != http.StatusPermanentRedirect || to != "https://auth.example.com"+path {
			t.Errorf("%s: %d to %s", path, w.Code, to)
		}
		// And nowhere else is it a route.
		x = newExchange("GET", "auth.example.com", path)
		x.Conn = &exchange.Conn{}
		if r, _ := s.Decide(x, world()); r != nil && r.Labels.Name == "redirect/https" {
			t.Errorf("%s: redirected on another listener", path)
		}
	}
	x := newExchange("GET", "x", "/open")
	x.Conn, x.Req.Host = &exchange.Conn{Redirect: true}, nil
	if _, v := s.Decide(x, world()); v.Code() != fault.RequestMalformed {
		t.Errorf("without Host: %v", v.Code())
	}
	// A connection may be older than the configuration.
	other := compile(t, newCompiler(), frontRoutes)
	x = newExchange("GET", "x", "/open")
	x.Conn = &exchange.Conn{Redirect: true}
	if _, v := other.Decide(x, world()); v.Code() != fault.RouteUnknown {
		t.Errorf("where nobody redirects any more: %v", v.Code())
	}
	if l := s.ListenerFor(true, "443"); l == nil || l.Redirect {
		t.Errorf("a question over HTTPS is for %+v", l)
	}
	if l := s.ListenerFor(false, "80"); l == nil || !l.Redirect {
		t.Errorf("a question on port 80 is for %+v", l)
	}
}

func TestConnectionsEndWhenWhomAListenerTrustsChanges(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, words := range []string{
		"", ", redirectToHttps: true", ", trustedProxies: 10.0.0.5/32", ", trustedProxies: [10.0.0.5/32, 10.0.0.6/32]",
		", trustedProxies: 10.0.0.5/32, forwarded: rfc7239", ", proxyProtocol: { from: 10.0.0.5/32 }", ", proxyProtocol: { from: 10.0.0.6/32 }",
	} {
		listeners := `listeners: [{ address: "127.0.0.1:1"` + words + ` }, { address: "127.0.0.1:2", trustedProxies: 10.0.0.5/32 }]` + "\n"
		one, same := compile(t, newCompiler(), listeners+frontRoutes), compile(t, newCompiler(), listeners+frontRoutes)
		digest := one.Listeners[0].Security
		if other, twice := seen[digest]; twice || digest != same.Listeners[0].Security {
			t.Errorf("%q has the digest of %q, or two of them", words, other)
		}
		seen[digest] = words
	}
}

func TestWideRangesAreTold(t *testing.T) {
	t.Parallel()
	s := compile(t, newCompiler(), `listeners:
  - address: "127.0.0.1:1"
    trustedProxies: [10.0.0.0/24, 10.0.0.0/23, 0.0.0.0/0, "2001:db8::/64", "2001:db8::/63", "2001:d00::/24"]
    proxyProtocol: { from: [10.0.0.5/32, 10.0.0.0/8] }
`+frontRoutes)
	var got []string
	for _, p := range s.Listeners[0].Wide() {
		got = append(got, p.String())
	}
	if want := []string{"10.0.0.0/23", "0.0.0.0/0", "2001:db8::/63", "2001:d00::/24", "10.0.0.0/8"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s.Listeners[0].Front.Trusts(netip.MustParseAddr("2001:db8::1")) != true || (*exchange.Front)(nil).Trusts(netip.MustParseAddr("127.0.0.1")) {
		t.Error("who is trusted is not who was listed")
	}
}

func TestForwardedIsNeverPassedOn(t *testing.T) {
	t.Parallel()
	text := complaints(t, newCompiler(), upstreams+"routes: [{ path: /x, upstream: b, auth: none, pass: [Forwarded] }]\n")
	if want := "routes[0].pass[0]: it says who the client is"; !strings.Contains(text, want) {
		t.Errorf("%s, want %s", text, want)
	}
}
