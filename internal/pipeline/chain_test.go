package pipeline_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// asked notes in which order the parts of a chain were asked.
type asked struct{ order []string }

// policy is a part of every kind; it notes that it was asked.
type policy struct {
	*asked
	name    string
	verdict pipeline.Verdict
	id      *exchange.Identity
	charges []counters.Charge
}

func (p policy) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	p.order = append(p.order, p.name)
	return p.id, p.verdict
}

func (p policy) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	p.order = append(p.order, p.name)
	if x.Identity == nil {
		p.order = append(p.order, "without an identity")
	}
	return p.verdict
}

func (p policy) Limit(_ *exchange.Exchange, c *pipeline.Charges) {
	p.order = append(p.order, p.name)
	for _, ch := range p.charges {
		c.Add(ch, p.name)
	}
}

// taker counts what is taken in which call, and answers by a script.
type taker struct {
	*asked
	calls   [][]counters.Charge
	refuses int // call that is refused, from 1; 0: none
	err     error
}

func (t *taker) Take(_ time.Time, charges []counters.Charge, states []counters.State) (int, error) {
	t.order = append(t.order, fmt.Sprintf("take %d", len(charges)))
	t.calls = append(t.calls, slices.Clone(charges))
	if t.err != nil {
		return -1, t.err
	}
	if len(t.calls) == t.refuses {
		return 0, nil
	}
	return -1, nil
}

func charge(name string, period time.Duration, burst int64) counters.Charge {
	return counters.Charge{Key: counters.KeyOf(name), Period: period, Burst: burst}
}

var somebody = &exchange.Identity{Method: "test"}

// whole is a policy with two of every phase, as a document with many policies
// would give them: in no order of phases.
func whole(a *asked, verdicts map[string]pipeline.Verdict) []pipeline.Parts {
	p := func(name string) policy {
		v, ok := verdicts[name]
		if !ok {
			v = pipeline.Pass
		}
		return policy{a, name, v, somebody, []counters.Charge{charge(name, time.Second, 10)}}
	}
	return []pipeline.Parts{
		{Limit: p("limit 1"), Authorize: p("authorize 1")},
		{Authorize: p("authorize 2"), Screen: p("screen 1")},
		{Authenticate: p("authenticate")},
		{Screen: p("screen 2"), Limit: p("limit 2")},
	}
}

func TestTheZeroChainLetsNobodyIn(t *testing.T) {
	t.Parallel()
	var a asked
	w := &pipeline.World{Now: now, Counters: &taker{asked: &a}}
	if v := new(pipeline.Chain).Run(&exchange.Exchange{}, w); v.Passed() || v.Code() != fault.InternalError {
		t.Errorf("%+v", v)
	}
	var legend exchange.Legend
	parts := whole(&a, nil)
	parts[2] = pipeline.Parts{} // nobody proves anything
	if v := pipeline.NewChain(parts, nil, &legend).Run(&exchange.Exchange{}, w); v.Passed() || v.Code() != fault.InternalError || len(a.order) > 0 {
		t.Errorf("without an authenticator: %+v, asked %v", v, a.order)
	}
	x := &exchange.Exchange{}
	if new(pipeline.Chain).Run(x, w); x.Challenges != nil || x.Verified != exchange.HeaderOther {
		t.Error("the zero chain has a challenge, or forwards something")
	}
}

func TestTheZeroVerdictRefuses(t *testing.T) {
	t.Parallel()
	for what, v := range map[string]pipeline.Verdict{
		"zero": {}, "not mine": pipeline.NotMine, "cannot tell": pipeline.CannotTell(fault.IdentityUnavailable), "refuse with none": pipeline.Refuse(fault.None),
	} {
		if v.Passed() {
			t.Errorf("%s lets pass", what)
		}
	}
	if (pipeline.Verdict{}).Code() != fault.InternalError || pipeline.Pass.Code() != fault.None {
		t.Error("codes of the zero verdict and of a pass")
	}
}

func TestPhasesRunInOrderAndNoneAfterARefusal(t *testing.T) {
	t.Parallel()
	all := []string{"screen 1", "screen 2", "take 2", "authenticate", "authorize 1", "authorize 2", "limit 1", "limit 2", "take 2"}
	no := pipeline.Refuse(fault.PolicyDenied)
	for _, c := range []struct {
		what     string
		verdicts map[string]pipeline.Verdict
		refuses  int // call of the counters
		asked    int // how many of all
		code     fault.Code
	}{
		{"nobody refuses", nil, 0, 9, fault.None},
		{"a limit of screen", nil, 1, 3, fault.RateLimited},
		{"authenticate", map[string]pipeline.Verdict{"authenticate": no}, 0, 4, fault.PolicyDenied},
		{"authenticate cannot tell", map[string]pipeline.Verdict{"authenticate": pipeline.CannotTell(fault.KeysStale)}, 0, 4, fault.KeysStale},
		{"authenticate says nothing", map[string]pipeline.Verdict{"authenticate": {}}, 0, 4, fault.InternalError},
		{"the first of authorize", map[string]pipeline.Verdict{"authorize 1": no}, 0, 5, fault.PolicyDenied},
		{"the second of authorize", map[string]pipeline.Verdict{"authorize 2": no}, 0, 6, fault.PolicyDenied},
		{"authorize says nothing", map[string]pipeline.Verdict{"authorize 2": {}}, 0, 6, fault.InternalError},
		{"authorize says not mine", map[string]pipeline.Verdict{"authorize 2": pipeline.NotMine}, 0, 6, fault.InternalError},
		{"a limit", nil, 2, 9, fault.RateLimited},
	} {
		var a asked
		var legend exchange.Legend
		x := &exchange.Exchange{}
		w := &pipeline.World{Now: now, Counters: &taker{asked: &a, refuses: c.refuses}}
		v := pipeline.NewChain(whole(&a, c.verdicts), nil, &legend).Run(x, w)
		if v.Code() != c.code || v.Passed() != (c.code == fault.None) {
			t.Errorf("%s: %+v", c.what, v)
		}
		if diff := cmp.Diff(all[:c.asked], a.order); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s", c.what, diff)
		}
		if got := x.Identity != nil; got != (c.asked > 4) {
			t.Errorf("%s: there is an identity: %v", c.what, got)
		}
		steps := x.Trail.Steps()
		if last := steps[len(steps)-1]; !v.Passed() && (last.Outcome == exchange.Passed || last.Code != c.code) {
			t.Errorf("%s: the trail ends with %v %v", c.what, last.Outcome, last.Code)
		}
	}
}

func TestAnIdentityIsNeverMissingAfterAPass(t *testing.T) {
	t.Parallel()
	var a asked
	chain := pipeline.NewChain([]pipeline.Parts{{Authenticate: policy{asked: &a, verdict: pipeline.Pass}}, {Authorize: policy{asked: &a, name: "authorize", verdict: pipeline.Pass}}}, nil, &exchange.Legend{})
	x := &exchange.Exchange{}
	if v := chain.Run(x, &pipeline.World{Now: now}); v.Passed() || v.Code() != fault.InternalError || len(a.order) != 1 || x.Identity != nil {
		t.Errorf("%+v, asked %q", v, a.order)
	}
}

func TestNothingPresentedIsCredentialMissingWithABareChallenge(t *testing.T) {
	t.Parallel()
	var a asked
	chain := pipeline.NewChain([]pipeline.Parts{{
		Authenticate: policy{asked: &a, verdict: pipeline.NotMine, id: somebody},
		Challenge:    pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true},
	}}, nil, &exchange.Legend{})
	x := &exchange.Exchange{}
	v := chain.Run(x, &pipeline.World{Now: now})
	if v.Passed() || v.Code() != fault.CredentialMissing || x.Identity != nil {
		t.Errorf("%+v", v)
	}
	if got := x.Challenges; !slices.Equal(got, []string{`Bearer realm="corp"`}) {
		t.Errorf("challenge %q", got)
	}
	if s := x.Trail.Steps(); len(s) != 1 || s[0].Outcome != exchange.Refused || s[0].Code != fault.CredentialMissing {
		t.Errorf("trail %+v", s)
	}
}

func TestChallengesFitTheRefusal(t *testing.T) {
	t.Parallel()
	var says pipeline.Verdict
	auth := authenticator(func(*exchange.Exchange) (*exchange.Identity, pipeline.Verdict) { return nil, says })
	refused := func(parts []pipeline.Parts, code fault.Code) []string {
		x := &exchange.Exchange{}
		says = pipeline.Refuse(code)
		pipeline.NewChain(parts, nil, &exchange.Legend{}).Run(x, &pipeline.World{})
		return x.Challenges
	}
	bearer := pipeline.Parts{Authenticate: auth, Challenge: pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true}}
	key := pipeline.Parts{Authenticate: auth, Challenge: pipeline.Challenge{Scheme: "ApiKey", Params: `header="x-api-key"`}}
	plain := pipeline.Parts{Authenticate: auth, Challenge: pipeline.Challenge{Scheme: "Negotiate"}}
	silent := pipeline.Parts{Authenticate: auth}
	scope := pipeline.Parts{Scope: "orders:read orders:write"}
	const realm = `Bearer realm="corp"`
	for _, c := range []struct {
		what  string
		parts []pipeline.Parts
		code  fault.Code
		want  []string
	}{
		{"nothing presented", []pipeline.Parts{bearer, scope}, fault.CredentialMissing, []string{realm}},
		{"a bad token", []pipeline.Parts{bearer}, fault.TokenSignatureInvalid, []string{realm + `, error="invalid_token"`}},
		{"an expired token", []pipeline.Parts{bearer}, fault.TokenExpired, []string{realm + `, error="invalid_token"`}},
		{"two credentials", []pipeline.Parts{bearer}, fault.CredentialAmbiguous, []string{realm + `, error="invalid_request"`}},
		{"a scope missing", []pipeline.Parts{bearer, scope}, fault.ScopeMissing, []string{realm + `, error="insufficient_scope", scope="orders:read orders:write"`}},
		{"a scope missing, listed first", []pipeline.Parts{scope, bearer}, fault.ScopeMissing, []string{realm + `, error="insufficient_scope", scope="orders:read orders:write"`}},
		{"two policies about scopes", []pipeline.Parts{bearer, scope, {Scope: "profile"}}, fault.ScopeMissing, []string{realm + `, error="insufficient_scope", scope="orders:read orders:write profile"`}},
		{"a key missing", []pipeline.Parts{key}, fault.CredentialMissing, []string{`ApiKey header="x-api-key"`}},
		{"a bad key has no error parameter", []pipeline.Parts{key}, fault.KeyUnknown, []string{`ApiKey header="x-api-key"`}},
		{"two keys", []pipeline.Parts{key}, fault.CredentialAmbiguous, []string{`ApiKey header="x-api-key"`}},
		{"a scheme without parameters", []pipeline.Parts{plain}, fault.CredentialMissing, []string{"Negotiate"}},
		{"no challenge", []pipeline.Parts{silent, scope}, fault.CredentialMissing, nil},
		{"no challenge for a scope", []pipeline.Parts{silent, scope}, fault.ScopeMissing, nil},
		{"who they are is known", []pipeline.Parts{bearer, scope}, fault.ConsumerNotAllowed, nil},
		{"an outage of ours", []pipeline.Parts{bearer}, fault.IdentityUnavailable, nil},
		{"too many", []pipeline.Parts{bearer}, fault.RateLimited, nil},
		{"no route", []pipeline.Parts{bearer}, fault.RouteUnknown, nil},
	} {
		if diff := cmp.Diff(c.want, refused(c.parts, c.code)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
	for _, code := range fault.Codes() {
		if got := refused([]pipeline.Parts{bearer}, code); code.Status() == 401 && len(got) != 1 {
			t.Errorf("%v is a 401 without a challenge (RFC 9110 section 11.6.1)", code)
		}
	}
}

func TestOnlyAVerifiedCredentialMayGoOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parts   pipeline.Parts
		verdict pipeline.Verdict
		want    exchange.HeaderID
	}{
		{pipeline.Parts{Credentials: []string{"authorization"}, Forward: true}, pipeline.Pass, exchange.HeaderAuthorization},
		{pipeline.Parts{Credentials: []string{"authorization"}, Forward: true}, pipeline.Refuse(fault.TokenExpired), exchange.HeaderOther},
		{pipeline.Parts{Credentials: []string{"authorization"}}, pipeline.Pass, exchange.HeaderOther},
		{pipeline.Parts{Credentials: []string{"a", "b"}, Forward: true}, pipeline.Pass, exchange.HeaderOther},
		{pipeline.Parts{Forward: true}, pipeline.Pass, exchange.HeaderOther},
	} {
		c.parts.Authenticate = authenticator(func(*exchange.Exchange) (*exchange.Identity, pipeline.Verdict) { return somebody, c.verdict })
		x := &exchange.Exchange{}
		pipeline.NewChain([]pipeline.Parts{c.parts}, nil, &exchange.Legend{}).Run(x, &pipeline.World{})
		if x.Verified != c.want {
			t.Errorf("%+v: %v", c.parts, x.Verified)
		}
	}
}

func TestWhatIsMissingHasItsOwnCode(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		missing fault.Code
		says    pipeline.Verdict
		want    fault.Code
	}{
		"nothing is said":                 {0, pipeline.NotMine, fault.CredentialMissing},
		"a certificate":                   {noCertificate, pipeline.NotMine, noCertificate},
		"a credential that nobody claims": {0, pipeline.Unclaimed(fault.TokenIssuerUnknown), fault.TokenIssuerUnknown},
	} {
		auth := authenticator(func(*exchange.Exchange) (*exchange.Identity, pipeline.Verdict) { return nil, c.says })
		x := &exchange.Exchange{}
		v := pipeline.NewChain([]pipeline.Parts{{Authenticate: auth, Missing: c.missing}}, nil, &exchange.Legend{}).Run(x, &pipeline.World{})
		if v.Passed() || v.Code() != c.want || x.Trail.Steps()[0].Outcome != exchange.Refused {
			t.Errorf("%s: %v", what, v.Code())
		}
	}
}

// noCertificate stands for a 403 that says what is missing: TLS has no challenge.
const noCertificate = fault.TransportInsecure

// authenticator is one that a test writes down.
type authenticator func(*exchange.Exchange) (*exchange.Identity, pipeline.Verdict)

func (a authenticator) Authenticate(x *exchange.Exchange, _ *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return a(x)
}

// limited is a chain with limits of two policies in each phase.
func limited(screen, limit [2][]counters.Charge) *pipeline.Chain {
	var parts []pipeline.Parts
	a := &asked{}
	for i := range 2 {
		p := pipeline.Parts{Check: exchange.Check{Phase: "limit", Name: fmt.Sprint(i)}}
		if screen[i] != nil {
			p.Screen = policy{asked: a, name: fmt.Sprint("screen ", i), charges: screen[i]}
		}
		if limit[i] != nil {
			p.Limit = policy{asked: a, name: fmt.Sprint("limit ", i), charges: limit[i]}
		}
		parts = append(parts, p)
	}
	parts = append(parts, pipeline.Parts{Authenticate: policy{asked: a, verdict: pipeline.Pass, id: somebody}})
	return pipeline.NewChain(parts, nil, &exchange.Legend{})
}

func remaining(t *testing.T, m *counters.Memory, c counters.Charge) int64 {
	t.Helper()
	var s [1]counters.State
	if _, err := m.Look(now, []counters.Charge{c}, s[:]); err != nil {
		t.Fatal(err)
	}
	return s[0].Remaining
}

func TestLimitsOfAPhaseAreTakenAllOrNone(t *testing.T) {
	t.Parallel()
	wide, narrow, address := charge("wide", time.Minute, 5), charge("narrow", time.Hour, 1), charge("address", time.Second, 10)
	chain := limited([2][]counters.Charge{{address}, nil}, [2][]counters.Charge{{wide}, {narrow}})
	m := counters.NewMemory(1 << 16)
	w := &pipeline.World{Now: now, Counters: m}
	for i := range 4 {
		x := &exchange.Exchange{}
		v := chain.Run(x, w)
		if passed := i == 0; v.Passed() != passed || !passed && (v.Code() != fault.RateLimited || x.RetryAfter != time.Hour) {
			t.Fatalf("call %d: %+v, retry after %v", i+1, v, x.RetryAfter)
		}
	}
	if n := remaining(t, m, wide); n != 4 {
		t.Errorf("the limit that had room was charged by calls that another refused: %d of 5 left", n)
	}
	if n := remaining(t, m, address); n != 6 {
		t.Errorf("what an earlier phase charged stays charged: %d of 10 left", n)
	}
	// Looking charges nothing at all.
	look := &pipeline.World{Now: now, Counters: pipeline.Look(m)}
	for range 20 {
		chain.Run(&exchange.Exchange{}, look)
	}
	if remaining(t, m, wide) != 4 || remaining(t, m, address) != 6 {
		t.Error("explaining charged a limit")
	}
}

func TestRetryAfterIsTheLongestWait(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][]counters.Charge{
		"the longer one first": {charge("a", time.Hour, 1), charge("b", time.Minute, 1)},
		"the longer one last":  {charge("b", time.Minute, 1), charge("a", time.Hour, 1)},
	} {
		chain := limited([2][]counters.Charge{}, [2][]counters.Charge{list[:1], list[1:]})
		m := counters.NewMemory(1 << 16)
		w := &pipeline.World{Now: now, Counters: m}
		chain.Run(&exchange.Exchange{}, w)
		x := &exchange.Exchange{}
		if v := chain.Run(x, w); v.Code() != fault.RateLimited || x.RetryAfter != time.Hour {
			t.Errorf("%s: %v, retry after %v", name, v.Code(), x.RetryAfter)
		}
	}
}

func TestTheTightestLimitIsAnnounced(t *testing.T) {
	t.Parallel()
	chain := limited([2][]counters.Charge{{charge("s", time.Second, 100)}, nil}, [2][]counters.Charge{{charge("a", time.Minute, 3)}, {charge("b", 1500*time.Millisecond, 2)}})
	w := &pipeline.World{Now: now, Counters: counters.NewMemory(1 << 16)}
	for i, want := range []string{"RateLimit-Limit 2, RateLimit-Remaining 1, RateLimit-Reset 2", "RateLimit-Limit 2, RateLimit-Remaining 0, RateLimit-Reset 3", "RateLimit-Limit 2, RateLimit-Remaining 0, RateLimit-Reset 3"} {
		x := &exchange.Exchange{}
		v := chain.Run(x, w)
		var got []string
		x.RespEdit.Each(func(name string, value []byte) { got = append(got, name+" "+string(value)) })
		if v.Passed() != (i < 2) || strings.Join(got, ", ") != want {
			t.Errorf("call %d: %v, %q, want %q", i+1, v.Code(), got, want)
		}
	}
}

func TestCountersThatFailAreClosed(t *testing.T) {
	t.Parallel()
	var a asked
	failing := &taker{asked: &a, err: errors.New("no route to host")}
	x := &exchange.Exchange{}
	v := pipeline.NewChain(whole(&a, nil), nil, &exchange.Legend{}).Run(x, &pipeline.World{Now: now, Counters: failing})
	if v.Passed() || v.Code() != fault.LimitsUnavailable || x.RetryAfter <= 0 || len(failing.calls) != 1 {
		t.Errorf("%+v, retry after %v, %d calls", v, x.RetryAfter, len(failing.calls))
	}
}

func TestChargesOfOneRequestNeverReachTheNext(t *testing.T) {
	t.Parallel()
	var a asked
	count := &taker{asked: &a}
	w := &pipeline.World{Now: now, Counters: count}
	full := make([]counters.Charge, pipeline.MaxCharges)
	for i := range full {
		full[i] = charge(fmt.Sprint(i), time.Second, 1)
	}
	limited([2][]counters.Charge{full, nil}, [2][]counters.Charge{full, nil}).Run(&exchange.Exchange{}, w)
	limited([2][]counters.Charge{}, [2][]counters.Charge{full[:1], {}}).Run(&exchange.Exchange{}, w)
	var sizes []int
	for _, c := range count.calls {
		sizes = append(sizes, len(c))
	}
	if !slices.Equal(sizes, []int{pipeline.MaxCharges, pipeline.MaxCharges, 1}) {
		t.Errorf("taken at once: %v", sizes)
	}
	// Limits that propose nothing need no counters.
	if v := limited([2][]counters.Charge{{}, {}}, [2][]counters.Charge{}).Run(&exchange.Exchange{}, &pipeline.World{Now: now}); !v.Passed() {
		t.Errorf("nothing to take: %+v", v)
	}
}
