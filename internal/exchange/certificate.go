package exchange

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
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
	CertRevoked                     // it held, and was taken back
	CertUnknown                     // it holds, but whether it was taken back nobody can say now
	CertVerified
)

// CertVerdict is what a CertJudge holds of a client certificate. The zero
// verdict is that of a certificate nobody has verified. Immutable.
type CertVerdict struct {
	State  CertState
	Chains [][]*x509.Certificate // from the client's certificate to a CA of the listener; none unless State is CertVerified
	Reason string                // for the operator, where it speaks for nobody
	Facts  *CertFacts            // nil unless State is CertVerified
}

// CertFacts is what others go by of a certificate that was verified. Immutable.
type CertFacts struct {
	Thumbprint [sha256.Size]byte   // SHA-256 of the certificate (RFC 8705 section 3.1)
	DNS        []string            // its dNSNames, in lower case
	URI        []string            // its uniformResourceIdentifiers
	Roots      [][sha256.Size]byte // SHA-256 of the CA certificates that its chains end in
}

// Leaf returns the client's certificate, nil unless it was verified.
func (v *CertVerdict) Leaf() *x509.Certificate {
	if v.State != CertVerified || len(v.Chains) == 0 || len(v.Chains[0]) == 0 {
		return nil
	}
	return v.Chains[0][0]
}

func factsOf(v *CertVerdict) *CertFacts {
	leaf := v.Leaf()
	if leaf == nil {
		return nil
	}
	f := &CertFacts{Thumbprint: sha256.Sum256(leaf.Raw)}
	for _, name := range leaf.DNSNames {
		f.DNS = append(f.DNS, strings.ToLower(name))
	}
	for _, u := range leaf.URIs {
		f.URI = append(f.URI, u.String())
	}
	for _, chain := range v.Chains {
		f.Roots = append(f.Roots, sha256.Sum256(chain[len(chain)-1].Raw))
	}
	return f
}

// CertJudge judges the certificates that clients of one listener show, by one
// configuration. Implementations are pointers, safe for concurrent use.
type CertJudge interface {
	// JudgeCert judges a certificate and what came with it, never none, and
	// says until when the verdict may be remembered. It waits for answers of
	// others, if it needs any, until ctx is done.
	JudgeCert(ctx context.Context, shown []*x509.Certificate, now time.Time) (v CertVerdict, until time.Time)
}

// Shown is what a client showed of itself: its certificate, and what came
// with it. Only a verdict on it is to be had. Safe for concurrent use.
type Shown struct {
	chain  []*x509.Certificate
	broken string // why nobody can read it; then there is no chain
	memo   atomic.Pointer[certMemo]
}

// certMemo is a verdict that was reached.
type certMemo struct {
	by      CertJudge
	verdict CertVerdict
	until   time.Time
}

// NewShown makes a Shown of a chain whose first certificate is the client's.
func NewShown(chain []*x509.Certificate) *Shown { return &Shown{chain: chain} }

// BrokenShown makes a Shown of what should have been a certificate. It is
// never trusted.
func BrokenShown(reason string) *Shown { return &Shown{broken: reason} }

// Verdict returns what by holds of what was shown. It is judged when it is
// first asked for; the verdict is remembered while the same judge is asked and
// for as long as it said. A nil Shown shows nothing.
func (s *Shown) Verdict(ctx context.Context, by CertJudge, now time.Time) CertVerdict {
	switch {
	case s == nil || len(s.chain) == 0 && s.broken == "":
		return CertVerdict{State: CertMissing}
	case by == nil:
		return CertVerdict{}
	case s.broken != "":
		return CertVerdict{State: CertUntrusted, Reason: s.broken}
	}
	if m := s.memo.Load(); m != nil && m.by == by && now.Before(m.until) {
		return m.verdict
	}
	m := &certMemo{by: by}
	m.verdict, m.until = by.JudgeCert(ctx, s.chain, now)
	if m.verdict.State != CertVerified {
		m.verdict.Chains = nil
	}
	m.verdict.Facts = factsOf(&m.verdict)
	s.memo.Store(m)
	return m.verdict
}

// Until returns when the last verdict ends; zero if there is none.
func (s *Shown) Until() time.Time {
	if m := s.memo.Load(); m != nil {
		return m.until
	}
	return time.Time{}
}

// CertHeader says in which form a proxy forwards its clients' certificates.
// Immutable.
type CertHeader struct {
	From []netip.Prefix // the peers that do
	XFCC bool           // Envoy's X-Forwarded-Client-Cert; else Client-Cert and Client-Cert-Chain (RFC 9440)
}

// Covers reports whether addr is one of the proxies. A nil CertHeader covers
// nobody.
func (h *CertHeader) Covers(addr netip.Addr) bool {
	return h != nil && slices.ContainsFunc(h.From, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// SetTLS notes what the handshake agreed on. What the client showed of
// itself is kept apart from TLS: only a verdict on it is to be had.
func (c *Conn) SetTLS(state tls.ConnectionState) {
	if len(state.PeerCertificates) > 0 {
		c.shown = NewShown(state.PeerCertificates)
	}
	state.PeerCertificates, state.VerifiedChains = nil, nil
	c.TLS = &state
}

// ShowsCert reports whether the client showed a certificate, good or bad.
func (c *Conn) ShowsCert() bool { return c.shown != nil }

// Shown returns what stands for the client of x: what its proxy says it
// showed, or what the connection showed. A proxy's own certificate is never
// its clients'.
func (x *Exchange) Shown() *Shown {
	switch {
	case x.Conn == nil:
		return nil
	case x.Conn.CertHeader != nil:
		return x.ForwardedCert
	}
	return x.Conn.shown
}

// ClientCert returns what is held of the client's certificate under the
// configuration that judges x. It may wait for an answer on revocation.
func (x *Exchange) ClientCert() CertVerdict {
	if x.Conn == nil {
		return CertVerdict{}
	}
	x.CertAsked = true
	return x.verdict(x.Shown())
}

// ConnCert is ClientCert of the certificate that the connection itself showed,
// whoever it speaks for.
func (x *Exchange) ConnCert() CertVerdict {
	if x.Conn == nil {
		return CertVerdict{}
	}
	x.CertAsked = x.CertAsked || x.Conn.CertHeader == nil
	return x.verdict(x.Conn.shown)
}

// Witness is from where an exchange came, and the certificate that it was let in
// by: of the zero Witness nothing is known, and no certificate was asked for.
type Witness struct {
	Client   netip.Addr
	Listener string
	Shown    *Shown
}

// Witness returns what x was let in by, for those who judge it again.
func (x *Exchange) Witness() Witness {
	if x.Conn == nil || !x.CertAsked {
		return Witness{Client: x.Client}
	}
	return Witness{x.Client, x.Conn.Listener, x.Shown()}
}

func (x *Exchange) verdict(s *Shown) CertVerdict {
	if s != nil && x.CertJudge != nil { // without a context, which would have to be made
		if m := s.memo.Load(); m != nil && m.by == x.CertJudge && x.Start.Before(m.until) {
			return m.verdict
		}
	}
	return s.Verdict(x.Context(), x.CertJudge, x.Start)
}
