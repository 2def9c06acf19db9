//go:build !linux

package store_test

const diskVariable = "WARDER_TEST_STORE_DISK"

func tryDisk(string) {}
