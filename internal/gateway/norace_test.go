//go:build !race

package gateway_test

const reloads = 1000
