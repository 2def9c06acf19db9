package authserver

import (
	"context"
	"slices"
	"strings"
)

const grantClientCredentials = "client_credentials"

// clientCredentials is the grant by which a client acts in its own name
// (RFC 6749 section 4.4).
func (s *Server) clientCredentials(ctx context.Context, c *client, params form) (*tokenResponse, error) {
	scopes, err := c.grantScopes(params["scope"])
	if err != nil {
		return nil, err
	}
	audience, err := c.grantAudience(params["resource"])
	if err != nil {
		return nil, err
	}
	return s.issue(ctx, c.id, c.id, audience, scopes)
}

// grantScopes returns what of the client's scopes was asked for, in the order
// of the configuration. A request that names no scope is given all of them
// (the default of RFC 6749 section 3.3): they were written for this client.
// One scope too many refuses the request; it is never cut down in silence.
func (c *client) grantScopes(requested string) ([]string, error) {
	if requested == "" {
		return c.scopes, nil
	}
	asked := strings.Split(requested, " ")
	for _, scope := range asked {
		if !slices.Contains(c.scopes, scope) {
			return nil, errScope
		}
	}
	granted := make([]string, 0, len(c.scopes))
	for _, scope := range c.scopes {
		if slices.Contains(asked, scope) {
			granted = append(granted, scope)
		}
	}
	return granted, nil
}

// grantAudience returns whom the token is for: the one resource that was
// asked for (RFC 8707), or all of the client's audience. RFC 8707 lets a
// request name several; here it names one, so that a token that leaks opens
// one API or is known to open all.
func (c *client) grantAudience(resource string) ([]string, error) {
	if resource == "" {
		return c.audience, nil
	}
	if !slices.Contains(c.audience, resource) {
		return nil, errTarget
	}
	return []string{resource}, nil
}
