package store_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(writerVariable); args != "" {
		writeForEver(args)
	}
	if folder := os.Getenv(diskVariable); folder != "" {
		tryDisk(folder)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(storetest.Exit))
}
