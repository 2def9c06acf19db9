package snapshot

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// serverTLS makes what a listener shows and asks in handshakes. The suites,
// curves and signature algorithms are those of crypto/tls, the exchange of
// keys that withstands quantum computers among them; a client that names
// protocols and none of ours is refused by it (ALPACA).
func (b *build) serverTLS(path string, spec *Listener, t *config.ListenerTLS) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	shown := &certificates{exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	for i, pair := range t.Certificates {
		at := fmt.Sprintf("%s.certificates[%d]", path, i)
		cert, err := b.keyPair(string(pair.CertFile), string(pair.KeyFile))
		if err != nil {
			b.complain(at, err.Error(), "")
			continue
		}
		shown.add(&cert)
	}
	c.GetCertificate = shown.pick
	spec.TLS = c
	b.clientAuth(path+".clientAuth", spec, t.ClientAuth)
	// Tickets say what the client proved: they are good on this listener, under
	// these CAs, and nowhere else. Unless one of the two changes, they outlive a
	// reload.
	spec.tickets = borrow(&b.s.loans, poolKey("tickets", spec.Name, spec.Address, spec.asks), func() *keys.Tickets { return &keys.Tickets{} })
	spec.born = time.Now()
}

// clientAuth has clients asked for a certificate.
func (b *build) clientAuth(path string, spec *Listener, a *config.ClientAuth) {
	if a == nil {
		return
	}
	file, err := b.ReadFile(string(a.CAFile))
	if err != nil {
		b.complain(path+".caFile", err.Error(), "")
		return
	}
	cas, expired, err := keys.ParseClientCAs(file, time.Now())
	if err != nil {
		b.complain(path+".caFile", string(a.CAFile)+" "+err.Error(), "")
		return
	}
	for _, cert := range expired {
		b.Log.Warn("a CA certificate has expired; what it signed is refused", "listener", spec.Name, "file", a.CAFile, "subject", cert.Subject.String(), "notAfter", cert.NotAfter)
	}
	b.revocation(path, a, cas)
	if spec.CertHeader != nil || a.Asks() {
		if b.s.judges == nil {
			b.s.judges = map[string]certRules{}
		}
		b.s.judges[spec.Name] = certRules{cas, a.Mode == "required"}
		b.roots = append(b.roots, cas.Roots()...)
	}
	if !a.Asks() {
		return
	}
	digest := sha256.Sum256(file)
	spec.asks = a.Mode + " " + hex.EncodeToString(digest[:])
	spec.AsksCert = true
	spec.TLS.ClientCAs = cas.Pool() // optional: only to say which are welcome
	spec.TLS.ClientAuth = tls.RequestClientCert
	if a.Mode == "required" {
		spec.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		spec.TLS.VerifyConnection = judged(cas)
	}
}

// certRules are by whom certificates of a listener's clients are judged, and
// whether there has to be one.
type certRules struct {
	judge    exchange.CertJudge
	required bool
}

// revocation tells cas how it is known which certificates were taken back.
func (b *build) revocation(path string, a *config.ClientAuth, cas *keys.ClientCAs) {
	read := b.ReadLists
	if read == nil {
		read = b.ReadFile
	}
	for i, name := range a.CRLFile {
		at := fmt.Sprintf("%s.crlFile[%d]", path, i)
		file, err := read(string(name))
		if err != nil {
			b.complain(at, err.Error(), "")
			return
		}
		lists, err := keys.ParseRevocationLists(file, cas.Roots(), time.Now())
		if err != nil {
			b.complain(at, string(name)+" "+err.Error(), "")
			return
		}
		cas.Lists = append(cas.Lists, lists...)
	}
	if a.OCSP != "" {
		cfg := keys.OCSPConfig{Own: b.ownPorts(), Log: b.Log}
		if a.OCSP != config.OCSPByCertificate {
			cfg.URL = a.OCSP
		}
		cas.OCSP = borrow(&b.s.loans, poolKey("ocsp", cfg.URL, fmt.Sprint(cfg.Own)), func() *keys.OCSP { return keys.NewOCSP(cfg) })
		return
	}
	for _, ca := range cas.Roots() {
		if len(cas.Lists) > 0 && !keys.Covers(cas.Lists, ca) {
			b.complain(path+".crlFile", fmt.Sprintf("there is no revocation list of %.100q, a CA of caFile: nobody it vouches for could be let in", ca.Subject), "add its list, or write ocsp")
		}
	}
}

// judged judges what a client showed, also when a session is resumed: crypto/tls
// looks at no more than dates and root then. Answers of others are not waited
// for: where they are missing, requests are judged.
func judged(cas *keys.ClientCAs) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the session shows no client certificate")
		}
		v, _ := cas.JudgeCert(impatient, s.PeerCertificates, time.Now())
		if v.State != exchange.CertVerified && v.State != exchange.CertUnknown {
			return errors.New(v.Reason)
		}
		return nil
	}
}

// impatient is the context of those who wait for nobody.
var impatient = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// judgeConnection has certificates judged by the rules of x's listener, and
// returns why nothing may come of x, fault.None if something may. Where a
// certificate is required, it is so for every request: it may have been taken
// back since the handshake.
func (s *Snapshot) judgeConnection(x *exchange.Exchange) fault.Code {
	rules := s.judges[x.Conn.Listener]
	x.CertJudge = rules.judge
	if !rules.required || !x.Conn.AsksCert {
		return fault.None
	}
	cert := x.ConnCert()
	x.Reason = cert.Reason
	return certCode(cert.State)
}

// certCode is the code of a certificate that does not hold; fault.None of one
// that does.
func certCode(state exchange.CertState) fault.Code {
	switch state {
	case exchange.CertVerified:
		return fault.None
	case exchange.CertMissing:
		return fault.CertificateMissing
	case exchange.CertRevoked:
		return fault.CertificateRevoked
	case exchange.CertUnknown:
		return fault.IdentityUnavailable
	}
	return fault.CertificateUntrusted
}

// Handshake returns how to speak TLS on a connection that is accepted now. It
// sees to it that the keys of session tickets are of today: that is one load,
// but for twice a day.
func (l *Listener) Handshake(now time.Time) *tls.Config {
	if since := now.Sub(l.born); int64(since) >= l.turn.Load() {
		all, until := l.tickets.At(now)
		l.TLS.SetSessionTicketKeys(all)
		l.turn.Store(int64(until.Sub(l.born)))
	}
	return l.TLS
}

// ticketing is what Handshake goes by.
type ticketing struct {
	tickets *keys.Tickets
	born    time.Time
	turn    atomic.Int64 // nanoseconds from born until other keys are due
}

// certificates are those of a listener by the names they are for. Names may
// have several, for clients that know different algorithms.
type certificates struct {
	exact    map[string][]*tls.Certificate
	wildcard map[string][]*tls.Certificate // by what follows the star: ".example.com"
	first    []*tls.Certificate            // where no name fits: the first, and others for the very same names
}

func (c *certificates) add(cert *tls.Certificate) {
	names := namesOf(cert.Leaf)
	for _, name := range names {
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			c.wildcard[suffix] = append(c.wildcard[suffix], cert)
		} else {
			c.exact[name] = append(c.exact[name], cert)
		}
	}
	if len(c.first) == 0 || slices.Equal(names, namesOf(c.first[0].Leaf)) {
		c.first = append(c.first, cert)
	}
}

// namesOf returns the host names a certificate is for, in lower case, sorted.
// The common name is none (RFC 9110 section 4.3.4).
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, len(leaf.DNSNames))
	for i, name := range leaf.DNSNames {
		names[i] = strings.ToLower(name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var errNoCertificate = errors.New("the listener has no certificate")

// pick returns what to show to a client: the certificate for the name it asks
// for, then one for a wildcard of one label, then the first. Which host may be
// asked for is up to routes.
func (c *certificates) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	fit := c.first
	if name := strings.ToLower(hello.ServerName); name != "" {
		if exact := c.exact[name]; exact != nil {
			fit = exact
		} else if dot := strings.IndexByte(name, '.'); dot > 0 {
			if wild := c.wildcard[name[dot:]]; wild != nil {
				fit = wild
			}
		}
	}
	switch len(fit) {
	case 0:
		return nil, errNoCertificate
	case 1:
		return fit[0], nil
	}
	nameless := *hello // the name was looked at
	nameless.ServerName = ""
	for _, cert := range fit {
		if nameless.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return fit[0], nil
}

// misdirected says why a request is on the wrong connection, "" if it is not.
// What a client shows, it shows to the name it asked for in the handshake: on
// a listener that asks for certificates, a connection serves that name only.
func misdirected(x *exchange.Exchange) string {
	switch c := x.Conn; {
	case c == nil || !c.AsksCert || c.CertHeader != nil: // a proxy's own certificate speaks for none of its clients
		return ""
	case c.TLS == nil || c.TLS.ServerName == "":
		return "the listener asks for client certificates, and the connection was opened without a server name"
	case !exchange.EqualFold(x.Req.Host, strings.ToLower(c.TLS.ServerName)):
		return "the listener asks for client certificates, and the connection was opened for another server name"
	}
	return ""
}
