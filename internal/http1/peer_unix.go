//go:build unix

package http1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer asks the system about the other end of a TCP connection, without
// reading from it. Its zero value knows nothing.
type peer struct {
	raw    syscall.RawConn
	poll   [1]unix.PollFd
	look   func(fd uintptr)
	events int16
	found  int16
	failed bool
}

// watch makes p ask about c.
func (p *peer) watch(c net.Conn) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.look = func(fd uintptr) {
		p.poll[0] = unix.PollFd{Fd: int32(fd), Events: p.events}
		_, err := unix.Poll(p.poll[:], 0)
		p.found, p.failed = p.poll[0].Revents, err != nil && err != unix.EINTR
	}
}

func (p *peer) ask(events int16) (found int16, ok bool) {
	if p.raw == nil {
		return 0, false
	}
	p.events = events
	if err := p.raw.Control(p.look); err != nil || p.failed {
		return 0, false
	}
	return p.found, true
}

// gone reports whether the other end has closed or reset the connection.
func (p *peer) gone() bool {
	found, ok := p.ask(hangUp)
	return ok && found&(hangUp|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// quiet reports whether the connection is open and nothing has arrived on it:
// whatever arrives between two exchanges is no answer to the next.
func (p *peer) quiet() bool {
	found, ok := p.ask(unix.POLLIN | hangUp)
	return ok && found == 0
}
