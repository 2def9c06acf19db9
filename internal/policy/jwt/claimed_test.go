package jwt_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// A token that another method of the route may know is left to it; one that
// is of our issuers, and bad, never is.
func TestOnlyATokenOfNobodyWeKnowIsLeftToOthers(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	evil := access(claims{"iss": "https://evil.example/"})
	for what, c := range map[string]struct {
		token string
		want  pipeline.Verdict
	}{
		"opaque":                          {"2YotnFZFEjr1zCsicMWpAA", pipeline.Unclaimed(fault.CredentialMalformed)},
		"two parts":                       {"a.b", pipeline.Unclaimed(fault.CredentialMalformed)},
		"not base64url":                   {"a.b.c=", pipeline.Unclaimed(fault.CredentialMalformed)},
		"of another issuer":               {sign(t, evil), pipeline.Unclaimed(fault.TokenIssuerUnknown)},
		"of another, by another alg":      {b64(`{"alg":"HS256"}`) + "." + b64(`{"iss":"https://evil.example/"}`) + ".eA", pipeline.Unclaimed(fault.TokenAlgorithmRefused)},
		"of ours, by an alg that is none": {b64(`{"alg":"none"}`) + "." + b64(`{"iss":"`+corpURL+`"}`) + ".", pipeline.Refuse(fault.TokenAlgorithmRefused)},
		"of ours, expired":                {sign(t, access(claims{"exp": 1})), pipeline.Refuse(fault.TokenExpired)},
		"of ours, by a key of nobody":     {sign(t, access(), claims{"kid": "nobody"}), pipeline.Refuse(fault.TokenKeyUnknown)},
		"three parts, and no object":      {"e30.e30.e30", pipeline.Refuse(fault.CredentialMalformed)},
	} {
		if id, v := parts.Authenticate.Authenticate(request("Bearer "+c.token), world); v != c.want || id != nil {
			t.Errorf("%s: %v, want %v", what, v, c.want)
		}
	}
}
