package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		runs    []string // events, one a line
		noSkips bool
		last    string
		ok      bool
		shows   string
	}{
		{
			name: "subtests are counted, their parent is not",
			runs: []string{`
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`},
			last: "2 passed, 0 failed, 0 skipped", ok: true,
		},
		{
			name: "a failed subtest is one failure, with its output",
			runs: []string{`
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"output","Package":"p","Test":"TestA/one","Output":"    a_test.go:7: got 1\n"}
{"Action":"fail","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`},
			last: "0 passed, 1 failed, 0 skipped", shows: "a_test.go:7: got 1",
		},
		{
			name: "a parent that failed by itself is a failure",
			runs: []string{`
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`},
			last: "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "a package that does not build is a failure",
			runs: []string{`
{"ImportPath":"p [p.test]","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`},
			last: "0 passed, 1 failed, 0 skipped", shows: "p.go:1: undefined: x",
		},
		{
			name: "a test that ends the process is a failure",
			runs: []string{`
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"panic: no\n"}
{"Action":"fail","Package":"p"}`},
			last: "0 passed, 1 failed, 0 skipped", shows: "did not end",
		},
		{
			name: "a leak found after good tests is a failure",
			runs: []string{`
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"goleak: found\n"}
{"Action":"fail","Package":"p"}`},
			last: "1 passed, 1 failed, 0 skipped", shows: "goleak: found",
		},
		{
			name: "a skip is listed with its reason",
			runs: []string{skip("nginx is not installed"), pass},
			last: "1 passed, 0 failed, 1 skipped", ok: true, shows: "TestS  (nginx is not installed)",
		},
		{
			name: "a skip can be forbidden",
			runs: []string{skip("nginx is not installed"), pass}, noSkips: true,
			last: "1 passed, 0 failed, 1 skipped", shows: "TestS was skipped",
		},
		{
			name: "data of outside suites may be missing",
			runs: []string{skip("suite data not here: json"), pass}, noSkips: true,
			last: "1 passed, 0 failed, 1 skipped", ok: true,
		},
		{
			name:    "skipped in one run, passed in the other, is passed",
			runs:    []string{skip("allocations are not counted under the race detector"), strings.ReplaceAll(pass, "TestP", "TestS")},
			noSkips: true, last: "1 passed, 0 failed, 0 skipped", ok: true,
		},
		{
			name: "passed in one run, failed in the other, is failed",
			runs: []string{pass, strings.ReplaceAll(pass, `"pass"`, `"fail"`)},
			last: "0 passed, 1 failed, 0 skipped",
		},
		{
			name: "nothing at all is not well",
			last: "0 passed, 0 failed, 0 skipped",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := newReport(&out)
			for _, run := range c.runs {
				r.read(strings.NewReader(run))
			}
			ok := r.close(c.noSkips)
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != c.last {
				t.Errorf("last line %q, want %q", last, c.last)
			}
			if ok != c.ok {
				t.Errorf("all is well: %v, want %v", ok, c.ok)
			}
			if !strings.Contains(out.String(), c.shows) {
				t.Errorf("%q is not shown in:\n%s", c.shows, out.String())
			}
		})
	}
}

const pass = `
{"Action":"run","Package":"p","Test":"TestP"}
{"Action":"pass","Package":"p","Test":"TestP"}
{"Action":"pass","Package":"p"}`

func skip(why string) string {
	return `
{"Action":"run","Package":"p","Test":"TestS"}
{"Action":"output","Package":"p","Test":"TestS","Output":"=== RUN   TestS\n"}
{"Action":"output","Package":"p","Test":"TestS","Output":"    s_test.go:9: ` + why + `\n"}
{"Action":"output","Package":"p","Test":"TestS","Output":"--- SKIP: TestS (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestS"}
{"Action":"pass","Package":"p"}`
}
