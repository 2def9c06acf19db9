package tokens_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

func written(change func(*pipeline.Issuer)) *pipeline.Issuer {
	iss := &pipeline.Issuer{Name: "corp", URL: "https://id.example", Audience: []string{"orders"}}
	change(iss)
	return iss
}

func TestRulesSayForWhomTokensMustBeMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		change func(*pipeline.Issuer)
		want   string // or the error
	}{
		{"an audience", func(*pipeline.Issuer) {}, "orders"},
		{"two audiences", func(i *pipeline.Issuer) { i.Audience = []string{"a", "b"} }, "a or b"},
		{"a client", func(i *pipeline.Issuer) { i.Audience, i.ClientIDs = nil, []string{"app", "web"} }, "client app or web"},
		{"both", func(i *pipeline.Issuer) { i.ClientIDs = []string{"app"} }, "orders and client app"},
		{"neither", func(i *pipeline.Issuer) { i.Audience = nil }, "says neither audience nor clientIds"},
		{"an empty audience", func(i *pipeline.Issuer) { i.Audience = []string{"a", ""} }, "has an empty audience"},
		{"an empty client", func(i *pipeline.Issuer) { i.ClientIDs = []string{""} }, "has an empty audience or client id"},
		{"no URL", func(i *pipeline.Issuer) { i.URL = "" }, "has no URL"},
		{"the largest skew", func(i *pipeline.Issuer) { i.ClockSkew = time.Minute }, "orders"},
		{"a larger one", func(i *pipeline.Issuer) { i.ClockSkew = 61 * time.Second }, "has a clock skew of 1m1s"},
		{"a negative one", func(i *pipeline.Issuer) { i.ClockSkew = -1 }, "has a clock skew of"},
		{"a kind of token", func(i *pipeline.Issuer) { i.TokenType = tokens.TypeAny }, "orders"},
		{"an unknown kind", func(i *pipeline.Issuer) { i.TokenType = "id" }, `has tokenType "id"`},
	} {
		r, err := tokens.Compile(written(c.change))
		if err == nil && r.Want != c.want || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %q %v", c.what, r.Want, err)
		}
	}
}

func TestWhatAnIssuerDoesNotSayIsFilledIn(t *testing.T) {
	t.Parallel()
	r, err := tokens.Compile(written(func(i *pipeline.Issuer) { i.ClockSkew = 3 * time.Second }))
	if err != nil || r.TokenType != tokens.TypeAccess || r.Skew != 3 || len(r.Consumer) != 4 || strings.Join(r.Subject, " ") != "sub" {
		t.Errorf("%+v %v", r, err)
	}
	r, err = tokens.Compile(written(func(i *pipeline.Issuer) {
		i.TokenType, i.Consumer, i.Subject = tokens.TypeHeader, []string{"app"}, []string{"oid"}
	}))
	if err != nil || r.TokenType != tokens.TypeHeader || strings.Join(r.Consumer, " ") != "app" || strings.Join(r.Subject, " ") != "oid" {
		t.Errorf("%+v %v", r, err)
	}
}

// What is remembered of a token counts under the same rules only.
func TestRulesThatDifferHaveAnotherID(t *testing.T) {
	t.Parallel()
	seen := map[[16]byte]int{}
	for n, change := range []func(*pipeline.Issuer){
		func(*pipeline.Issuer) {},
		func(i *pipeline.Issuer) { i.Name = "other" },
		func(i *pipeline.Issuer) { i.URL += "/" },
		func(i *pipeline.Issuer) { i.Tenants = []pipeline.Tenant{{URL: "a", ID: "b"}} },
		func(i *pipeline.Issuer) { i.Tenants = []pipeline.Tenant{{URL: "ab"}} },
		func(i *pipeline.Issuer) { i.Audience = []string{"ord", "ers"} },
		func(i *pipeline.Issuer) { i.ClientIDs = []string{"app"} },
		func(i *pipeline.Issuer) { i.Algorithms = []string{"ES256"} },
		func(i *pipeline.Issuer) { i.ClockSkew = time.Second },
		func(i *pipeline.Issuer) { i.Consumer = []string{"app"} },
		func(i *pipeline.Issuer) { i.Subject = []string{"app"} },
		func(i *pipeline.Issuer) { i.Roles = []string{"app"} },
		func(i *pipeline.Issuer) { i.TokenType = tokens.TypeAny },
	} {
		r, err := tokens.Compile(written(change))
		if err != nil {
			t.Fatal(err)
		}
		if other, again := seen[r.ID]; again {
			t.Errorf("%d has the ID of %d", n, other)
		}
		seen[r.ID] = n
	}
	a, _ := tokens.Compile(written(func(*pipeline.Issuer) {}))
	b, _ := tokens.Compile(written(func(*pipeline.Issuer) {}))
	if a.ID != b.ID {
		t.Error("the same rules have two IDs")
	}
}

// The id of a token is shown where it can be copied, and nowhere else.
func TestATokensIDIsShownIfItCanBeCopied(t *testing.T) {
	t.Parallel()
	for jti, want := range map[string]string{
		"": "RS256", "7f3a": "RS256 jti 7f3a", strings.Repeat("x", 64): "RS256 jti " + strings.Repeat("x", 64),
		strings.Repeat("x", 65): "RS256", "a b": "RS256", "a\x1b[31m": "RS256", "ä": "RS256",
	} {
		if got := tokens.WithID("RS256", jti); got != want {
			t.Errorf("%q: %q, want %q", jti, got, want)
		}
	}
}
