package counters_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/counters"
)

func TestMain(m *testing.M) {
	// The client library closes what a cluster no longer has five seconds later,
	// in a goroutine that ends then.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

const patience = time.Minute

// eventually polls until done says yes.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// server is a real Redis on a port of its own. It keeps nothing on disk.
type server struct {
	port int
	args []string
	cmd  *exec.Cmd
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (make deps)", name)
	}
	return path
}

// ports counts the ports that were tried, from one at random on: none is given
// twice.
var ports = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(rand.Int64N(22_000))
	return n
}()

// freePort returns a port that nobody listens on. It is below those that the
// system gives to clients, and to whoever asks for any: one of those may be
// somebody else's before it is used.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+ports.Add(1)%22_000))
		if err == nil {
			l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// redis starts a server with further arguments, and ends it with the test.
func redis(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{port: freePort(t)}
	s.args = append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(program(t, "redis-server"), s.args...)
	s.cmd.Env = []string{"LC_ALL=C"}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "redis-server answers", func() bool {
		return strings.HasPrefix(s.cli("ping"), "PONG") || strings.HasPrefix(s.cli("ping"), "NOAUTH")
	})
}

func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// cli runs redis-cli and returns what it printed.
func (s *server) cli(args ...string) string {
	cmd := exec.Command("redis-cli", append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(s.port)}, args...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// journal is an application log that can be read.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), s)
}

// remote opens counters at an address, ready to decide.
// They wait for an answer however slow the machine is.
func remote(t testing.TB, address string) (*counters.Remote, *journal) {
	t.Helper()
	r, j := within(t, patience, address)
	eventually(t, "the server is reached", r.Reachable)
	return r, j
}

// unreached opens counters at an address where nobody may answer.
func unreached(t testing.TB, address string) (*counters.Remote, *journal) {
	t.Helper()
	return within(t, patience, address)
}

func within(t testing.TB, limit time.Duration, address string) (*counters.Remote, *journal) {
	t.Helper()
	a, err := counters.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	r := counters.NewRemote(counters.RemoteConfig{Address: a, Within: limit, Local: counters.NewMemory(1 << 16), Log: slog.New(slog.NewTextHandler(j, nil))})
	r.Start()
	t.Cleanup(r.Close)
	return r, j
}
