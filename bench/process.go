//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Files in the folder of every process.
const (
	stdoutFile = "stdout.log"
	stderrFile = "stderr.log"
)

// process is a program that serves until it is told to end, with whatever it
// started: all of it is one process group.
type process struct {
	cmd  *exec.Cmd
	dir  string
	done chan struct{} // closed at its end
}

// pin puts the choice of a core before a command; below 0 it may use all.
func pin(core int, command ...string) []string {
	if core < 0 {
		return command
	}
	return slices.Concat([]string{"taskset", "-c", fmt.Sprint(core)}, command)
}

// start starts a program with dir as its folder and a small environment.
func start(dir string, env []string, command ...string) (*process, error) {
	const mode = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	stdout, err := os.OpenFile(filepath.Join(dir, stdoutFile), mode, 0o600)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(filepath.Join(dir, stderrFile), mode, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	p := &process{cmd: exec.Command(command[0], command[1:]...), dir: dir, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, stdout, stderr
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}, env...)
	// Ctrl-C reaches the rig only, which ends the rest in order; if the rig
	// is killed, the kernel asks the program to end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // it was told to end; how it did says nothing
		close(p.done)
	}()
	return p, nil
}

// stop ends the process and what it started, gently for five seconds.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // usually nothing is left
	<-p.done
}

// until asks ready every 20 ms, until it says yes, the process ends or a
// minute is over: a million keys take their time.
func (p *process) until(ctx context.Context, ready func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !ready() {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return errors.Join(errors.New("it does not serve after a minute"), p.said())
		case <-p.done:
			return errors.Join(errors.New("it ended at once"), p.said())
		}
	}
	return nil
}

// said returns the end of what the process wrote to its standard error.
func (p *process) said() error {
	b, err := os.ReadFile(filepath.Join(p.dir, stderrFile))
	if err != nil || len(b) == 0 {
		return err
	}
	return errors.New(strings.TrimSpace(string(b[max(0, len(b)-2000):])))
}

// freePort returns a port of the loopback that nobody uses now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
