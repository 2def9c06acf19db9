package jwt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Rules that no token could be judged by do not compile.
func TestIssuersThatDoNotCompile(t *testing.T) {
	t.Parallel()
	var many []*pipeline.Issuer
	for i := range 17 {
		many = append(many, issuer(func(iss *pipeline.Issuer) {
			iss.Name, iss.URL = fmt.Sprint("i", i), fmt.Sprint("https://", i, ".example/")
		}))
	}
	for want, issuers := range map[string][]*pipeline.Issuer{
		"at most 16 are allowed":      many,
		"empty audience or client id": {issuer(func(i *pipeline.Issuer) { i.ClientIDs = []string{""} })},
		"clock skew of -1s":           {issuer(func(i *pipeline.Issuer) { i.ClockSkew = -time.Second })},
		"have the same iss":           {issuer(), issuer(func(i *pipeline.Issuer) { i.Name, i.Tenants = "b", []pipeline.Tenant{{URL: corpURL, ID: "x"}} })},
		"has no URL that iss":         {issuer(func(i *pipeline.Issuer) { i.URL = "" })},
	} {
		if _, err := compile(nil, issuers...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What the policy tells operators and callers of itself.
func TestWhatThePolicySaysOfItself(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*pipeline.Issuer){
		"audience orders-api":                   func(*pipeline.Issuer) {},
		"audience orders-api and client a or b": func(i *pipeline.Issuer) { i.ClientIDs = []string{"a", "b"} },
		"audience client a":                     func(i *pipeline.Issuer) { i.Audience, i.ClientIDs = nil, []string{"a"} },
	} {
		if got := build(t, nil, issuer(change)).Check.Want; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Name = "a\"b\\c d\x01\x7f~" }))
	if got, want := parts.Challenge.Params, `realm="a\"b\\c d~"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWithoutWordsOnConsumersTheUsualClaimsCount(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Consumer = nil }))
	if id, code := judge(t, parts, "Bearer "+sign(t, access(claims{"azp": "web"}))); code != fault.None || id.Client != "web" {
		t.Errorf("%v %+v", code, id)
	}
}

func TestARoleCountsOnce(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Roles = []string{"roles", "groups"} }))
	id, code := judge(t, parts, "Bearer "+sign(t, access(claims{"roles": []string{"a", "b", "a", ""}, "groups": []string{"b", "c"}})))
	if code != fault.None || !slices.Equal(id.Roles, []string{"a", "b", "c"}) {
		t.Errorf("%v %+v", code, id)
	}
}

func TestTheTrailSaysWhatATokenHasInstead(t *testing.T) {
	t.Parallel()
	parts := build(t, nil, issuer())
	for _, c := range []struct {
		change       claims
		operand, has string
	}{
		{claims{"aud": "x"}, "have", "x, client mobile"},
		{claims{"aud": []string{"x", "y"}, "client_id": gone}, "have", "x y"},
		{claims{"aud": gone}, "have", "no aud, client mobile"},
		{claims{"aud": 7}, "have", "an aud that is neither a string nor a list of strings, client mobile"},
		{claims{"nbf": int64(1) << 52}, "because", "valid (nbf) only more than a century from now"},
		{claims{"exp": now.Unix() - 120}, "because", "expired 2m0s ago"},
	} {
		x := request("Bearer " + sign(t, access(c.change)))
		if parts.Authenticate.Authenticate(x, world); operand(x, c.operand) != c.has {
			t.Errorf("%v: %q", c.change, operand(x, c.operand))
		}
	}
}
