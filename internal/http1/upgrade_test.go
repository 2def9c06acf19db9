package http1

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455 section 1.3
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func TestTheAcceptOfTheSampleKey(t *testing.T) {
	t.Parallel()
	if got := string(acceptFor([]byte(sampleKey))); got != sampleAccept {
		t.Errorf("%q", got)
	}
}

func TestWhatAsksForAWebSocket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, line, fields, want string }{
		{"as usual", "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "websocket"},
		{"in lists and any case", "GET / HTTP/1.1", "connection: keep-alive, UPGRADE\r\nUpgrade: h2c, WebSocket\r\n", "websocket"},
		{"without Connection", "GET / HTTP/1.1", "Upgrade: websocket\r\n", ""},
		{"without Upgrade", "GET / HTTP/1.1", "Connection: Upgrade\r\n", ""},
		{"h2c", "GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", ""},
		{"a version", "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket/13\r\n", ""},
		{"HTTP/1.0", "GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", ""},
	} {
		var h exchange.Head
		h.Reset()
		if f := parseRequest(&h, []byte(c.line+"\r\nHost: h\r\n"+c.fields+"\r\n"), 100); f != nil || h.Upgrade != c.want {
			t.Errorf("%s: %q, %v", c.what, h.Upgrade, f)
		}
	}
}

func TestHandshakesThatAreNone(t *testing.T) {
	t.Parallel()
	const key, version = "Sec-WebSocket-Key: " + sampleKey + "\r\n", "Sec-WebSocket-Version: 13\r\n"
	for _, c := range []struct {
		what, line, fields string
		want               *fault.Error
	}{
		{"a good one", "GET", key + version, nil},
		{"a good one that says it has no body", "GET", key + version + "Content-Length: 0\r\n", nil},
		{"POST", "POST", key + version, errHandshakeMethod},
		{"HEAD", "HEAD", key + version, errHandshakeMethod},
		{"a body", "GET", key + version + "Content-Length: 1\r\n", errHandshakeBody},
		{"a body in chunks", "GET", key + version + "Transfer-Encoding: chunked\r\n", errHandshakeBody},
		{"no version", "GET", key, errHandshakeVersion},
		{"version 8", "GET", key + "Sec-WebSocket-Version: 8\r\n", errHandshakeVersion},
		{"two versions", "GET", key + version + version, errHandshakeVersion},
		{"a list of versions", "GET", key + "Sec-WebSocket-Version: 13, 8\r\n", errHandshakeVersion},
		{"no key", "GET", version, errHandshakeKey},
		{"two keys", "GET", key + key + version, errHandshakeKey},
		{"15 bytes", "GET", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA\r\n" + version, errHandshakeKey},
		{"18 bytes", "GET", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA\r\n" + version, errHandshakeKey},
		{"17 bytes", "GET", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=\r\n" + version, errHandshakeKey},
		{"bits left over", "GET", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB==\r\n" + version, errHandshakeKey},
		{"no base64", "GET", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n" + version, errHandshakeKey},
		{"a key that Connection names", "GET", "Connection: sec-websocket-key\r\n" + key + version, errHandshakeKey},
		{"a version that Connection names", "GET", "Connection: sec-websocket-version\r\n" + key + version, errHandshakeVersion},
	} {
		var h exchange.Head
		h.Reset()
		if f := parseRequest(&h, []byte(c.line+" / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+c.fields+"\r\n"), 100); f != nil {
			t.Fatalf("%s: %v", c.what, f)
		}
		if got := CheckHandshake(&h); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// serverFrame makes a frame with n bytes of payload.
func serverFrame(first byte, n int) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, bytes.Repeat([]byte{0x88}, n)...) // looks like a frame, is payload
}

func TestFramesAreFollowedByteByByte(t *testing.T) {
	t.Parallel()
	var all []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 3} {
		all = append(all, serverFrame(0x82, n)...)
		ends[len(all)] = true
	}
	var f frames
	for i := range all {
		if f.between() != ends[i] {
			t.Fatalf("after %d bytes: between is %v", i, f.between())
		}
		f.pass(all[i : i+1])
	}
	if !f.between() {
		t.Error("not between frames at the end")
	}
	f.pass(serverFrame(0x88, 2))
	if f.between() {
		t.Error("a frame may follow a close frame")
	}
	for what, raw := range map[string]string{
		"masked":                 "\x82\x80",
		"a length of 2^63":       "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
		"a control frame of 126": "\x89\x7e\x00\x7e" + strings.Repeat("x", 126),
	} {
		var f frames
		if f.pass([]byte(raw)); f.between() {
			t.Errorf("%s: taken for a frame", what)
		}
	}
}

// Where the bytes are cut must not matter, whatever they are.
func FuzzFrames(f *testing.F) {
	f.Add(append(serverFrame(0x82, 300), serverFrame(0x88, 2)...), 3)
	f.Add([]byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		var whole, cut frames
		whole.pass(raw)
		size = max(1, size)
		for rest := raw; len(rest) > 0; {
			n := min(size, len(rest))
			cut.pass(rest[:n])
			rest = rest[n:]
		}
		if whole != cut {
			t.Errorf("%+v in one piece, %+v in pieces of %d", whole, cut, size)
		}
	})
}
