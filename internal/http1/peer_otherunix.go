//go:build unix && !linux

package http1

// hangUp: only a connection closed on both sides can be told here.
const hangUp = 0
