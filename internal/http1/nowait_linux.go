//go:build linux && !race

package http1

import (
	"syscall"
	"unsafe"
)

// readNow reads from a socket that does not block. The scheduler does not
// hear of the call: it cannot wait, and telling would have another thread
// woken in place of this one whenever the machine is busy. p is not empty.
func readNow(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return 0, syscall.EAGAIN
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

// writeNow writes to a socket that does not block, as readNow reads.
func writeNow(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return 0, syscall.EAGAIN
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}
