package authserver

import (
	"encoding/json"
	"net/http"
)

// metadata is the discovery document (RFC 8414 section 2). It lists only what
// is true. The same document stands at the place where OpenID Connect looks
// for it, because that is where most software looks first; what OpenID
// Connect adds is left out until there are ID tokens.
type metadata struct {
	Issuer        string   `json:"issuer"`
	TokenEndpoint string   `json:"token_endpoint"`
	JWKSURI       string   `json:"jwks_uri"`
	GrantTypes    []string `json:"grant_types_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	// ResponseTypes is required by RFC 8414 although there is no authorization
	// endpoint whose response could have a type; it is empty.
	ResponseTypes []string `json:"response_types_supported"`
}

// discovery returns the handler of the discovery documents.
func (s *Server) discovery() http.HandlerFunc {
	document, err := json.Marshal(metadata{
		Issuer:        s.issuer,
		TokenEndpoint: s.issuer + tokenPath,
		JWKSURI:       s.issuer + jwksPath,
		GrantTypes:    []string{grantClientCredentials},
		AuthMethods:   []string{"client_secret_basic", "client_secret_post"},
		ResponseTypes: []string{},
	})
	if err != nil {
		panic(err) // strings and lists of strings always marshal
	}
	return func(w http.ResponseWriter, r *http.Request) {
		reply(w, r, http.StatusOK, publicFor, document)
	}
}
