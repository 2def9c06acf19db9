package directory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(storetest.Exit)) }
