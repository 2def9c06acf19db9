package app_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/events"
)

func TestExplainOfAMadeUpWebSocket(t *testing.T) {
	b := reflector(t)
	r := serve(t, "upstreams: { b: ["+b+"] }\nroutes: [{ name: chat, path: /chat, upstream: b, auth: none, upgrade: [websocket] }, { name: closed, path: /closed, upstream: b, auth: { apiKey: true }, upgrade: [websocket] }, { name: x, path: /x, upstream: b, auth: none }]\n", "")
	ask := []string{"Connection: Upgrade", "Upgrade: websocket"}
	whole := append([]string{"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, ask...)
	for _, c := range []struct {
		path, want string
		headers    []string
	}{
		{"/chat", "0, ok route, ok authenticate, ok upgrade", whole},
		{"/chat", "400 request_malformed, ok route, ok authenticate, NO upgrade", ask},
		{"/chat", "0, ok route, ok authenticate", nil},
		{"/closed", "401 credential_missing, ok route, NO authenticate", whole},
		{"/x", "0, ok route, ok authenticate", whole},
	} {
		var e events.Explanation
		r.operator(t, "POST", "/v1/explain", admin.Question{Method: "GET", URL: "http://x" + c.path, Headers: c.headers}, &e)
		if got := explained(&e); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.path, c.headers, got, c.want)
		}
	}
}
