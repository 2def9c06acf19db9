package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// ClientCAs judges client certificates by the CA certificates of one file.
// Immutable; safe for concurrent use.
type ClientCAs struct{ roots *x509.CertPool }

// maxUntrusted is how long it is remembered that a certificate did not hold.
const maxUntrusted = time.Minute

// ParseClientCAs reads CA certificates in PEM. All of it must be certificates
// of CAs, and one at least be good at now: what a pool passes over in silence
// would be missed only when a client is refused. expired lists those that
// no longer are; they vouch for nobody.
func ParseClientCAs(file []byte, now time.Time) (c *ClientCAs, expired []*x509.Certificate, err error) {
	c = &ClientCAs{roots: x509.NewCertPool()}
	good := 0
	var last time.Time
	blocks := bytes.Count(file, []byte("-----BEGIN "))
	for n := 1; n <= blocks; n++ {
		block, rest := pem.Decode(file)
		if block == nil { // Decode passes over what is broken; the count does not
			return nil, nil, errors.New("holds a block that is not well-formed PEM")
		}
		file = rest
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("holds a block of type %.40q; only CA certificates belong there", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("holds as number %d something that is no certificate: %w", n, err)
		case !cert.BasicConstraintsValid || !cert.IsCA:
			return nil, nil, fmt.Errorf("holds as number %d a certificate that is not of a CA (%.100q): clients would need its very key", n, cert.Subject)
		}
		if now.After(cert.NotAfter) {
			expired = append(expired, cert)
			if cert.NotAfter.After(last) {
				last = cert.NotAfter
			}
			continue
		}
		good++
		c.roots.AddCert(cert)
	}
	switch {
	case good > 0:
		return c, expired, nil
	case len(expired) > 0:
		return nil, nil, fmt.Errorf("holds only CA certificates that have expired, the last on %s", last.Format(time.DateOnly))
	}
	return nil, nil, errors.New("holds no CA certificate")
}

// Pool returns the CA certificates, for a handshake. It is not changed.
func (c *ClientCAs) Pool() *x509.CertPool { return c.roots }

// JudgeCert implements exchange.CertJudge: the chain, the purpose "client
// authentication", name constraints, and the time.
func (c *ClientCAs) JudgeCert(shown []*x509.Certificate, now time.Time) (v exchange.CertVerdict, until time.Time) {
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return exchange.CertVerdict{State: exchange.CertUntrusted, Reason: err.Error()}, now.Add(maxUntrusted)
	}
	until = shown[0].NotAfter
	for _, chain := range chains {
		for _, cert := range chain {
			if cert.NotAfter.Before(until) {
				until = cert.NotAfter
			}
		}
	}
	return exchange.CertVerdict{State: exchange.CertVerified, Chains: chains}, until
}
