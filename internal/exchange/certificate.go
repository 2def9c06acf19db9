package exchange

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// CertState says what is held of the certificate a client showed. The zero
// CertState is CertUnverified.
type CertState uint8

// The states. Only CertVerified speaks for anybody.
const (
	CertUnverified CertState = iota // nobody has judged it, or nobody can
	CertMissing                     // the client showed none
	CertUntrusted                   // it was judged, and does not hold
	CertVerified
)

// CertVerdict is what a CertJudge holds of a client certificate. The zero
// verdict is that of a certificate nobody has verified. Immutable.
type CertVerdict struct {
	State  CertState
	Chains [][]*x509.Certificate // from the client's certificate to a CA of the listener; none unless State is CertVerified
	Reason string                // for the operator, where State is CertUntrusted
}

// Leaf returns the client's certificate, nil unless it was verified.
func (v *CertVerdict) Leaf() *x509.Certificate {
	if v.State != CertVerified || len(v.Chains) == 0 || len(v.Chains[0]) == 0 {
		return nil
	}
	return v.Chains[0][0]
}

// CertJudge judges the certificates that clients of one listener show, by one
// configuration. Implementations are pointers, safe for concurrent use.
type CertJudge interface {
	// JudgeCert judges a certificate and what came with it, never none, and
	// says until when the verdict may be remembered.
	JudgeCert(shown []*x509.Certificate, now time.Time) (v CertVerdict, until time.Time)
}

// certMemo is a verdict that was reached on a connection.
type certMemo struct {
	by      CertJudge
	verdict CertVerdict
	until   time.Time
}

// SetTLS notes what the handshake agreed on. What the client showed of
// itself is kept apart from TLS: only a verdict on it is to be had.
func (c *Conn) SetTLS(state tls.ConnectionState) {
	c.shown = state.PeerCertificates
	state.PeerCertificates, state.VerifiedChains = nil, nil
	c.TLS = &state
}

// ShowsCert reports whether the client showed a certificate, good or bad.
func (c *Conn) ShowsCert() bool { return len(c.shown) > 0 }

// ClientCert returns what is held of the client's certificate under the
// configuration that judges x. It is judged when it is first asked for; the
// connection remembers the verdict while the same configuration is in force
// and the certificates of the chain last.
func (x *Exchange) ClientCert() CertVerdict {
	switch {
	case x.Conn == nil:
		return CertVerdict{}
	case !x.Conn.ShowsCert():
		return CertVerdict{State: CertMissing}
	case x.CertJudge == nil:
		return CertVerdict{}
	}
	if m := x.Conn.memo.Load(); m != nil && m.by == x.CertJudge && x.Start.Before(m.until) {
		return m.verdict
	}
	m := &certMemo{by: x.CertJudge}
	m.verdict, m.until = x.CertJudge.JudgeCert(x.Conn.shown, x.Start)
	x.Conn.memo.Store(m)
	return m.verdict
}
