//go:build !unix

package http1

import "net"

// peer knows nothing here: clients that are gone are not noticed before a
// write fails, and upstream connections are not used twice.
type peer struct{}

func (*peer) watch(net.Conn) {}
func (*peer) gone() bool     { return false }
func (*peer) quiet() bool    { return false }
