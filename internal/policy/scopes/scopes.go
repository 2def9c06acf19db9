// Package scopes is the policy that asks what a token was granted: all of
// auth.scopes, or any of auth.anyScope (RFC 6749 section 3.3).
package scopes

import (
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is one scope or a list of them.
type Config = scalar.List[string]

// New compiles auth.scopes: every scope of the list is needed.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	parts, err := grants().AllOf(cfg, env)
	if err == nil {
		parts.Scope = strings.Join(cfg, " ")
	}
	return parts, err
}

// NewAny compiles auth.anyScope: one scope of the list is enough. The
// challenge names the first, so that nobody asks for more than is needed.
func NewAny(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	parts, err := grants().OneOf(cfg, env)
	if err == nil {
		parts.Scope = cfg[0]
	}
	return parts, err
}

func grants() pipeline.Grants {
	return pipeline.Grants{
		One:     "scope",
		Many:    "scopes",
		Form:    "printable ASCII characters without space, quote and backslash",
		Formed:  wellFormed,
		Public:  "a public route has no token that could carry scopes",
		Between: " ",
		Has:     (*exchange.Identity).HasScope,
		Lacks:   lacks,
	}
}

// wellFormed reports whether s is of NQCHAR alone, as a scope-token is.
func wellFormed(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func lacks(x *exchange.Exchange) pipeline.Verdict {
	if id := x.Identity; id != nil {
		client := id.Client
		if client == "" {
			client = id.Consumer
		}
		x.Trail.Saw("client", client)
		x.Trail.Saw("issuer", id.Issuer)
		x.Trail.Saw("have", strings.Join(id.Scopes, " "))
	}
	return pipeline.Refuse(fault.ScopeMissing)
}
