package introspect

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/tokens"
)

// structured reports whether a token is three base64url parts: a JWS, which
// the issuer's keys can judge. Padding makes no difference: a JWS that an
// issuer may read in spite of it is none to ask about.
func structured(token []byte) bool {
	parts := 0
	for part := range bytes.SplitSeq(token, []byte{'.'}) {
		if parts++; !tokens.Base64URL(bytes.TrimRight(part, "=")) {
			return false
		}
	}
	return parts == 3
}
