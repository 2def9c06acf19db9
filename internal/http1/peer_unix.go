//go:build unix

package http1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer asks the system about the other end of a TCP connection, without
// reading from it. Its zero value knows nothing. It is used by one goroutine
// at a time.
type peer struct {
	raw             syscall.RawConn
	isGone, isQuiet func(fd uintptr) // made once: a closure per question would be allocated
	answer          bool
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
	p.isGone = func(fd uintptr) {
		poll := [1]unix.PollFd{{Fd: int32(fd), Events: hangUp}}
		_, err := unix.Poll(poll[:], 0)
		p.answer = err == nil && poll[0].Revents&(hangUp|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	}
	p.isQuiet = func(fd uintptr) { p.answer = nothingCame(fd) }
}

func (p *peer) ask(question func(fd uintptr)) bool {
	if p.raw == nil {
		return false
	}
	p.answer = false
	return p.raw.Control(question) == nil && p.answer
}

// gone reports whether the other end has closed or reset the connection.
func (p *peer) gone() bool { return p.ask(p.isGone) }

// quiet reports whether the connection is open and nothing has arrived on it:
// whatever arrives between two exchanges is no answer to the next.
func (p *peer) quiet() bool { return p.ask(p.isQuiet) }
