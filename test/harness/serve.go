package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Wire is a gateway with two public listeners, for tests that write bytes
// themselves.
type Wire struct {
	*Gateway
	Plain string         // address that speaks HTTP/1.1
	TLS   string         // address that speaks HTTP/1.1 and HTTP/2 over TLS
	Roots *x509.CertPool // trust the certificate of TLS, for 127.0.0.1
}

// WireOption changes how StartWire starts the gateway.
type WireOption func(*wireOptions)

type wireOptions struct {
	listener    string
	tls, secure string // of the one with TLS: inside tls, and beside it
	files       int
}

// ClientCertificates has the listener with TLS ask for certificates of the CA;
// more stands in its clientAuth, beside in the listener.
func ClientCertificates(ca *CA, more, beside string) WireOption {
	return func(o *wireOptions) {
		o.tls, o.secure = fmt.Sprintf(", clientAuth: { caFile: %q, mode: optional%s }", ca.File, more), beside
	}
}

// Listeners puts words into both listeners.
func Listeners(words string) WireOption { return func(o *wireOptions) { o.listener = ", " + words } }

// OpenFiles limits the descriptors of the gateway's process.
func OpenFiles(n int) WireOption { return func(o *wireOptions) { o.files = n } }

// StartWire starts the gateway with a configuration that names neither
// listeners nor where it is managed.
func StartWire(t testing.TB, config string, opts ...WireOption) *Wire {
	t.Helper()
	var o wireOptions
	for _, opt := range opts {
		opt(&o)
	}
	program, dir := Binary(t), t.TempDir()
	plain, secure, admin := FreePort(t), FreePort(t), FreePort(t)
	w := &Wire{
		Gateway: &Gateway{
			URL:    fmt.Sprintf("http://127.0.0.1:%d", plain),
			Admin:  fmt.Sprintf("http://127.0.0.1:%d", admin),
			Config: filepath.Join(dir, "warder.yaml"),
			State:  filepath.Join(dir, "state"),
		},
		Plain: fmt.Sprintf("127.0.0.1:%d", plain),
		TLS:   fmt.Sprintf("127.0.0.1:%d", secure),
		Roots: x509.NewCertPool(),
	}
	cert := certificate(t, dir)
	w.Roots.AddCert(cert)
	w.frame = fmt.Sprintf(`
listeners:
  - { address: "%s"%s }
  - { address: "%s", tls: { certificates: [{ certFile: cert.pem, keyFile: key.pem }]%s }%s }
admin: { address: "127.0.0.1:%d" }
drain: { delay: 0s, limit: 10s }
`, w.Plain, o.listener, w.TLS, o.tls, o.listener+o.secure, admin)
	w.Write(t, config)
	args := []string{program, "run", "-c", w.Config, "--state", w.State}
	if o.files > 0 {
		args = append([]string{"/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, o.files)}, args...)
	}
	w.Process = start(t, dir, args[0], args[1:]...)
	listening(t, w.Process, admin)
	Eventually(t, "the gateway is ready", func() bool { return w.Status(t, w.Admin+"/readyz") == http.StatusOK })
	return w
}

// certificate writes cert.pem and key.pem for 127.0.0.1 into dir.
func certificate(t testing.TB, dir string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Records returns every line of the access log written so far.
func (g *Gateway) Records(t testing.TB) []Record {
	t.Helper()
	var all []Record
	for line := range strings.Lines(g.Stdout.String()) {
		var r Record
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "\n") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("access log line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// Resident returns the bytes of memory the process holds. It is an error
// where the system does not tell, and once the process has ended.
func (p *Process) Resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}

// Counter returns the value of a metric without labels.
func (g *Gateway) Counter(t testing.TB, name string) float64 {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(g.State, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", g.Admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	c := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %s, %v", res.Status, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
