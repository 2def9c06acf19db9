package identity_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/identity"
	"github.com/warder-gateway/warder/internal/policy/policytest"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	policytest.Run(t, "testdata")
}

// Who has a name of his own choosing could otherwise write the next value, too:
// name "x;role=admin".
func TestSeveralValuesOfCallersInOneFieldAreDoubted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, encode string
		doubted      bool
	}{
		{"{claims.name};role={claims.role}", "", true},
		{"{subject} {roles}", "", true},
		{"{claims.name};role={claims.role}", "percent", false},
		{"{claims.name}{claims.role}", "base64url", false},
		{`[{claims.name},{claims.role}]`, "json", false},
		{"{issuer}:{subject}", "", false},
		{"user:{claims.sub}", "", false},
		{"{roles}", "", false},
	} {
		parts, err := identity.New(identity.Config{Headers: map[string]identity.Value{"X-Who": {Value: c.text, Encode: c.encode}}}, pipeline.Env{Route: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if doubted := strings.Contains(parts.Doubt, "X-Who"); doubted != c.doubted {
			t.Errorf("%s, encode %q: %q", c.text, c.encode, parts.Doubt)
		}
	}
}
