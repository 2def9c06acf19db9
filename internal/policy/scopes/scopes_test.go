package scopes_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/scopes"
)

func TestScopesAreAsked(t *testing.T) {
	t.Parallel()
	token := func(s ...string) *exchange.Identity {
		return &exchange.Identity{Method: "jwt", Issuer: "okta", Client: "mobile-app", Scopes: s}
	}
	for _, c := range []struct {
		what    string
		build   func(scopes.Config, pipeline.Env) (pipeline.Parts, error)
		want    []string
		id      *exchange.Identity
		passes  bool
		missing string
	}{
		{"the one scope", scopes.New, []string{"orders:read"}, token("profile", "orders:read"), true, ""},
		{"all of two", scopes.New, []string{"a", "b"}, token("b", "a"), true, ""},
		{"one of two is not all", scopes.New, []string{"a", "b"}, token("b"), false, "a"},
		{"none", scopes.New, []string{"a", "b"}, token(), false, "a b"},
		{"scopes are case-sensitive", scopes.New, []string{"a"}, token("A"), false, "a"},
		{"a longer scope is another", scopes.New, []string{"a"}, token("ab", "a:b"), false, "a"},
		{"nobody", scopes.New, []string{"a"}, nil, false, "a"},
		{"an API key has no scopes", scopes.New, []string{"a"}, &exchange.Identity{Method: "apiKey"}, false, "a"},
		{"any of two", scopes.NewAny, []string{"a", "b"}, token("b"), true, ""},
		{"neither of two", scopes.NewAny, []string{"a", "b"}, token("c"), false, "a or b"},
		{"any, nobody", scopes.NewAny, []string{"a", "b"}, nil, false, "a or b"},
	} {
		parts, err := c.build(c.want, pipeline.Env{})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		x := &exchange.Exchange{Identity: c.id}
		x.Trail.Begin(0)
		v := parts.Authorize.Authorize(x, &pipeline.World{})
		if v.Passed() != c.passes || !c.passes && v.Code() != fault.ScopeMissing {
			t.Errorf("%s: %+v", c.what, v)
		}
		if got := operand(x, "missing"); got != c.missing {
			t.Errorf("%s: missing %q, want %q", c.what, got, c.missing)
		}
	}
}

func operand(x *exchange.Exchange, name string) string {
	for _, o := range x.Trail.Steps()[0].Operands() {
		if o.Name == name {
			return o.Text
		}
	}
	return ""
}

func TestRefusalTellsTheOperatorWhatToGrant(t *testing.T) {
	t.Parallel()
	parts, err := scopes.New(scopes.Config{"orders:read"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if parts.Check.Want != "scopes [orders:read]" || parts.Scope != "orders:read" {
		t.Errorf("%+v", parts)
	}
	x := &exchange.Exchange{Identity: &exchange.Identity{Issuer: "okta", Consumer: "okta/subject:alice", Scopes: []string{"profile", "email"}}}
	x.Trail.Begin(0)
	parts.Authorize.Authorize(x, &pipeline.World{})
	got := map[string]string{}
	for _, o := range x.Trail.Steps()[0].Operands() {
		got[o.Name] = o.Text
	}
	if d := cmp.Diff(map[string]string{"missing": "orders:read", "client": "okta/subject:alice", "issuer": "okta", "have": "profile email"}, got); d != "" {
		t.Error(d)
	}
}

func TestChallengeOfAnyScopeAsksForTheLeast(t *testing.T) {
	t.Parallel()
	parts, err := scopes.NewAny(scopes.Config{"read", "admin"}, pipeline.Env{})
	if err != nil || parts.Scope != "read" {
		t.Errorf("%q, %v", parts.Scope, err)
	}
}

func TestListsThatMeanNothingDoNotLoad(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		cfg    scopes.Config
		public bool
	}{
		"no list":             {nil, false},
		"an empty list":       {scopes.Config{}, false},
		"an empty scope":      {scopes.Config{""}, false},
		"two scopes in one":   {scopes.Config{"a b"}, false},
		"a quote":             {scopes.Config{`a"b`}, false},
		"a backslash":         {scopes.Config{`a\b`}, false},
		"a control":           {scopes.Config{"a\n"}, false},
		"a letter beyond us":  {scopes.Config{"é"}, false},
		"DEL":                 {scopes.Config{"a\x7f"}, false},
		"too long":            {scopes.Config{strings.Repeat("a", 257)}, false},
		"the same twice":      {scopes.Config{"a", "a"}, false},
		"too many":            {make(scopes.Config, 33), false},
		"on a public route":   {scopes.Config{"a"}, true},
		"a bad one among two": {scopes.Config{"a", "b c"}, false},
	} {
		for _, build := range []func(scopes.Config, pipeline.Env) (pipeline.Parts, error){scopes.New, scopes.NewAny} {
			if parts, err := build(c.cfg, pipeline.Env{Public: c.public}); err == nil || parts.Authorize != nil {
				t.Errorf("%s: compiled", what)
			}
		}
	}
}

func TestGrantedRequestsAllocateNothing(t *testing.T) {
	parts, err := scopes.New(scopes.Config{"a", "b"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange.Exchange{Identity: &exchange.Identity{Scopes: []string{"c", "b", "a"}}}
	w := &pipeline.World{}
	if n := testing.AllocsPerRun(100, func() { parts.Authorize.Authorize(x, w) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
