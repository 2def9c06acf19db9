//go:build !long && race

package gateway_test

// The race detector makes every byte dear.
const largeBody int64 = 16 << 20
