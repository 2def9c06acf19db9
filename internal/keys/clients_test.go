package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

var certNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// issue makes a certificate good for a day around certNow, by itself when by
// is nil.
func issue(t *testing.T, by *issued, name string, change func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: certNow.Add(-12 * time.Hour), NotAfter: certNow.Add(12 * time.Hour),
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key}
}

func asCA(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

func asClient(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

func asExpiredCA(c *x509.Certificate) {
	asCA(c)
	c.NotAfter = certNow.Add(-time.Hour)
}

func TestAFileOfClientCAsIsReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	good, old, leaf := issue(t, nil, "good", asCA), issue(t, nil, "old", asExpiredCA), issue(t, nil, "leaf", asClient)
	for name, c := range map[string]struct{ file, want string }{
		"empty":                     {"", "holds no CA certificate"},
		"text":                      {"hello\n", "holds no CA certificate"},
		"expired":                   {old.pem() + old.pem(), "have expired, the last on 2026-11-22"},
		"not of a CA":               {leaf.pem(), "number 1 a certificate that is not of a CA"},
		"not of a CA, behind one":   {good.pem() + leaf.pem(), "number 2 a certificate that is not of a CA"},
		"a key":                     {good.pem() + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PRIVATE KEY"},
		"no certificate within":     {good.pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "number 2"},
		"broken off":                {good.pem() + strings.TrimSuffix(good.pem(), "-----END CERTIFICATE-----\n"), "not well-formed PEM"},
		"broken off, before a good": {"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n" + good.pem(), "not well-formed PEM"},
	} {
		if cas, _, err := keys.ParseClientCAs([]byte(c.file), certNow); err == nil || cas != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, expired, err := keys.ParseClientCAs([]byte("# ours\n"+good.pem()+"# theirs\n"+old.pem()), certNow)
	if err != nil || len(expired) != 1 || expired[0].Subject.CommonName != "old" {
		t.Errorf("one of two has expired: %v, %v", expired, err)
	}
}

func TestClientCertificatesAreJudgedByChainPurposeConstraintsAndTime(t *testing.T) {
	t.Parallel()
	root, foreign := issue(t, nil, "root", asCA), issue(t, nil, "root", asCA)
	old := issue(t, nil, "old", asExpiredCA)
	between := issue(t, root, "between", asCA)
	narrow := issue(t, root, "narrow", func(c *x509.Certificate) {
		asCA(c)
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"partner.example"}, true
	})
	named := func(name string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) { asClient(c); c.DNSNames = []string{name} }
	}
	cas, _, err := keys.ParseClientCAs([]byte(root.pem()+old.pem()), certNow)
	if err != nil {
		t.Fatal(err)
	}
	good := issue(t, root, "good", asClient)
	behind := issue(t, between, "behind", asClient)
	for name, c := range map[string]struct {
		shown []*issued
		at    time.Time
		want  exchange.CertState
	}{
		"good":                         {[]*issued{good}, certNow, exchange.CertVerified},
		"good, through another":        {[]*issued{behind, between}, certNow, exchange.CertVerified},
		"the one between is missing":   {[]*issued{behind}, certNow, exchange.CertUntrusted},
		"by a CA of the same name":     {[]*issued{issue(t, foreign, "x", asClient)}, certNow, exchange.CertUntrusted},
		"that brings its own CA":       {[]*issued{issue(t, foreign, "x", asClient), foreign}, certNow, exchange.CertUntrusted},
		"by a CA that has expired":     {[]*issued{issue(t, old, "x", asClient)}, certNow, exchange.CertUntrusted},
		"by itself":                    {[]*issued{issue(t, nil, "x", asClient)}, certNow, exchange.CertUntrusted},
		"by a client":                  {[]*issued{issue(t, good, "x", asClient), good}, certNow, exchange.CertUntrusted},
		"of a server":                  {[]*issued{issue(t, root, "x", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, certNow, exchange.CertUntrusted},
		"expired":                      {[]*issued{good}, certNow.Add(13 * time.Hour), exchange.CertUntrusted},
		"not yet good":                 {[]*issued{good}, certNow.Add(-13 * time.Hour), exchange.CertUntrusted},
		"within the CA's constraints":  {[]*issued{issue(t, narrow, "x", named("a.partner.example")), narrow}, certNow, exchange.CertVerified},
		"outside the CA's constraints": {[]*issued{issue(t, narrow, "x", named("a.other.example")), narrow}, certNow, exchange.CertUntrusted},
		"with a critical extension": {[]*issued{issue(t, root, "x", func(c *x509.Certificate) {
			asClient(c)
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		})}, certNow, exchange.CertUntrusted},
		"with others that do not count": {[]*issued{good, foreign, old}, certNow, exchange.CertVerified},
	} {
		shown := make([]*x509.Certificate, len(c.shown))
		for i, one := range c.shown {
			shown[i] = one.cert
		}
		v, until := cas.JudgeCert(t.Context(), shown, c.at)
		if v.State != c.want {
			t.Errorf("%s: %v (%s)", name, v.State, v.Reason)
			continue
		}
		switch v.State {
		case exchange.CertVerified:
			if v.Leaf() != shown[0] || until.After(shown[0].NotAfter) {
				t.Errorf("%s: the verdict is of %v, until %v", name, v.Leaf(), until)
			}
		default:
			if v.Leaf() != nil || v.Reason == "" || until.After(c.at.Add(time.Minute)) {
				t.Errorf("%s: %v, until %v", name, v, until)
			}
		}
	}
}
