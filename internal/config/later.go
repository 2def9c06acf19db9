package config

import "reflect"

// later lists the keys of the format that this build does not enforce. Each is
// answered at its place; none is accepted and ignored. A key that the catalog
// of policies has is enforced, whatever stands here.
var later = map[reflect.Type][]string{
	reflect.TypeFor[Document](): {
		"plans", "shadow", "tests", "alerts", "notify",
		"secretsDir", "source",
	},
	reflect.TypeFor[Listener]():    {},
	reflect.TypeFor[ListenerTLS](): {"acme"},
	reflect.TypeFor[Consumer]():    {"plan"},
	reflect.TypeFor[Upstream]():    {"balance", "healthCheck", "outlier", "retry", "circuitBreaker"},
	reflect.TypeFor[Target]():      {"weight"},
	reflect.TypeFor[UpstreamRef](): {"split", "sticky"},
	reflect.TypeFor[Body]():        {"json", "mode"},
	reflect.TypeFor[Auth]():        laterProofs,
	reflect.TypeFor[Proof]():       laterProofs,
	reflect.TypeFor[Settings](): {
		"rateLimit", "quota", "waf", "cache", "cors", "allowIf", "transform", "identity",
	},
	reflect.TypeFor[Route](): {"rewrite", "redirect", "respond"},
	reflect.TypeFor[Match](): {"query"},
	reflect.TypeFor[API]():   {"openapi", "versions"},
	reflect.TypeFor[Log]():   {"ship"},
	reflect.TypeFor[Sink]():  {"rotate", "keep"},
}

// laterKeys returns the keys of t, and of what it embeds, that are for later.
func laterKeys(t reflect.Type) []string {
	keys := later[t]
	for f := range t.Fields() {
		if f.Anonymous {
			keys = append(keys[:len(keys):len(keys)], laterKeys(f.Type)...)
		}
	}
	return keys
}

// laterProofs are the keys of an object of auth that some build may not have.
var laterProofs = []string{
	"jwt", "introspect", "login", "apiKey", "basic", "mtls",
	"scopes", "anyScope", "roles", "allRoles", "consumers", "products",
}
