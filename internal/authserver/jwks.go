package authserver

import "net/http"

const (
	jwksPath = "/jwks"
	// publicFor is how long anybody may keep our keys and discovery documents.
	// A new key must be published at least this long before it signs.
	publicFor = "public, max-age=300"
)

// jwks serves the public keys (RFC 7517 section 5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	reply(w, r, http.StatusOK, publicFor, s.signer.PublicJWKS())
}
