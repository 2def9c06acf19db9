//go:build unix

package http1

import (
	"net"
	"syscall"
)

// asker sends a request over plain TCP and waits for the answer in one turn.
// A Write and a Read would do the same, but the Read would first ask the
// socket in vain. Its zero value can do nothing.
type asker struct {
	raw  syscall.RawConn
	bufs *buffers
	turn func(fd uintptr) (done bool)

	out  []byte // still to be sent
	wary bool   // nothing is sent if something has come
	loud bool   // something had
	buf  []byte // what has come is buf[:n]
	n    int
}

// watch makes a ask over c, if c is plain TCP.
func (a *asker) watch(c net.Conn, bufs *buffers) {
	a.raw, a.bufs, a.turn = rawTCP(c), bufs, a.take
}

func (a *asker) can() bool { return a.raw != nil }

// ask sends p and waits until the beginning of the answer has come, which is
// then the first n bytes of the lent buf. It returns with n = 0 if the
// connection ended instead, and without waiting if not all of p could be sent
// at once; sent says how much was. A wary ask sends nothing over a connection
// on which something has come already, its end among it; loud tells.
func (a *asker) ask(p []byte, wary bool) (sent int, loud bool, buf []byte, n int) {
	a.out, a.wary, a.loud, a.buf, a.n = p, wary, false, nil, 0
	a.raw.Read(a.turn) // an error is one of the connection: whoever reads next gets it too
	sent, buf, n, loud = len(p)-len(a.out), a.buf, a.n, a.loud
	a.out, a.buf = nil, nil
	if n == 0 && buf != nil {
		a.bufs.put(buf)
		buf = nil
	}
	return sent, loud, buf, n
}

// take is one turn at the socket. RawConn.Read has begun to watch it for bytes
// before the first: what nothingCame does not see will wake us.
func (a *asker) take(fd uintptr) (done bool) {
	if len(a.out) > 0 {
		a.loud = !nothingCame(fd)
		if a.loud && a.wary {
			return true
		}
		n, err := writeNow(fd, a.out)
		if a.out = a.out[n:]; err != nil || len(a.out) > 0 {
			return true
		}
		if !a.loud {
			return false // there cannot be an answer yet
		}
	}
	var err error
	if a.buf, a.n, err = lendAndRead(fd, a.bufs, smallBuffer); err != nil {
		a.n = 0
	}
	return err != syscall.EAGAIN
}
