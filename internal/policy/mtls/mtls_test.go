package mtls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/mtls"
)

// judge holds every certificate to be in one state.
type judge struct {
	state exchange.CertState
	root  *x509.Certificate
}

func (j *judge) JudgeCert(_ context.Context, shown []*x509.Certificate, now time.Time) (exchange.CertVerdict, time.Time) {
	return exchange.CertVerdict{State: j.state, Chains: [][]*x509.Certificate{{shown[0], j.root}}, Reason: "because"}, now.Add(time.Hour)
}

// shown returns the policy over one consumer, and an exchange whose client
// shows its certificate.
func shown(t testing.TB, state exchange.CertState) (pipeline.Authenticator, *exchange.Exchange) {
	t.Helper()
	root := &x509.Certificate{Raw: []byte("root")}
	leaf := &x509.Certificate{Raw: []byte("leaf"), DNSNames: []string{"other.example", "batch.acme.example"}}
	probe := &exchange.Exchange{Conn: &exchange.Conn{}, CertJudge: &judge{exchange.CertVerified, root}, Start: time.Now()}
	probe.Conn.SetTLS(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	roots := probe.ClientCert().Facts.Roots
	d, err := directory.New([]directory.Consumer{{Name: "acme", Roles: []string{"partner"}, Certs: []directory.Cert{{DNS: "batch.acme.example", Roots: roots}}}})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := mtls.New(true, pipeline.Env{Directory: d, AsksCerts: true})
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange.Exchange{Conn: &exchange.Conn{AsksCert: true}, CertJudge: &judge{state, root}, Start: time.Now()}
	x.Conn.SetTLS(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	return parts.Authenticate, x
}

func TestWhatEachStateOfACertificateMeans(t *testing.T) {
	t.Parallel()
	for state, want := range map[exchange.CertState]fault.Code{
		exchange.CertUnverified: fault.CertificateUntrusted,
		exchange.CertUntrusted:  fault.CertificateUntrusted,
		exchange.CertRevoked:    fault.CertificateRevoked,
		exchange.CertUnknown:    fault.IdentityUnavailable,
		exchange.CertVerified:   fault.None,
	} {
		policy, x := shown(t, state)
		id, v := policy.Authenticate(x, nil)
		if v.Code() != want || v.Passed() != (id != nil) {
			t.Errorf("%v: %v with %v", state, v.Code(), id)
		}
		if id != nil && (id.Consumer != "acme" || id.Method != "mtls" || id.Proof != "dns batch.acme.example" || len(id.Roles) != 1) {
			t.Errorf("%+v", id)
		}
		if w := x.Witness(); w.Shown == nil {
			t.Errorf("%v: nobody would judge a stream by it", state)
		}
	}
	policy, _ := shown(t, exchange.CertVerified)
	for name, x := range map[string]*exchange.Exchange{
		"nobody has connected": {},
		"none was shown":       {Conn: &exchange.Conn{AsksCert: true}},
	} {
		if _, v := policy.Authenticate(x, nil); v != pipeline.NotMine {
			t.Errorf("%s: %v", name, v.Code())
		}
	}
}

func TestAGoodCertificateOnAKeptConnectionAllocatesNothing(t *testing.T) {
	policy, x := shown(t, exchange.CertVerified)
	policy.Authenticate(x, nil)
	if n := testing.AllocsPerRun(100, func() { policy.Authenticate(x, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAGoodCertificateOnAKeptConnection(b *testing.B) {
	policy, x := shown(b, exchange.CertVerified)
	b.ReportAllocs()
	for b.Loop() {
		policy.Authenticate(x, nil)
	}
}
