package policytest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/policy/policytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPoliciesTogether(t *testing.T) {
	t.Parallel()
	policytest.Run(t, "testdata")
}
