//go:build !unix

package http1

import "net"

// firstReader returns nil: idle connections keep their buffer here.
func firstReader(net.Conn, *buffers) func() (buf []byte, n int, err error) { return nil }
