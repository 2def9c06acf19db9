//go:build linux

// Command bench compares Warder with nginx and HAProxy: the same load against
// each in turn, on this machine, over loopback. Its main figure is the CPU
// time that the proxy spends on a request, in microseconds: it depends less
// than any other on what else the machine does.
//
// A round measures every proxy once; the order turns from round to round, and
// proxies are compared within a round only. A run is refused when the proxy
// did not do the work it was given: see check.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	rounds      int
	seconds     int // of a measured run
	warm        int // seconds of load before it
	connections int
	pinned      bool
	warder      string // program; empty: built from the sources
	before      string // program to compare it with; empty: none
	profile     bool
	report      string // name; empty: no report
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	o, chosen, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err = compare(ctx, o, chosen)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: stopped; everything it started has ended")
		return 1
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

var reportName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// parse reads the command line: names of scenarios and flags in any order.
func parse(args []string) (options, []scenario, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: bench/run [flags] [all | scenario…]\n\nScenarios, all of them by default:")
		for _, s := range scenarios {
			fmt.Fprintf(f.Output(), "  %-9s %s\n", s.name, s.about)
		}
		fmt.Fprintln(f.Output(), "\nFlags:")
		f.PrintDefaults()
	}
	f.IntVar(&o.rounds, "rounds", 15, "rounds; each measures every proxy once; some scenarios take fewer")
	f.IntVar(&o.seconds, "seconds", 2, "seconds of a measured run")
	f.IntVar(&o.warm, "warm", 1, "seconds of load before it")
	f.IntVar(&o.connections, "connections", 64, "keep-alive connections of the load")
	f.BoolVar(&o.pinned, "pinned", false, "proxy alone on core 0 with one thread, load and backend on core 1; otherwise all share all cores")
	f.StringVar(&o.warder, "warder", "", "`program` to measure; built from the sources by default")
	f.StringVar(&o.before, "before", "", "another warder `program`, measured as a further row")
	f.BoolVar(&o.profile, "profile", false, "after the rounds run Warder once more beside perf, and add where its CPU time goes")
	f.StringVar(&o.report, "report", "", "write bench/reports/DATE-`NAME`.md")

	names := []string{}
	for len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			names, args = append(names, args[0]), args[1:]
			continue
		}
		if err := f.Parse(args); err != nil {
			return o, nil, err
		}
		args = f.Args()
	}
	for _, n := range []struct {
		name            string
		value, min, max int
	}{{"rounds", o.rounds, 1, 1000}, {"seconds", o.seconds, 1, 3600}, {"warm", o.warm, 0, 60}, {"connections", o.connections, 2, 4000}} {
		if n.value < n.min || n.value > n.max {
			return o, nil, fmt.Errorf("-%s is %d to %d", n.name, n.min, n.max)
		}
	}
	if o.report != "" && !reportName.MatchString(o.report) {
		return o, nil, errors.New("-report takes a name of small letters, digits and hyphens")
	}
	if o.pinned && runtime.NumCPU() < 2 {
		return o, nil, errors.New("-pinned needs two cores, one of them for the load and the backend")
	}
	if len(names) == 0 || slices.Equal(names, []string{"all"}) {
		return o, scenarios, nil
	}
	var chosen []scenario
	for _, name := range names {
		s, ok := find(name)
		if !ok {
			return o, nil, fmt.Errorf("there is no scenario %q; bench/run -h lists them", name)
		}
		chosen = append(chosen, s)
	}
	return o, chosen, nil
}

// compare runs the chosen scenarios and prints their tables. Whatever it
// starts has ended, and its files are gone, when it returns.
func compare(ctx context.Context, o options, chosen []scenario) (err error) {
	if err := tools(o, chosen); err != nil {
		return err
	}
	// The kernel drops this address when the process ends, however it ends.
	lock, err := net.Listen("unix", "@warder-bench")
	if err != nil {
		return errors.New("another bench is running on this machine; two would measure each other")
	}
	defer lock.Close()
	report := ""
	if o.report != "" {
		report = filepath.Join("bench", "reports", time.Now().UTC().Format(time.DateOnly)+"-"+o.report+".md")
		if _, err := os.Stat(report); err == nil {
			return fmt.Errorf("%s is there already; choose another name", report)
		}
	}
	dir, err := os.MkdirTemp("", "warder-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.tool == idle }) {
		if err := enoughFiles(); err != nil {
			return err
		}
	}
	if _, err := build(ctx, dir, "./bench/kit"); err != nil {
		return err
	}
	source := o.warder
	if source == "" {
		source = "built from " + commit(ctx)
		o.warder, err = build(ctx, dir, "./cmd/warder")
	} else {
		o.warder, err = program(o.warder)
	}
	if err != nil {
		return err
	}
	if o.before != "" {
		if o.before, err = program(o.before); err != nil {
			return err
		}
	}

	others, err := background(ctx)
	if err != nil {
		return err
	}
	r := &rig{options: o, dir: dir, machine: describe(ctx, o, source, others)}
	fmt.Println(strings.Join(r.machine, "\n"))
	if err := r.up(ctx); err != nil {
		return err
	}
	defer r.down()
	var results []*result
	refused := 0
	for _, s := range chosen {
		res, err := r.play(ctx, s)
		if err != nil {
			return err
		}
		fmt.Printf("\n%s", res.table())
		results = append(results, res)
		refused += len(res.refused)
	}
	if rows := targetRows(results); len(rows) > 0 {
		fmt.Println()
		plain(os.Stdout, verdictHeader, rows)
	}
	if report != "" {
		if err := writeReport(report, r, results); err != nil {
			return err
		}
		fmt.Println("\nreport:", report)
	}
	if refused > 0 {
		return fmt.Errorf("%d runs were refused and count in no figure; the reasons stand above", refused)
	}
	return nil
}
