//go:build long

package wire

import (
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// The conformance suite of HTTP/2 finds nothing in the gateway that it does
// not find in Go's own server, asked in the same run.
func TestH2SpecFindsNoMoreThanInTheServerOfGo(t *testing.T) {
	bin := t.TempDir()
	install := exec.Command("go", "install", h2spec)
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	install.Dir = bin // outside of this module
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("h2spec cannot be had: %v\n%s", err, out)
	}
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin)+"  - { name: all, path: /**, upstream: origin, auth: none }\n")

	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }))
	bare.EnableHTTP2 = true
	bare.Config.ErrorLog = log.New(io.Discard, "", 0)
	bare.StartTLS()
	defer bare.Close()

	ours, run := runH2Spec(t, bin, g.TLS)
	theirs, also := runH2Spec(t, bin, bare.Listener.Addr().String())
	t.Logf("the gateway: %d cases, %d failed; net/http: %d cases, %d failed", run, len(ours), also, len(theirs))
	if run < 100 || run != also {
		t.Errorf("%d cases were run, and %d", run, also)
	}
	var again map[string]string // some cases fail now and then, in any server
	for name, why := range ours {
		if _, both := theirs[name]; both {
			t.Logf("net/http fails it too: %s", name)
			continue
		}
		if again == nil {
			again, _ = runH2Spec(t, bin, g.TLS)
		}
		if _, still := again[name]; still {
			t.Errorf("%s\n%s", name, why)
		} else {
			t.Logf("failed once of twice: %s\n%s", name, why)
		}
	}
}

// runH2Spec returns the cases that failed, and how many were run.
func runH2Spec(t *testing.T, bin, address string) (failed map[string]string, run int) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	report := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.Command(filepath.Join(bin, "h2spec"), "-h", host, "-p", port, "-t", "-k", "-o", "3", "-j", report)
	out, runErr := cmd.CombinedOutput() // its status tells of failures
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec: %v, %v\n%s", runErr, err, out)
	}
	var suites struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Name    string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
				Skipped *string `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	failed = map[string]string{}
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			if c.Skipped != nil {
				continue
			}
			run++
			for _, why := range []*string{c.Failure, c.Error} {
				if why != nil {
					failed[s.Package+" "+c.Name] = *why
				}
			}
		}
	}
	return failed, run
}

// Clients that are slow on purpose, a thousand of them, in their heads, their
// bodies and in what they take, are not felt by a steady client beside them.
func TestSlowClientsAreNotFeltBeside(t *testing.T) {
	program, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Skip("slowhttptest is not installed (scripts/deps --long)")
	}
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	for _, c := range []struct {
		name, path string
		args       []string
	}{
		{"in the head (-H)", "/open/slow", []string{"-H", "-i", "1"}},
		{"in the body (-B)", "/open/slow", []string{"-B", "-i", "1", "-s", "8192"}},
		{"in taking (-X)", "/open" + harness.BigPath, []string{"-X", "-w", "1", "-y", "4", "-n", "1", "-z", "1", "-k", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			neighbour := startSteady(t, g)
			args := append(c.args, "-c", "1000", "-r", "500", "-l", "20", "-p", "3", "-u", g.URL+c.path)
			cmd := exec.Command(program, args...)
			cmd.Dir = t.TempDir()
			began := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil && len(out) == 0 {
				t.Fatal(err)
			}
			neighbour.end(t)
			text := string(out)
			if i := strings.LastIndex(text, "slow HTTP test status"); i >= 0 {
				text = text[i:]
			}
			t.Logf("after %v:\n%s", time.Since(began).Round(time.Second), text)
		})
	}
}
