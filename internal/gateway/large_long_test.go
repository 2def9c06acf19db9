//go:build long

package gateway_test

const largeBody int64 = 2 << 30
