package pipeline_test

import (
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// marks are those of the tokens of these tests.
var marks = &exchange.Token{Itself: exchange.MarkOf("a token")}

// revocations say so of every token and session.
type revocations fault.Code

const kept = revocations(fault.None)

func (r revocations) Revoked(id *exchange.Identity, _ time.Time) fault.Code {
	if id.Token == nil {
		return fault.InternalError
	}
	return fault.Code(r)
}

func (revocations) RevokedBy(*exchange.Identity, time.Time) string { return ": 0123456789ab" }

// session is one that lives.
type session struct{}

func (session) Ends() time.Time { return now.Add(time.Hour) }
func (session) Ref() string     { return "0123456789abcdef" }

// What was taken back is refused whatever proved it, alone and in every
// combination; so is what nobody can tell of, and what does not say what it
// may be taken back by.
func TestWhatWasRevokedIsRefusedWhateverProvedIt(t *testing.T) {
	t.Parallel()
	byToken := &exchange.Identity{Method: "new", Issuer: "corp", Token: marks}
	bySession := &exchange.Identity{Method: "login", Issuer: "corp", Token: marks, Session: session{}}
	for _, c := range []struct {
		what  string
		id    *exchange.Identity
		r     pipeline.Revocations
		at    time.Time
		code  fault.Code
		retry time.Duration
		why   string
		again bool
	}{
		{"a token that stands", byToken, kept, now, fault.None, 0, "", false},
		{"a session that stands", bySession, kept, now, fault.None, 0, "", false},
		{"a token", byToken, revocations(fault.TokenRevoked), now, fault.TokenRevoked, 0, "the token was revoked here: 0123456789ab", true},
		{"a session", bySession, revocations(fault.SessionExpired), now, fault.SessionExpired, 0, "the session was revoked here: 0123456789ab", true},
		{"never loaded", byToken, revocations(fault.IdentityUnavailable), now, fault.IdentityUnavailable, 5 * time.Second, "the store's revocations were never loaded", false},
		{"too old", bySession, revocations(fault.KeysStale), now, fault.KeysStale, 30 * time.Second, "the store was not heard of for longer than freshness.revocations", false},
		{"nobody to ask", byToken, nil, now, fault.InternalError, 0, "nobody can say whether it was revoked", false},
		{"nobody to ask of a session", bySession, nil, now, fault.InternalError, 0, "nobody can say whether it was revoked", false},
		{"no clock", byToken, kept, time.Time{}, fault.InternalError, 0, "nobody can say whether it was revoked", false},
		{"a method that forgot the marks", &exchange.Identity{Method: "new", Issuer: "corp"}, kept, now, fault.InternalError, 0, "the method does not say what its proof may be revoked by", false},
		{"a session without marks", &exchange.Identity{Method: "new", Session: session{}}, kept, now, fault.InternalError, 0, "the method does not say what its proof may be revoked by", false},
		{"a key, which the directory judges", &exchange.Identity{Method: "apiKey", Named: acme, Consumer: "acme"}, nil, now, fault.None, 0, "", false},
	} {
		var told int
		again := func(_ *exchange.Exchange, _ *pipeline.World, id *exchange.Identity) { told++ }
		proof := pipeline.Parts{
			Authenticate: method{name: "authorization", ids: map[string]*exchange.Identity{"x": c.id}}, Revoked: again,
			Challenge: pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true}, Credentials: []string{"authorization"}, Forward: true,
		}
		chains := map[string]*pipeline.Chain{
			"alone": pipeline.NewChain([]pipeline.Parts{proof}, c.r, &exchange.Legend{}),
			"anyOf": pipeline.NewCombinedChain(&pipeline.Combination{Proofs: []pipeline.Parts{key(), proof}, Branches: []pipeline.Branch{{Proof: 0}, {Proof: 1}}}, nil, c.r, &exchange.Legend{}),
			"allOf": pipeline.NewCombinedChain(&pipeline.Combination{All: true, Proofs: []pipeline.Parts{key(), proof}, Branches: []pipeline.Branch{{Proof: 0}, {Proof: 1}}}, nil, c.r, &exchange.Legend{}),
		}
		for how, chain := range chains {
			told = 0
			x := request("authorization: x", "x-api-key: acme")
			v := chain.Run(x, &pipeline.World{Now: c.at})
			if v.Code() != c.code || x.RetryAfter != c.retry || (told == 1) != c.again {
				t.Errorf("%s, %s: %v, retry %v, told %d times", c.what, how, v.Code(), x.RetryAfter, told)
			}
			if v.Passed() {
				continue
			}
			if x.Identity != nil || x.Verified != exchange.HeaderOther {
				t.Errorf("%s, %s: refused, and yet %+v, forward %v", c.what, how, x.Identity, x.Verified)
			}
			steps := x.Trail.Steps()
			last := steps[len(steps)-1]
			seen := ""
			for _, o := range last.Operands() {
				if o.Name == "because" {
					seen = o.Text
				}
			}
			if seen != c.why || last.Outcome != exchange.Refused || last.Code != c.code {
				t.Errorf("%s, %s: the trail says %q, %v %v", c.what, how, seen, last.Outcome, last.Code)
			}
			if c.code.Status() == 401 && (len(x.Challenges) == 0 || x.Challenges[len(x.Challenges)-1] != `Bearer realm="corp", error="invalid_token"`) {
				t.Errorf("%s, %s: challenges %q", c.what, how, x.Challenges)
			}
		}
	}
}

// The zero chain, and one that was given nobody to ask, let no token in.
func TestAChainWithoutRevocationsLetsNoTokenIn(t *testing.T) {
	t.Parallel()
	chain := pipeline.NewChain([]pipeline.Parts{token()}, nil, &exchange.Legend{})
	if v := chain.Run(request("authorization: alice"), &pipeline.World{Now: now}); v.Passed() || v.Code() != fault.InternalError {
		t.Errorf("%v", v.Code())
	}
}

func TestJudgingWhatStandsAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	chain := pipeline.NewChain([]pipeline.Parts{token()}, kept, &exchange.Legend{})
	w, x := &pipeline.World{Now: now}, request("authorization: alice")
	if n := testing.AllocsPerRun(100, func() {
		x.Trail.Reset()
		if !chain.Run(x, w).Passed() {
			t.Fatal("refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
