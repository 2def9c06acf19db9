package public_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/public"
)

func TestAnybodyMayCallAPublicRoute(t *testing.T) {
	t.Parallel()
	parts, err := public.New(true, pipeline.Env{Public: true})
	if err != nil {
		t.Fatal(err)
	}
	id, v := parts.Authenticate.Authenticate(&exchange.Exchange{}, &pipeline.World{})
	if !v.Passed() || id != exchange.Anonymous {
		t.Errorf("%+v, %+v", id, v)
	}
	if parts.Forward || parts.Challenge.Scheme != "" {
		t.Error("a public route neither asks for nor forwards a credential")
	}
}

func TestOnlyTrueMakesARoutePublic(t *testing.T) {
	t.Parallel()
	parts, err := public.New(false, pipeline.Env{})
	if err == nil || parts.Authenticate != nil {
		t.Errorf("none: false compiled to %+v", parts)
	}
}
