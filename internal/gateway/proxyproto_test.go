package gateway

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// proxy2 makes a header of version 2.
func proxy2(command, family byte, rest ...byte) string {
	b := append([]byte(proxySignature), command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(rest))), rest...))
}

var (
	four = []byte{203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0, 80}
	six  = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.IPv6Loopback().AsSlice()...), 0x12, 0x67, 0, 80)
)

func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	long := func(n int) []byte { return append(append([]byte{}, four...), make([]byte, n-len(four))...) }
	for _, c := range []struct {
		name, header, want string // want: the client, "local", or "" where it is refused
	}{
		{"version 1, IPv4", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n", "203.0.113.9:4711"},
		{"version 1, shortest", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "1.1.1.1:1"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "[2001:db8::7]:4711"},
		{"version 1, longest", "PROXY TCP6 2aaa:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "[2aaa:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"version 1, IPv4 in IPv6 clothes", "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 1\r\n", "203.0.113.9:1"},
		{"version 1, UNKNOWN", "PROXY UNKNOWN\r\n\r\n", ""},
		{"version 1, UNKNOWN with addresses", "PROXY UNKNOWN 203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, IPv4 as IPv6", "PROXY TCP6 203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, IPv6 as IPv4", "PROXY TCP4 2001:db8::7 ::1 4711 80\r\n", ""},
		{"version 1, families mixed", "PROXY TCP4 203.0.113.9 ::1 4711 80\r\n", ""},
		{"version 1, a zone", "PROXY TCP6 fe80::1%lo ::1 4711 80\r\n", ""},
		{"version 1, UDP4", "PROXY UDP4 203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, small letters", "PROXY tcp4 203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, proxy in small letters", "proxy TCP4 203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, two spaces", "PROXY TCP4  203.0.113.9 127.0.0.1 4711 80\r\n", ""},
		{"version 1, a space at the end", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80 \r\n", ""},
		{"version 1, a bare line feed", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\n", ""},
		{"version 1, a bare carriage return", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\rX\r\n", ""},
		{"version 1, no ports", "PROXY TCP4 203.0.113.9 127.0.0.1\r\n", ""},
		{"version 1, a port with a zero before it", "PROXY TCP4 203.0.113.9 127.0.0.1 04711 80\r\n", ""},
		{"version 1, a port too large", "PROXY TCP4 203.0.113.9 127.0.0.1 65536 80\r\n", ""},
		{"version 1, a signed port", "PROXY TCP4 203.0.113.9 127.0.0.1 +1 80\r\n", ""},
		{"version 1, an address with leading zeros", "PROXY TCP4 203.0.113.009 127.0.0.1 4711 80\r\n", ""},
		{"version 1, unspecified", "PROXY TCP4 0.0.0.0 127.0.0.1 4711 80\r\n", ""},
		{"version 1, without end", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"version 1, one byte too long", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80" + strings.Repeat(" ", 66) + "\r\n", ""},
		{"version 2, IPv4", proxy2(0x21, 0x11, four...), "203.0.113.9:4711"},
		{"version 2, IPv6", proxy2(0x21, 0x21, six...), "[2001:db8::7]:4711"},
		{"version 2, with more behind the addresses", proxy2(0x21, 0x11, long(536)...), "203.0.113.9:4711"},
		{"version 2, longest", proxy2(0x21, 0x11, long(proxyExtra)...), "203.0.113.9:4711"},
		{"version 2, too long", proxy2(0x21, 0x11, long(proxyExtra+1)...), ""},
		{"version 2, LOCAL", proxy2(0x20, 0x00), "local"},
		{"version 2, LOCAL with addresses", proxy2(0x20, 0x11, four...), "local"},
		{"version 2, LOCAL too long", proxy2(0x20, 0x00, long(proxyExtra+1)...), ""},
		{"version 2, unspecified family", proxy2(0x21, 0x00), ""},
		{"version 2, unspecified family with addresses", proxy2(0x21, 0x00, four...), ""},
		{"version 2, UNIX", proxy2(0x21, 0x31, make([]byte, 216)...), ""},
		{"version 2, UDP", proxy2(0x21, 0x12, four...), ""},
		{"version 2, TCP of no family", proxy2(0x21, 0x01, four...), ""},
		{"version 2, IPv4 cut short", proxy2(0x21, 0x11, four[:11]...), ""},
		{"version 2, IPv6 with the length of IPv4", proxy2(0x21, 0x21, four...), ""},
		{"version 2, another command", proxy2(0x22, 0x11, four...), ""},
		{"version 2, another version", proxy2(0x31, 0x11, four...), ""},
		{"version 2, version 1 in its place", proxy2(0x11, 0x11, four...), ""},
		{"version 2, unspecified address", proxy2(0x21, 0x11, make([]byte, 12)...), ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and much more", ""},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const body = "GET / HTTP/1.1\r\n"
			r := strings.NewReader(c.header + body)
			client, local, err := readProxy(iotest.OneByteReader(r))
			switch {
			case c.want == "":
				if err == nil || local || client.IsValid() {
					t.Errorf("accepted: %v, local %v, %v", client, local, err)
				}
				return
			case err != nil:
				t.Fatal(err)
			case local != (c.want == "local") || !local && client.String() != c.want:
				t.Errorf("client %v, local %v", client, local)
			}
			if rest, _ := io.ReadAll(r); string(rest) != body {
				t.Errorf("behind the header there is %q", rest)
			}
			for n := range c.header {
				if client, local, err := readProxy(strings.NewReader(c.header[:n])); err == nil || local || client.IsValid() {
					t.Fatalf("cut to %d bytes it is still accepted", n)
				}
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "PROXY UNKNOWN\r\n", proxy2(0x21, 0x11, four...), proxy2(0x21, 0x21, six...), proxy2(0x20, 0)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		client, local, err := readProxy(r)
		taken := b[:len(b)-r.Len()]
		switch {
		case len(taken) > proxyFixed+proxyExtra:
			t.Fatalf("%d bytes were read", len(taken))
		case err != nil && (local || client.IsValid()):
			t.Fatalf("an error, and %v", client)
		case err != nil:
			return
		case !local && (!client.IsValid() || client.Addr().IsUnspecified() || client.Addr().Is4In6() || client.Addr().Zone() != ""):
			t.Fatalf("client %v", client)
		}
		// What was taken is the header and no more: alone it reads the same.
		again, too, err := readProxy(bytes.NewReader(taken))
		if err != nil || again != client || too != local {
			t.Fatalf("alone it is %v %v %v, not %v %v", again, too, err, client, local)
		}
		if bytes.HasPrefix(taken, []byte("PROXY")) && !bytes.HasSuffix(taken, []byte("\r\n")) {
			t.Fatalf("%q", taken)
		}
	})
}
