package identity_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/policy/policytest"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	policytest.Run(t, "testdata")
}
