//go:build race

package gateway_test

const reloads = 100 // a compiled configuration takes many times as long
