//go:build unix && (!linux || race)

package http1

import "syscall"

// readNow reads from a socket that does not block. p is not empty.
func readNow(fd uintptr, p []byte) (n int, err error) {
	for {
		if n, err = syscall.Read(int(fd), p); err != syscall.EINTR {
			return max(0, n), err
		}
	}
}

// writeNow writes to a socket that does not block. p is not empty.
func writeNow(fd uintptr, p []byte) (n int, err error) {
	for {
		if n, err = syscall.Write(int(fd), p); err != syscall.EINTR {
			return max(0, n), err
		}
	}
}
