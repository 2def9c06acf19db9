package control_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/secret"
)

// TestFilesOfCertificatesAreWatched changes a revocation list, and the
// certificate that an upstream is shown, under a running watch.
func TestFilesOfCertificatesAreWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	serial := int64(0)
	write := func(name, kind string, der []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sign := func() []byte {
		serial++
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}}, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ca, err := x509.ParseCertificate(sign())
	if err != nil {
		t.Fatal(err)
	}
	list := func() {
		serial++
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(serial), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}, ca, key)
		write("ca.crl", "X509 CRL", der, err)
	}
	write("ca.crt", "CERTIFICATE", ca.Raw, nil)
	write("ours.crt", "CERTIFICATE", sign(), nil)
	write("key", "PRIVATE KEY", private, nil)
	list()

	h := newHouse(t)
	c := newCompiler()
	c.ReadLists = func(path string) ([]byte, error) { return secret.ReadFile(path) }
	h.Control = control.New(h.path, c, h.live, c.Metrics, c.Log, time.Now)
	in := func(name string) string { return filepath.Join(dir, name) }
	h.write(fmt.Sprintf(`listeners: [{ address: "127.0.0.1:0", tls: { certificates: [{ certFile: %q, keyFile: %q }], clientAuth: { caFile: %q, crlFile: %q } } }]
upstreams: { b: { targets: [https://127.0.0.1:9000], tls: { certFile: %q, keyFile: %q } } }
routes: [{ name: x, path: /x, upstream: b, auth: none }]
`, in("ca.crt"), in("key"), in("ca.crt"), in("ca.crl"), in("ours.crt"), in("key")))
	if err := h.Load(); err != nil {
		t.Fatal(err)
	}
	h.watch()
	upstream := func() any {
		s := h.live.Acquire()
		defer s.Release()
		return s.Routes()[0].Upstream
	}
	before := upstream()
	list()
	h.eventually("the new list", func() bool { return h.Status().Successes == 2 })
	if upstream() != before {
		t.Error("a new list costs the connections to upstreams")
	}
	write("ours.crt", "CERTIFICATE", sign(), nil)
	h.eventually("the new certificate", func() bool { return upstream() != before })

	write("ca.crl", "X509 CRL", []byte("broken"), nil)
	h.eventually("what is wrong with the list", func() bool { return h.Status().Error != "" })
}
