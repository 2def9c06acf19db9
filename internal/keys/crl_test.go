package keys_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

func asRevoker(c *x509.Certificate) {
	asCA(c)
	c.KeyUsage |= x509.KeyUsageCRLSign
}

// list makes the revocation list of by, good for an hour around certNow.
func list(t *testing.T, by *issued, change func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: certNow.Add(-time.Hour), NextUpdate: certNow.Add(time.Hour)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func inPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func extension(id int, critical bool) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, id}, Critical: critical, Value: []byte{0x30, 0}}}
	}
}

func TestRevocationListsThatSayTooLittleDoNotLoad(t *testing.T) {
	t.Parallel()
	ca, other := issue(t, nil, "ca", asRevoker), issue(t, nil, "ca", asRevoker)
	good := list(t, ca, nil)
	for name, c := range map[string]struct {
		file []byte
		want string // "": it loads
	}{
		"one in DER":              {good, ""},
		"two in PEM":              {append(inPEM(good), inPEM(list(t, ca, nil))...), ""},
		"of a CA between":         {list(t, issue(t, nil, "between", asRevoker), nil), ""},
		"empty":                   {nil, "is empty"},
		"text":                    {[]byte("hello"), "no revocation list"},
		"a certificate":           {[]byte(ca.pem()), `block of type "CERTIFICATE"`},
		"broken off":              {inPEM(good)[:200], "not well-formed PEM"},
		"of another of that name": {list(t, other, nil), "not signed by the CA of that name"},
		"expired":                 {list(t, ca, func(l *x509.RevocationList) { l.NextUpdate = certNow }), "has expired"},
		"still to come":           {list(t, ca, func(l *x509.RevocationList) { l.ThisUpdate = certNow.Add(time.Minute) }), "still to come"},
		"only what changed":       {list(t, ca, extension(27, true)), "delta"},
		"of a part":               {list(t, ca, extension(28, true)), "part of the certificates"},
		"of a part, by the way":   {list(t, ca, extension(28, false)), "part of the certificates"},
		"with something unknown":  {list(t, ca, extension(99, true)), "critical extension"},
		"an entry of somebody else": {list(t, ca, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(9), RevocationTime: certNow, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}}
		}), "indirect"},
	} {
		lists, err := keys.ParseRevocationLists(c.file, []*x509.Certificate{ca.cert}, certNow)
		if c.want == "" && (err != nil || len(lists) == 0) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || lists != nil) {
			t.Errorf("%s: %d lists, %v", name, len(lists), err)
		}
	}
}

func TestRevocationLists(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", asRevoker)
	between := issue(t, root, "between", func(c *x509.Certificate) { asRevoker(c); c.SerialNumber = big.NewInt(20) })
	imposter := issue(t, nil, "between", asRevoker)
	serial := func(n int64) func(*x509.Certificate) {
		return func(c *x509.Certificate) { asClient(c); c.SerialNumber = big.NewInt(n) }
	}
	long := func(c *x509.Certificate) {
		asClient(c)
		c.SerialNumber = new(big.Int).Lsh(big.NewInt(0x7f), 150)
	}
	takes := func(serials ...*big.Int) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			for _, n := range serials {
				l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: certNow})
			}
		}
	}
	leaf, taken, longest := issue(t, root, "leaf", serial(7)), issue(t, root, "taken", serial(8)), issue(t, root, "long", long)
	deep := issue(t, between, "deep", serial(8))
	file := func(lists ...[]byte) (all []byte) {
		for _, l := range lists {
			all = append(all, inPEM(l)...)
		}
		return all
	}
	lasts := func(l *x509.RevocationList) { l.NextUpdate = certNow.Add(2 * time.Hour) }
	ofRoot, ofBetween := list(t, root, takes(big.NewInt(8), longest.cert.SerialNumber)), list(t, between, nil)
	for name, c := range map[string]struct {
		file  []byte
		shown []*issued
		at    time.Time
		want  exchange.CertState
	}{
		"good":                            {file(ofRoot), []*issued{leaf}, certNow, exchange.CertVerified},
		"taken back":                      {file(ofRoot), []*issued{taken}, certNow, exchange.CertRevoked},
		"taken back, a long number":       {file(ofRoot), []*issued{longest}, certNow, exchange.CertRevoked},
		"the number of another CA's":      {file(ofRoot, ofBetween), []*issued{deep, between}, certNow, exchange.CertVerified},
		"no list of the CA between":       {file(ofRoot), []*issued{deep, between}, certNow, exchange.CertUnknown},
		"the CA between was taken back":   {file(list(t, root, takes(big.NewInt(20)))), []*issued{deep, between}, certNow, exchange.CertRevoked},
		"a list by an imposter":           {file(ofRoot, list(t, imposter, nil)), []*issued{deep, between}, certNow, exchange.CertUnknown},
		"the list is old":                 {file(ofRoot), []*issued{leaf}, certNow.Add(time.Hour), exchange.CertUnknown},
		"taken back by the second list":   {file(list(t, root, nil), ofRoot), []*issued{taken}, certNow, exchange.CertRevoked},
		"an old list beside a good one":   {file(ofRoot, list(t, root, lasts)), []*issued{leaf}, certNow.Add(90 * time.Minute), exchange.CertVerified},
		"a good list beside an old one":   {file(list(t, root, lasts), ofRoot), []*issued{leaf}, certNow.Add(90 * time.Minute), exchange.CertVerified},
		"taken back, and the list is old": {file(ofRoot), []*issued{taken}, certNow.Add(time.Hour), exchange.CertRevoked},
	} {
		cas, _, err := keys.ParseClientCAs([]byte(root.pem()), certNow)
		if err != nil {
			t.Fatal(err)
		}
		if cas.Lists, err = keys.ParseRevocationLists(c.file, cas.Roots(), certNow); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var shown []*x509.Certificate
		for _, one := range c.shown {
			shown = append(shown, one.cert)
		}
		v, until := cas.JudgeCert(t.Context(), shown, c.at)
		if v.State != c.want || v.State != exchange.CertVerified && v.Reason == "" {
			t.Errorf("%s: %v, %s", name, v.State, v.Reason)
		}
		if v.State == exchange.CertVerified && until.After(c.at.Add(time.Hour)) {
			t.Errorf("%s: remembered until %v, longer than the list is good", name, until)
		}
	}
}

func FuzzRevocationLists(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, file []byte) {
		lists, err := keys.ParseRevocationLists(file, nil, certNow)
		if (err == nil) != (len(lists) > 0) {
			t.Fatalf("%d lists with %v", len(lists), err)
		}
	})
}
