//go:build unix

package http1

import (
	"io"
	"net"
	"syscall"
)

// firstReader returns a function that waits for bytes on c and only then
// takes a buffer of at least smallBuffer for them: most connections are idle
// most of the time. It returns nil where that cannot be done; under TLS what
// arrives first may be no bytes of a message.
func firstReader(c net.Conn, bufs *buffers) func() (buf []byte, n int, err error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	var buf []byte
	var n int
	var failed error
	try := func(fd uintptr) (done bool) {
		buf = bufs.get(smallBuffer)
		for {
			n, failed = syscall.Read(int(fd), buf)
			if failed != syscall.EINTR {
				break
			}
		}
		if failed == syscall.EAGAIN {
			bufs.put(buf)
			buf = nil
			return false
		}
		return true
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
