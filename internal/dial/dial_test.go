package dial_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/dial"
)

// What strangers may not ask they must not have us ask for them: our own admin
// and health surfaces, and the addresses where clouds answer their machines
// without a password.
func TestNeverDialled(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := uint16(ln.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct {
		name, address string
		rules         dial.Rules
		want          string // in the reason; empty: is dialled
	}{
		{"a backend", ln.Addr().String(), dial.Rules{}, ""},
		{"a loopback backend", ln.Addr().String(), dial.Rules{LoopbackOnly: true}, ""},
		{"our own surface", ln.Addr().String(), dial.Rules{Own: []uint16{1, own}}, "our own"},
		{"our own surface by name", fmt.Sprintf("localhost:%d", own), dial.Rules{Own: []uint16{own}}, "our own"},
		{"our own surface by NAT64", fmt.Sprintf("[64:ff9b::7f00:1]:%d", own), dial.Rules{Own: []uint16{own}}, "our own"},
		{"a mapped address of our own", fmt.Sprintf("[::ffff:127.0.0.1]:%d", own), dial.Rules{Own: []uint16{own}}, "our own"},
		{"a metadata service", "169.254.169.254:80", dial.Rules{}, "link-local"},
		{"a link-local IPv6 address", "[fe80::1%lo]:80", dial.Rules{}, "link-local"},
		{"a mapped metadata address", "[::ffff:169.254.169.254]:80", dial.Rules{}, "link-local"},
		{"a metadata address by NAT64", "[64:ff9b::a9fe:a9fe]:80", dial.Rules{}, "link-local"},
		{"the metadata service of AWS", "[fd00:ec2::254]:80", dial.Rules{}, "metadata"},
		{"the metadata service of Alibaba", "100.100.100.200:80", dial.Rules{}, "metadata"},
		{"the metadata service of Azure", "168.63.129.16:80", dial.Rules{}, "metadata"},
		{"the unspecified address", fmt.Sprintf("0.0.0.0:%d", own), dial.Rules{}, "unspecified"},
		{"a multicast address", "224.0.0.1:80", dial.Rules{}, "multicast"},
		{"another machine where loopback is meant", "192.0.2.1:80", dial.Rules{LoopbackOnly: true}, "not a loopback"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := c.rules.Context(ctx, "tcp", c.address)
		cancel()
		if conn != nil {
			conn.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
