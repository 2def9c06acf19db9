package pipeline_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// badges are a kind of grants, written in small letters.
var badges = pipeline.Grants{
	One: "badge", Many: "badges", Form: "small letters", Public: "a public route sees no badges", Between: ", ",
	Formed: func(s string) bool { return strings.ToLower(s) == s },
	Has:    (*exchange.Identity).HasRole,
	Lacks: func(*exchange.Exchange) pipeline.Verdict {
		return pipeline.Refuse(fault.RoleMissing)
	},
}

func TestGrantsAreAskedOfWhoeverCalls(t *testing.T) {
	t.Parallel()
	has := func(roles ...string) *exchange.Identity { return &exchange.Identity{Roles: roles} }
	for what, c := range map[string]struct {
		oneOf   bool
		want    []string
		id      *exchange.Identity
		passes  bool
		missing string
	}{
		"all of two":            {false, []string{"a", "b"}, has("b", "c", "a"), true, ""},
		"one of two is not all": {false, []string{"a", "b"}, has("b"), false, "a"},
		"none of two":           {false, []string{"a", "b"}, has(), false, "a, b"},
		"all of two, of nobody": {false, []string{"a", "b"}, nil, false, "a, b"},
		"one of two":            {true, []string{"a", "b"}, has("b"), true, ""},
		"both, where one would do": {
			true, []string{"a", "b"}, has("b", "a"), true, "",
		},
		"neither of two":        {true, []string{"a", "b"}, has("c"), false, "a or b"},
		"one of two, of nobody": {true, []string{"a", "b"}, nil, false, "a or b"},
	} {
		build := badges.AllOf
		if c.oneOf {
			build = badges.OneOf
		}
		parts, err := build(c.want, pipeline.Env{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		x := &exchange.Exchange{Identity: c.id}
		x.Trail.Begin(0)
		v := parts.Authorize.Authorize(x, nil)
		if v.Passed() != c.passes || !c.passes && v.Code() != fault.RoleMissing {
			t.Errorf("%s: %+v", what, v)
		}
		var missing string
		for _, o := range x.Trail.Steps()[0].Operands() {
			missing = o.Name + " " + o.Text
		}
		if c.passes && missing != "" || !c.passes && missing != "missing "+c.missing {
			t.Errorf("%s: %q", what, missing)
		}
	}
}

func TestGrantsThatCannotBeAskedForDoNotLoad(t *testing.T) {
	t.Parallel()
	most := make([]string, 32)
	for i := range most {
		most[i] = strings.Repeat("a", i+225) // the last has 256 bytes
	}
	for what, c := range map[string]struct {
		list []string
		env  pipeline.Env
		bad  string // empty: it loads
	}{
		"as many and as long as may be": {most, pipeline.Env{}, ""},
		"too many":                      {append(most[:32:32], "b"), pipeline.Env{}, "names 33 badges; at most 32 are allowed"},
		"too long":                      {[]string{strings.Repeat("a", 257)}, pipeline.Env{}, "is not a badge: 1 to 256 small letters"},
		"no list":                       {nil, pipeline.Env{}, "an empty list asks for nothing; name a badge or leave the key out"},
		"an empty one":                  {[]string{"a", ""}, pipeline.Env{}, "is not a badge: 1 to 256 small letters"},
		"one that is none":              {[]string{"A"}, pipeline.Env{}, "is not a badge: 1 to 256 small letters"},
		"one that stands twice":         {[]string{"a", "b", "a"}, pipeline.Env{}, "names badge a twice"},
		"on a public route":             {[]string{"a"}, pipeline.Env{Public: true}, "a public route sees no badges; ask for a proof under auth, or leave the badges out"},
	} {
		for _, build := range []func([]string, pipeline.Env) (pipeline.Parts, error){badges.AllOf, badges.OneOf} {
			parts, err := build(c.list, c.env)
			switch {
			case c.bad == "" && (err != nil || parts.Authorize == nil):
				t.Errorf("%s: %v", what, err)
			case c.bad != "" && (err == nil || parts.Authorize != nil || !strings.Contains(err.Error(), c.bad)):
				t.Errorf("%s: %v, want %s", what, err, c.bad)
			}
		}
	}
}
