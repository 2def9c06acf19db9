//go:build unix

package http1

import (
	"io"
	"net"
	"syscall"
)

// firstReader returns a function that waits for bytes on c and only then
// takes a buffer of at least size bytes for them: most connections are idle
// most of the time. It returns nil where that cannot be done; under TLS what
// arrives first may be no bytes of a message.
func firstReader(c net.Conn, bufs *buffers, size int) func() (buf []byte, n int, err error) {
	raw := rawTCP(c)
	if raw == nil {
		return nil
	}
	var buf []byte
	var n int
	var failed error
	try := func(fd uintptr) (done bool) {
		buf, n, failed = lendAndRead(fd, bufs, size)
		return failed != syscall.EAGAIN
	}
	return func() ([]byte, int, error) {
		buf, n, failed = nil, 0, nil
		err := raw.Read(try)
		switch {
		case err != nil:
			n = 0
		case failed != nil:
			n, err = 0, failed
		case n == 0:
			err = io.EOF
		}
		return buf, n, err
	}
}

// rawTCP returns the socket under a TCP connection, nil if c is none.
func rawTCP(c net.Conn) syscall.RawConn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// lendAndRead reads from a socket without waiting, into a buffer it lends. buf
// is nil if the error is EAGAIN.
func lendAndRead(fd uintptr, bufs *buffers, size int) (buf []byte, n int, err error) {
	buf = bufs.get(size)
	n, err = readNow(fd, buf)
	if err == syscall.EAGAIN {
		bufs.put(buf)
		return nil, 0, err
	}
	return buf, n, err
}
