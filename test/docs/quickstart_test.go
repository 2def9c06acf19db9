package docs

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; a slow machine makes the test slow, never red.
const patience = 60 * time.Second

// The lines that quickstart prints are those of README.md, and do what their
// comments say when they are pasted into a shell.
func TestQuickstartDoesWhatTheReadmeSays(t *testing.T) {
	t.Parallel()
	bash := need(t, "bash")
	need(t, "curl")
	shown := readmeBlocks(t, "Warder quickstart:", "POST /orders -> 403")
	demo := quickstart(t)
	lines := strings.Split(strings.TrimSpace(demo.output), "\n")
	if got, want := strings.Join(plain(lines), "\n"), strings.Join(plain(strings.Split(strings.TrimSpace(shown[0]), "\n")), "\n"); got != want {
		t.Errorf("quickstart prints, but for names and numbers that change:\n%s\nREADME.md shows:\n%s", got, want)
	}
	commands := map[string]string{}
	for _, l := range lines {
		if m := paste.FindStringSubmatch(l); m != nil {
			commands[m[1]] = m[2]
		}
	}
	for _, n := range []string{"2", "3", "4"} {
		out, err := exec.Command(bash, "-c", commands["1"]+"\n"+commands[n]).Output()
		if err != nil {
			t.Fatalf("line %s: %v", n, err)
		}
		_, promised, _ := strings.Cut(commands[n], "  # ")
		for _, word := range strings.Fields(promised) {
			if !bytes.Contains(out, []byte(word)) {
				t.Errorf("line %s does not answer %s but:\n%s", n, word, out)
			}
		}
		if n == "4" {
			if got, want := volatile(string(out)), volatile(shown[1]); got != want {
				t.Errorf("explain prints:\n%s\nREADME.md shows:\n%s", got, want)
			}
		}
	}
	demo.end(t)
}

var paste = regexp.MustCompile(`^([1-4])  [a-z]+ +(.*)$`)

// readmeBlocks returns the blocks of README.md that begin so.
func readmeBlocks(t *testing.T, beginnings ...string) (texts []string) {
	t.Helper()
	all := blocks(t, "README.md")
	for _, begin := range beginnings {
		i := slices.IndexFunc(all, func(b *block) bool { return strings.HasPrefix(b.text, begin) })
		if i < 0 {
			t.Fatalf("README.md has no block that begins with %q", begin)
		}
		texts = append(texts, all[i].text)
	}
	return texts
}

var (
	secretText = regexp.MustCompile(`demo:[A-Za-z0-9_-]{43} `)
	folderText = regexp.MustCompile(`[^ ']*warder-q-[0-9]+`)
	portText   = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	adminText  = regexp.MustCompile(` --admin http://\S+`)
	program    = regexp.MustCompile(`why       .* explain`)
	idText     = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	clockText  = regexp.MustCompile(`\d\d:\d\d:\d\dZ`)
	kidText    = regexp.MustCompile(`kid \S+ jti \S+`)
	leftText   = regexp.MustCompile(`expires in [1-9]\w*`)
)

// plain takes out of quickstart's lines what is another each time.
func plain(lines []string) []string {
	var out []string
	for _, l := range lines {
		l = secretText.ReplaceAllString(l, "demo:SECRET ")
		l = folderText.ReplaceAllString(l, "FOLDER")
		l = adminText.ReplaceAllString(l, "")
		l = portText.ReplaceAllString(l, "ADDRESS")
		out = append(out, program.ReplaceAllString(l, "why       warder explain"))
	}
	return out
}

// volatile takes out of an explanation what is another each time.
func volatile(s string) string {
	s = idText.ReplaceAllString(s, "ID")
	s = clockText.ReplaceAllString(s, "TIME")
	s = leftText.ReplaceAllString(s, "expires in N")
	return strings.TrimSpace(kidText.ReplaceAllString(s, "kid KID jti JTI"))
}

// demo is a running quickstart.
type demo struct {
	cmd    *exec.Cmd
	output string
	folder string
	done   chan error
}

// quickstart builds the binary and runs the demo on free ports.
func quickstart(t *testing.T) *demo {
	t.Helper()
	cmd := exec.Command(binary(t), "quickstart", "--address", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out := &output{full: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &demo{cmd: cmd, done: make(chan error, 1)}
	go func() { d.done <- cmd.Wait(); close(d.done) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-d.done })
	select {
	case <-out.full:
	case err := <-d.done:
		t.Fatalf("quickstart ended: %v\n%s", err, out.String())
	case <-time.After(patience):
		t.Fatalf("quickstart printed after %v:\n%s", patience, out.String())
	}
	at := strings.Index(out.String(), "Warder quickstart:")
	for _, l := range strings.Split(out.String()[at:], "\n") {
		if d.output += l + "\n"; strings.HasPrefix(l, lastLine) {
			d.folder = filepath.Dir(strings.TrimPrefix(l, lastLine))
			break
		}
	}
	return d
}

const lastLine = "config it runs: "

// end asks the demo to end, as Ctrl-C does; its folder is gone then.
func (d *demo) end(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("quickstart ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("quickstart does not end")
	}
	if _, err := os.Stat(d.folder); !os.IsNotExist(err) {
		t.Errorf("quickstart left %s behind: %v", d.folder, err)
	}
}

// output collects what is written until the last line has come.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	once sync.Once
	full chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if _, rest, ok := strings.Cut(o.text.String(), lastLine); ok && strings.Contains(rest, "\n") {
		o.once.Do(func() { close(o.full) })
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// binary builds the program. It looks at every source, so that a remembered
// result of this test does not outlive a change.
func binary(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, err = os.Stat(name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "warder")
	build := exec.Command("go", "build", "-o", path, "./cmd/warder")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}
