package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// refuses is an Authenticator that refuses everybody.
type refuses fault.Code

func (r refuses) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return nil, pipeline.Refuse(fault.Code(r))
}

// A route whose tokens may be bound to keys is challenged for by DPoP too, with
// the errors of RFC 9449; the other schemes stay without those.
func TestChallengesForBoundTokens(t *testing.T) {
	t.Parallel()
	token := pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true, Proofs: "ES256"}
	bound := pipeline.Challenge{Proofs: "ES256"}
	for _, c := range []struct {
		challenge pipeline.Challenge
		code      fault.Code
		want      []string
	}{
		{token, fault.CredentialMissing, []string{`Bearer realm="corp"`, `DPoP algs="ES256"`}},
		{token, fault.TokenExpired, []string{`Bearer realm="corp", error="invalid_token"`, `DPoP error="invalid_token", algs="ES256"`}},
		{token, fault.TokenBindingFailed, []string{`Bearer realm="corp", error="invalid_token"`, `DPoP error="invalid_token", algs="ES256"`}},
		{token, fault.CredentialAmbiguous, []string{`Bearer realm="corp", error="invalid_request"`, `DPoP error="invalid_request", algs="ES256"`}},
		{token, fault.DPoPProofInvalid, []string{`Bearer realm="corp"`, `DPoP error="invalid_dpop_proof", algs="ES256"`}},
		{token, fault.DPoPReplayed, []string{`Bearer realm="corp"`, `DPoP error="invalid_dpop_proof", algs="ES256"`}},
		{token, fault.DPoPNonceRequired, []string{`Bearer realm="corp"`, `DPoP error="use_dpop_nonce", algs="ES256"`}},
		{token, fault.ScopeMissing, []string{`Bearer realm="corp", error="insufficient_scope", scope="orders:read"`}},
		{token, fault.IdentityUnavailable, nil},
		{bound, fault.CredentialMissing, []string{`DPoP algs="ES256"`}},
		{bound, fault.DPoPNonceRequired, []string{`DPoP error="use_dpop_nonce", algs="ES256"`}},
		{bound, fault.ScopeMissing, []string{`DPoP algs="ES256", error="insufficient_scope", scope="orders:read"`}},
	} {
		proof := pipeline.Parts{Authenticate: refuses(c.code), Challenge: c.challenge, Credentials: []string{"authorization", "dpop"}}
		x := &exchange.Exchange{}
		pipeline.NewChain([]pipeline.Parts{proof, {Scope: "orders:read"}}, nil, &exchange.Legend{}).Run(x, &pipeline.World{})
		if d := cmp.Diff(c.want, x.Challenges); d != "" {
			t.Errorf("%v: %s", c.code, d)
		}
		if c.code == fault.ScopeMissing || c.code == fault.CredentialMissing {
			continue // not what a proof refuses with, where there are several
		}
		key := pipeline.Parts{Authenticate: refuses(fault.KeyUnknown), Challenge: pipeline.Challenge{Scheme: "ApiKey", Params: `header="x-api-key"`}, Credentials: []string{"x-api-key"}}
		both := pipeline.Combination{Proofs: []pipeline.Parts{proof, key}, Branches: []pipeline.Branch{{Proof: 1}, {Proof: 0}}}
		x = &exchange.Exchange{}
		pipeline.NewCombinedChain(&both, nil, nil, &exchange.Legend{}).Run(x, &pipeline.World{})
		if c.want != nil {
			c.want = append([]string{`ApiKey header="x-api-key"`}, c.want...)
		}
		if d := cmp.Diff(c.want, x.Challenges); d != "" {
			t.Errorf("combined, %v: %s", c.code, d)
		}
	}
}
