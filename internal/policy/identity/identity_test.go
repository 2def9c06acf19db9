package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/identity"
	"github.com/warder-gateway/warder/internal/policy/policytest"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	policytest.Run(t, "testdata")
}

// Who has a name of his own choosing could otherwise write the next value, too:
// name "x;role=admin".
func TestSeveralValuesOfCallersInOneFieldAreDoubted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, encode string
		doubted      bool
	}{
		{"{claims.name};role={claims.role}", "", true},
		{"{subject} {roles}", "", true},
		{"{claims.name};role={claims.role}", "percent", false},
		{"{claims.name}{claims.role}", "base64url", false},
		{`[{claims.name},{claims.role}]`, "json", false},
		{"{issuer}:{subject}", "", false},
		{"user:{claims.sub}", "", false},
		{"{roles}", "", false},
	} {
		parts, err := identity.New(identity.Config{Headers: map[string]identity.Value{"X-Who": {Value: c.text, Encode: c.encode}}}, pipeline.Env{Route: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if doubted := strings.Contains(parts.Doubt, "X-Who"); doubted != c.doubted {
			t.Errorf("%s, encode %q: %q", c.text, c.encode, parts.Doubt)
		}
	}
}

// session is one that ends then.
type session time.Time

func (s session) Ends() time.Time { return time.Time(s) }
func (session) Ref() string       { return "0123456789abcdef" }

// An assertion ends with what proved its identity: the token or the session,
// and of several proofs whichever ends first.
func TestAnAssertionEndsWithTheFirstOfItsProofs(t *testing.T) {
	t.Parallel()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	a := assertion.New(slog.New(slog.DiscardHandler))
	if err := a.Use(key); err != nil {
		t.Fatal(err)
	}
	parts, err := identity.New(identity.Config{JWT: &identity.JWT{Header: "X-Identity"}}, pipeline.Env{Upstream: "orders", Assertions: a})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	in := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	token := func(seconds int) *exchange.Identity { return &exchange.Identity{Expires: in(seconds)} }
	login := func(seconds int) *exchange.Identity {
		return &exchange.Identity{Expires: in(3600), Session: session(in(seconds))}
	}
	for what, c := range map[string]struct {
		id   *exchange.Identity
		want int
	}{
		"a key without an end":             {&exchange.Identity{}, 60},
		"a token":                          {token(20), 20},
		"a token over, within the skew":    {token(-20), 5},
		"a session":                        {login(20), 20},
		"a session that was ended":         {&exchange.Identity{Expires: in(3600), Session: session{}}, -int(now.Unix())},
		"a token and a session":            {&exchange.Identity{Expires: in(40), Proofs: []*exchange.Identity{token(40), login(20)}}, 20},
		"a token that ends, and a session": {&exchange.Identity{Expires: in(10), Proofs: []*exchange.Identity{token(10), login(20)}}, 10},
	} {
		x := &exchange.Exchange{Identity: c.id}
		if v := parts.Transform.Transform(x, &pipeline.World{Now: now}); !v.Passed() {
			t.Errorf("%s: %v", what, v.Code())
			continue
		}
		var said struct{ Exp int64 }
		x.ReqEdit.Each(func(_ string, value []byte) {
			payload := strings.Split(string(value), ".")[1]
			text, _ := base64.RawURLEncoding.DecodeString(payload)
			if err := json.Unmarshal(text, &said); err != nil {
				t.Error(err)
			}
		})
		if got := int(said.Exp - now.Unix()); got != c.want {
			t.Errorf("%s: it ends in %ds, want %ds", what, got, c.want)
		}
	}
}
