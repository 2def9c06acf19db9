package gateway

import (
	"net"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// HTTP/2 without TLS is spoken by prior knowledge only (RFC 9113 section 3.3):
// a connection that begins with its preface, on a listener that allows it. An
// Upgrade to h2c is never taken.

// preface is how the preface of HTTP/2 begins. No method of ours does.
const preface = "PRI "

// servePlain serves a connection without TLS.
func (l *listener) servePlain(tcp *net.TCPConn, guest *guest, spec *snapshot.Listener, info *exchange.Conn) {
	if !spec.H2C {
		l.serveHTTP1(tcp, guest, spec, info)
		return
	}
	tcp.SetReadDeadline(time.Now().Add(spec.Limits.HeaderTimeout))
	frames, err := beginsWith(tcp, preface)
	if err != nil {
		tcp.Close()
		return
	}
	tcp.SetReadDeadline(time.Time{})
	if !frames {
		l.serveHTTP1(tcp, guest, spec, info)
		return
	}
	info.Proto = "HTTP/2.0"
	l.g.h2.serve(l, tcp, guest, spec, info)
}

// beginsWith waits until enough has come to tell whether it is text, and
// leaves it unread: both engines work on the bare connection.
func beginsWith(tcp *net.TCPConn, text string) (begins bool, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false, err
	}
	b := make([]byte, len(text))
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		for {
			n, _, failed = syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
			if failed != syscall.EINTR {
				break
			}
		}
		if failed == syscall.EAGAIN {
			return false
		}
		// What has come may be the beginning of text: more will wake us.
		return failed != nil || n == 0 || n == len(text) || string(b[:n]) != text[:n]
	})
	if err == nil {
		err = failed
	}
	return n == len(text) && string(b) == text, err
}
