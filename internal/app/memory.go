package app

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// Garbage collection runs less often than Go would have it: the way of a
// request makes little garbage, so that the live heap is small and a larger
// factor costs little memory. The container's limit, where there is one,
// bounds it.
const (
	collectAt   = 200 // per cent of the live heap
	limitShare  = 90  // per cent of the container's memory
	cgroupLimit = "/sys/fs/cgroup/memory.max"
)

// tuneMemory sets both unless the environment does (GOGC, GOMEMLIMIT).
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	text, err := os.ReadFile(cgroupLimit)
	if err != nil {
		return // not in a container, or not on Linux
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 {
		debug.SetMemoryLimit(limit / 100 * limitShare)
	}
}
