package binding_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// judgement holds the same of everybody.
type judgement struct{ state exchange.CertState }

func (j *judgement) JudgeCert(_ context.Context, shown []*x509.Certificate, now time.Time) (exchange.CertVerdict, time.Time) {
	return exchange.CertVerdict{State: j.state, Chains: [][]*x509.Certificate{shown}}, now.Add(time.Hour)
}

// A token that is bound to a certificate holds with that certificate, verified,
// on this connection; one that is bound to a key too needs both.
func TestABoundTokenNeedsItsCertificate(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	other := sha256.Sum256(der[1:])
	jkt := `"jkt":"` + thumbprint(jwkOf(material().ec.Public())) + `"`
	x5t := func(sum [32]byte) string { return `"x5t#S256":"` + text(sum[:]) + `"` }
	for _, c := range []struct {
		name    string
		cnf     string
		shows   bool
		verdict exchange.CertState
		proof   bool
		rule    binding.Rule
		want    fault.Code
	}{
		{"its own", `{` + x5t(sum) + `}`, true, exchange.CertVerified, false, binding.AsIssued, fault.None},
		{"its own, where mtls is asked", `{` + x5t(sum) + `}`, true, exchange.CertVerified, false, binding.ToCertificate, fault.None},
		{"another", `{` + x5t(other) + `}`, true, exchange.CertVerified, false, binding.AsIssued, fault.TokenBindingFailed},
		{"its own, not verified", `{` + x5t(sum) + `}`, true, exchange.CertUntrusted, false, binding.AsIssued, fault.TokenBindingFailed},
		{"its own, taken back", `{` + x5t(sum) + `}`, true, exchange.CertRevoked, false, binding.AsIssued, fault.TokenBindingFailed},
		{"its own, while nobody can say whether it was taken back", `{` + x5t(sum) + `}`, true, exchange.CertUnknown, false, binding.AsIssued, fault.IdentityUnavailable},
		{"none", `{` + x5t(sum) + `}`, false, exchange.CertVerified, false, binding.AsIssued, fault.TokenBindingFailed},
		{"both", `{` + x5t(sum) + `,` + jkt + `}`, true, exchange.CertVerified, true, binding.AsIssued, fault.None},
		{"both, without the proof", `{` + x5t(sum) + `,` + jkt + `}`, true, exchange.CertVerified, false, binding.AsIssued, fault.TokenBindingFailed},
		{"both, without the certificate", `{` + x5t(sum) + `,` + jkt + `}`, false, exchange.CertVerified, true, binding.AsIssued, fault.TokenBindingFailed},
		{"both, with another certificate", `{` + x5t(other) + `,` + jkt + `}`, true, exchange.CertVerified, true, binding.AsIssued, fault.TokenBindingFailed},
	} {
		x := request(maker{}.make(t))
		x.Start = time.Now()
		if c.shows {
			x.Conn.SetTLS(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		}
		x.CertJudge = &judgement{c.verdict}
		p := presented()
		p.DPoP = c.proof
		if code, reason := binding.Parse(exchange.JSON(c.cnf)).Check(x, c.rule, p); code != c.want {
			t.Errorf("%s: %v, %s", c.name, code, reason)
		}
	}
}
