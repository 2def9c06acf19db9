//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// load is what one run of a load is told.
type load struct {
	tool                 tool
	scheme, host, path   string
	connections, streams int // streams of each connection; 1 for HTTP/1.1
	threads              int
	core                 int     // below 0: all
	field                string  // sent with every request; empty: none
	requests             string  // file of requests sent in turn; empty: path alone
	rate                 float64 // requests per second of a paced load
	dir                  string  // holds wrk.lua, the certificate and kit
}

// tool is the program that makes a load. Those of the rig itself, in kit, are
// called by the kind of load.
type tool string

const (
	wrk    tool = "wrk"    // always busy connections of HTTP/1.1
	h2load tool = "h2load" // the same of HTTP/2
	fresh  tool = "new"    // a connection per request
	down   tool = "down"   // large answers
	up     tool = "up"     // large requests
	paced  tool = "paced"  // at a rate
	idle   tool = "idle"   // connections that make one request each
)

// outcome is what the load saw.
type outcome struct {
	Requests     int // completed
	Micros       int // duration
	Bytes        int // of wrk: received, with heads; of kit: of large bodies
	StatusErrors int // answers of 400 and above
	SocketErrors int // connect, read, write, timeout
	P50, P99     int // latency, in microseconds; 0: not measured

	cpu time.Duration // that the load used itself
}

// concurrency is how many requests are under way at most.
func (l load) concurrency() int {
	if l.tool == idle {
		return 64
	}
	return l.connections * l.streams
}

func (l load) url() string { return l.scheme + "://" + l.host + l.path }

// command returns the program with its arguments, and its environment.
func (l load) command(seconds int) (args, env []string) {
	env = []string{"PATH=" + os.Getenv("PATH")}
	switch l.tool {
	case wrk:
		args = []string{"wrk", "-c", fmt.Sprint(l.connections), "-t", fmt.Sprint(l.threads), "-d", fmt.Sprintf("%ds", seconds), "--timeout", "10s", "-s", filepath.Join(l.dir, "wrk.lua")}
		switch {
		case l.requests != "":
			env = append(env, "BENCH_REQUESTS="+l.requests)
		case l.field != "":
			args = append(args, "-H", l.field)
		}
		args = append(args, l.url())
	case h2load:
		args = []string{"h2load", "-c", fmt.Sprint(l.connections), "-m", fmt.Sprint(l.streams), "-t", fmt.Sprint(l.threads), "-D", fmt.Sprint(seconds), l.url()}
	default:
		args = []string{
			filepath.Join(l.dir, "kit"), "load", "-kind", string(l.tool), "-url", l.url(), "-ca", filepath.Join(l.dir, certFile),
			"-connections", fmt.Sprint(l.connections), "-length", fmt.Sprintf("%ds", seconds), "-rate", fmt.Sprint(l.rate), "-size", fmt.Sprint(large),
		}
	}
	return pin(l.core, args...), env
}

// run runs the load for some seconds. Whatever connections idle leaves open
// stay so until held returns.
func (l load) run(ctx context.Context, seconds int, held func() error) (outcome, error) {
	args, env := l.command(seconds)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds+120)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = l.dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return outcome{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	stdout, err := readOutcome(out, held)
	_ = stdin.Close() // the program may have ended
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return outcome{}, errors.Join(fmt.Errorf("%s: %w", l.tool, err), errors.New(stderr.String()))
	}
	var o outcome
	if l.tool == h2load {
		o, err = l.readH2load(stdout)
	} else {
		o, err = readJSON(stdout)
	}
	if err != nil {
		return o, fmt.Errorf("figures of %s: %w\n%s%s", l.tool, err, stdout, stderr.String())
	}
	o.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if o.Requests == 0 || o.Micros == 0 {
		return o, fmt.Errorf("%s completed no request: %s", l.tool, stderr.String())
	}
	if o.SocketErrors+o.StatusErrors > 0 && stderr.Len() > 0 {
		return o, fmt.Errorf("%s: %s", l.tool, stderr.String())
	}
	return o, nil
}

// readOutcome reads all that a load prints, and calls held, if there is one,
// as soon as the figures have come.
func readOutcome(r io.Reader, held func() error) (string, error) {
	var b strings.Builder
	p := make([]byte, 4<<10)
	for {
		n, err := r.Read(p)
		b.Write(p[:n])
		if _, line, found := strings.Cut(b.String(), "\n@"); held != nil && found && strings.HasSuffix(line, "\n") {
			return b.String(), held()
		}
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
	}
}

// readJSON reads the line of figures of wrk.lua and of kit.
func readJSON(stdout string) (o outcome, err error) {
	_, line, found := strings.Cut(stdout, "\n@")
	if !found {
		return o, errors.New("there are none")
	}
	return o, json.Unmarshal([]byte(line), &o)
}

var (
	h2Requests = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)
	h2Statuses = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
)

// readH2load reads h2load's report, which has no percentiles. What was under
// way when the time was over is in none of its counts.
func (l load) readH2load(stdout string) (o outcome, err error) {
	requests, statuses := h2Requests.FindStringSubmatch(stdout), h2Statuses.FindStringSubmatch(stdout)
	switch {
	case requests == nil || statuses == nil:
		return o, errors.New("there are none")
	case !strings.Contains(stdout, "\nApplication protocol: h2\n"):
		return o, errors.New("it did not speak h2")
	case !strings.Contains(stdout, "\nTLS Protocol: TLSv1.3\n"):
		return o, errors.New("it did not speak TLS 1.3")
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // digits alone
		return n
	}
	_, rest, _ := strings.Cut(stdout, "\nfinished in ")
	took, _, _ := strings.Cut(rest, ",")
	d, err := time.ParseDuration(took)
	if err != nil {
		return o, err
	}
	o.Requests, o.Micros = number(requests[1]), int(d.Microseconds())
	o.StatusErrors = number(statuses[2]) + number(statuses[3]) + number(statuses[4])
	o.SocketErrors = number(requests[3]) + number(requests[4]) + number(requests[5])
	return o, nil
}
