package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// A WebSocket that the origin does not grant is no tunnel: the origin gets the
// handshake, and nothing of what the client wrote behind it.
func TestAnUpgradeThatIsNotGrantedIsNoTunnel(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin)+"  - { name: socket, path: /socket/**, upstream: origin, auth: none, upgrade: [websocket] }\n")
	handshake := func(fields ...string) string {
		return lines(append([]string{"GET /socket/a HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"}, fields...)...)
	}
	const version, key = "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	for _, c := range []struct {
		name, raw string
		want      answer
		arrives   bool
	}{
		{"the origin answers 200", handshake(version, key), ok, true},
		{"with a version that nobody speaks", handshake("Sec-WebSocket-Version: 1337", key), answer{400, "request_malformed"}, false},
		{"without a key", handshake(version), answer{400, "request_malformed"}, false},
		{"with a body", handshake(version, key, length(hidden)) + hidden, answer{400, "request_malformed"}, false},
		{"with chunks", handshake(version, key, chunked) + chunk(hidden) + lastChunk, answer{400, "request_malformed"}, false},
		{"by POST", strings.Replace(handshake(version, key, "Content-Length: 0"), "GET", "POST", 1), answer{400, "request_malformed"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := say(t, g.Plain, c.raw+hidden+last, harness.Patience)
			if len(got) != 1 || got[0].status != c.want.status || g.Record(t, got[0].id).Code != c.want.code {
				t.Errorf("answered %v, want %v alone", got, c.want)
			}
			arrived := origin.Take()
			if n := len(arrived); c.arrives != (n == 1) || n > 1 || slices.ContainsFunc(arrived, func(a string) bool { return !strings.HasPrefix(a, "GET /socket/a ") }) {
				t.Errorf("the origin received %q", arrived)
			}
			for _, torn := range origin.Torn() {
				t.Errorf("the origin received %s", torn)
			}
		})
	}
}
