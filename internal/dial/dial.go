// Package dial connects to other machines in our name. It holds the one set
// of rules that says which addresses are never connected to, whatever a name
// resolves to and whoever asks: upstreams and key sets go through it alike.
package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Rules say where a connection may lead. Some addresses no Rules let pass:
// link-local ones and those where clouds answer their machines without a
// password, multicast, and the unspecified address. The zero Rules add
// nothing to that.
type Rules struct {
	Own          []uint16      // loopback ports of our own surfaces: never dialled
	LoopbackOnly bool          // nothing but loopback is dialled
	Timeout      time.Duration // of one connection; 0: until the context ends
}

// Context connects as net.Dialer.DialContext does. The rules are applied to
// every address after resolution, before a packet is sent. Safe for
// concurrent use.
func (r *Rules) Context(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: r.Timeout, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return r.Check(a)
	}}
	return d.DialContext(ctx, network, address)
}

// metadata are addresses outside link-local where clouds answer their own
// machines without a password.
var metadata = [...]netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("168.63.129.16"),   // Azure
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052

// Check says why an address is never dialled, nil if it may be.
func (r *Rules) Check(at netip.AddrPort) error {
	a := at.Addr().WithZone("").Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsUnspecified(), slices.Contains(metadata[:], a):
		return fmt.Errorf("%s is a link-local, metadata, multicast or unspecified address: never dialled", a)
	case a.IsLoopback() && slices.Contains(r.Own, at.Port()):
		return fmt.Errorf("%s is our own admin or health surface: never dialled", at)
	case r.LoopbackOnly && !a.IsLoopback():
		return fmt.Errorf("%s is not a loopback address: http is for those only", a)
	}
	return nil
}
