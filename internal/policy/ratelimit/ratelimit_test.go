package ratelimit_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/ratelimit"
	"github.com/warder-gateway/warder/internal/scalar"
)

func limit(t testing.TB, text string) (l pipeline.Limit) {
	t.Helper()
	if err := l.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return l
}

func list(t testing.TB, texts ...string) (cfg ratelimit.Config) {
	t.Helper()
	for _, text := range texts {
		cfg = append(cfg, limit(t, text))
	}
	return cfg
}

func env(t testing.TB, route string) pipeline.Env {
	return pipeline.Env{Route: route, Limit: func(name string) (pipeline.Limit, error) {
		switch name {
		case "writes":
			l := limit(t, "50/min per subject")
			l.Name = name
			return l, nil
		case "all":
			return limit(t, "1000/s"), nil
		case "routes":
			return limit(t, "1000/s per route"), nil
		}
		return pipeline.Limit{}, fmt.Errorf("no limit is called %q", name)
	}}
}

// caller is what a request shows of who sends it.
type caller struct {
	ip     string
	id     *exchange.Identity
	header []string // values of x-tenant
}

// taker records the charges of each phase.
type taker [][]counters.Charge

func (tk *taker) Take(_ time.Time, charges []counters.Charge, states []counters.State) (int, error) {
	*tk = append(*tk, append([]counters.Charge(nil), charges...))
	for i := range states {
		states[i].Remaining = 1
	}
	return -1, nil
}

type somebody struct{ id *exchange.Identity }

func (s somebody) Authenticate(*exchange.Exchange, *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return s.id, pipeline.Pass
}

func exchangeOf(c caller) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Reset()
	if c.ip != "" {
		x.Client = netip.MustParseAddr(c.ip)
	}
	for _, v := range c.header {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("X-Tenant"), Value: []byte(v)})
	}
	return x
}

// kept takes nothing back.
type kept struct{}

func (kept) Revoked(*exchange.Identity, time.Time) fault.Code { return fault.None }

func (kept) RevokedBy(*exchange.Identity, time.Time) string { return "" }

// ask runs a route of one policy and returns what each phase would take.
func ask(t testing.TB, parts pipeline.Parts, c caller) ([][]counters.Charge, pipeline.Verdict) {
	t.Helper()
	if c.id == nil {
		c.id = exchange.Anonymous
	}
	if c.id.Issuer != "" {
		one := *c.id
		one.Token = &exchange.Token{}
		c.id = &one
	}
	chain := pipeline.NewChain([]pipeline.Parts{{Authenticate: somebody{c.id}}, parts}, kept{}, &exchange.Legend{})
	var took taker
	v := chain.Run(exchangeOf(c), &pipeline.World{Now: time.Now(), Counters: &took})
	return took, v
}

func compile(t testing.TB, e pipeline.Env, texts ...string) pipeline.Parts {
	t.Helper()
	parts, err := ratelimit.New(list(t, texts...), e)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// key returns the one key that c is counted under.
func key(t testing.TB, parts pipeline.Parts, c caller) counters.Key {
	t.Helper()
	took, v := ask(t, parts, c)
	if !v.Passed() || len(took) != 1 || len(took[0]) != 1 {
		t.Fatalf("%+v took %v", v, took)
	}
	return took[0][0].Key
}

func TestCallsShareABucketWhereTheyShould(t *testing.T) {
	t.Parallel()
	acme := &exchange.Consumer{Name: "acme"}
	token := func(issuer, client, subject string) *exchange.Identity {
		return &exchange.Identity{Method: "jwt", Issuer: issuer, Client: client, Subject: subject, Consumer: issuer + "/" + client}
	}
	claim := func(raw string) *exchange.Identity {
		return &exchange.Identity{Subject: "s", Claims: exchange.Claims{{Name: "tenant", Raw: exchange.JSON(raw)}}}
	}
	for _, c := range []struct {
		what  string
		limit string
		a, b  caller
		share bool
	}{
		{"the same address", "1/s per ip", caller{ip: "192.0.2.1"}, caller{ip: "192.0.2.1"}, true},
		{"two addresses", "1/s per ip", caller{ip: "192.0.2.1"}, caller{ip: "192.0.2.2"}, false},
		{"an address written in IPv6", "1/s per ip", caller{ip: "192.0.2.1"}, caller{ip: "::ffff:192.0.2.1"}, true},
		{"IPv6 callers of one /64", "1/s per ip", caller{ip: "2001:db8::1"}, caller{ip: "2001:db8::ffff:1:2"}, true},
		{"IPv6 callers of two /64", "1/s per ip", caller{ip: "2001:db8::1"}, caller{ip: "2001:db8:0:1::1"}, false},
		{"callers without an address", "1/s per ip", caller{}, caller{}, true},

		{"one application, two users", "1/s per consumer", caller{id: token("okta", "app", "alice")}, caller{id: token("okta", "app", "bob")}, true},
		{"two applications, one user", "1/s per consumer", caller{id: token("okta", "app", "alice")}, caller{id: token("okta", "web", "alice")}, false},
		{"the same client id of two issuers", "1/s per consumer", caller{id: token("okta", "app", "alice")}, caller{id: token("corp", "app", "alice")}, false},
		{"issuer and client parted elsewhere", "1/s per consumer", caller{id: token("okta", "app", "")}, caller{id: token("okt", "aapp", "")}, false},
		{"a client where another has its subject", "1/s per subject", caller{id: token("okta", "x", "")}, caller{id: token("okta", "app", "x")}, false},
		{"clients with long names", "1/s per consumer", caller{id: token("okta", strings.Repeat("a", 300)+"1", "")}, caller{id: token("okta", strings.Repeat("a", 300)+"2", "")}, false},
		{"a client with a long name", "1/s per consumer", caller{id: token("okta", strings.Repeat("a", 300), "")}, caller{id: token("okta", strings.Repeat("a", 300), "")}, true},
		{"two tokens without a client", "1/s per consumer", caller{id: token("okta", "", "alice")}, caller{id: token("okta", "", "bob")}, false},
		{"a client named like a subject", "1/s per consumer", caller{id: token("okta", "", "alice")}, caller{id: token("okta", "subject:alice", "")}, false},
		{"a client named like a consumer", "1/s per consumer", caller{id: &exchange.Identity{Named: acme, Consumer: "acme"}}, caller{id: token("", "acme", "")}, false},
		{"a consumer by key and by token", "1/s per consumer", caller{id: &exchange.Identity{Method: "apiKey", Named: acme, Consumer: "acme"}},
			caller{id: &exchange.Identity{Method: "jwt", Issuer: "okta", Client: "app", Subject: "alice", Named: acme, Consumer: "acme"}}, true},

		{"one user, two applications", "1/s per subject", caller{id: token("okta", "app", "alice")}, caller{id: token("okta", "web", "alice")}, true},
		{"two users, one application", "1/s per subject", caller{id: token("okta", "app", "alice")}, caller{id: token("okta", "app", "bob")}, false},
		{"the alice of two issuers", "1/s per subject", caller{id: token("okta", "app", "alice")}, caller{id: token("corp", "app", "alice")}, false},
		{"an identity without a subject counts as its consumer", "1/s per subject", caller{id: token("okta", "app", "")}, caller{id: token("okta", "web", "")}, false},
		{"such identities of one consumer", "1/s per subject", caller{id: token("okta", "app", "")}, caller{id: token("okta", "app", "")}, true},

		{"one tenant", "1/s per claim:tenant", caller{id: claim(`"t1"`)}, caller{id: claim(`"t1"`)}, true},
		{"one tenant, written with an escape", "1/s per claim:tenant", caller{id: claim(`"t1"`)}, caller{id: claim(`"\u00741"`)}, true},
		{"two tenants", "1/s per claim:tenant", caller{id: claim(`"t1"`)}, caller{id: claim(`"t2"`)}, false},
		{"calls without the claim share one bucket, never none", "1/s per claim:tenant", caller{id: token("okta", "app", "alice")}, caller{id: token("corp", "web", "bob")}, true},
		{"a claim that is null is none", "1/s per claim:tenant", caller{id: claim("null")}, caller{id: token("okta", "app", "alice")}, true},
		{"a claim that is an object is none", "1/s per claim:tenant", caller{id: claim(`{"a":1}`)}, caller{id: claim(`{"a":2}`)}, true},
		{"an empty claim is one", "1/s per claim:tenant", caller{id: claim(`""`)}, caller{id: token("okta", "app", "alice")}, false},

		{"one header", "1/s per header:X-Tenant", caller{header: []string{"t1"}}, caller{header: []string{"t1"}}, true},
		{"two headers", "1/s per header:X-Tenant", caller{header: []string{"t1"}}, caller{header: []string{"t2"}}, false},
		{"calls without the header share one bucket, never none", "1/s per header:X-Tenant", caller{ip: "192.0.2.1"}, caller{ip: "192.0.2.2"}, true},
		{"an empty header is one", "1/s per header:X-Tenant", caller{header: []string{""}}, caller{}, false},
		{"long headers that differ at the end", "1/s per header:X-Tenant", caller{header: []string{strings.Repeat("a", 500) + "1"}}, caller{header: []string{strings.Repeat("a", 500) + "2"}}, false},

		{"everybody", "1/s", caller{ip: "192.0.2.1", id: token("okta", "app", "alice")}, caller{ip: "192.0.2.2"}, true},
		{"everybody, written global", "1/s per global", caller{ip: "192.0.2.1"}, caller{ip: "192.0.2.2"}, true},
	} {
		parts := compile(t, env(t, "orders"), c.limit)
		if got := key(t, parts, c.a) == key(t, parts, c.b); got != c.share {
			t.Errorf("%s: share a bucket is %v, want %v", c.what, got, c.share)
		}
	}
}

func TestWhatIsAbsentIsNotTakenForTheNext(t *testing.T) {
	t.Parallel()
	cfg := list(t, "1/s")
	cfg[0].Per = scalar.List[pipeline.Per]{{Kind: pipeline.PerClaim, Name: "a"}, {Kind: pipeline.PerClaim, Name: "b"}}
	parts, err := ratelimit.New(cfg, env(t, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	only := func(name string) caller {
		return caller{id: &exchange.Identity{Claims: exchange.Claims{{Name: name, Raw: `"v"`}}}}
	}
	if key(t, parts, only("a")) == key(t, parts, only("b")) {
		t.Error("claim a of v and claim b of v share a bucket")
	}
}

func TestRoutesShareOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	alice := caller{ip: "192.0.2.1", id: &exchange.Identity{Issuer: "okta", Subject: "alice"}}
	for text, share := range map[string]bool{
		"50/min per subject": false,
		"50/min per ip":      false,
		"50/min":             false,
		"50/min per global":  false,
		"writes":             true,
		"all":                true,
		"routes":             false,
	} {
		a, b := compile(t, env(t, "orders"), text), compile(t, env(t, "customers"), text)
		if got := key(t, a, alice) == key(t, b, alice); got != share {
			t.Errorf("%s: two routes share a bucket is %v, want %v", text, got, share)
		}
	}
	inline, shared := compile(t, env(t, "writes"), "50/min per subject"), compile(t, env(t, "writes"), "writes")
	if key(t, inline, alice) == key(t, shared, alice) {
		t.Error("a route named like a shared limit counts on it")
	}
}

func TestLimitsWithOtherNumbersHaveOtherBuckets(t *testing.T) {
	t.Parallel()
	seen := map[counters.Key]string{}
	burst := list(t, "10/s per ip")
	burst[0].Burst = 5
	for _, cfg := range []ratelimit.Config{list(t, "10/s per ip"), list(t, "10/min per ip"), list(t, "11/s per ip"), burst} {
		parts, err := ratelimit.New(cfg, env(t, "orders"))
		if err != nil {
			t.Fatal(err)
		}
		k := key(t, parts, caller{ip: "192.0.2.1"})
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s share a bucket", other, cfg[0])
		}
		seen[k] = cfg[0].String()
	}
}

func TestLimitsByAddressAloneRunBeforeAuthentication(t *testing.T) {
	t.Parallel()
	cfg := append(list(t, "writes", "10/s per ip", "100/min per consumer"), limit(t, "5/s per ip"))
	cfg[3].Per = append(cfg[3].Per, pipeline.Per{Kind: pipeline.PerHeader, Name: "x-tenant"})
	parts, err := ratelimit.New(cfg, env(t, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	took, v := ask(t, parts, caller{ip: "192.0.2.1", id: &exchange.Identity{Subject: "alice"}})
	if !v.Passed() || len(took) != 2 || len(took[0]) != 1 || len(took[1]) != 3 {
		t.Fatalf("%+v took %v", v, took)
	}
	if c := took[0][0]; c.Period != 100*time.Millisecond || c.Burst != 10 {
		t.Errorf("before authentication: %+v", c)
	}
	if want := "writes: 50/min per subject, 10/s per ip, 100/min per consumer, 5/s per ip and header:x-tenant"; parts.Check.Want != want {
		t.Errorf("explained as %q", parts.Check.Want)
	}
}

func TestHeaderReadAsOneValueThatOccursTwiceIsRefused(t *testing.T) {
	t.Parallel()
	parts := compile(t, env(t, "orders"), "1/s per header:X-Tenant")
	took, v := ask(t, parts, caller{header: []string{"t1", "t2"}})
	if v.Passed() || v.Code() != fault.ParameterAmbiguous || len(took) != 0 {
		t.Errorf("%+v took %v", v, took)
	}
}

func TestUnlimitedIsSpelledOut(t *testing.T) {
	t.Parallel()
	parts := compile(t, env(t, "orders"), "unlimited")
	if parts.Screen != nil || parts.Limit != nil || parts.Authorize != nil {
		t.Errorf("%+v", parts)
	}
}

func TestLimitsThatCannotBeKeptDoNotLoad(t *testing.T) {
	t.Parallel()
	public := env(t, "status")
	public.Public = true
	many := list(t)
	for i := range pipeline.MaxCharges + 1 {
		many = append(many, limit(t, fmt.Sprintf("%d/s per ip", i+1)))
	}
	for _, c := range []struct {
		what string
		cfg  ratelimit.Config
		env  pipeline.Env
		path string
		text string
	}{
		{"no list", nil, env(t, "orders"), "", "empty"},
		{"an empty list", ratelimit.Config{}, env(t, "orders"), "", "empty"},
		{"a zero limit", ratelimit.Config{{}}, env(t, "orders"), "[0].rate", "missing"},
		{"an unknown name", list(t, "1/s", "write"), env(t, "orders"), "[1]", `"write"`},
		{"a name where none are known", list(t, "writes"), pipeline.Env{Route: "orders"}, "[0]", `"writes"`},
		{"the same limit twice", list(t, "1/s per ip", "1/s per ip"), env(t, "orders"), "[1]", "twice"},
		{"the same name twice", list(t, "writes", "1/s", "writes"), env(t, "orders"), "[2]", "twice"},
		{"per consumer on a public route", list(t, "1/s per ip", "1/s per consumer"), public, "[1].per", "public"},
		{"per subject on a public route", list(t, "1/s per subject"), public, "[0].per", "public"},
		{"per subject by name on a public route", list(t, "writes"), public, "[0].per", "public"},
		{"more than can be taken at once", many, env(t, "orders"), "", "at most 8"},
		{"unlimited beside a limit", list(t, "1/s", "unlimited"), env(t, "orders"), "[1]", "alone"},
		{"more than can be counted", list(t, "1000000000/s"), env(t, "orders"), "[0].rate", "1000000 a second"},
	} {
		parts, err := ratelimit.New(c.cfg, c.env)
		var p *pipeline.Problem
		if err == nil || !errors.As(err, &p) || p.Path != c.path || !strings.Contains(p.Text, c.text) {
			t.Errorf("%s: %v", c.what, err)
		}
		if parts.Screen != nil || parts.Limit != nil {
			t.Errorf("%s: left parts behind", c.what)
		}
	}
	if _, err := ratelimit.New(list(t, "1/s"), pipeline.Env{}); err == nil {
		t.Error("buckets without the label of a route")
	}
	if _, err := ratelimit.New(list(t, "writ", "writ2", "1/s"), env(t, "orders")); strings.Count(fmt.Sprint(err), "no limit is called") != 2 {
		t.Errorf("not every problem is told: %v", err)
	}
}

func worst(t testing.TB) (pipeline.Parts, *exchange.Exchange) {
	cfg := list(t, "1000000/s per ip", "1000000/s per subject", "1000000/s per claim:tenant", "1000000/s per header:X-Tenant")
	parts, err := ratelimit.New(cfg, env(t, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	x := exchangeOf(caller{ip: "2001:db8::1", header: []string{strings.Repeat("t", 60)}})
	x.Identity = &exchange.Identity{Issuer: "okta", Subject: strings.Repeat("s", 100), Claims: exchange.Claims{{Name: "tenant", Raw: exchange.JSON(`"` + strings.Repeat("c", 40) + `"`)}}}
	return parts, x
}

func TestProposingAllocatesNothing(t *testing.T) {
	parts, x := worst(t)
	if n := testing.AllocsPerRun(100, func() {
		var c pipeline.Charges
		propose(parts, x, &c)
	}); n > 1 { // the Charges themselves, which are the pipeline's
		t.Errorf("%v allocations", n)
	}
}

func propose(parts pipeline.Parts, x *exchange.Exchange, c *pipeline.Charges) {
	parts.Screen.Limit(x, c)
	parts.Limit.Limit(x, c)
}

func BenchmarkPropose(b *testing.B) {
	parts, x := worst(b)
	b.ReportAllocs()
	for b.Loop() {
		var c pipeline.Charges
		propose(parts, x, &c)
	}
}

func BenchmarkProposeForAConsumer(b *testing.B) {
	parts, err := ratelimit.New(list(b, "1000000/s per consumer"), env(b, "orders"))
	if err != nil {
		b.Fatal(err)
	}
	x := exchangeOf(caller{id: nil})
	x.Identity = &exchange.Identity{Issuer: "bench", Client: "client-00001", Consumer: "bench/client-00001"}
	var c pipeline.Charges
	b.ReportAllocs()
	for b.Loop() {
		c = pipeline.Charges{}
		parts.Limit.Limit(x, &c)
	}
}
