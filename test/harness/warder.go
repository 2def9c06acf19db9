package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Gateway is the built binary, serving.
type Gateway struct {
	*Process
	URL    string // of its public listener, without a slash at the end
	Admin  string // of the admin listener
	Config string // file
	State  string // folder
	frame  string // what the harness adds to every configuration
}

// Option changes how Warder starts the gateway.
type Option func(*options)

type options struct{ drain, dir string }

// Drain sets how long the gateway serves on after SIGTERM, and how long it
// waits for open requests. Without it the gateway ends as soon as nobody waits.
func Drain(delay, limit string) Option {
	return func(o *options) { o.drain = fmt.Sprintf("{ delay: %s, limit: %s }", delay, limit) }
}

// In has the gateway keep its configuration and state in dir.
func In(dir string) Option { return func(o *options) { o.dir = dir } }

// Warder starts the gateway with a configuration that names no listeners, and
// waits until it is ready. Unless the test ends it, it is asked to end with
// the test and must do so with status 0.
func Warder(t testing.TB, config string, opts ...Option) *Gateway {
	t.Helper()
	o := options{drain: "{ delay: 0s, limit: 10s }", dir: ""}
	for _, opt := range opts {
		opt(&o)
	}
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	program := Binary(t)
	public, admin := FreePort(t), FreePort(t)
	g := &Gateway{
		URL:    fmt.Sprintf("http://127.0.0.1:%d", public),
		Admin:  fmt.Sprintf("http://127.0.0.1:%d", admin),
		Config: filepath.Join(o.dir, "warder.yaml"),
		State:  filepath.Join(o.dir, "state"),
		frame: fmt.Sprintf("listeners: [{ address: \"127.0.0.1:%d\" }]\nadmin: { address: \"127.0.0.1:%d\" }\ndrain: %s\n",
			public, admin, o.drain),
	}
	g.Write(t, config)
	g.Process = start(t, o.dir, program, "run", "-c", g.Config, "--state", g.State)
	t.Cleanup(func() {
		if !g.ended() {
			if code := g.Terminate(t); code != 0 {
				t.Errorf("the gateway ended with status %d", code)
			}
		}
	})
	listening(t, g.Process, admin)
	Eventually(t, "the gateway is ready", func() bool { return g.Status(t, g.Admin+"/readyz") == http.StatusOK })
	return g
}

// Write puts another configuration in place of the present one, in one step
// as editors and deployments do.
func (g *Gateway) Write(t testing.TB, config string) {
	t.Helper()
	write(t, g.Config+".new", config+"\n"+g.frame)
	if err := os.Rename(g.Config+".new", g.Config); err != nil {
		t.Fatal(err)
	}
}

// Status gets url without a credential and returns the status, 0 if nobody
// answered.
func (g *Gateway) Status(t testing.TB, url string) int {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// Record is one line of the access log.
type Record struct {
	Time       string
	ID         string
	Method     string
	Host       string
	Path       string
	Route      string
	Status     int
	Code       string // inner
	PublicCode string
	Issuer     string
	Client     string // address
	ClientID   string
	Consumer   string
	Subject    string
	Scopes     Words
}

// Words is a list in the log, written as a list or with spaces between.
type Words []string

// UnmarshalJSON reads both forms.
func (w *Words) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*w = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

// Record waits for the access log line of the request with this id.
func (g *Gateway) Record(t testing.TB, id string) Record {
	t.Helper()
	if id == "" {
		t.Fatal("the response carries no X-Request-Id")
	}
	var found Record
	Eventually(t, "an access log line for "+id, func() bool {
		for line := range strings.Lines(g.Stdout.String()) {
			if !strings.Contains(line, id) || !strings.HasSuffix(line, "\n") {
				continue
			}
			var r Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("access log line %q: %v", line, err)
			}
			if r.ID == id {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// Complains does act and waits until the gateway has since written, to its
// application log, something that each of the expressions matches.
func (g *Gateway) Complains(t testing.TB, act func(), expressions ...string) {
	t.Helper()
	at := g.Stderr.len()
	act()
	for _, e := range expressions {
		re := regexp.MustCompile(e)
		Eventually(t, "the application log says "+e, func() bool { return re.MatchString(g.Stderr.from(at)) })
	}
}

// Run runs the binary to its end and returns what it wrote and its exit code.
func Run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return RunWith(t, "", args...)
}

// RunWith is Run with something on standard input.
func RunWith(t testing.TB, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, t.TempDir(), Binary(t), args...)
	if _, err := io.WriteString(p.stdin, input); err != nil {
		t.Fatal(err)
	}
	p.stdin.Close()
	code = p.ExitCode(t)
	return p.Stdout.String(), p.Stderr.String(), code
}

// Binary returns the path of the binary, built from the tree as it is, once
// for each run of the tests.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	// The cache of test results knows the files a test looked at, not those
	// that a child process compiled: a test that does not look at the sources
	// would stay green after they changed.
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, err = os.Stat(name)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "warder"))
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/warder")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/warder: %w\n%s", err, out)
	}
	return path, nil
})
