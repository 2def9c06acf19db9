package pipeline_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// turn is a Transformer that says one thing, and an Authenticator of somebody.
type turn struct {
	says  pipeline.Verdict
	asked *int
}

func (s turn) Transform(*exchange.Exchange, *pipeline.World) pipeline.Verdict {
	*s.asked++
	return s.says
}

func (turn) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return exchange.Anonymous, pipeline.Pass
}

func TestTransformIsNoPartOfTheDecisionAndItsZeroRefuses(t *testing.T) {
	t.Parallel()
	asked := 0
	chain := func(says ...pipeline.Verdict) *pipeline.Chain {
		parts := []pipeline.Parts{{Authenticate: turn{}}}
		for _, v := range says {
			parts = append(parts, pipeline.Parts{Transform: turn{v, &asked}})
		}
		return pipeline.NewChain(parts, nil, &exchange.Legend{})
	}
	x, w := &exchange.Exchange{}, &pipeline.World{}
	c := chain(pipeline.Pass, pipeline.Verdict{}, pipeline.Pass)
	if v := c.Transform(x, w); v.Code() != fault.InternalError || asked != 0 {
		t.Error("a request that nobody was proved to send is made ready")
	}
	if v := c.Run(x, w); !v.Passed() || asked != 0 {
		t.Errorf("the decision asked a transformer %d times", asked)
	}
	if v := c.Transform(x, w); v.Passed() || v.Code() != fault.InternalError || asked != 2 {
		t.Errorf("the zero verdict: %v after %d", v.Code(), asked)
	}
	if v := chain(pipeline.Refuse(fault.TransformFailed)).Transform(x, w); v.Code() != fault.TransformFailed {
		t.Error(v.Code())
	}
	if v := chain(pipeline.Pass).Transform(x, w); !v.Passed() {
		t.Error(v.Code())
	}
	if v := new(pipeline.Chain).Transform(x, w); v.Passed() {
		t.Error("the zero chain passes")
	}
}
