package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/identity"
)

// What a backend is told is bounded: an assertion says 4 KiB at most, and all
// values together have 8 KiB.
func TestWhatABackendIsToldIsBounded(t *testing.T) {
	t.Parallel()
	a := authority(t)
	long := identity.Config{Headers: map[string]identity.Value{"X-Sub": {Value: "{subject}"}}}
	twice := identity.Config{Headers: map[string]identity.Value{"X-Sub": {Value: "{subject}"}, "X-Sub2": {Value: "{subject}"}}}
	signed := identity.Config{JWT: &identity.JWT{Header: "X-Identity"}}
	both := identity.Config{Headers: long.Headers, JWT: signed.JWT}
	for what, c := range map[string]struct {
		cfg  identity.Config
		size int // of the subject
		want fault.Code
	}{
		"a field":                            {long, 8 << 10, fault.None},
		"a field that is too long":           {long, 8<<10 + 1, fault.TransformFailed},
		"two fields":                         {twice, 4 << 10, fault.None},
		"two fields that are too long":       {twice, 4<<10 + 1, fault.TransformFailed},
		"an assertion":                       {signed, 4<<10 - 50, fault.None},
		"an assertion that says too much":    {signed, 4 << 10, fault.TransformFailed},
		"a field and an assertion":           {both, 3 << 10, fault.None},
		"a field and an assertion, too long": {both, 4<<10 - 50, fault.TransformFailed},
	} {
		parts, err := identity.New(c.cfg, pipeline.Env{Upstream: "orders", Assertions: a})
		if err != nil {
			t.Fatal(err)
		}
		x := &exchange.Exchange{Identity: &exchange.Identity{Subject: strings.Repeat("x", c.size)}}
		if v := parts.Transform.Transform(x, &pipeline.World{Now: time.Now()}); v.Code() != c.want {
			t.Errorf("%s: %v, want %v", what, v.Code(), c.want)
		}
	}
}
