// Package ratelimit is the policy that bounds how often a route is called:
// rateLimit, one limit or a list of them.
package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is one limit or a list of them.
type Config = scalar.List[pipeline.Limit]

// New compiles the policy. Limits that count by the caller's address alone go
// to screen, where calls without a good credential are counted too; all
// others wait until it is known who calls. Unlimited gives no parts.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if len(cfg) == 0 {
		return pipeline.Parts{}, pipeline.Complain("", "an empty list limits nothing; write unlimited if that is meant")
	}
	if env.Route == "" {
		return pipeline.Parts{}, errors.New("rateLimit: the route has no label to keep its buckets apart")
	}
	if len(cfg) == 1 && cfg[0].None {
		return pipeline.Parts{}, nil
	}
	var (
		screen, limit limits
		once          headers
		labels        []string
		problems      []error
		seen          = make(map[counters.Key]bool)
	)
	for i := range cfg {
		path := fmt.Sprintf("[%d]", i)
		one, per, err := compile(cfg[i], path, env)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if seen[one.base.Key] {
			problems = append(problems, pipeline.Complain(path, "the same limit stands here twice"))
			continue
		}
		seen[one.base.Key] = true
		labels = append(labels, one.label)
		if byAddress(per) {
			screen = append(screen, one)
		} else {
			limit = append(limit, one)
		}
		for _, p := range per {
			if p.Kind == pipeline.PerHeader {
				once = append(once, p.Name)
			}
		}
	}
	for _, phase := range []limits{screen, limit} {
		if len(phase) > pipeline.MaxCharges {
			problems = append(problems, pipeline.Complain("", "%d limits are taken at once; at most %d can be", len(phase), pipeline.MaxCharges))
		}
	}
	if len(problems) > 0 {
		return pipeline.Parts{}, errors.Join(problems...)
	}
	parts := pipeline.Parts{Reads: once, Check: exchange.Check{Phase: "limit", Name: "rateLimit", Want: strings.Join(labels, ", ")}}
	// Not assigned when empty: a part that is there but says nothing would
	// still be asked.
	if len(screen) > 0 {
		parts.Screen = screen
	}
	if len(limit) > 0 {
		parts.Limit = limit
	}
	if len(once) > 0 {
		parts.Authorize = once
	}
	return parts, nil
}

// byAddress reports whether a limit counts by the address and by nothing that
// is only known after authentication.
func byAddress(per []pipeline.Per) bool {
	address := false
	for _, p := range per {
		switch p.Kind {
		case pipeline.PerIP:
			address = true
		case pipeline.PerRoute:
		default:
			return false
		}
	}
	return address
}

// compile resolves a reference, checks the limit and starts its key.
func compile(written pipeline.Limit, path string, env pipeline.Env) (one limit, per []pipeline.Per, err error) {
	if written.Name != "" && written.Rate.IsZero() {
		if env.Limit == nil {
			return one, nil, pipeline.Complain(path, "no limit is called %q", written.Name)
		}
		name := written.Name
		if written, err = env.Limit(name); err != nil {
			return one, nil, pipeline.Complain(path, "%v", err)
		}
		written.Name = name
	}
	base, err := written.Compile()
	if err != nil {
		var problem *pipeline.Problem
		if errors.As(err, &problem) {
			err = pipeline.Complain(strings.TrimSuffix(path+"."+problem.Path, "."), "%s", problem.Text)
		}
		return one, nil, err
	}
	// The numbers are part of the key: a limit that was changed begins with
	// full buckets instead of reading old debts in new units.
	numbers := []string{written.Rate.String(), strconv.FormatInt(base.Burst, 10)}
	if base.Sliding {
		numbers = append(numbers, "sliding")
	}
	for _, p := range written.Per {
		numbers = append(numbers, p.String())
	}
	owner := []string{"route", env.Route}
	if written.Name != "" {
		owner = []string{"shared", written.Name}
	}
	base.Key = counters.KeyOf(append(owner, numbers...)...)
	one = limit{base: base, label: written.String()}
	for _, p := range written.Per {
		switch p.Kind {
		case pipeline.PerGlobal:
		case pipeline.PerRoute:
			one.base.Key = one.base.Key.With(tagRoute, []byte(env.Route))
		case pipeline.PerConsumer, pipeline.PerSubject:
			if env.Public {
				return one, nil, pipeline.Complain(path+".per", "a public route does not know its %s; count per ip instead", p)
			}
			one.per = append(one.per, p)
		default:
			one.per = append(one.per, p)
		}
	}
	return one, written.Per, nil
}
