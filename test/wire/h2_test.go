package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// What HTTP/2 can say and HTTP/1.1 cannot must not become bytes of HTTP/1.1:
// the origin receives what was decided, or nothing.
func TestHTTP2ReachesTheOriginAsOneRequestOrNotAtAll(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	neighbour := startSteady(t, g)
	const (
		malformed = "400 request_malformed"
		plain     = "GET /open/a HTTP/1.1|Host: h||"
		posted    = "POST /open/a HTTP/1.1|Host: h|Content-Length: 3||abc"
		inject    = "x\r\n\r\nGET /open/hidden HTTP/1.1\r\nHost: h\r\n\r\n"
	)
	for _, c := range []struct {
		name    string
		fields  []string
		data    string // "" for none
		want    string // status and code, or reset; "or" between what may be
		arrives string
	}{
		{"a good request", request(), "", "200", plain},
		{"a good body", posting("content-length", "3"), "abc", "200", posted},
		{"a body of a length not told", posting(), "abc", "200", "POST /open/a HTTP/1.1|Host: h|Transfer-Encoding: chunked||abc"},

		{"CR LF in a value", request("x-a", inject), "", "reset", ""},
		{"LF in a value", request("x-a", "b\nx-b: c"), "", "reset", ""},
		{"CR in a value", request("x-a", "b\rx-b: c"), "", "reset", ""},
		{"NUL in a value", request("x-a", "b\x00c"), "", "reset", ""},
		{"CR LF in a name", request("x-a: b\r\nx-b", "c"), "", "reset", ""},
		{"a colon in a name", request("x-a:b", "c"), "", "reset", ""},
		{"a space in a name", request("x-a ", "c"), "", "reset", ""},
		{"a capital in a name", request("X-a", "c"), "", "reset", ""},
		{"an empty name", request("", "c"), "", "reset", ""},
		{"CR LF in the path", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open/a HTTP/1.1\r\nX: y"}, "", "reset", ""},
		{"a space in the path", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open/a HTTP/1.1"}, "", malformed, ""},
		{"CR LF in the method", []string{":method", "GET /open/hidden HTTP/1.1\r\nX:", ":scheme", "https", ":authority", "h", ":path", "/open/a"}, "", "reset", ""},
		{"a space in the method", []string{":method", "GET /open/hidden", ":scheme", "https", ":authority", "h", ":path", "/open/a"}, "", malformed, ""},
		{"CR LF in the authority", []string{":method", "GET", ":scheme", "https", ":authority", "h\r\nX: y", ":path", "/open/a"}, "", "reset", ""},
		{"a path in the authority", []string{":method", "GET", ":scheme", "https", ":authority", "h/x", ":path", "/open/a"}, "", malformed, ""},
		{"a user in the authority", []string{":method", "GET", ":scheme", "https", ":authority", "u@h", ":path", "/open/a"}, "", "reset", ""},

		{"two methods", request(":method", "POST"), "", "reset", ""},
		{"two equal paths", request(":path", "/open/a"), "", "reset", ""},
		{"two authorities", request(":authority", "i"), "", "reset", ""},
		{"no method", []string{":scheme", "https", ":authority", "h", ":path", "/open/a"}, "", "reset", ""},
		{"no path", []string{":method", "GET", ":scheme", "https", ":authority", "h"}, "", "reset", ""},
		{"an empty path", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", ""}, "", "reset", ""},
		{"no scheme", []string{":method", "GET", ":authority", "h", ":path", "/open/a"}, "", "reset", ""},
		{"no authority and no Host", []string{":method", "GET", ":scheme", "https", ":path", "/open/a"}, "", malformed, ""},
		{"Host in place of an authority", []string{":method", "GET", ":scheme", "https", ":path", "/open/a", "host", "h"}, "", "200", plain},
		{"a pseudo field of responses", request(":status", "200"), "", "reset", ""},
		{"a pseudo field of nobody", request(":evil", "x"), "", "reset", ""},
		{"a pseudo field behind others", []string{":method", "GET", ":scheme", "https", "x-a", "b", ":authority", "h", ":path", "/open/a"}, "", "reset", ""},
		{"a protocol", request(":protocol", "websocket"), "", "reset", ""},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "h:443"}, "", malformed, ""},

		{"Host says the same", request("host", "h"), "", "200", plain},
		{"Host says another", request("host", "i"), "", malformed, ""},
		{"two Hosts", request("host", "h", "host", "i"), "", malformed, ""},
		{"a path without a slash", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "open/a"}, "", "reset", ""},
		{"a path that is a host", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "@i/open/a"}, "", "reset", ""},
		{"an absolute path of another host", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "http://i/open/a"}, "", malformed, ""},
		{"an absolute path of the same host", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "http://h/open/a"}, "", malformed, ""},
		{"a length and no body", request("content-length", "5"), "", malformed, ""},
		{"a length that is none", posting("content-length", "x"), "", malformed, ""},
		{"two lengths", posting("content-length", "3", "content-length", "30"), "abc", malformed, ""},
		{"a space before a value", request("x-a", " b"), "", malformed, ""},
		{"a tab behind a value", request("x-a", "b\t"), "", malformed, ""},
		{"* of GET", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "*"}, "", malformed, ""},
		{"dots in the path", []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open/../closed/a"}, "", "400 path_not_normal", ""},

		// Judged by net/http before the gateway is asked: there is no record.
		{"Connection", request("connection", "close"), "", "400", ""},
		{"Keep-Alive", request("keep-alive", "timeout=5"), "", "400", ""},
		{"Proxy-Connection", request("proxy-connection", "close"), "", "400", ""},
		{"Upgrade", request("upgrade", "h2c"), "", "400", ""},
		{"TE of more than trailers", request("te", "gzip"), "", "400", ""},
		{"Transfer-Encoding", posting("transfer-encoding", "chunked"), "0\r\n\r\n" + inject, "400", ""},
		{"TE of trailers", request("te", "trailers"), "", "200", "GET /open/a HTTP/1.1|Host: h|Connection: TE|TE: trailers||"},

		{"a length too small", posting("content-length", "2"), "abc", "reset", ""},
		{"a length too great", posting("content-length", "4"), "abc", "499 client_gone or " + malformed, ""},
		{"an underscore in a name", request("x_a", "b"), "", "200", plain},
		{"an unknown expectation", posting("content-length", "3", "expect", "x"), "abc", "417 expectation_failed", ""},
		{"a field of 17 KiB", request("x-a", strings.Repeat("a", 15<<10), "x-b", strings.Repeat("b", 2<<10)), "", "431 headers_too_large", ""},
		{"101 fields", request(strings.Split(strings.TrimSuffix(strings.Repeat("x-a,b,", 101), ","), ",")...), "", "431 headers_too_large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := dialH2(t, g)
			stream := h.stream()
			flags := endHeaders
			if c.data == "" {
				flags |= endStream
			}
			block := h.block(c.fields...)
			for first := true; first || len(block) > 0; first = false {
				piece := block[:min(len(block), 16<<10)]
				block = block[len(piece):]
				kind, f := byte(frameHeaders), flags
				if !first {
					kind, f = frameContinuation, f&^endStream
				}
				if len(block) > 0 {
					f &^= endHeaders
				}
				h.send(kind, f, stream, piece)
			}
			if c.data != "" {
				h.send(frameData, endStream, stream, []byte(c.data))
			}
			o := h.end(t, stream)
			got := strings.TrimSpace(o.how + " " + o.code(t, g))
			if got == "closed" && c.want == "reset" {
				got = "reset" // the whole connection, in place of the stream
			}
			if !slices.Contains(strings.Split(c.want, " or "), got) {
				t.Errorf("ended with %q, want %q", got, c.want)
			}
			var want []string
			if c.arrives != "" {
				want = []string{c.arrives}
			}
			same(t, "the origin received", withoutSteady(origin.Take()), want)
		})
	}
	neighbour.end(t)
}

// Lengths that contradict what HTTP/2 itself says of a body never make a body
// into a request: at most the request itself arrives.
func TestContradictingLengthsOfHTTP2NeverMakeAnotherRequest(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	for i, lengths := range [][]string{
		{"content-length", "x"}, {"content-length", ""}, {"content-length", "-1"}, {"content-length", "+3"}, {"content-length", "0"},
		{"content-length", "18446744073709551616"}, {"content-length", "3", "content-length", "0"}, {"content-length", "0", "content-length", "3"},
	} {
		path := fmt.Sprintf("/open/length-%d", i)
		h := dialH2(t, g)
		stream := h.stream()
		fields := append([]string{":method", "POST", ":scheme", "https", ":authority", "h", ":path", path}, lengths...)
		h.send(frameHeaders, endHeaders, stream, h.block(fields...))
		h.send(frameData, endStream, stream, []byte(hidden))
		h.end(t, stream)
		// The connections to the origin are shared: what is behind shows there.
		for range 3 {
			if r := say(t, g.Plain, last, harness.Patience); len(r) != 1 || r[0].status != 200 {
				t.Errorf("%q: behind it came %v", lengths, r)
			}
		}
	}
	if code := g.Terminate(t); code != 0 {
		t.Errorf("the gateway ended with status %d", code)
	}
	seen := map[string]int{}
	for _, a := range origin.Take() {
		if a == lastArrived {
			continue
		}
		line, _, _ := strings.Cut(a, "|")
		if seen[line]++; seen[line] > 1 || !strings.HasPrefix(line, "POST /open/length-") {
			t.Errorf("the origin received %q", a)
		}
	}
}

// withoutSteady leaves the requests of the steady client out.
func withoutSteady(arrived []string) []string {
	var others []string
	for _, a := range arrived {
		if !strings.HasPrefix(a, "GET /open/steady ") {
			others = append(others, a)
		}
	}
	return others
}
