// Package harness is what end-to-end tests stand on: the built binary with
// its configuration and its logs, real backends, a real identity provider and
// a real client. It knows the product from outside only, as its users do.
//
// Everything listens on free ports of 127.0.0.1, lives in folders of the test
// and is ended with it. What the machine lacks skips the test, with a reason.
package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Patience bounds every wait of the harness. It is far above what anything
// here needs, so that a slow machine makes a test slow and never red.
const Patience = 30 * time.Second

// root is the top of the repository, seen from the packages below test/.
const root = "../.."

// ports counts the ports that were tried, from one at random on: none is given
// twice.
var ports = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(rand.Int64N(22_000))
	return n
}()

// FreePort returns a port of 127.0.0.1 that nothing listens on. It is below
// those that the system gives to clients, and to whoever asks for any: one of
// those may be somebody else's before it is used.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+ports.Add(1)%22_000))
		if err == nil {
			l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port of 127.0.0.1 is free")
	return 0
}

// Eventually polls until done says yes, and fails the test when Patience is
// over. what says what is waited for.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !done(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
		pause()
	}
}

// pause is the step of polling.
func pause() { time.Sleep(10 * time.Millisecond) }

// need returns the path of a program of this machine, or skips the test.
func need(t testing.TB, program string) string {
	t.Helper()
	if p, err := exec.LookPath(program); err == nil {
		return p
	}
	// Not in the PATH of an ordinary user on Debian.
	if p := filepath.Join("/usr/sbin", program); exists(p) {
		return p
	}
	t.Skipf("%s is not installed (make deps)", program)
	return ""
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// listening waits until something accepts connections at the port, or fails
// the test when the process ended before.
func listening(t testing.TB, p *Process, port int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s listens on port %d", p.name, port), func() bool {
		if p.ended() {
			t.Fatalf("%s ended at once: %v\n%s%s", p.name, p.err, p.Stdout.String(), p.Stderr.String())
		}
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}
