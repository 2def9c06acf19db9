//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tools says which programs are missing.
func tools(o options, chosen []scenario) error {
	needed := []string{"nginx", "haproxy", "wrk"}
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.tool == h2load }) {
		needed = append(needed, "h2load")
	}
	if o.pinned {
		needed = append(needed, "taskset")
	}
	if o.profile {
		needed = append(needed, "perf")
	}
	packages := map[string]string{"taskset": "util-linux", "h2load": "nghttp2-client", "perf": "linux-perf"}
	var errs []error
	for _, name := range needed {
		if _, err := exec.LookPath(name); err != nil {
			p := packages[name]
			if p == "" {
				p = name
			}
			errs = append(errs, fmt.Errorf("%s is not installed; on Debian: apt-get install %s", name, p))
		}
	}
	return errors.Join(errs...)
}

// program returns the whole path of a program that was named.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// build builds a command of the sources at hand, and returns its path in dir.
func build(ctx context.Context, dir, source string) (string, error) {
	path := filepath.Join(dir, filepath.Base(source))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s does not build: %w\n%s", source, err, out)
	}
	return path, nil
}

// enoughFiles asks for as many open files as idle connections need, for this
// process and what it starts.
func enoughFiles() error {
	const needed = manyIdle + 2000
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Max < needed {
		return fmt.Errorf("%d open files are allowed, and %d idle connections need %d: raise the limit (ulimit -Hn), or name other scenarios", l.Max, manyIdle, needed)
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// background returns how many cores processes take while the rig does nothing,
// over a second.
func background(ctx context.Context) (float64, error) {
	before, err := busy()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Second):
	}
	after, err := busy()
	return (after - before).Seconds() / time.Since(began).Seconds(), err
}

// commit names the sources at hand.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "sources without a commit"
	}
	return strings.TrimSpace(string(out))
}

// describe returns the facts that figures depend on, one a line. source says
// where warder is from, others how many cores were taken before the first run.
func describe(ctx context.Context, o options, source string, others float64) []string {
	first := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() // nginx -v writes to stderr
		line, _, _ := strings.Cut(string(out), "\n")
		if err != nil && line == "" {
			return err.Error()
		}
		return strings.TrimSpace(line)
	}
	words := func(file string, n int) string {
		b, _ := os.ReadFile(file)
		f := strings.Fields(string(b))
		return strings.Join(f[:min(n, len(f))], " ")
	}
	cpu := field("/proc/cpuinfo", "model name")
	if strings.Contains(field("/proc/cpuinfo", "flags"), "hypervisor") {
		cpu += ", in a virtual machine"
	}
	mode := "all cores shared by proxy, load and backend"
	if o.pinned {
		mode = "proxy alone on core 0 with one thread, load and backend on core 1"
	}
	facts := []string{
		"date:    " + time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		fmt.Sprintf("machine: %d cores, %s, %s/%s", runtime.NumCPU(), cpu, runtime.GOOS, runtime.GOARCH),
		"kernel:  " + words("/proc/sys/kernel/osrelease", 1) + ", load average " + words("/proc/loadavg", 3),
		fmt.Sprintf("others:  other programs took %.2f cores in the second before the first run", others),
		"warder:  " + first(o.warder, "version") + ", " + source,
	}
	if o.before != "" {
		facts = append(facts, "before:  "+first(o.before, "version")+", "+o.before)
	}
	version, _, _ := strings.Cut(first("wrk", "-v"), " Copyright")
	return append(facts,
		"nginx:   "+strings.TrimPrefix(first("nginx", "-v"), "nginx version: "),
		"haproxy: "+first("haproxy", "-v"),
		"wrk:     "+strings.TrimPrefix(version, "wrk "),
		"h2load:  "+strings.TrimPrefix(first("h2load", "--version"), "h2load "),
		fmt.Sprintf("mode:    %s", mode),
		fmt.Sprintf("load:    %d connections where a scenario does not say, %d rounds at most of %d s after %d s of warming up", o.connections, o.rounds, o.seconds, o.warm),
	)
}
