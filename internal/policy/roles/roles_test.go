package roles_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/roles"
)

func TestRolesAreAsked(t *testing.T) {
	t.Parallel()
	has := func(r ...string) *exchange.Identity {
		return &exchange.Identity{Method: "jwt", Consumer: "corp/app", Roles: r}
	}
	for _, c := range []struct {
		what    string
		build   func(roles.Config, pipeline.Env) (pipeline.Parts, error)
		want    []string
		id      *exchange.Identity
		passes  bool
		missing string
	}{
		{"the one role", roles.New, []string{"buyer"}, has("seller", "buyer"), true, ""},
		{"any of two", roles.New, []string{"a", "b"}, has("b"), true, ""},
		{"neither of two", roles.New, []string{"a", "b"}, has("c"), false, "a or b"},
		{"no role at all", roles.New, []string{"a"}, has(), false, "a"},
		{"nobody", roles.New, []string{"a"}, nil, false, "a"},
		{"case counts", roles.New, []string{"Buyer"}, has("buyer"), false, "Buyer"},
		{"a longer role is another", roles.New, []string{"a"}, has("ab", "a b"), false, "a"},
		{"all of two", roles.NewAll, []string{"a", "b"}, has("b", "a"), true, ""},
		{"one of two is not all", roles.NewAll, []string{"a", "b"}, has("a"), false, "b"},
		{"all, nobody", roles.NewAll, []string{"a", "b"}, nil, false, "a, b"},
		{
			"what the consumer is given does not count for a token", roles.New, []string{"partner"},
			&exchange.Identity{Method: "jwt", Named: &exchange.Consumer{Name: "acme", Roles: []string{"partner"}}}, false, "partner",
		},
	} {
		parts, err := c.build(c.want, pipeline.Env{})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		x := &exchange.Exchange{Identity: c.id}
		x.Trail.Begin(0)
		v := parts.Authorize.Authorize(x, &pipeline.World{})
		if v.Passed() != c.passes || !c.passes && v.Code() != fault.RoleMissing {
			t.Errorf("%s: %+v", c.what, v)
		}
		missing := ""
		for _, o := range x.Trail.Steps()[0].Operands() {
			if o.Name == "missing" {
				missing = o.Text
			}
		}
		if missing != c.missing {
			t.Errorf("%s: missing %q, want %q", c.what, missing, c.missing)
		}
	}
}

func TestWhatPassesAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	parts, err := roles.NewAll(roles.Config{"a", "b"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange.Exchange{Identity: &exchange.Identity{Roles: []string{"b", "a"}}}
	if n := testing.AllocsPerRun(100, func() {
		if !parts.Authorize.Authorize(x, nil).Passed() {
			t.Fatal("refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
