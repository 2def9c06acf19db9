package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// method is a way to prove something in tests: it finds what it says in
// Proof of x.Req's field of its name.
type method struct {
	name  string
	says  map[string]pipeline.Verdict   // by the value of the field; absent: Pass
	ids   map[string]*exchange.Identity // by the value of the field
	asked *int
}

func (m method) Authenticate(x *exchange.Exchange, _ *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	if m.asked != nil {
		*m.asked++
	}
	value, n := x.Req.GetName(m.name)
	if n == 0 {
		return nil, pipeline.NotMine
	}
	if v, ok := m.says[string(value)]; ok {
		return nil, v
	}
	return m.ids[string(value)], pipeline.Pass
}

// condition passes identities that have the role of its name.
type condition string

func (c condition) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	if x.Identity != nil && x.Identity.HasRole(string(c)) {
		return pipeline.Pass
	}
	x.Trail.Saw("missing", string(c))
	return pipeline.Refuse(fault.RoleMissing)
}

func roleOf(names ...string) (parts []pipeline.Parts) {
	for _, n := range names {
		parts = append(parts, pipeline.Parts{Authorize: condition(n), Check: exchange.Check{Phase: "roles", Want: n}})
	}
	return parts
}

func request(fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.IdentifyString(name)})
	}
	return x
}

func steps(x *exchange.Exchange, legend *exchange.Legend) (lines []string) {
	for _, s := range x.Trail.Steps() {
		c := legend.At(s.Check)
		lines = append(lines, strings.TrimSpace(s.Outcome.String()+" "+strings.TrimSpace(c.Phase+" "+c.Name)))
	}
	return lines
}

var (
	acme  = &exchange.Consumer{Name: "acme"}
	other = &exchange.Consumer{Name: "other"}
)

// token, key and certificate are three methods: of the certificate nothing
// is read from a field that could go on, and TLS has no challenge.
func token() pipeline.Parts {
	return pipeline.Parts{
		Authenticate: method{name: "authorization", says: map[string]pipeline.Verdict{
			"bad": pipeline.Refuse(fault.TokenExpired), "strange": pipeline.Unclaimed(fault.TokenIssuerUnknown), "two": pipeline.Refuse(fault.CredentialAmbiguous),
			"down": pipeline.CannotTell(fault.IdentityUnavailable),
		}, ids: map[string]*exchange.Identity{
			"alice": {Method: "jwt", Issuer: "corp", Subject: "alice", Token: marks, Roles: []string{"a"}, Claims: exchange.Claims{}},
			"app":   {Method: "jwt", Issuer: "corp", Subject: "app", Token: marks, Named: acme, Consumer: "acme", Claims: exchange.Claims{}},
			"bob":   {Method: "jwt", Issuer: "partners", Subject: "bob", Token: marks, Claims: exchange.Claims{}},
		}},
		Check:       exchange.Check{Phase: "authenticate", Name: "jwt"},
		Challenge:   pipeline.Challenge{Scheme: "Bearer", Params: `realm="corp"`, Errors: true},
		Credentials: []string{"authorization"}, Forward: true,
	}
}

func key() pipeline.Parts {
	return pipeline.Parts{
		Authenticate: method{name: "x-api-key", says: map[string]pipeline.Verdict{"bad": pipeline.Refuse(fault.KeyUnknown)}, ids: map[string]*exchange.Identity{
			"acme": {Method: "apiKey", Named: acme, Consumer: "acme", Roles: []string{"a", "b"}}, "other": {Method: "apiKey", Named: other, Consumer: "other"},
		}},
		Check:       exchange.Check{Phase: "authenticate", Name: "apiKey"},
		Challenge:   pipeline.Challenge{Scheme: "ApiKey", Params: `header="x-api-key"`},
		Credentials: []string{"x-api-key"},
	}
}

func certificate() pipeline.Parts {
	return pipeline.Parts{
		Authenticate: method{name: "x-shown", ids: map[string]*exchange.Identity{"acme": {Method: "mtls", Named: acme, Consumer: "acme", Roles: []string{"c"}}}},
		Check:        exchange.Check{Phase: "authenticate", Name: "mtls"},
		Missing:      noCertificate,
	}
}

func TestAnyOf(t *testing.T) {
	t.Parallel()
	tokenKey := pipeline.Combination{Proofs: []pipeline.Parts{token(), key()}, Branches: []pipeline.Branch{
		{Proof: 0, Issuers: []string{"corp"}, Conditions: roleOf("a", "b"), Label: "jwt corp"},
		{Proof: 1, Conditions: roleOf("b"), Label: "apiKey"},
		{Proof: 0, Issuers: []string{"partners"}, Label: "jwt partners"},
	}}
	keyFirst := pipeline.Combination{Proofs: tokenKey.Proofs, Branches: []pipeline.Branch{{Proof: 1, Label: "apiKey"}, {Proof: 0, Label: "jwt"}}}
	certificates := pipeline.Combination{Proofs: []pipeline.Parts{certificate()}, Branches: []pipeline.Branch{{Label: "mtls"}, {Conditions: roleOf("c"), Label: "mtls"}}}
	certificateOrKey := pipeline.Combination{Proofs: []pipeline.Parts{certificate(), key()}, Branches: []pipeline.Branch{{Label: "mtls"}, {Proof: 1, Label: "apiKey"}}}
	for _, c := range []struct {
		what       string
		of         pipeline.Combination
		fields     []string
		code       fault.Code
		who        string // method of the identity
		verified   exchange.HeaderID
		challenges []string
		steps      []string
	}{
		{"the first branch that holds wins", tokenKey, []string{"authorization: bob"}, fault.None, "jwt", exchange.HeaderAuthorization, nil,
			[]string{"ok authenticate jwt", "-- authenticate apiKey", "-- anyOf[0] jwt corp", "-- anyOf[1] apiKey", "ok anyOf[2] jwt partners"}},
		{"what the winner did not use does not go on", tokenKey, []string{"authorization: alice", "x-api-key: acme"}, fault.None, "apiKey", exchange.HeaderOther, nil,
			[]string{"ok authenticate jwt", "ok authenticate apiKey", "NO roles anyOf[0]", "ok anyOf[1] apiKey"}},
		{"the branch that got furthest refuses, and is told last", tokenKey, []string{"authorization: alice", "x-api-key: other"}, fault.RoleMissing, "jwt", exchange.HeaderOther, nil,
			[]string{"ok authenticate jwt", "ok authenticate apiKey", "NO roles anyOf[1]", "-- anyOf[2] jwt partners", "NO roles anyOf[0]"}},
		{"nothing presented", tokenKey, nil, fault.CredentialMissing, "", exchange.HeaderOther, []string{`Bearer realm="corp"`, `ApiKey header="x-api-key"`},
			[]string{"-- authenticate jwt", "-- authenticate apiKey", "NO authenticate anyOf"}},
		{"challenges go in the order of the branches", keyFirst, nil, fault.CredentialMissing, "", exchange.HeaderOther, []string{`ApiKey header="x-api-key"`, `Bearer realm="corp"`},
			[]string{"-- authenticate jwt", "-- authenticate apiKey", "NO authenticate anyOf"}},
		{"also those of a bad credential", keyFirst, []string{"authorization: bad"}, fault.TokenExpired, "", exchange.HeaderOther, []string{`ApiKey header="x-api-key"`, `Bearer realm="corp", error="invalid_token"`},
			[]string{"NO authenticate jwt"}},
		{"a bad credential refuses whatever else is there", tokenKey, []string{"authorization: bob", "x-api-key: bad"}, fault.KeyUnknown, "", exchange.HeaderOther,
			[]string{`Bearer realm="corp"`, `ApiKey header="x-api-key"`}, []string{"ok authenticate jwt", "NO authenticate apiKey"}},
		{"the error is of the credential that was bad", tokenKey, []string{"authorization: bad", "x-api-key: acme"}, fault.TokenExpired, "", exchange.HeaderOther,
			[]string{`Bearer realm="corp", error="invalid_token"`, `ApiKey header="x-api-key"`}, []string{"NO authenticate jwt"}},
		{"an ambiguous one", tokenKey, []string{"authorization: two"}, fault.CredentialAmbiguous, "", exchange.HeaderOther,
			[]string{`Bearer realm="corp", error="invalid_request"`, `ApiKey header="x-api-key"`}, []string{"NO authenticate jwt"}},
		{"what cannot be told refuses", tokenKey, []string{"authorization: down", "x-api-key: acme"}, fault.IdentityUnavailable, "", exchange.HeaderOther, nil, []string{"?? authenticate jwt"}},
		{"what nobody claims keeps its reason", tokenKey, []string{"authorization: strange"}, fault.TokenIssuerUnknown, "", exchange.HeaderOther,
			[]string{`Bearer realm="corp", error="invalid_token"`, `ApiKey header="x-api-key"`}, []string{"-- authenticate apiKey", "NO authenticate jwt"}},
		{"also beside a good one", tokenKey, []string{"authorization: strange", "x-api-key: acme"}, fault.TokenIssuerUnknown, "", exchange.HeaderOther,
			[]string{`Bearer realm="corp", error="invalid_token"`, `ApiKey header="x-api-key"`}, []string{"ok authenticate apiKey", "NO authenticate jwt"}},
		{"only certificates are accepted", certificates, nil, noCertificate, "", exchange.HeaderOther, nil, []string{"-- authenticate mtls", "NO authenticate anyOf"}},
		{"what can be asked for comes before a certificate", certificateOrKey, nil, fault.CredentialMissing, "", exchange.HeaderOther, []string{`ApiKey header="x-api-key"`},
			[]string{"-- authenticate mtls", "-- authenticate apiKey", "NO authenticate anyOf"}},
	} {
		var legend exchange.Legend
		x := request(c.fields...)
		v := pipeline.NewCombinedChain(&c.of, nil, kept, &legend).Run(x, &pipeline.World{Now: now})
		who := ""
		if x.Identity != nil {
			who = x.Identity.Method
		}
		if v.Code() != c.code || v.Passed() != (c.code == fault.None) || who != c.who || x.Verified != c.verified || !slices.Equal(x.Challenges, c.challenges) {
			t.Errorf("%s: %v, %q, verified %v, challenges %q", c.what, v.Code(), who, x.Verified, x.Challenges)
		}
		if d := cmp.Diff(c.steps, steps(x, &legend)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, d)
		}
	}
}

func TestAllOf(t *testing.T) {
	t.Parallel()
	three := pipeline.Combination{All: true, Proofs: []pipeline.Parts{certificate(), token(), key()}, Branches: []pipeline.Branch{
		{Proof: 0, Conditions: roleOf("c"), Label: "mtls"}, {Proof: 1, Label: "jwt"}, {Proof: 2, Label: "apiKey"},
	}}
	for _, c := range []struct {
		what   string
		fields []string
		code   fault.Code
		last   string
	}{
		{"all, of one consumer", []string{"x-shown: acme", "authorization: app", "x-api-key: acme"}, fault.None, "ok allOf[2] apiKey"},
		{"a token that names none", []string{"x-shown: acme", "authorization: alice", "x-api-key: acme"}, fault.None, "ok allOf[2] apiKey"},
		{"another consumer", []string{"x-shown: acme", "authorization: alice", "x-api-key: other"}, fault.ConsumerNotAllowed, "NO allOf[2] apiKey"},
		{"a challenge comes before a certificate", []string{"x-api-key: acme"}, fault.CredentialMissing, "NO authenticate allOf"},
		{"only the certificate is missing", []string{"authorization: alice", "x-api-key: acme"}, noCertificate, "NO authenticate allOf"},
		{"nothing", nil, fault.CredentialMissing, "NO authenticate allOf"},
		{"a bad one beside two good ones", []string{"x-shown: acme", "authorization: bad", "x-api-key: acme"}, fault.TokenExpired, "NO authenticate jwt"},
	} {
		var legend exchange.Legend
		x := request(c.fields...)
		v := pipeline.NewCombinedChain(&three, nil, kept, &legend).Run(x, &pipeline.World{Now: now})
		trail := steps(x, &legend)
		if v.Code() != c.code || v.Passed() != (c.code == fault.None) || trail[len(trail)-1] != c.last {
			t.Errorf("%s: %v, %q", c.what, v.Code(), trail)
		}
		if !v.Passed() {
			if x.Verified != exchange.HeaderOther {
				t.Errorf("%s: %v goes on", c.what, x.Verified)
			}
			continue
		}
		id := x.Identity
		if id.Method != "jwt" || id.Claims == nil || id.Named != acme || id.Consumer != "acme" || len(id.Proofs) != 3 || x.Verified != exchange.HeaderAuthorization {
			t.Errorf("%s: %+v, verified %v", c.what, id, x.Verified)
		}
	}
}

// One credential proves one thing: who reads a field that was accepted is not
// asked of it, and what one method does not claim another may.
func TestACredentialIsJudgedOnce(t *testing.T) {
	t.Parallel()
	var asked int
	opaque := pipeline.Parts{Authenticate: method{name: "authorization", asked: &asked, ids: map[string]*exchange.Identity{"strange": {Method: "introspect"}, "alice": {Method: "introspect"}}},
		Check: exchange.Check{Phase: "authenticate", Name: "introspect"}, Credentials: []string{"authorization"}}
	c := pipeline.Combination{Proofs: []pipeline.Parts{token(), opaque}, Branches: []pipeline.Branch{{Proof: 0, Label: "jwt"}, {Proof: 1, Label: "introspect"}}}
	for value, want := range map[string]struct {
		who   string
		asked int
	}{"strange": {"introspect", 1}, "alice": {"jwt", 0}, "bad": {"", 0}} {
		asked = 0
		x := request("authorization: " + value)
		v := pipeline.NewCombinedChain(&c, nil, kept, &exchange.Legend{}).Run(x, &pipeline.World{Now: now})
		if v.Passed() != (want.who != "") || asked != want.asked || v.Passed() && x.Identity.Method != want.who {
			t.Errorf("%s: %v, the second was asked %d times", value, v.Code(), asked)
		}
	}
}

func TestACombinationThatIsNotWholeLetsNobodyIn(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]pipeline.Combination{
		"zero":                {},
		"all of nothing":      {All: true, Proofs: []pipeline.Parts{key()}},
		"no authenticator":    {Proofs: []pipeline.Parts{{}}, Branches: []pipeline.Branch{{}}},
		"no condition":        {Proofs: []pipeline.Parts{key()}, Branches: []pipeline.Branch{{Conditions: []pipeline.Parts{{}}}}},
		"a proof of nowhere":  {Proofs: []pipeline.Parts{key()}, Branches: []pipeline.Branch{{Proof: 1}}},
		"too many branches":   {Proofs: []pipeline.Parts{key()}, Branches: make([]pipeline.Branch, pipeline.MaxBranches+1)},
		"too many of both":    {Proofs: slices.Repeat([]pipeline.Parts{key()}, 5), Branches: make([]pipeline.Branch, 8)},
		"an identity of none": {Proofs: []pipeline.Parts{{Authenticate: method{name: "x-api-key"}}}, Branches: []pipeline.Branch{{}}},
	} {
		if v := pipeline.NewCombinedChain(&c, nil, kept, &exchange.Legend{}).Run(request("x-api-key: acme"), &pipeline.World{Now: now}); v.Passed() || v.Code() != fault.InternalError {
			t.Errorf("%s: %v", what, v.Code())
		}
	}
}

// The verdict of random combinations is that of a model that says the rules
// one by one and knows no trail, no bits and no order of work.
func TestCombinationsDecideAsTheirRulesSay(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(19, 8))
	roles := []string{"r0", "r1", "r2"}
	some := func(from []string) (list []string) {
		for _, s := range from {
			if rnd.IntN(2) == 0 {
				list = append(list, s)
			}
		}
		return list
	}
	for range 5000 {
		c := pipeline.Combination{All: rnd.IntN(2) == 0}
		methods := 1 + rnd.IntN(4)
		type presented struct {
			v  pipeline.Verdict
			id *exchange.Identity
		}
		var shown []presented
		var missing []fault.Code
		var fields []string
		for i := range methods {
			p := presented{v: pipeline.NotMine}
			switch rnd.IntN(8) {
			case 0:
				p.v = pipeline.Refuse(fault.KeyUnknown)
			case 1:
				p.v = pipeline.Unclaimed(fault.TokenIssuerUnknown)
			case 2, 3, 4, 5:
				p.v, p.id = pipeline.Pass, &exchange.Identity{Method: fmt.Sprint(i), Issuer: fmt.Sprint("i", rnd.IntN(2)), Token: marks, Roles: some(roles)}
				if rnd.IntN(2) == 0 {
					p.id.Named = []*exchange.Consumer{acme, other}[rnd.IntN(2)]
				}
			}
			shown = append(shown, p)
			fields = append(fields, fmt.Sprintf("x-%d: y", i))
			parts := pipeline.Parts{Authenticate: method{name: fmt.Sprintf("x-%d", i), says: map[string]pipeline.Verdict{}, ids: map[string]*exchange.Identity{"y": p.id}}, Credentials: []string{fmt.Sprintf("x-%d", i)}}
			if !p.v.Passed() {
				parts.Authenticate.(method).says["y"] = p.v
			}
			code := fault.CredentialMissing
			if rnd.IntN(2) == 0 {
				code, parts.Missing = noCertificate, noCertificate
			}
			missing = append(missing, code)
			c.Proofs = append(c.Proofs, parts)
		}
		wants := make([][]string, 0, 8)
		if c.All { // each member has a method of its own
			for i := range methods {
				wants = append(wants, some(roles))
				c.Branches = append(c.Branches, pipeline.Branch{Proof: i, Conditions: roleOf(wants[i]...)})
			}
		} else {
			for i := range methods { // every method is asked for, and by branches of any issuers
				wants = append(wants, some(roles))
				c.Branches = append(c.Branches, pipeline.Branch{Proof: i, Conditions: roleOf(wants[i]...)})
			}
			for len(c.Branches) < pipeline.MaxBranches && rnd.IntN(3) > 0 {
				want := some(roles)
				wants = append(wants, want)
				c.Branches = append(c.Branches, pipeline.Branch{Proof: rnd.IntN(methods), Issuers: []string{fmt.Sprint("i", rnd.IntN(2))}, Conditions: roleOf(want...)})
			}
		}

		// The model.
		code, who := fault.None, ""
		decide := func() {
			for _, p := range shown {
				if p.v == pipeline.Refuse(fault.KeyUnknown) {
					code = fault.KeyUnknown
					return
				}
			}
			for _, p := range shown {
				if p.v == pipeline.Unclaimed(fault.TokenIssuerUnknown) {
					code = fault.TokenIssuerUnknown
					return
				}
			}
			var absent []fault.Code
			proved := 0
			for i, p := range shown {
				if p.id == nil {
					absent = append(absent, missing[i])
				} else {
					proved++
				}
			}
			if c.All && len(absent) > 0 || proved == 0 {
				code = absent[0]
				if slices.Contains(absent, fault.CredentialMissing) {
					code = fault.CredentialMissing
				}
				return
			}
			var names []string
			best := 0
			for i, b := range c.Branches {
				id := shown[b.Proof].id
				if id == nil || b.Issuers != nil && !slices.Contains(b.Issuers, id.Issuer) {
					continue
				}
				met := 1
				for _, want := range wants[i] {
					if !id.HasRole(want) {
						break
					}
					met++
				}
				holds := met == 1+len(wants[i])
				switch {
				case c.All && !holds:
					code = fault.RoleMissing
					return
				case c.All:
					if id.Named != nil {
						names = append(names, id.Named.Name)
					}
					if n := len(names); n > 1 && names[n-1] != names[0] {
						code = fault.ConsumerNotAllowed
						return
					}
				case holds:
					code, who = fault.None, id.Method
					return
				case met > best:
					best, who, code = met, id.Method, fault.RoleMissing
				}
			}
			if c.All {
				who = "0"
			}
		}
		decide()

		x := request(fields...)
		v := pipeline.NewCombinedChain(&c, nil, kept, &exchange.Legend{}).Run(x, &pipeline.World{Now: now})
		if v.Code() != code || v.Passed() != (code == fault.None) {
			t.Fatalf("%v, the rules say %v: %+v", v.Code(), code, c)
		}
		if (v.Passed() || code == fault.RoleMissing && !c.All) && x.Identity.Method != who {
			t.Fatalf("%v is %s, the rules say %s: %+v", v.Code(), x.Identity.Method, who, c)
		}
		if all := x.Trail.Steps(); !v.Passed() && (all[len(all)-1].Outcome == exchange.Passed || all[len(all)-1].Outcome == exchange.Skipped || all[len(all)-1].Code != code) {
			t.Fatalf("the last step does not say %v: %+v", code, all)
		}
	}
}

func TestTheLargestCombinationFitsTheTrail(t *testing.T) {
	t.Parallel()
	var c pipeline.Combination
	var fields []string
	for i := range pipeline.MaxAttempts - pipeline.MaxBranches {
		name := fmt.Sprintf("x-%d", i)
		c.Proofs = append(c.Proofs, pipeline.Parts{Authenticate: method{name: name, ids: map[string]*exchange.Identity{"y": {Method: name, Roles: []string{"a"}}}}, Credentials: []string{name}})
		c.Branches = append(c.Branches, pipeline.Branch{Proof: i, Conditions: roleOf("a", "b")}, pipeline.Branch{Proof: i, Conditions: roleOf("a", "b", "c")})
		fields = append(fields, name+": y")
	}
	x := request(fields...)
	x.Trail.Begin(0) // the route's
	x.Trail.Begin(0) // a limit of screen
	v := pipeline.NewCombinedChain(&c, nil, kept, &exchange.Legend{}).Run(x, &pipeline.World{Now: now})
	if n := len(x.Trail.Steps()); v.Code() != fault.RoleMissing || n != 2+pipeline.MaxAttempts || x.Identity.Method != "x-0" {
		t.Errorf("%v with %d steps", v.Code(), n)
	}
	x.Trail.Begin(1)
	x.Trail.Begin(1)
	if n := len(x.Trail.Steps()); n != 4+pipeline.MaxAttempts {
		t.Errorf("no room for limits and what comes behind: %d steps", n)
	}
}

func TestJudgingCombinationsAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	anyOf := pipeline.NewCombinedChain(&pipeline.Combination{Proofs: []pipeline.Parts{token(), key()}, Branches: []pipeline.Branch{
		{Issuers: []string{"corp"}, Conditions: roleOf("a", "b")}, {Proof: 1, Conditions: roleOf("b")},
	}}, nil, kept, &exchange.Legend{})
	w := &pipeline.World{Now: now}
	x := request("authorization: alice", "x-api-key: acme")
	if n := testing.AllocsPerRun(100, func() {
		x.Trail.Reset()
		if !anyOf.Run(x, w).Passed() {
			t.Fatal("refused")
		}
	}); n > 0 {
		t.Errorf("anyOf: %v allocations", n)
	}
}

func BenchmarkProofs(b *testing.B) {
	w := &pipeline.World{Now: now}
	branches := []pipeline.Branch{{Conditions: roleOf("a")}, {Proof: 1, Conditions: roleOf("b")}}
	both := []pipeline.Parts{token(), key()}
	for name, c := range map[string]*pipeline.Chain{
		"one":    pipeline.NewChain(append([]pipeline.Parts{token()}, roleOf("a")...), kept, &exchange.Legend{}),
		"any-of": pipeline.NewCombinedChain(&pipeline.Combination{Proofs: both, Branches: branches}, nil, kept, &exchange.Legend{}),
		"all-of": pipeline.NewCombinedChain(&pipeline.Combination{All: true, Proofs: both, Branches: branches}, nil, kept, &exchange.Legend{}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			x := request("authorization: alice", "x-api-key: acme")
			for b.Loop() {
				x.Trail.Reset()
				if !c.Run(x, w).Passed() {
					b.Fatal("refused")
				}
			}
		})
	}
}
