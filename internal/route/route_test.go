package route_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/route"
)

// ask makes the exchange of a request such as "GET api.example.com /x", with
// fields after it as "name: value".
func ask(t interface {
	Helper()
	Fatalf(string, ...any)
}, line string, fields ...string) *exchange.Exchange {
	t.Helper()
	parts := strings.SplitN(line, " ", 3)
	x := &exchange.Exchange{}
	x.Req.Reset()
	x.Req.Method, x.Req.Host, x.Req.Path = []byte(parts[0]), []byte(parts[1]), []byte(parts[2])
	if parts[1] == "-" {
		x.Req.Host = nil
	}
	if parts[2] != "*" {
		path, uses, err := exchange.NormalizePath([]byte(parts[2]), x.Alloc)
		if err != nil {
			t.Fatalf("%s: %v", parts[2], err)
		}
		x.Req.Path, x.Req.PathUses = path, uses
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.Identify([]byte(name))})
	}
	return x
}

// outcome writes what Match said, for tables: the route and its captures, or
// the code.
func outcome(ix *route.Index, x *exchange.Exchange) string {
	i, code, ok := ix.Match(x)
	switch {
	case ok:
		s := fmt.Sprint(i)
		for _, p := range x.Params {
			s += fmt.Sprintf(" %s=%s", p.Name, p.Value)
		}
		return s
	case code == fault.MethodNotAllowed:
		return code.String() + " " + x.Allow
	}
	return code.String()
}

func build(t testing.TB, patterns ...route.Pattern) *route.Index {
	t.Helper()
	for i := range patterns {
		patterns[i].Route = i
	}
	ix, problems := route.Build(patterns)
	if len(problems) > 0 {
		t.Fatalf("Build: %+v", problems)
	}
	return ix
}

func paths(list ...string) (all []route.Pattern) {
	for _, p := range list {
		all = append(all, route.Pattern{Path: p})
	}
	return all
}

func TestMostSpecificPathWins(t *testing.T) {
	t.Parallel()
	ix := build(t, paths("/orders/**", "/orders/{id}", "/orders/mine", "/orders/{id}/lines/{line}", "/orders/mine/lines/**", "/exact", "/slash/", "/a/{x}/c", "/a/b/**", "/a/{y}/{z}/d")...)
	for path, want := range map[string]string{
		"/orders":             "0 rest=",
		"/orders/":            "0 rest=",
		"/orders/42":          "1 id=42",
		"/orders/mine":        "2",
		"/orders/MINE":        "1 id=MINE",
		"/orders/42/":         "0 rest=42/",
		"/orders/42/x":        "0 rest=42/x",
		"/orders/42/lines/7":  "3 id=42 line=7",
		"/orders/mine/lines":  "4 rest=",
		"/orders/mine/lines/": "4 rest=",
		"/orders/42/lines/":   "0 rest=42/lines/",
		"/ordersx":            "route_unknown",
		"/Orders":             "route_unknown",
		"/exact":              "5",
		"/exact/":             "route_unknown",
		"/slash/":             "6",
		"/slash":              "route_unknown",
		"/":                   "route_unknown",
		"/a/b/c":              "8 rest=c",
		"/a/q/c":              "7 x=q",
		"/a/b":                "8 rest=",
		"/a/b/c/d":            "8 rest=c/d",
		"/a/q/c/d":            "9 y=q z=c",
		"/a/q/x/d":            "9 y=q z=x",
		"/a/q/x":              "route_unknown",
	} {
		if got := outcome(ix, ask(t, "GET h "+path)); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	root := build(t, paths("/**")...)
	for _, path := range []string{"/", "/a", "/a/b/"} {
		if got := outcome(root, ask(t, "GET h "+path)); got != "0 rest="+path[1:] {
			t.Errorf("/** on %s: %s", path, got)
		}
	}
}

func TestHostOrder(t *testing.T) {
	t.Parallel()
	at := func(host, path string) route.Pattern { return route.Pattern{Host: host, Path: path} }
	ix := build(t,
		at("api.example.com", "/own/**"), at("*.example.com", "/wild/**"), at("*.eu.example.com", "/wild/**"),
		at("", "/open/**"), at("any", "/health"), at("", "/own/**"), at("[2001:db8::1]", "/six"), at("API2.Example.com", "/upper"))
	for line, want := range map[string]string{
		"GET api.example.com /own/1":   "0 rest=1",
		"GET api.example.com /wild":    "1 rest=",
		"GET api.example.com /open":    "route_unknown",
		"GET api.example.com /health":  "4",
		"GET x.example.com /wild":      "1 rest=",
		"GET x.example.com /own":       "route_unknown",
		"GET x.eu.example.com /wild":   "2 rest=",
		"GET a.b.eu.example.com /wild": "2 rest=",
		"GET eu.example.com /wild":     "1 rest=",
		"GET example.com /wild":        "route_unknown",
		"GET example.com /open":        "3 rest=",
		"GET .example.com /wild":       "route_unknown",
		"GET other.org /own":           "5 rest=",
		"GET other.org /health":        "4",
		"GET - /open":                  "3 rest=",
		"GET [2001:db8::1] /six":       "6",
		"GET api2.example.com /upper":  "7",
	} {
		if got := outcome(ix, ask(t, line)); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

func TestFirstPathFoundIsFinal(t *testing.T) {
	t.Parallel()
	ix := build(t,
		route.Pattern{Path: "/x/y", Methods: []string{"GET"}},
		route.Pattern{Path: "/x/y", Methods: []string{"PUT", "DELETE"}},
		route.Pattern{Path: "/x/**"},
		route.Pattern{Path: "/beta", Headers: []route.Header{{"X-Beta", "1"}}},
		route.Pattern{Path: "/**", Methods: []string{"GET", "OPTIONS"}},
	)
	for line, want := range map[string]string{
		"GET h /x/y":     "0",
		"HEAD h /x/y":    "0",
		"DELETE h /x/y":  "1",
		"POST h /x/y":    "method_not_allowed GET, HEAD, PUT, DELETE",
		"POST h /x/z":    "2 rest=z",
		"PURGE h /x/z":   "method_unknown",
		"get h /x/z":     "method_unknown",
		"TRACE h /x/z":   "method_not_allowed GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
		"CONNECT h /x/z": "method_not_allowed GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
		"get h /x/y":     "method_unknown",
		"BREW h /pot":    "method_unknown",
		"GET h /beta":    "route_unknown",
		"OPTIONS h *":    "route_unknown",
	} {
		if got := outcome(ix, ask(t, line)); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	var zero route.Index
	if got := outcome(&zero, ask(t, "GET h /")); got != "route_unknown" {
		t.Errorf("the zero Index: %s", got)
	}
}

func TestMoreConditionsWin(t *testing.T) {
	t.Parallel()
	ix := build(t,
		route.Pattern{Path: "/x", Methods: []string{"GET", "POST"}},
		route.Pattern{Path: "/x", Methods: []string{"GET"}, Headers: []route.Header{{"X-Beta", "1"}}},
		route.Pattern{Path: "/x", Methods: []string{"GET"}, Headers: []route.Header{{"X-Beta", "1"}, {"X-Tenant", "a"}}},
		route.Pattern{Path: "/x", Methods: []string{"GET"}, Headers: []route.Header{{"X-Beta", "2"}}},
	)
	for _, c := range []struct {
		name, method, want string
		fields             []string
	}{
		{"none", "GET", "0", nil},
		{"one", "GET", "1", []string{"x-beta: 1"}},
		{"two", "GET", "2", []string{"X-TENANT: a", "X-Beta: 1"}},
		{"one of two", "GET", "0", []string{"X-Tenant: a"}},
		{"another value", "GET", "3", []string{"X-Beta: 2"}},
		{"no such value", "GET", "0", []string{"X-Beta: 3"}},
		{"the method is on another route of the pattern", "POST", "0", []string{"X-Beta: 1"}},
		{"wrong method", "PUT", "method_not_allowed GET, HEAD, POST", []string{"X-Beta: 1"}},
		{"a header that decides occurs twice", "GET", "parameter_ambiguous", []string{"X-Beta: 1", "x-beta: 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := outcome(ix, ask(t, c.method+" h /x", c.fields...)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPathFeaturesNeedPathAllow(t *testing.T) {
	t.Parallel()
	ix := build(t,
		route.Pattern{Path: "/files/**", Allowed: exchange.EncodedSlash | exchange.EmptySegments},
		route.Pattern{Path: "/item/{id}", Allowed: exchange.EncodedSlash | exchange.EncodedReserved, Methods: []string{"GET"}},
		route.Pattern{Path: "/plain/**"},
	)
	for path, want := range map[string]string{
		"/files/a%2Fb":    "0 rest=a%2Fb",
		"/files//a":       "0 rest=/a",
		"/files/a;b":      "path_not_normal",
		"/plain/a%2Fb":    "path_not_normal",
		"/plain//a":       "path_not_normal",
		"/item/a%2Fb":     "path_not_normal",
		"/item/a%3Fb":     "1 id=a?b",
		"/item/J%C3%BCrg": "1 id=Jürg",
		"/item/":          "route_unknown",
		"/none//a":        "path_not_normal",
		"//":              "path_not_normal",
	} {
		x := ask(t, "GET h "+path)
		if got := outcome(ix, x); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
		if want == "path_not_normal" && x.Reason == "" {
			t.Errorf("%s: no reason", path)
		}
	}
	if got := outcome(ix, ask(t, "POST h /item/a%3Fb")); got != "path_not_normal" {
		t.Errorf("a feature that no matched route lists, wrong method: %s", got)
	}
}

func TestAlmostAProtectedPattern(t *testing.T) {
	t.Parallel()
	all := exchange.EncodedSlash | exchange.Semicolon | exchange.EmptySegments | exchange.EncodedReserved | exchange.EncodedPercent
	ix := build(t,
		route.Pattern{Path: "/**", Allowed: all},
		route.Pattern{Path: "/admin/**", Protected: true},
		route.Pattern{Path: "/Reports/{id}", Protected: true},
		route.Pattern{Path: "/reports/**"},
		route.Pattern{Path: "/open", Protected: false},
		route.Pattern{Path: "/sh!p", Protected: true},
		route.Pattern{Path: "/m%C3%BCller", Protected: true},
		route.Pattern{Host: "api.example.com", Path: "/secret", Protected: true},
		route.Pattern{Host: "*.example.com", Path: "/**"},
	)
	for line, want := range map[string]string{
		"GET h /admin/x":               "1 rest=x",
		"GET h /admin":                 "1 rest=",
		"GET h /admin/X/":              "1 rest=X/",
		"GET h /Admin/x":               "path_not_normal",
		"GET h /ADMIN":                 "path_not_normal",
		"GET h /admin./x":              "path_not_normal",
		"GET h /admin%20/x":            "path_not_normal",
		"GET h /admin.":                "path_not_normal",
		"GET h //admin/x":              "path_not_normal",
		"GET h /admin;a=b/x":           "path_not_normal",
		"GET h /admin%3Bx/y":           "path_not_normal",
		"GET h /administrator":         "0 rest=administrator",
		"GET h /x/admin":               "0 rest=x/admin",
		"GET h /Reports/7":             "2 id=7",
		"GET h /reports/7":             "path_not_normal",
		"GET h /reports/7/8":           "3 rest=7/8",
		"GET h /Reports/7/":            "path_not_normal",
		"GET h /Open":                  "0 rest=Open",
		"GET h /open/":                 "0 rest=open/",
		"GET h /sh!p":                  "5",
		"GET h /sh%21p":                "path_not_normal",
		"GET h /m%C3%BCller":           "6",
		"GET h /M%C3%9CLLER":           "path_not_normal",
		"GET api.example.com /secret":  "7",
		"GET api.example.com /secret/": "path_not_normal",
		"GET api.example.com /Secret":  "path_not_normal",
		"GET api.example.com /other":   "8 rest=other",
		"GET x.example.com /Secret":    "8 rest=Secret",
	} {
		if got := outcome(ix, ask(t, line)); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	alone := build(t, route.Pattern{Path: "/admin", Protected: true})
	if got := outcome(alone, ask(t, "GET h /Admin")); got != "route_unknown" {
		t.Errorf("without a broader route: %s", got)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	one := func(p route.Pattern) []route.Pattern { return []route.Pattern{p} }
	path := func(s string) []route.Pattern { return one(route.Pattern{Path: s}) }
	for _, c := range []struct {
		name     string
		patterns []route.Pattern
		field    string
		text     string
	}{
		{"no path", path(""), "path", "slash"},
		{"relative path", path("x"), "path", "slash"},
		{"** in the middle", path("/x/**/y"), "path", "end"},
		{"a star that is no pattern", path("/x/*"), "path", "whole segment"},
		{"a capture beside text", path("/x/a{b}"), "path", "whole segment"},
		{"a capture without a name", path("/x/{}"), "path", "name a capture"},
		{"a capture called rest", path("/x/{rest}"), "path", "**"},
		{"a capture twice", path("/x/{a}/{a}"), "path", "twice"},
		{"too many captures", path(strings.Join(strings.Split("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}", ""), "")), "path", "captures"},
		{"too many segments", path(strings.Repeat("/a", 65)), "path", "segments"},
		{"too long", path("/" + strings.Repeat("a", 2048)), "path", "longer"},
		{"dot segment", path("/a/../b"), "path", "never match"},
		{"needless escape", path("/%61"), "path", "normal form"},
		{"beyond ASCII", path("/müller"), "path", "never match"},
		{"a feature that is not allowed", path("/a//b"), "path", "emptySegments"},
		{"TRACE", one(route.Pattern{Path: "/", Methods: []string{"TRACE"}}), "methods", "never"},
		{"lower case", one(route.Pattern{Path: "/", Methods: []string{"get"}}), "methods", "GET"},
		{"unknown method", one(route.Pattern{Path: "/", Methods: []string{"BREW"}}), "methods", "BREW"},
		{"host with a port", one(route.Pattern{Path: "/", Host: "a.example.com:80"}), "host", "port"},
		{"host with a star inside", one(route.Pattern{Path: "/", Host: "a.*.com"}), "host", "not a host"},
		{"host of dots", one(route.Pattern{Path: "/", Host: "a..b"}), "host", "not a host"},
		{"host that ends in a dot", one(route.Pattern{Path: "/", Host: "a.b."}), "host", "not a host"},
		{"star alone", one(route.Pattern{Path: "/", Host: "*"}), "host", "not a host"},
		{"header twice", one(route.Pattern{Path: "/", Headers: []route.Header{{"X-A", "1"}, {"x-a", "2"}}}), "headers", "twice"},
		{"header with _", one(route.Pattern{Path: "/", Headers: []route.Header{{"X_A", "1"}}}), "headers", "dropped"},
		{"header with a space", one(route.Pattern{Path: "/", Headers: []route.Header{{"X A", "1"}}}), "headers", "not a header name"},
		{"value with a space", one(route.Pattern{Path: "/", Headers: []route.Header{{"X-A", " 1"}}}), "headers", "never match"},
		{"equal", paths("/x", "/x"), "path", "GET, HEAD, POST"},
		{"equal but for a name", paths("/x/{a}", "/x/{b}"), "path", "another route"},
		{"equal for HEAD", []route.Pattern{{Path: "/x", Methods: []string{"GET"}}, {Path: "/x", Methods: []string{"HEAD"}}}, "path", "takes HEAD "},
		{"equal conditions", []route.Pattern{{Path: "/x", Headers: []route.Header{{"A", "1"}, {"B", "2"}}}, {Path: "/x", Headers: []route.Header{{"b", "2"}, {"a", "1"}}}}, "path", "another route"},
		{"equal for hosts without routes", []route.Pattern{{Path: "/x"}, {Path: "/x", Host: "any"}}, "path", "another route"},
		{"equal but for case of host", []route.Pattern{{Path: "/x", Host: "a.com"}, {Path: "/x", Host: "A.com"}}, "path", "another route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ix, problems := route.Build(c.patterns)
			if ix != nil || len(problems) != 1 {
				t.Fatalf("Build: %v, %+v; want one problem", ix != nil, problems)
			}
			p := problems[0]
			if p.Field != c.field || !strings.Contains(p.Text, c.text) || p.Pattern != len(c.patterns)-1 || (p.Other == 0) != (len(c.patterns) == 2) {
				t.Errorf("%+v; want %s: …%s…", p, c.field, c.text)
			}
		})
	}
	if _, problems := route.Build([]route.Pattern{{Path: "x", Host: ":", Methods: []string{"TRACE"}}, {Path: "/%"}}); len(problems) != 4 {
		t.Errorf("every problem is reported: %+v", problems)
	}
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hostA, pathA, hostB, pathB string
		want                       bool
	}{
		{"", "/auth/token", "", "/auth/token", true},
		{"", "/auth/token", "", "/auth/{x}", true},
		{"", "/auth/token", "", "/**", true},
		{"", "/auth", "", "/auth/**", true},
		{"", "/auth/token", "", "/auth", false},
		{"", "/auth/token", "", "/auth/token/", false},
		{"", "/auth/", "", "/auth/{x}", false},
		{"", "/a/{x}/c", "", "/a/b/{y}", true},
		{"", "/a/{x}/c", "", "/a/b/d", false},
		{"a.com", "/x", "b.com", "/x", false},
		{"a.com", "/x", "any", "/x", true},
		{"a.b.com", "/x", "*.b.com", "/x", true},
		{"b.com", "/x", "*.b.com", "/x", false},
		{"*.a.b.com", "/x", "*.b.com", "/x", true},
		{"*.a.com", "/x", "*.b.com", "/x", false},
		{"", "x", "", "/y", true},
	} {
		a, b := route.Pattern{Host: c.hostA, Path: c.pathA}, route.Pattern{Host: c.hostB, Path: c.pathB}
		if route.Overlap(a, b) != c.want || route.Overlap(b, a) != c.want {
			t.Errorf("%+v: want %v", c, c.want)
		}
	}
}
