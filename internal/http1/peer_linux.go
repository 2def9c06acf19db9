package http1

import "golang.org/x/sys/unix"

// hangUp tells of a peer that has closed its side, also behind unread bytes.
const hangUp = unix.POLLRDHUP
