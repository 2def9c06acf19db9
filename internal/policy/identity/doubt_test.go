package identity_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/identity"
)

// Who is called Zoë gets 500 where her name is written as it is: that is
// warned of. What is an identifier by its nature is not.
func TestNamesOfPeopleAsTheyAreAreDoubted(t *testing.T) {
	t.Parallel()
	for value, want := range map[identity.Value]string{
		{Value: "{claims.name}"}:                      "claim name",
		{Value: "Dear {claims.given_name}"}:           "claim given_name",
		{Value: "{claims.address.formatted}"}:         "claim address.formatted",
		{Value: "{claims.displayName}"}:               "claim displayName",
		{Value: "{claims.name}", Encode: "percent"}:   "",
		{Value: "{claims.name}", Encode: "base64url"}: "",
		{Value: "{claims.email}"}:                     "",
		{Value: "{subject}"}:                          "",
	} {
		parts, err := identity.New(identity.Config{Headers: map[string]identity.Value{"X-A": value}}, pipeline.Env{Route: "r"})
		if err != nil || (want == "") != (parts.Doubt == "") || !strings.Contains(parts.Doubt, want) {
			t.Errorf("%v: %v %q", value, err, parts.Doubt)
		}
	}
}
