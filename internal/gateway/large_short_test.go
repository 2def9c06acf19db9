//go:build !long && !race

package gateway_test

const largeBody int64 = 64 << 20
