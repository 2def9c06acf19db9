package exchange_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

func TestClaimsAreReadStrictly(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	many := func(last string) string {
		var b strings.Builder
		b.WriteString("{")
		for i := range 3000 {
			b.WriteString(`"` + strings.Repeat("x", i%7) + string(rune(0x4e00+i)) + `":0,`)
		}
		return b.String() + last + "}"
	}
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"an empty object", `{}`, true},
		{"white space around everything", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } ", true},
		{"every kind of value", `{"a":null,"b":true,"c":false,"d":-0.5e+10,"e":"x","f":[{}],"g":{"h":[]}}`, true},
		{"every escape", `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, true},
		{"names that differ in case", `{"a":1,"A":2}`, true},
		{"equal names in different objects", `{"a":{"b":1},"c":{"b":1},"b":{"a":1}}`, true},
		{"as deep as allowed", nested(31), true},
		{"objects as deep as allowed", strings.Repeat(`{"a":`, 31) + "{}" + strings.Repeat("}", 31), true},
		{"objects deeper", strings.Repeat(`{"a":`, 32) + "{}" + strings.Repeat("}", 32), false},
		{"escapes beyond the surrogates", `{"a":"\ue000\uffff"}`, true},
		{"exponents of every kind", `{"a":1E5,"b":1e-5,"c":1E+5}`, true},
		{"thousands of names", many(`"y":0`), true},
		{"one of thousands twice", many(`"` + "x" + string(rune(0x4e01)) + `":0`), false},
		{"deeper", nested(32), false},
		{"a name twice", `{"a":1,"a":1}`, false},
		{"a name twice, once escaped", `{"a":1,"\u0061":1}`, false},
		{"a name twice, inside", `{"x":[{"a":1,"b":2,"a":1}]}`, false},
		{"nothing", ``, false},
		{"a list", `[]`, false},
		{"another bracket at the beginning", `["a":1}`, false},
		{"two objects", `{}{}`, false},
		{"a byte order mark", "\ufeff{}", false},
		{"invalid UTF-8", "{\"a\":\"\xc0\x80\"}", false},
		{"an overlong name", "{\"\xff\":1}", false},
		{"a high half alone", `{"a":"\ud800"}`, false},
		{"a low half alone", `{"a":"\udc00"}`, false},
		{"two high halves", `{"a":"\ud800\ud800"}`, false},
		{"a high half and no low one", `{"a":"\ud800\ue000"}`, false},
		{"a high half and what is no escape", `{"a":"\ud800xxdc00"}`, false},
		{"a name that a line ends", "{\"a\n:1}", false},
		{"a raw control", "{\"a\":\"\n\"}", false},
		{"NUL", "{\"a\":1\x00}", false},
		{"an unknown escape", `{"a":"\x"}`, false},
		{"a leading zero", `{"a":01}`, false},
		{"a plus sign", `{"a":+1}`, false},
		{"a point without digits", `{"a":1.}`, false},
		{"an exponent without digits", `{"a":1e}`, false},
		{"a minus alone", `{"a":-}`, false},
		{"NaN", `{"a":NaN}`, false},
		{"a trailing comma", `{"a":1,}`, false},
		{"a trailing comma in a list", `{"a":[1,]}`, false},
		{"a missing comma", `{"a":1 "b":2}`, false},
		{"a missing colon", `{"a" 1}`, false},
		{"a semicolon for a comma", `{"a":1;"b":2}`, false},
		{"a semicolon for a comma in a list", `{"a":[1;2]}`, false},
		{"a semicolon for a colon", `{"a";1}`, false},
		{"an unquoted name", `{a:1}`, false},
		{"a comment", `{"a":1/**/}`, false},
		{"cut off", `{"a":"`, false},
		{"cut off in an escape", `{"a":"\u00`, false},
	} {
		if _, err := exchange.ParseClaims([]byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestClaimPaths(t *testing.T) {
	t.Parallel()
	c, err := exchange.ParseClaims([]byte(`{"sub":"al\u0069ce","tenant":42,"admin":true,"none":null,"tags":["a","b \"c\""],"mixed":["a",1],"empty":[],
		"realm_access":{"x":[{"roles":1}], "roles" : [ "buyer" , "seller" ],"n.m":"dotted"},"https://example.com/roles":"r",
		"a":{"b":{"c":"deep"}},"a.b":{"c":"wide"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"sub": "alice", "https://example.com/roles": "r", "realm_access.n.m": "dotted", "a.b.c": "deep"} {
		if got, ok := c.String(path); !ok || got != want {
			t.Errorf("%s: %q %v, want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"", ".", "nope", "sub.x", "SUB", "tenant", "none", "tags", "realm_access", "realm_access.", "realm_access.roles.0", "realm_access/n.m", "a.b/c"} {
		if got, ok := c.String(path); ok {
			t.Errorf("%s: %q", path, got)
		}
	}
	for path, want := range map[string]string{"tenant": "42", "admin": "true", "sub": "alice"} {
		if got, ok := c.Scalar(path); !ok || got != want {
			t.Errorf("%s: %q %v, want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"none", "tags", "realm_access", "nope"} {
		if got, ok := c.Scalar(path); ok {
			t.Errorf("%s: %q", path, got)
		}
	}
	for path, want := range map[string][]string{"realm_access.roles": {"buyer", "seller"}, "tags": {"a", `b "c"`}, "sub": {"alice"}, "empty": {}} {
		if got, ok := c.Strings(path); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v, want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"mixed", "tenant", "none", "nope", "realm_access"} {
		if got, ok := c.Strings(path); ok {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// Moments are whole seconds, in one spelling, that no reader of JSON rounds.
func TestMomentsAreWholeSeconds(t *testing.T) {
	t.Parallel()
	for raw, want := range map[exchange.JSON]int64{
		"0": 0, "1750000000": 1750000000, "9007199254740992": 1 << 53,
		"9007199254740993": -1, "18446744073709551616": -1, "-1": -1, "-0": -1, "1.0": -1, "1e9": -1,
		`"1750000000"`: -1, "null": -1, "true": -1, "[1]": -1, "{}": -1, "": -1,
	} {
		if n, ok := raw.Seconds(); ok != (want >= 0) || n != max(want, 0) {
			t.Errorf("%s: %d %v", raw, n, ok)
		}
	}
}

func TestALookAtClaimsCostsNoAllocation(t *testing.T) {
	c, err := exchange.ParseClaims([]byte(`{"tenant":42,"realm_access":{"roles":["x"],"n.m":"dotted"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { c.String("realm_access.n.m"); c.Scalar("tenant") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What we accept encoding/json accepts, and reads to the same members.
func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":[true,{"c":"\u00e9"}]}`, `{"a":"\ud83d\ude00","A":-1.5e3}`, `{"a":1,"a":2}`, "{\"\xff\":0}", `{"a.b":{"c":"x"}}`} {
		f.Add([]byte(seed), "a.b")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		c, err := exchange.ParseClaims(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is not JSON", text)
		}
		var oracle map[string]json.RawMessage
		if err := json.Unmarshal(text, &oracle); err != nil {
			t.Fatal(err)
		}
		if len(oracle) != len(c) {
			t.Fatalf("%d members, want %d", len(c), len(oracle))
		}
		for _, m := range c {
			want, ok := oracle[m.Name]
			if !ok || !bytes.Equal(want, []byte(m.Raw)) {
				t.Fatalf("%q: %q, want %q", m.Name, m.Raw, want)
			}
			var s string
			if got, ok := m.Raw.Text(); ok {
				if json.Unmarshal(want, &s) != nil || got != s {
					t.Fatalf("%q: %q, want %q", m.Name, got, s)
				}
			}
			if texts, ok := m.Raw.Texts(); ok && m.Raw[0] == '[' {
				var list []string
				if err := json.Unmarshal(want, &list); err != nil || !slices.Equal(list, texts) {
					t.Fatalf("%q: %q, want %q", m.Name, texts, list)
				}
			}
		}
		c.String(path)
		c.Strings(path)
		c.Scalar(path)
	})
}
