package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/cli"
)

// TestMain makes this binary stand in for the programs that scripts run.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"warder":  func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"get":     get,
		"answers": answers,
		"gone":    gone,
	})
}

type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// get prints the status, the request id and the body of what a URL answers.
// What follows the URL are header fields.
func get() {
	req, err := http.NewRequest("GET", os.Args[1], nil)
	if err != nil {
		panic(err)
	}
	for _, f := range os.Args[2:] {
		name, value, _ := strings.Cut(f, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	fmt.Println(resp.Header.Get("X-Request-Id"))
	io.Copy(os.Stdout, resp.Body)
}

// answers STATUS KEY exits with 0 if $PUBLIC answers a request with that API
// key so.
func answers() {
	req, err := http.NewRequest("GET", "http://"+os.Getenv("PUBLIC")+"/x", nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Api-Key", os.Args[2])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || strconv.Itoa(resp.StatusCode) != os.Args[1] {
		os.Exit(1)
	}
	resp.Body.Close()
}

// gone exits with 0 if a gateway says at a URL that it is not ready.
func gone() {
	resp, err := http.Get(os.Args[1])
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		os.Exit(1)
	}
	resp.Body.Close()
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("STATE_DIRECTORY", filepath.Join(e.WorkDir, "state"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or every program ends a second late under -race
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, ".tmp"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status, "retry": retry, "gateway": gateway, "busy": busy, "free": free, "await": await, "pick": pick,
			// issuer NAME FILE sets NAME to the URL of an issuer that runs until the
			// test ends, and writes what somebody answers who forgot its last slash.
			"issuer": func(ts *testscript.TestScript, _ bool, args []string) {
				url := startFakeIdP(t).url
				ts.Setenv(args[0], url)
				answers := strings.TrimSuffix(url, "/") + "\n\norders-api\nhttp://127.0.0.1:9000\n\n"
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(answers), 0o600))
			},
		},
	})
}

// status N PROGRAM ARG... runs a program that must exit with N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// retry PROGRAM ARG... runs a program until it exits with 0: a request is
// recorded after it was answered.
func retry(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.After(time.Minute)
	for ts.Exec(args[0], args[1:]...) != nil {
		select {
		case <-deadline:
			ts.Fatalf("%s: never", args)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// gateway CONFIG runs a gateway until the script ends. It sets GATEWAY, ADMIN
// (URLs) and TOKEN_FILE.
func gateway(ts *testscript.TestScript, _ bool, args []string) {
	state := ts.MkAbs("gateway-state")
	signals, started, ended := make(chan os.Signal, 1), make(chan app.Running, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(app.Options{
			Config: ts.MkAbs(args[0]), State: state, Stdout: io.Discard, Stderr: io.Discard, Version: "test",
			AskWithin: time.Minute, Started: func(r app.Running) { started <- r },
		}, signals)
	}()
	select {
	case r := <-started:
		for _, address := range r.Gateway {
			ts.Setenv("GATEWAY", "http://"+address)
		}
		ts.Setenv("ADMIN", "http://"+r.Admin)
		ts.Setenv("TOKEN_FILE", filepath.Join(state, app.TokenFile))
		ts.Defer(func() {
			signals <- syscall.SIGTERM
			<-ended
		})
	case err := <-ended:
		ts.Fatalf("the gateway did not start: %v", err)
	}
}

// busy NAME sets NAME to an address that is in use until the script ends.
func busy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// ports counts the ports that were tried, from one at random on: none is given
// twice.
var ports = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(rand.Int64N(22_000))
	return n
}()

// free NAME sets NAME to an address that nobody uses. Its port is below those
// that the system gives to clients, and to whoever asks for any: one of those
// may be somebody else's before it is used.
func free(ts *testscript.TestScript, _ bool, args []string) {
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+ports.Add(1)%22_000))
		if err == nil {
			ts.Check(ln.Close())
			ts.Setenv(args[0], ln.Addr().String())
			return
		}
	}
	ts.Fatalf("no port of 127.0.0.1 is free")
}

// await URL waits until it answers 200; ! await ADDRESS, that nobody listens.
func await(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.After(time.Minute)
	for {
		if neg {
			if c, err := net.Dial("tcp", args[0]); err != nil {
				return
			} else {
				c.Close()
			}
		} else if resp, err := http.Get(args[0]); err == nil {
			resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			if resp.StatusCode == 200 {
				return
			}
		}
		select {
		case <-deadline:
			ts.Fatalf("%s: waited in vain", args[0])
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// pick FILE FIELD INTO writes a field of a JSON file to a file of its own, and
// sets the variable INTO.
func pick(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	var list []json.RawMessage // of which the first is meant
	content := []byte(ts.ReadFile(args[0]))
	if json.Unmarshal(content, &list) == nil && len(list) > 0 {
		content = list[0]
	}
	if err := json.Unmarshal(content, &object); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	value, ok := object[args[1]]
	if !ok {
		ts.Fatalf("%s has no field %s", args[0], args[1])
	}
	text, err := json.Marshal(value)
	ts.Check(err)
	if s, ok := value.(string); ok {
		text = []byte(s)
	}
	ts.Setenv(args[2], string(text))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), append(text, '\n'), 0o600))
}

// A private key that others may not read cannot be read by the gateway
// either, when it runs as somebody else: it says so and serves nothing.
func TestRunSaysThatItMayNotReadATLSKey(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir, err := os.MkdirTemp("", "warder-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const nobody = 65534
	config, key, state := filepath.Join(dir, "warder.yaml"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "state")
	const document = `listeners: [{ address: "127.0.0.1:0", tls: { certificates: [{ certFile: tls.crt, keyFile: tls.key }] } }]
admin: { address: "127.0.0.1:0" }
upstreams: { b: [http://127.0.0.1:1] }
routes: [{ path: /x, upstream: b, auth: none }]
`
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.Mkdir(state, 0o700),
		os.Chown(state, nobody, nobody),
		os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----"), 0o600),
		os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("-----BEGIN CERTIFICATE-----"), 0o644),
		os.WriteFile(config, []byte(document), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "run", "-c", config, "--state", state)
	cmd.Args[0] = "warder"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	first, _, _ := strings.Cut(document, "\n")
	want := fmt.Sprintf("warder: %s:1:%d: listeners[0].tls.certificates[0]: cannot read %s: permission denied\n", config, strings.Index(first, "{ certFile")+1, key)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || string(out) != want {
		t.Errorf("%v:\n%swant\n%s", err, out, want)
	}
}
