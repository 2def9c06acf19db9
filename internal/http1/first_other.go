//go:build !unix

package http1

import "net"

// firstReader returns nil: idle connections keep their buffer here.
func firstReader(net.Conn, *buffers, int) func() (buf []byte, n int, err error) { return nil }

// fast returns c: there is no quicker way here.
func fast(c net.Conn) net.Conn { return c }
