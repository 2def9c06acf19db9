//go:build unix && !linux

package http1

import "golang.org/x/sys/unix"

// hangUp: only a connection closed on both sides can be told here.
const hangUp = 0

// nothingCame reports whether a socket is open and has nothing to read.
func nothingCame(fd uintptr) bool {
	poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll[:], 0)
	return n == 0 && err == nil
}
