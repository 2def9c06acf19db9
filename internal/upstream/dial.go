package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// dialer returns how targets are connected to. Two kinds of address are never
// dialled, whatever a name resolves to: link-local ones, where clouds answer
// their machines without a password, and our own admin and health surfaces.
func dialer(own []uint16) func(ctx context.Context, address string) (net.Conn, error) {
	d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		ip := a.Addr().WithZone("").Unmap()
		switch {
		case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified():
			return fmt.Errorf("%s is no address of a backend (link-local, multicast or unspecified): never dialled", ip)
		case ip.IsLoopback() && slices.Contains(own, a.Port()):
			return fmt.Errorf("%s is our own admin or health surface: never dialled", a)
		}
		return nil
	}}
	return func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
}
