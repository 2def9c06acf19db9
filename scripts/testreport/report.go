package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// outcome of a test, ordered: of two runs the greater one counts.
type outcome int

const (
	skipped outcome = iota + 1
	passed
	failed
)

type name struct{ pkg, test string }

type report struct {
	out     io.Writer
	results map[name]outcome
	reasons map[name]string
	parents map[name]bool // has subtests: they are counted, not it
	told    int           // failures told of, in all runs

	// Of the run that is being read.
	running map[name]bool
	output  map[name]*strings.Builder
	builds  map[string]*strings.Builder
}

func newReport(out io.Writer) *report {
	return &report{out: out, results: map[name]outcome{}, reasons: map[name]string{}, parents: map[name]bool{}}
}

// read takes in the events of one run, to its end.
func (r *report) read(in io.Reader) {
	r.running = map[name]bool{}
	r.output = map[name]*strings.Builder{}
	r.builds = map[string]*strings.Builder{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				r.take(e)
			} else {
				fmt.Fprintf(r.out, "%s", line)
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *report) take(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		write(r.builds, e.ImportPath, e.Output)
	case "output":
		write(r.output, n, e.Output)
	case "run":
		r.running[n] = true
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			r.parents[name{e.Package, e.Test[:i]}] = true
		}
	case "pass", "skip", "fail":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(n, e.Action)
		}
	}
}

func write[K comparable](m map[K]*strings.Builder, k K, s string) {
	if m[k] == nil {
		m[k] = &strings.Builder{}
	}
	m[k].WriteString(s)
}

func text[K comparable](m map[K]*strings.Builder, k K) string {
	if m[k] == nil {
		return ""
	}
	return m[k].String()
}

func (r *report) endTest(n name, action string) {
	delete(r.running, n)
	switch action {
	case "pass":
		r.set(n, passed)
	case "skip":
		r.skip(n.pkg, n.test, reason(text(r.output, n)))
	case "fail":
		r.fail(n.pkg, n.test, text(r.output, n))
	}
	delete(r.output, n)
}

// endPackage closes what the package left open. A package can fail where no
// test of it did: it does not build, its TestMain gave up, a test ended the
// process.
func (r *report) endPackage(e event) {
	for n := range r.running {
		if n.pkg == e.Package {
			r.fail(n.pkg, n.test, text(r.output, n)+"(did not end)\n")
			delete(r.running, n)
		}
	}
	all := text(r.output, name{pkg: e.Package})
	delete(r.output, name{pkg: e.Package})
	if e.Action == "fail" {
		own := false
		for n, o := range r.results {
			own = own || n.pkg == e.Package && o == failed
		}
		if !own {
			r.fail(e.Package, "(package)", text(r.builds, e.FailedBuild)+all)
		}
	}
	if e.Action != "skip" { // skip: it has no tests
		fmt.Fprintf(r.out, "%-4s  %s  %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}

func (r *report) set(n name, o outcome) { r.results[n] = max(r.results[n], o) }

func (r *report) skip(pkg, test, why string) {
	n := name{pkg, test}
	r.set(n, skipped)
	r.reasons[n] = why
}

func (r *report) fail(pkg, test, output string) {
	n := name{pkg, test}
	r.set(n, failed)
	r.told++
	if r.parents[n] && !place.MatchString(output) {
		return // only because a subtest did, and that has been shown
	}
	fmt.Fprintf(r.out, "\nFAIL  %s  %s\n%s\n", pkg, test, progress.ReplaceAllString(output, ""))
}

// all returns the tests with outcome o, sorted. A test with subtests stands
// for them only if it failed and none of them did.
func (r *report) all(o outcome) []name {
	below := map[name]bool{} // a subtest failed
	for n, o := range r.results {
		for i := strings.LastIndexByte(n.test, '/'); o == failed && i > 0; i = strings.LastIndexByte(n.test[:i], '/') {
			below[name{n.pkg, n.test[:i]}] = true
		}
	}
	names := slices.Collect(maps.Keys(r.results))
	names = slices.DeleteFunc(names, func(n name) bool {
		return r.results[n] != o || r.parents[n] && (o != failed || below[n])
	})
	slices.SortFunc(names, func(a, b name) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
	return names
}

// close prints the end of the report and tells whether all is well.
func (r *report) close(noSkips bool) bool {
	bad, skips, good := r.all(failed), r.all(skipped), r.all(passed)
	wrong := len(bad) > 0 || len(good) == 0
	r.list("Failed:", bad)
	r.list("Skipped:", skips)
	if noSkips {
		for _, n := range skips {
			if !strings.HasPrefix(r.reasons[n], "suite data not here") {
				fmt.Fprintf(r.out, "\nNothing but the data of outside suites may be missing here: %s was skipped.\n", n.test)
				wrong = true
			}
		}
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", len(good), len(bad), len(skips))
	return !wrong
}

func (r *report) list(title string, names []name) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(r.out, "\n%s\n", title)
	for _, n := range names {
		line := "  " + n.pkg + "  " + n.test
		if r.results[n] == skipped {
			line += "  (" + r.reasons[n] + ")"
		}
		fmt.Fprintln(r.out, line)
	}
}

var (
	place    = regexp.MustCompile(`(?m)^\s*\S+\.go:\d+: `)
	progress = regexp.MustCompile(`(?m)^=== .*\n`)
)

// reason finds in a skipped test's output what it said of it: the last line
// that was logged, without its place.
func reason(output string) string {
	said := "no reason given"
	for line := range strings.Lines(output) {
		if place.MatchString(line) {
			said = strings.TrimSpace(place.ReplaceAllString(line, ""))
		}
	}
	return said
}
