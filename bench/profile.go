//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// profileTop is how many functions a profile names.
const profileTop = 40

// profiled runs Warder once more, beside perf, which slows it: the run counts
// in no figure. It returns the top of where its CPU time went.
func (r *rig) profiled(ctx context.Context, s scenario, w *work) (string, error) {
	file := filepath.Join(r.dir, s.name+".perf")
	defer os.Remove(file)        // the folder goes in any case
	seconds := max(5, r.seconds) // for enough samples
	_, err := r.turn(ctx, s, s.peers[len(s.peers)-1], w, seconds, func(p *process) error {
		_, err := output(ctx, "perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-p", strconv.Itoa(p.cmd.Process.Pid), "-o", file, "--", "sleep", strconv.Itoa(seconds))
		return err
	})
	if err != nil {
		return "", err
	}
	parts, err := perf(ctx, file, "dso")
	if err != nil {
		return "", err
	}
	functions, err := perf(ctx, file, "dso,symbol")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Kernel and program:\n\n%s\n\nBy function:\n\n%s", strings.Join(parts, "\n"), strings.Join(functions[:min(profileTop, len(functions))], "\n")), nil
}

var blanks = regexp.MustCompile(` {2,}`)

// perf returns the shares in a record, by what sort says, largest first.
func perf(ctx context.Context, file, sort string) ([]string, error) {
	out, err := output(ctx, "perf", "report", "--stdio", "-q", "--no-children", "-s", sort, "-i", file)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, strings.TrimRight(blanks.ReplaceAllString(line, "  "), " -"))
		}
	}
	return lines, nil
}

// benchmarks runs Go benchmarks of the routes and returns their lines.
func benchmarks(ctx context.Context, pattern string) (lines []string, err error) {
	out, err := output(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", "300ms", "./internal/route")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Benchmark") {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return lines, err
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(fmt.Errorf("%s %s: %w", name, args[0], err), errors.New(strings.TrimSpace(stderr.String())))
	}
	return string(out), err
}
