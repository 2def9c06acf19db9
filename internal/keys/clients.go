package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// ClientCAs judges client certificates by the CA certificates of one file, and
// by what Lists and OCSP know of those that were taken back. Safe for
// concurrent use once both are set.
type ClientCAs struct {
	// Lists are revocation lists, and OCSP who answers for single certificates.
	// With either, every certificate of a chain but the CA at its end must be
	// known not to be revoked; with neither, nothing is asked.
	Lists []*RevocationList
	OCSP  *OCSP

	roots *x509.CertPool
	all   []*x509.Certificate
}

const (
	maxUntrusted = time.Minute // how long it is remembered that a certificate did not hold
	maxChains    = 8           // of one certificate that are looked at
	leastRSA     = 2048        // bits of a key that is believed
)

// ParseClientCAs reads CA certificates in PEM. All of it must be certificates
// of CAs, and one at least be good at now: what a pool passes over in silence
// would be missed only when a client is refused. expired lists those that
// no longer are; they vouch for nobody.
func ParseClientCAs(file []byte, now time.Time) (c *ClientCAs, expired []*x509.Certificate, err error) {
	c = &ClientCAs{roots: x509.NewCertPool()}
	usable := 0
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
		if why := weakKey(cert); why != "" {
			return nil, nil, fmt.Errorf("holds as number %d a CA certificate with %s (%.100q)", n, why, cert.Subject)
		}
		usable++
		c.roots.AddCert(cert)
		c.all = append(c.all, cert)
	}
	switch {
	case usable > 0:
		return c, expired, nil
	case len(expired) > 0:
		return nil, nil, fmt.Errorf("holds only CA certificates that have expired, the last on %s", last.Format(time.DateOnly))
	}
	return nil, nil, errors.New("holds no CA certificate")
}

// Pool returns the CA certificates, for a handshake. It is not changed.
func (c *ClientCAs) Pool() *x509.CertPool { return c.roots }

// Roots returns the CA certificates, those apart that have expired.
func (c *ClientCAs) Roots() []*x509.Certificate { return slices.Clone(c.all) }

// weakKey says why a key is not believed, "" if it is.
func weakKey(cert *x509.Certificate) string {
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < leastRSA {
			return fmt.Sprintf("an RSA key of %d bits; %d are the least", bits, leastRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return "a key on curve " + k.Curve.Params().Name + "; P-256 is the least"
		}
	case ed25519.PublicKey:
	default:
		return "a key of a kind that is not supported"
	}
	return ""
}

// JudgeCert implements exchange.CertJudge: the chain, the purpose "client
// authentication", name constraints, keys, revocation, and the time.
func (c *ClientCAs) JudgeCert(ctx context.Context, shown []*x509.Certificate, now time.Time) (v exchange.CertVerdict, until time.Time) {
	untrusted := func(reason string) (exchange.CertVerdict, time.Time) {
		return exchange.CertVerdict{State: exchange.CertUntrusted, Reason: reason}, now.Add(maxUntrusted)
	}
	leaf := shown[0]
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	switch {
	case err != nil:
		return untrusted(err.Error())
	case leaf.IsCA:
		return untrusted("it is the certificate of a CA, not of a client")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return untrusted("its key usage leaves out digital signatures, which is what a client proves itself by")
	}
	until = leaf.NotAfter
	var doubt exchange.CertVerdict // of a chain that does not hold
	for _, chain := range chains[:min(len(chains), maxChains)] {
		one, limit := c.judgeChain(ctx, chain, now)
		if limit.Before(until) {
			until = limit
		}
		switch {
		case one.State == exchange.CertVerified:
			v.State = exchange.CertVerified
			v.Chains = append(v.Chains, chain)
		case doubt.State != exchange.CertRevoked: // which says most
			doubt = one
		}
	}
	if v.State != exchange.CertVerified {
		return doubt, until
	}
	return v, until
}

// judgeChain judges what holds together: the keys, and whether one of them was
// taken back. The verdict is good until a time that is not after the end of
// any certificate of it.
func (c *ClientCAs) judgeChain(ctx context.Context, chain []*x509.Certificate, now time.Time) (v exchange.CertVerdict, until time.Time) {
	until = chain[0].NotAfter
	for _, cert := range chain {
		if cert.NotAfter.Before(until) {
			until = cert.NotAfter
		}
		if why := weakKey(cert); why != "" {
			return exchange.CertVerdict{State: exchange.CertUntrusted, Reason: fmt.Sprintf("%.100q has %s", cert.Subject, why)}, now.Add(maxUntrusted)
		}
	}
	v.State = exchange.CertVerified
	if c.Lists == nil && c.OCSP == nil {
		return v, until
	}
	for i, cert := range chain[:len(chain)-1] {
		s := c.standing(ctx, cert, chain[i+1], now)
		if s.until.Before(until) {
			until = s.until
		}
		switch {
		case s.state == revoked:
			return exchange.CertVerdict{State: exchange.CertRevoked, Reason: s.reason}, until
		case s.state != good: // a certificate further up may be revoked, which says more
			v = exchange.CertVerdict{State: exchange.CertUnknown, Reason: s.reason}
		}
	}
	return v, until
}

// standing is what an issuer says of one of its certificates.
type standing struct {
	state  int       // unheard, good or revoked
	until  time.Time // when to ask again
	reason string    // for the operator, unless it is good
}

// The states of a standing. The zero state is that nobody has said anything.
const (
	unheard = iota
	good
	revoked
)

// standing asks the lists, and where none speaks of the issuer, OCSP. A CA may
// have several lists: what one of them took back no other gives again.
func (c *ClientCAs) standing(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) standing {
	s := standing{until: now.Add(maxUnheard), reason: fmt.Sprintf("there is no revocation list of %.100q", issuer.Subject)}
	for _, l := range c.Lists {
		if !l.speaksFor(issuer) {
			continue
		}
		one := l.standing(cert, now)
		if one.state == revoked {
			return one
		}
		if s.state != good || one.state == good && one.until.After(s.until) {
			s = one
		}
	}
	if s.state == good || c.OCSP == nil {
		return s
	}
	return c.OCSP.standing(ctx, cert, issuer, now)
}

// maxUnheard is for how long it is remembered that nobody said anything.
const maxUnheard = time.Second
