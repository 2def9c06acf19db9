package exchange_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// judge holds every certificate to be good for an hour, and counts.
type judge struct {
	asked   int
	verdict exchange.CertVerdict
}

func (j *judge) JudgeCert(_ context.Context, _ []*x509.Certificate, now time.Time) (exchange.CertVerdict, time.Time) {
	j.asked++
	return j.verdict, now.Add(time.Hour)
}

func shows(certs ...*x509.Certificate) *exchange.Conn {
	c := &exchange.Conn{}
	c.SetTLS(tls.ConnectionState{PeerCertificates: certs, VerifiedChains: [][]*x509.Certificate{certs}})
	return c
}

func TestACertificateNobodyVerifiedSpeaksForNobody(t *testing.T) {
	t.Parallel()
	cert := &x509.Certificate{}
	chains := [][]*x509.Certificate{{cert}}
	trusted := &judge{verdict: exchange.CertVerdict{State: exchange.CertVerified, Chains: chains}}
	doubted := &judge{verdict: exchange.CertVerdict{State: exchange.CertUntrusted, Chains: chains}}
	for name, c := range map[string]struct {
		x    *exchange.Exchange
		want exchange.CertState
	}{
		"the zero exchange":       {&exchange.Exchange{}, exchange.CertUnverified},
		"none was shown":          {&exchange.Exchange{Conn: shows(), CertJudge: trusted}, exchange.CertMissing},
		"nobody judges":           {&exchange.Exchange{Conn: shows(cert)}, exchange.CertUnverified},
		"it was judged untrusted": {&exchange.Exchange{Conn: shows(cert), CertJudge: doubted}, exchange.CertUntrusted},
	} {
		if v := c.x.ClientCert(); v.State != c.want || v.Leaf() != nil {
			t.Errorf("%s: %v with %v", name, v.State, v.Leaf())
		}
	}
	x := exchange.Exchange{Conn: shows(cert), CertJudge: trusted}
	if v := x.ClientCert(); v.State != exchange.CertVerified || v.Leaf() != cert {
		t.Errorf("a good one: %v", v.State)
	}
	if x.Conn.TLS.PeerCertificates != nil || x.Conn.TLS.VerifiedChains != nil {
		t.Error("the facts of the connection hold a certificate that nobody has judged")
	}
	if v := (&exchange.CertVerdict{State: exchange.CertVerified}); v.Leaf() != nil {
		t.Error("a verdict without a chain has a leaf")
	}
}

func TestAVerdictDiesWithItsConfigurationAndItsTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	cert := &x509.Certificate{}
	good := exchange.CertVerdict{State: exchange.CertVerified, Chains: [][]*x509.Certificate{{cert}}}
	before, after := &judge{verdict: good}, &judge{verdict: exchange.CertVerdict{State: exchange.CertUntrusted}}
	x := exchange.Exchange{Conn: shows(cert), CertJudge: before, Start: now}
	for range 3 {
		x.ClientCert()
	}
	if before.asked != 1 {
		t.Errorf("judged %d times for one connection", before.asked)
	}
	x.Start = now.Add(time.Hour)
	if x.ClientCert(); before.asked != 2 {
		t.Error("the verdict outlives its time")
	}
	x.CertJudge = after
	if v := x.ClientCert(); v.State != exchange.CertUntrusted {
		t.Error("the verdict outlives its configuration")
	}
	x.CertJudge = nil
	if v := x.ClientCert(); v.State != exchange.CertUnverified {
		t.Error("the verdict outlives everybody who could have reached it")
	}
}
