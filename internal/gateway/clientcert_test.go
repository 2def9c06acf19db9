package gateway

import (
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

func FuzzForwardedCertificates(f *testing.F) {
	f.Add(":AAAA:", ":AAAA:, :AAAA:", false)
	f.Add(`By=a;Hash=b;Cert="-----BEGIN%20CERTIFICATE-----%0A";Subject="a\"b"`, "", true)
	f.Add(`Cert=a,Cert=b`, "", true)
	f.Fuzz(func(t *testing.T, first, second string, xfcc bool) {
		x := &exchange.Exchange{Conn: &exchange.Conn{CertHeader: &exchange.CertHeader{XFCC: xfcc}}, Start: time.Now()}
		name := "client-cert"
		if xfcc {
			name = "x-forwarded-client-cert"
		}
		x.Req.Fields = []exchange.Field{{Name: []byte(name), Value: []byte(first)}}
		if second != "" {
			x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("client-cert-chain"), Value: []byte(second)})
		}
		x.ForwardedCert = forwardedCert(x)
		if v := x.ClientCert(); v.State != exchange.CertUnverified || x.ForwardedCert == nil {
			t.Fatalf("a field without a judge: %v", v.State)
		}
	})
}
