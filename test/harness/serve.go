package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// StartWire starts the gateway with a configuration that names neither
// listeners nor where it is managed.
func StartWire(t testing.TB, config string) *Wire {
	t.Helper()
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
  - { address: "%s" }
  - { address: "%s", tls: { certificates: [{ certFile: cert.pem, keyFile: key.pem }] } }
admin: { address: "127.0.0.1:%d" }
drain: { delay: 0s, limit: 10s }
`, w.Plain, w.TLS, admin)
	w.Write(t, config)
	w.Process = start(t, dir, program, "run", "-c", w.Config, "--state", w.State)
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
