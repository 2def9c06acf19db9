package http1

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUp tells of a peer that has closed its side, also behind unread bytes.
const hangUp = unix.POLLRDHUP

// nothingCame reports whether a socket is open and has nothing to read. It
// asks for each request that goes upstream, hence in the cheapest way: the
// scheduler need not hear of a call that cannot wait.
func nothingCame(fd uintptr) bool {
	var b [1]byte
	_, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return e == unix.EAGAIN
}
