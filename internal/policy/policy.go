// Package policy is the catalog: every policy of this build, one line each.
//
// From a line follow the decoding of the policy's configuration, its place in
// the JSON Schema and in the reference, and its part in a route's chain. The
// order of the lines is the order of policies within one phase.
package policy

import (
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/policy/basic"
	"github.com/warder-gateway/warder/internal/policy/consumers"
	"github.com/warder-gateway/warder/internal/policy/identity"
	"github.com/warder-gateway/warder/internal/policy/introspect"
	"github.com/warder-gateway/warder/internal/policy/jwt"
	"github.com/warder-gateway/warder/internal/policy/login"
	"github.com/warder-gateway/warder/internal/policy/mtls"
	"github.com/warder-gateway/warder/internal/policy/public"
	"github.com/warder-gateway/warder/internal/policy/ratelimit"
	"github.com/warder-gateway/warder/internal/policy/roles"
	"github.com/warder-gateway/warder/internal/policy/scopes"
)

// Catalog returns the policies of this build.
func Catalog() []pipeline.Kind {
	return []pipeline.Kind{
		pipeline.Policy("auth.none", public.New),
		pipeline.Policy("auth.jwt", jwt.New),
		pipeline.Policy("auth.introspect", introspect.New),
		pipeline.Policy("auth.apiKey", apikey.New), // takes a key out of the query, before anybody writes an address down
		pipeline.Policy("auth.login", login.New),
		pipeline.Policy("auth.basic", basic.New),
		pipeline.Policy("auth.mtls", mtls.New),
		pipeline.Policy("auth.scopes", scopes.New),
		pipeline.Policy("auth.anyScope", scopes.NewAny),
		pipeline.Policy("auth.roles", roles.New),
		pipeline.Policy("auth.allRoles", roles.NewAll),
		pipeline.Policy("auth.consumers", consumers.New),
		pipeline.Policy("rateLimit", ratelimit.New),
		pipeline.Policy("identity", identity.New),
	}
}
