package introspect

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/tokens"
)

// structured reports whether a token is three base64url parts: a JWS, which
// the issuer's keys can judge.
func structured(token []byte) bool {
	parts := 0
	for part := range bytes.SplitSeq(token, []byte{'.'}) {
		if parts++; !tokens.Base64URL(part) {
			return false
		}
	}
	return parts == 3
}
