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
	"strings"
	"time"
)

// tools says which programs are missing.
func tools(o options) error {
	needed := []string{"nginx", "haproxy", "wrk"}
	if o.pinned {
		needed = append(needed, "taskset")
	}
	packages := map[string]string{"taskset": "util-linux"}
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

// build builds warder into dir from the sources at hand.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "warder")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/warder")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("warder does not build: %w\n%s", err, out)
	}
	return path, nil
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
// where warder is from.
func describe(ctx context.Context, o options, source string) []string {
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
		fmt.Sprintf("mode:    %s", mode),
		fmt.Sprintf("load:    %d connections, %d rounds of %d s after %d s of warming up", o.connections, o.rounds, o.seconds, o.warm),
	)
}
