//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// load is what wrk is told.
type load struct {
	url         string
	connections int
	threads     int
	core        int    // below 0: all
	token       string // sent with every request; empty: none
	tokens      string // file of tokens sent in turn; empty: none
}

// outcome is what wrk saw.
type outcome struct {
	Requests     int // completed
	Micros       int // duration
	Bytes        int // received, with heads
	StatusErrors int // answers of 400 and above
	SocketErrors int // connect, read, write, timeout
	P50, P99     int // latency, in microseconds

	cpu time.Duration // that wrk used itself
}

// run runs wrk for some seconds.
func (l load) run(ctx context.Context, script string, seconds int) (outcome, error) {
	args := []string{"wrk", "-c", fmt.Sprint(l.connections), "-t", fmt.Sprint(l.threads), "-d", fmt.Sprintf("%ds", seconds), "--timeout", "10s", "-s", script}
	env := []string{"PATH=" + os.Getenv("PATH")}
	switch {
	case l.tokens != "":
		env = append(env, "BENCH_TOKENS="+l.tokens)
	case l.token != "":
		args = append(args, "-H", "Authorization: Bearer "+l.token)
	}
	args = pin(l.core, append(args, l.url)...)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds+30)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = filepath.Dir(script), env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return outcome{}, errors.Join(fmt.Errorf("wrk: %w", err), errors.New(stderr.String()))
	}
	_, line, found := strings.Cut(string(stdout), "\n@")
	if !found {
		return outcome{}, fmt.Errorf("wrk ended without figures: %s%s", stdout, stderr.String())
	}
	var o outcome
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		return o, fmt.Errorf("figures of wrk: %w", err)
	}
	o.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if o.Requests == 0 || o.Micros == 0 {
		return o, errors.New("wrk completed no request")
	}
	return o, nil
}
