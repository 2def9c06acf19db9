package route_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/route"
	"pgregory.net/rapid"
)

// naive is the rules of matching by brute force, over a list.
type naive []route.Pattern

func (n naive) outcome(x *exchange.Exchange) string {
	host, path := string(x.Req.Host), string(x.Req.Path)
	near := false
	for _, tier := range n.tiers(host) {
		var best *route.Pattern
		for i := range tier {
			if p := &tier[i]; match(split(p.Path), split(path)) && (best == nil || moreSpecific(split(p.Path), split(best.Path))) {
				best = p
			}
		}
		for _, p := range tier {
			if p.Protected && match(foldPattern(p.Path), foldPath(path)) && (best == nil || moreSpecific(foldPattern(p.Path), foldPattern(best.Path))) {
				near = true
			}
		}
		if best == nil {
			continue
		}
		if near {
			return "path_not_normal"
		}
		return choose(tier, best, x)
	}
	if x.Req.PathUses != 0 {
		return "path_not_normal"
	}
	return "route_unknown"
}

// tiers returns the patterns for a host, those tried first at the front.
func (n naive) tiers(host string) [][]route.Pattern {
	var all [][]route.Pattern
	owned := false
	pick := func(want func(p route.Pattern) bool) {
		var tier []route.Pattern
		for _, p := range n {
			if want(p) {
				tier = append(tier, p)
			}
		}
		if len(tier) > 0 {
			all = append(all, tier)
		}
	}
	pick(func(p route.Pattern) bool { return p.Host != "" && p.Host != "any" && p.Host == host })
	suffixes := map[string]bool{}
	for _, p := range n {
		if suffix, ok := strings.CutPrefix(p.Host, "*"); ok && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			suffixes[suffix] = true
		}
	}
	ordered := []string{}
	for s := range suffixes {
		ordered = append(ordered, s)
	}
	slices.SortFunc(ordered, func(a, b string) int { return len(b) - len(a) })
	for _, s := range ordered {
		pick(func(p route.Pattern) bool { return p.Host == "*"+s })
	}
	owned = len(all) > 0
	pick(func(p route.Pattern) bool { return p.Host == "any" || p.Host == "" && !owned })
	return all
}

func choose(tier []route.Pattern, best *route.Pattern, x *exchange.Exchange) string {
	var group []route.Pattern
	for _, p := range tier {
		if shape(p.Path) == shape(best.Path) {
			group = append(group, p)
		}
	}
	var chosen *route.Pattern
	conditions := func(p *route.Pattern) string { return fmt.Sprint(p.Headers) }
	allow := map[string]bool{}
	for i := range group {
		p := &group[i]
		holds := true
		for _, h := range p.Headers {
			value, n := x.Req.GetName(strings.ToLower(h.Name))
			if n > 1 {
				return "parameter_ambiguous"
			}
			holds = holds && n == 1 && string(value) == h.Value
		}
		if !holds {
			continue
		}
		takes := methodsOf(p)
		for _, m := range takes {
			allow[m] = true
		}
		if slices.Contains(takes, string(x.Req.Method)) {
			if chosen == nil || len(p.Headers) > len(chosen.Headers) || len(p.Headers) == len(chosen.Headers) && conditions(p) < conditions(chosen) {
				chosen = p
			}
		}
	}
	if chosen == nil {
		switch {
		case x.Req.PathUses != 0:
			return "path_not_normal"
		case len(allow) == 0:
			return "route_unknown"
		}
		s := []string{}
		for _, m := range defaultMethods {
			if allow[m] {
				s = append(s, m)
			}
		}
		return "method_not_allowed " + strings.Join(s, ", ")
	}
	if x.Req.PathUses&^chosen.Allowed != 0 {
		return "path_not_normal"
	}
	out := fmt.Sprint(chosen.Route)
	segments := split(string(x.Req.Path))
	for i, s := range split(chosen.Path) {
		switch {
		case s == "**":
			out += " rest=" + strings.Join(segments[min(i, len(segments)):], "/")
		case s != "" && s[0] == '{':
			value, err := url.PathUnescape(segments[i])
			if err != nil || strings.ContainsAny(value, `/\`) {
				return "path_not_normal"
			}
			out += " " + strings.Trim(s, "{}") + "=" + value
		}
	}
	return out
}

var defaultMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func methodsOf(p *route.Pattern) []string {
	if len(p.Methods) == 0 {
		return defaultMethods
	}
	if slices.Contains(p.Methods, "GET") {
		return append(slices.Clone(p.Methods), "HEAD")
	}
	return p.Methods
}

func split(path string) []string { return strings.Split(path[1:], "/") }

func match(pattern, path []string) bool {
	for i, s := range pattern {
		switch {
		case s == "**":
			return true
		case i == len(path):
			return false
		case s != "" && s[0] == '{':
			if path[i] == "" {
				return false
			}
		case s != path[i]:
			return false
		}
	}
	return len(pattern) == len(path)
}

func moreSpecific(a, b []string) bool {
	kind := func(s []string, i int) int {
		switch {
		case i == len(s):
			return 2
		case s[i] == "**":
			return 3
		case s[i] != "" && s[i][0] == '{':
			return 1
		}
		return 0
	}
	for i := 0; i <= len(a) && i <= len(b); i++ {
		if x, y := kind(a, i), kind(b, i); x != y {
			return x < y
		}
	}
	return false
}

func shape(path string) string {
	s := split(path)
	for i := range s {
		if s[i] != "" && s[i][0] == '{' {
			s[i] = "{}"
		}
	}
	return strings.Join(s, "/")
}

func foldPattern(path string) []string { return fold(split(path)) }
func foldPath(path string) []string    { return fold(split(path)) }

func fold(segments []string) []string {
	out := []string{}
	for _, s := range segments {
		if s == "**" || s != "" && s[0] == '{' {
			out = append(out, s)
			continue
		}
		s, _ = url.PathUnescape(strings.ReplaceAll(s, "%2F", "%252f"))
		if i := strings.IndexAny(s, ";?#"); i >= 0 {
			s = s[:i]
		}
		if s = strings.TrimRight(strings.ToLower(strings.ToUpper(s)), ". "); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func TestIndexAgreesWithTheRulesByBruteForce(t *testing.T) {
	t.Parallel()
	host := rapid.SampledFrom([]string{"", "", "any", "a.x.org", "*.x.org", "*.a.x.org", "b.org"})
	segment := rapid.SampledFrom([]string{"a", "b", "A", "a.", "{x}", "{y}", "c!", "%C3%BC"})
	tail := rapid.SampledFrom([]string{"", "/", "/**"})
	methods := rapid.SampledFrom([][]string{nil, nil, {"GET"}, {"POST", "DELETE"}, {"HEAD", "OPTIONS"}})
	headers := rapid.SampledFrom([][]route.Header{nil, nil, {{Name: "x-a", Value: "1"}}, {{Name: "x-a", Value: "1"}, {Name: "x-b", Value: "2"}}, {{Name: "x-b", Value: "2"}}})
	everything := exchange.EncodedSlash | exchange.Semicolon | exchange.EmptySegments | exchange.EncodedReserved | exchange.EncodedPercent
	pattern := rapid.Custom(func(t *rapid.T) route.Pattern {
		path := ""
		used := map[string]bool{}
		for _, s := range rapid.SliceOfN(segment, 0, 3).Draw(t, "segments") {
			if s[0] == '{' && used[s] {
				continue
			}
			used[s] = true
			path += "/" + s
		}
		path += tail.Draw(t, "tail")
		if path == "" {
			path = "/"
		}
		return route.Pattern{
			Host: host.Draw(t, "host"), Path: path, Methods: methods.Draw(t, "methods"), Headers: headers.Draw(t, "headers"),
			Allowed: everything & exchange.PathFeature(rapid.SampledFrom([]int{0, 0xFF, int(exchange.EmptySegments)}).Draw(t, "allowed")), Protected: rapid.Bool().Draw(t, "protected"),
		}
	})
	asked := rapid.SampledFrom([]string{"a", "b", "A", "B", "a.", "b..", "", "a;v=1", "c!", "c%21", "%C3%BC", "%C3%9C", "a%20", "q", "a%2Fb", "%2541", "x%3Fy"})
	rapid.Check(t, func(t *rapid.T) {
		var list naive
		for i, p := range rapid.SliceOfN(pattern, 1, 12).Draw(t, "patterns") {
			p.Route = i
			if _, problems := route.Build(append(slices.Clone(list), p)); len(problems) == 0 {
				list = append(list, p)
			}
		}
		ix, problems := route.Build(list)
		if problems != nil {
			t.Fatalf("%+v", problems)
		}
		shuffled := slices.Clone(list)
		slices.Reverse(shuffled)
		other, _ := route.Build(shuffled)
		for range 8 {
			path := "/" + strings.Join(rapid.SliceOfN(asked, 0, 4).Draw(t, "path"), "/")
			line := fmt.Sprintf("%s %s %s", rapid.SampledFrom([]string{"GET", "HEAD", "POST", "OPTIONS", "TRACE"}).Draw(t, "method"),
				rapid.SampledFrom([]string{"-", "a.x.org", "q.x.org", "q.a.x.org", "x.org", "b.org"}).Draw(t, "asked host"), path)
			fields := rapid.SampledFrom([][]string{nil, {"x-a: 1"}, {"X-B: 2"}, {"x-b: 2", "x-a: 1"}, {"x-a: 1", "x-a: 1"}, {"x-a: 3"}}).Draw(t, "fields")
			want := list.outcome(ask(t, line, fields...))
			if got := outcome(ix, ask(t, line, fields...)); got != want {
				t.Fatalf("%s %v: the index says %s, the rules say %s", line, fields, got, want)
			}
			if got := outcome(other, ask(t, line, fields...)); got != want {
				t.Fatalf("%s %v: built in another order the index says %s, not %s", line, fields, got, want)
			}
		}
	})
}

// FuzzMatch sees to it that whatever path arrives, Match neither panics nor
// lets a feature through that its route did not allow.
func FuzzMatch(f *testing.F) {
	all := naive{
		{Route: 0, Path: "/**"}, {Route: 1, Path: "/a/{x}", Protected: true}, {Route: 2, Path: "/a/b/**", Allowed: exchange.EncodedSlash, Protected: true}, {Route: 3, Host: "*.x.org", Path: "/a"},
	}
	ix, problems := route.Build(all)
	if problems != nil {
		f.Fatal(problems)
	}
	f.Add("h", "/a/b/c%2F")
	f.Add("q.x.org", "/A/%C3%9C;x//")
	f.Fuzz(func(t *testing.T, host, raw string) {
		path, _, err := exchange.NormalizePath([]byte(raw), func(n int) []byte { return make([]byte, n) })
		if err != nil || strings.ContainsAny(host, " ") {
			return
		}
		x := ask(t, "GET "+host+" "+string(path))
		want := all.outcome(ask(t, "GET "+host+" "+string(path)))
		if got := outcome(ix, x); got != want {
			t.Errorf("%s %s: the index says %s, the rules say %s", host, path, got, want)
		}
	})
}

// apis makes n patterns shaped like those of real APIs.
func apis(n int) []route.Pattern {
	var all []route.Pattern
	for i := 0; len(all) < n; i++ {
		base := fmt.Sprintf("/api/v%d/service-%d", i%3+1, i)
		for _, p := range []string{"", "/{id}", "/{id}/items", "/{id}/items/{item}", "/search", "/**"} {
			all = append(all, route.Pattern{Route: len(all), Host: fmt.Sprintf("h%d.example.com", i%10), Path: base + p, Protected: true})
		}
	}
	return all
}

func BenchmarkMatch(b *testing.B) {
	ix, problems := route.Build(apis(10_000))
	if problems != nil {
		b.Fatal(problems)
	}
	for _, c := range []struct{ name, line string }{
		{"literal", "GET h0.example.com /api/v2/service-850/search"},
		{"captures", "GET h0.example.com /api/v2/service-850/42/items/7"},
		{"captures with capitals", "GET h0.example.com /api/v2/service-850/ABC42/items/XY"},
		{"rest", "GET h0.example.com /api/v2/service-850/a/b/c/d/e"},
		{"unknown", "GET h0.example.com /api/v2/service-x/a"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			x := ask(b, c.line)
			for b.Loop() {
				x.Params = x.Params[:0]
				ix.Match(x)
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	all := apis(10_000)
	for b.Loop() {
		route.Build(all)
	}
}
