// Command testreport runs `go test` and reports what it did: each package as
// it ends, the output of what failed, what was skipped and why, and last, on
// a line of its own, the counts.
//
//	testreport [-no-skips] [-race PATTERN] [-- go test flags] PATTERN…
//
// With -race the packages of that pattern are tested a second time under the
// race detector, where a C compiler is at hand. A test that ran in both is
// counted once: failed if it failed in either, skipped if it ran in neither.
//
// It ends with status 0 only if nothing failed and something passed, and with
// -no-skips only if nothing was skipped either; tests that judge by the data
// of suites kept outside the repository may always be skipped.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	noSkips := flag.Bool("no-skips", false, "fail when a test is skipped")
	race := flag.String("race", "", "`pattern` of the packages to test again under the race detector")
	flag.Parse()

	r := newReport(os.Stdout)
	r.run(nil, append([]string{"test", "-json"}, flag.Args()...))
	if *race != "" {
		if _, err := exec.LookPath("gcc"); err == nil {
			fmt.Println("\nAgain, under the race detector:")
			r.run([]string{"CGO_ENABLED=1"}, append(append([]string{"test", "-json", "-race"}, goFlags(flag.Args())...), *race))
		} else {
			r.skip("race detector", "go test -race "+*race, "there is no C compiler (gcc)")
		}
	}
	if !r.close(*noSkips) {
		os.Exit(1)
	}
}

// goFlags returns the flags among the arguments of go test; a flag with a
// value is written -name=value.
func goFlags(args []string) []string {
	for i, a := range args {
		if !strings.HasPrefix(a, "-") {
			return args[:i]
		}
	}
	return args
}

// run reads one `go test -json` into the report.
func (r *report) run(env, args []string) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.fail("go", "test", err.Error())
		return
	}
	before := r.told
	r.read(out)
	_, _ = io.Copy(io.Discard, out) // what could not be read must not block the child
	if err := cmd.Wait(); err != nil && r.told == before {
		// It failed in a way that no event told, such as a broken go.mod.
		r.fail("go", "test", err.Error())
	}
}
