package consumers_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/consumers"
)

func env(t testing.TB) pipeline.Env {
	t.Helper()
	d, err := directory.New([]directory.Consumer{{Name: "acme"}, {Name: "globex"}, {Name: "initech"}})
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Env{Directory: d}
}

func TestNamesNeverMatchByEqualityWithAClaim(t *testing.T) {
	t.Parallel()
	parts, err := consumers.New(consumers.Config{"acme", "globex"}, env(t))
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) *exchange.Identity {
		return &exchange.Identity{Consumer: name, Named: &exchange.Consumer{Name: name}}
	}
	for what, c := range map[string]struct {
		id     *exchange.Identity
		passes bool
	}{
		"a listed consumer":                     {named("acme"), true},
		"another listed consumer":               {named("globex"), true},
		"a consumer that is not listed":         {named("initech"), false},
		"a token whose client has the name":     {&exchange.Identity{Consumer: "acme", Client: "acme", Subject: "acme"}, false},
		"a token that maps to another consumer": {&exchange.Identity{Consumer: "acme", Named: &exchange.Consumer{Name: "initech"}}, false},
		"a caller of a public route":            {exchange.Anonymous, false},
		"nobody":                                {nil, false},
	} {
		v := parts.Authorize.Authorize(&exchange.Exchange{Identity: c.id}, &pipeline.World{})
		if v.Passed() != c.passes || !c.passes && v.Code() != fault.ConsumerNotAllowed {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

func TestRefusalNamesTheConsumer(t *testing.T) {
	t.Parallel()
	parts, err := consumers.New(consumers.Config{"acme"}, env(t))
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange.Exchange{Identity: &exchange.Identity{Consumer: "okta/0oa1"}}
	x.Trail.Begin(0)
	parts.Authorize.Authorize(x, &pipeline.World{})
	if ops := x.Trail.Steps()[0].Operands(); len(ops) != 1 || ops[0].Name != "consumer" || ops[0].Text != "okta/0oa1" {
		t.Errorf("operands %+v", ops)
	}
}

func TestListsThatMeanNothingDoNotLoad(t *testing.T) {
	t.Parallel()
	public := env(t)
	public.Public = true
	for what, c := range map[string]struct {
		cfg       consumers.Config
		env       pipeline.Env
		complaint string
	}{
		"an empty list":     {consumers.Config{}, env(t), "empty"},
		"what is no name":   {consumers.Config{"acme", "okta/0oa1"}, env(t), `[1]: no consumer can be called "okta/0oa1"`},
		"the same twice":    {consumers.Config{"acme", "acme"}, env(t), "[1]"},
		"too many":          {make(consumers.Config, 1001), env(t), "at most"},
		"on a public route": {consumers.Config{"acme"}, public, "public"},
		"no directory":      {consumers.Config{"acme"}, pipeline.Env{}, "directory"},
	} {
		parts, err := consumers.New(c.cfg, c.env)
		if err == nil || parts.Authorize != nil || !strings.Contains(err.Error(), c.complaint) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
