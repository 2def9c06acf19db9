package harness

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running program. It is killed when its test ends, and with the
// process of the test where the system can do that.
type Process struct {
	Stdout, Stderr *Output

	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{}
	err   error // of its end; to be read after done is closed
}

// start runs program in dir with a small environment of its own: nothing of
// the machine's, such as a proxy, decides what a test sees.
func start(t testing.TB, dir, program string, args ...string) *Process {
	t.Helper()
	p := &Process{name: program, Stdout: &Output{}, Stderr: &Output{}, done: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir = dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}
	p.cmd.Stdout, p.cmd.Stderr = p.Stdout, p.Stderr
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = dieWithParent()
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s %s\nstdout, the end:\n%s\nstderr, the end:\n%s", program, strings.Join(args, " "), p.Stdout.tail(), p.Stderr.tail())
		}
	})
	return p
}

// Signal sends a signal to the process.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// Kill ends the process at once and waits for its end.
func (p *Process) Kill() {
	if !p.ended() {
		_ = p.cmd.Process.Kill() // it may end meanwhile
	}
	<-p.done
}

// ExitCode waits for the end of the process and returns its exit code; -1
// when a signal ended it.
func (p *Process) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		t.Fatalf("%s still runs", p.name)
		return -1
	}
}

// Terminate asks the process to end, as a service manager does, and returns
// its exit code.
func (p *Process) Terminate(t testing.TB) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.ExitCode(t)
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Output collects what a process writes. Safe for concurrent use.
type Output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(p)
}

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// from returns what was written from the given byte on.
func (o *Output) from(at int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.bytes.Bytes()[at:])
}

func (o *Output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Len()
}

func (o *Output) tail() string {
	s := o.String()
	return s[max(0, len(s)-8000):]
}
