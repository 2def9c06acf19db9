//go:build unix

package http1

import (
	"io"
	"net"
	"os"
	"syscall"
)

// socket is a TCP connection that is read and written without telling the
// scheduler (readNow). One goroutine at a time may read, one may write.
type socket struct {
	*net.TCPConn
	raw     syscall.RawConn
	reading turn
	writing turn
}

// turn is what one direction of a socket has to do, and what came of it.
type turn struct {
	take func(fd uintptr) (done bool) // made once: a closure per call would be allocated
	p    []byte
	n    int
	err  error
}

// fast returns c itself if it is not plain TCP.
func fast(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{TCPConn: tcp, raw: raw}
	s.reading.take = func(fd uintptr) bool {
		t := &s.reading
		t.n, t.err = readNow(fd, t.p)
		return t.err != syscall.EAGAIN
	}
	s.writing.take = func(fd uintptr) bool {
		t := &s.writing
		for t.n < len(t.p) {
			n, err := writeNow(fd, t.p[t.n:])
			t.n += n
			if t.err = err; err != nil {
				return err != syscall.EAGAIN
			}
		}
		return true
	}
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &s.reading
	t.p, t.n, t.err = p, 0, nil
	err := s.raw.Read(t.take)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", t.err)}
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	t := &s.writing
	t.p, t.n, t.err = p, 0, nil
	err := s.raw.Write(t.take)
	t.p = nil
	if err == nil && t.err != nil {
		err = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", t.err)}
	}
	return t.n, err
}
