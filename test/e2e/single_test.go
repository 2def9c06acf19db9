package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

const single = "../../deploy/single/"

// The example of deploy/single, from the first start to the day when a key and
// a token must be taken back: what docs/OPERATING.md walks through. Only its
// addresses are made real.
func TestTheExampleOfOneMachine(t *testing.T) {
	t.Parallel()
	idp, orders := harness.StartIdP(t, 0), harness.Nginx(t, "orders")
	dir := t.TempDir()
	src, err := os.ReadFile(single + "warder.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain, secure, admin := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	text := string(src)
	for from, to := range map[string]string{
		`":80"`: fmt.Sprintf(`"127.0.0.1:%d"`, plain), `":443"`: fmt.Sprintf(`"127.0.0.1:%d"`, secure),
		"https://login.example.com/": idp.Issuer, "http://127.0.0.1:9000": orders.URL,
	} {
		if strings.Count(text, from) != 1 {
			t.Fatalf("%s stands %d times in the example", from, strings.Count(text, from))
		}
		text = strings.Replace(text, from, to, 1)
	}
	text += fmt.Sprintf("admin: { address: \"127.0.0.1:%d\" }\ndrain: { delay: 0s, limit: 5s }\n", admin)
	config, state, backup := filepath.Join(dir, "warder.yaml"), filepath.Join(dir, "state"), filepath.Join(dir, "night.backup")
	ca := filepath.Join(dir, "tls", "api.crt")
	if err := os.Mkdir(filepath.Dir(ca), 0o700); err != nil {
		t.Fatal(err)
	}
	selfSigned(t, filepath.Dir(ca), 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cli := func(args ...string) string {
		t.Helper()
		out, stderr, code := harness.Run(t, append(args, "-c", config, "--state", state)...)
		if code != 0 {
			t.Fatalf("warder %v: status %d: %s%s", args, code, out, stderr)
		}
		return out
	}
	if said := cli("check"); !strings.Contains(said, "is right: 3 routes, 1 issuer, 1 upstream") || strings.Contains(said, "warning") {
		t.Errorf("check says:\n%s", said)
	}
	cmd, log := serveSingle(t, config, state)
	adminURL, base := fmt.Sprintf("http://127.0.0.1:%d", admin), fmt.Sprintf("https://localhost:%d", secure)
	harness.Eventually(t, "the gateway is ready", func() bool {
		resp, err := http.Get(adminURL + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	curl := func(args ...string) *harness.Response { return harness.Curl(t, append(args, "--cacert", ca)...) }
	wants := func(status int, code string, args ...string) {
		t.Helper()
		r := curl(args...)
		if r.Status != status || code != "" && r.Problem(t).Code != code {
			t.Errorf("%v: %d %s, want %d %s", args, r.Status, r.Body, status, code)
		}
	}

	if r := curl(fmt.Sprintf("http://localhost:%d/status?x=1", plain)); r.Status != 308 || !strings.HasSuffix(r.Header.Get("Location"), "/status?x=1") || !strings.HasPrefix(r.Header.Get("Location"), "https://") {
		t.Errorf("plain HTTP is answered %d, Location %q", r.Status, r.Header.Get("Location"))
	}
	wants(200, "", base+"/status")
	token := idp.Token(t, "shop", "orders:read")
	wants(200, "", append(bearer(token), base+"/orders/1")...)
	wants(401, "credential_missing", base+"/orders/1")

	cli("consumer", "new", "acme-batch")
	var made struct{ Key, ID string }
	if err := json.Unmarshal([]byte(cli("key", "new", "acme-batch", "--output", "json")), &made); err != nil {
		t.Fatal(err)
	}
	comesTo := func(what string, status int, args ...string) {
		t.Helper()
		harness.Eventually(t, what, func() bool { return curl(args...).Status == status })
	}
	comesTo("the key is good", 200, append(withKey(made.Key), base+"/batch/1")...)

	// Last night's backup, and what is in it.
	cli("store", "backup", backup)
	out, stderr, code := harness.Run(t, "store", "check", backup)
	if code != 0 || !strings.Contains(out, ", made 20") || !strings.Contains(out, "it is whole") || !strings.Contains(out, "consumer     1") {
		t.Errorf("store check of the backup: %d %s%s", code, out, stderr)
	}

	// A key and a token are taken back.
	cli("key", "revoke", made.Key[:11])
	comesTo("the key is refused", 401, append(withKey(made.Key), base+"/batch/1")...)
	revoke := exec.Command(harness.Binary(t), "token", "revoke", "--token", "-c", config, "--state", state)
	revoke.Stdin = strings.NewReader(token)
	if said, err := revoke.CombinedOutput(); err != nil {
		t.Fatalf("token revoke: %v %s", err, said)
	}
	comesTo("the token is refused", 401, append(bearer(token), base+"/orders/1")...)
	explained, _, code := harness.Run(t, "explain", "--admin", adminURL, "--state", state, "last")
	if code != 0 || !strings.Contains(explained, "GET /orders/1 -> 401 token_revoked") {
		t.Errorf("explain last: %d\n%s", code, explained)
	}

	// A renewed certificate, and a reload by hand.
	selfSigned(t, filepath.Dir(ca), 2)
	harness.Eventually(t, "the new certificate is shown", func() bool {
		out, _ := exec.Command("curl", "-sS", "--max-time", "5", "--cacert", ca, base+"/status").CombinedOutput()
		return bytes.HasPrefix(out, []byte("{"))
	})
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "it was loaded again", func() bool { return strings.Contains(log.String(), "why=signal") })

	// The backup, in the place of a lost store: what was revoked since is good again.
	restored := filepath.Join(dir, "restored")
	if out, stderr, code := harness.Run(t, "store", "restore", backup, "-c", config, "--state", restored); code != 0 {
		t.Fatalf("restore: %d %s%s", code, out, stderr)
	}
	if out, _, _ := harness.Run(t, "key", "list", "-c", config, "--state", restored); !strings.Contains(out, made.Key[:11]) || !strings.Contains(out, "active") {
		t.Errorf("the restored keys:\n%s", out)
	}
}

// serveSingle runs the gateway until the test ends.
func serveSingle(t *testing.T, config, state string) (*exec.Cmd, *written) {
	t.Helper()
	cmd, log := exec.Command(harness.Binary(t), "run", "-c", config), &written{}
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+state) // as systemd says it
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return cmd, log
}

// written is what a process wrote. Safe for concurrent use.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// selfSigned puts a pair for localhost in place of what was there.
func selfSigned(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"api.key": {Type: "PRIVATE KEY", Bytes: pkcs8}, "api.crt": {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What systemd itself finds wrong with the unit, and how much of the machine
// it leaves open.
func TestTheUnitOfTheExampleIsRightAndTight(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	src, err := os.ReadFile(single + "warder.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "warder.service")
	text := strings.ReplaceAll(string(src), "/usr/local/bin/warder", harness.Binary(t))
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security says more than 2.0: %v\n%s", err, out)
	}
}
