package introspect

import (
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

// Judge judges what an issuer said as if a request had just asked for it.
func Judge(iss *pipeline.Issuer, active bool, answer exchange.Claims, x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	p := policyOf(iss)
	return p.admit(x, w, p.conclude([32]byte{}, active, answer).Value.(*known), tokens.Credential{Token: []byte("token")})
}

// Size returns what remembering an answer is counted as, in bytes.
func Size(iss *pipeline.Issuer, answer exchange.Claims) int {
	return policyOf(iss).conclude([32]byte{}, true, answer).Size
}

func policyOf(iss *pipeline.Issuer) *policy {
	asker := *iss
	asker.Introspector = &keys.Introspector{}
	p, err := compile(&asker)
	if err != nil {
		panic(err)
	}
	return p
}
