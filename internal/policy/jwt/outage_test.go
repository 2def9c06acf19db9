package jwt_test

import (
	"context"
	"testing"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// gate is a key set in an outage: it has no keys but what a fetch brings.
type gate struct {
	near, far error
	fetched   *keys.Key
	fetches   int
}

func (g *gate) Find(_ context.Context, _, _ string, fetch bool) (*keys.Key, error) {
	if !fetch {
		return nil, g.near
	}
	g.fetches++
	return g.fetched, g.far
}

func TestAnOutageOfTheIssuerIsNeverTheCallersFault(t *testing.T) {
	t.Parallel()
	unknown, gone := fault.New(fault.TokenKeyUnknown, "x"), fault.New(fault.IdentityUnavailable, "x")
	stale := fault.New(fault.KeysStale, "x")
	token := "Bearer " + sign(t, access())
	for _, c := range []struct {
		name    string
		set     gate
		remote  bool
		want    fault.Code
		fetches int
		unknown bool // the outcome, when explaining
		retry   bool
	}{
		{"never loaded", gate{near: gone, far: gone}, true, fault.IdentityUnavailable, 1, false, true},
		{"unknown key, no answer in time", gate{near: unknown, far: gone}, true, fault.IdentityUnavailable, 1, false, true},
		{"unknown key, absent from a good answer", gate{near: unknown, far: unknown}, true, fault.TokenKeyUnknown, 1, false, false},
		{"stale", gate{near: stale, far: stale}, true, fault.KeysStale, 0, false, true},
		{"unknown key, fetched", gate{near: unknown, fetched: mustKey("rsa", "", material().rsa.Public())}, true, fault.None, 1, false, false},
		{"explaining, never loaded", gate{near: gone}, false, fault.IdentityUnavailable, 0, true, false},
		{"explaining, unknown key", gate{near: unknown}, false, fault.TokenKeyUnknown, 0, true, false},
		{"explaining, stale", gate{near: stale}, false, fault.KeysStale, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := build(t, nil, issuer(func(i *pipeline.Issuer) { i.Keys = &c.set }))
			x := request(token)
			_, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: now, Remote: c.remote})
			if v.Code() != c.want || (v == pipeline.CannotTell(c.want)) != c.unknown {
				t.Errorf("%v, want %v", v, c.want)
			}
			if c.set.fetches != c.fetches {
				t.Errorf("%d fetches, want %d", c.set.fetches, c.fetches)
			}
			if (x.RetryAfter > 0) != c.retry {
				t.Errorf("Retry-After %v", x.RetryAfter)
			}
			if c.want != fault.None && operand(x, "issuer") != "corp" {
				t.Error("the trail does not name the issuer")
			}
		})
	}
}
