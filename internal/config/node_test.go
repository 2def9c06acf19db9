package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/secret"
)

// limit is what a policy's config may look like.
type limit struct {
	Rate  scalar.Rate         `json:"rate" required:"true"`
	Burst int64               `json:"burst"`
	Mode  string              `json:"mode" enum:"exact,rough" later:"magic"`
	Per   scalar.List[string] `json:"per"`
	On    *bool               `json:"on"`
	Tags  map[string]string   `json:"tags"`
	Key   secret.Value        `json:"key"`
}

func (l *limit) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		return errors.New("never is not a limit")
	}
	return l.Rate.UnmarshalText(text)
}

// node returns what a document holds as a route's rateLimit.
func node(t *testing.T, value string) config.Node {
	t.Helper()
	doc := good(t, "upstreams: { a: [http://a/] }\nroutes:\n- path: /\n  upstream: a\n  auth: none\n  rateLimit: "+value+"\n")
	p, ok := doc.Flatten()[0].Policy("rateLimit")
	if !ok {
		t.Fatal("the route has no rateLimit")
	}
	return p.Node
}

func TestANodeIsDecodedAsStrictlyAsTheDocument(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"one word", "10/s", ""},
		{"an object", "{ rate: 10/s, burst: 5, mode: exact, per: ip, on: true, tags: { a: b } }", ""},
		{"a list of one word and an object", "[10/s, { rate: 1/s }]", ""},
		{"a list within a list", "{ rate: 1/s, per: [ip, consumer] }", ""},
		{"a word that is refused", "never", "warder.yaml:6:14: routes[0].rateLimit: never is not a limit"},
		{"an unknown key", "{ rate: 10/s, brust: 5 }", `warder.yaml:6:28: routes[0].rateLimit.brust: unknown key; did you mean "burst"?`},
		{"a key that is missing", "{ burst: 5 }", `warder.yaml:6:14: routes[0].rateLimit: rate is missing`},
		{"a number that is none", "{ rate: 10/s, burst: 5.0 }", `warder.yaml:6:35: routes[0].rateLimit.burst: "5.0" is not a whole number`},
		{"a number that is too large", "{ rate: 10/s, burst: 9223372036854775808 }", `warder.yaml:6:35: routes[0].rateLimit.burst: "9223372036854775808" is not a whole number`},
		{"a word of another list", "{ rate: 10/s, mode: exakt }", `warder.yaml:6:34: routes[0].rateLimit.mode: "exakt" is not one of exact, rough; did you mean "exact"?`},
		{"a word of a later build", "{ rate: 10/s, mode: magic }", `warder.yaml:6:34: routes[0].rateLimit.mode: "magic" is not in this build; write exact, rough`},
		{"no boolean", "{ rate: 10/s, on: yes }", `warder.yaml:6:32: routes[0].rateLimit.on: "yes" is neither true nor false`},
		{"a list where a word is meant", "{ rate: [10/s] }", "warder.yaml:6:22: routes[0].rateLimit.rate: a single value is meant here, not a list"},
		{"nothing", "{ rate: , per: [~] }", "warder.yaml:6:22: routes[0].rateLimit.rate: there is no value; write one, or remove the key\n" +
			"warder.yaml:6:30: routes[0].rateLimit.per[0]: there is no value; write one, or remove the key"},
		{"a reference", "{ rate: 10/s, tags: { a: \"${env:HOME}\" }, key: \"${env:HOME}\" }",
			"warder.yaml:6:39: routes[0].rateLimit.tags.a: a reference cannot stand here; references stand for secrets, and ${env:NAME} for listening addresses; write $${ for the characters themselves\n" +
				"warder.yaml:6:61: routes[0].rateLimit.key: references inside a policy are not in this build"},
		{"two in a list", "[1/s, 1/x, { rat: 1/s }]", `warder.yaml:6:20: routes[0].rateLimit[1]: "1/x" is not a rate such as 10/s, 100/min or 1000/day: after the number stand / and s, min, hour, day or month` +
			"\n" + `warder.yaml:6:27: routes[0].rateLimit[2].rat: unknown key; did you mean "rate"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var into scalar.List[limit]
			if diff := cmp.Diff(c.want, node(t, c.value).Decode(&into).Error()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANodeIsDecodedWhole(t *testing.T) {
	t.Parallel()
	var l limit
	if err := node(t, `{ rate: 10/s, burst: 5, mode: exact, per: ip, on: false, tags: { a: "$${x}" }, key: k }`).Decode(&l).Err(); err != nil {
		t.Fatal(err)
	}
	if l.Rate.Calls() != 10 || l.Burst != 5 || l.Mode != "exact" || !cmp.Equal([]string(l.Per), []string{"ip"}) ||
		l.On == nil || *l.On || l.Tags["a"] != "${x}" || !l.Key.Equal([]byte("k")) {
		t.Errorf("decoded %+v", l)
	}
}

func TestPlacesBelowANode(t *testing.T) {
	t.Parallel()
	n := node(t, "\n    - 1/s\n    - rate: 1/s\n      tags:\n        a.b: x\n        c: [1, 2]")
	for path, want := range map[string]string{
		"":                "warder.yaml:7:5",
		"[0]":             "warder.yaml:7:7",
		"[1].rate":        "warder.yaml:8:13",
		`[1].tags["a.b"]`: "warder.yaml:10:14",
		"[1].tags.c[1]":   "warder.yaml:11:16",
		"[1].tags.d":      "warder.yaml:10:9",
		"[1].burst":       "warder.yaml:8:7",
		"[7].rate":        "warder.yaml:7:5",
		"[-1]":            "warder.yaml:7:5",
		"[":               "warder.yaml:7:5",
		"...":             "warder.yaml:7:5",
	} {
		if got := n.At(path).String(); got != want {
			t.Errorf("%q is at %s, want %s", path, got, want)
		}
	}
	if got := node(t, "{ rate: 1/s }").At("[0].rate").String(); got != "warder.yaml:6:22" {
		t.Errorf("the first of one is at %s, want 6:22", got)
	}
	if got, want := n.Complain("[1].rate", "too fast", "slow down").String(), "warder.yaml:8:13: routes[0].rateLimit[1].rate: too fast; slow down"; got != want {
		t.Errorf("complaint %q, want %q", got, want)
	}
	if got, want := node(t, "1/s").Complain("burst", "x\x1b[0m\u202e", "").String(), `warder.yaml:6:14: routes[0].rateLimit.burst: x\x1b[0m\u202e`; got != want {
		t.Errorf("complaint %q, want %q", got, want)
	}
}

func TestTheZeroNodeIsNothing(t *testing.T) {
	t.Parallel()
	var n config.Node
	var l limit
	if len(n.Decode(&l)) == 0 || !n.IsZero() || n.At("a.b").Line != 1 {
		t.Error("the zero node decodes")
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	known := []string{"auth", "audience", "routes", "rateLimit", "clientIds", "tls"}
	for word, want := range map[string]string{
		"auht": "auth", "Auth": "auth", "audiance": "audience", "routs": "routes", "ratelimit": "rateLimit", "rate_limit": "rateLimit",
		"client_ids": "clientIds", "tsl": "tls", "x": "", "": "", "banana": "", strings.Repeat("a", 100): "",
	} {
		if want != "" {
			want = `did you mean "` + want + `"?`
		}
		if got := config.DidYouMean(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
