// Package consumers is the policy that lets in the named consumers of a list
// and nobody else: auth.consumers.
package consumers

import (
	"errors"
	"fmt"
	"strings"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
)

// Config is the name of one consumer or a list of them.
type Config = scalar.List[string]

// most bounds the list.
const most = 1000

// New compiles the policy.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	switch {
	case env.Public:
		return pipeline.Parts{}, pipeline.Complain("", "a public route does not know its callers; ask for a proof under auth, or leave consumers out")
	case len(cfg) == 0:
		return pipeline.Parts{}, pipeline.Complain("", "an empty list lets nobody in; name a consumer or leave the key out")
	case len(cfg) > most:
		return pipeline.Parts{}, pipeline.Complain("", "names %d consumers; at most %d are allowed", len(cfg), most)
	case env.Directory == nil:
		return pipeline.Parts{}, errors.New("consumers: no directory to find them in")
	}
	var problems []error
	allowed := make(allowed, len(cfg))
	for i, name := range cfg {
		path := fmt.Sprintf("[%d]", i)
		if _, known := env.Directory.Consumer(name); !known {
			if err := directory.CheckName(name); err != nil {
				problems = append(problems, pipeline.Complain(path, "no consumer can be called %q; name one of consumers, or of the store (what a token merely claims cannot be listed)", name))
			}
		}
		if _, twice := allowed[name]; twice {
			problems = append(problems, pipeline.Complain(path, "names consumer %q twice", name))
		}
		allowed[name] = struct{}{}
	}
	if len(problems) > 0 {
		return pipeline.Parts{}, errors.Join(problems...)
	}
	return pipeline.Parts{
		Authorize: allowed,
		Consumers: cfg,
		Check:     exchange.Check{Phase: "consumers", Want: "one of [" + strings.Join(cfg, " ") + "]"},
	}, nil
}

type allowed map[string]struct{}

// Authorize implements pipeline.Authorizer. Only a consumer that the
// configuration or the store names counts: an identity whose printed consumer reads the
// same was not mapped to it.
func (a allowed) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	if id := x.Identity; id != nil {
		if id.Named != nil {
			if _, ok := a[id.Named.Name]; ok {
				return pipeline.Pass
			}
		}
		x.Trail.Saw("consumer", id.Consumer)
	}
	return pipeline.Refuse(fault.ConsumerNotAllowed)
}
