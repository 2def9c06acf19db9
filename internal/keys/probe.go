package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/secret"
)

// expirySoon is how long before its end a certificate is worth a word.
const expirySoon = 14 * 24 * time.Hour

// mostShown bounds what is printed of a text that a stranger chose, in bytes.
const mostShown = 320

// Outcome is how a step of a probe went.
type Outcome string

// The outcomes. Note is fine, and worth a word.
const (
	StepOK   Outcome = "ok"
	StepNote Outcome = "note"
	StepNo   Outcome = "no"
)

// ProbeStep is one step on the way to an issuer's keys.
type ProbeStep struct {
	Name    string  `json:"step"`
	Outcome Outcome `json:"outcome"`
	Want    string  `json:"want,omitempty"` // what was expected, of a step that failed
	Saw     string  `json:"saw"`
	Mend    string  `json:"mend,omitempty"`
}

// Probe is what came of asking an issuer for its keys once, on the way that a
// Remote goes: same URLs, same bounds, same refusals. Where a step failed
// there is none after it.
type Probe struct {
	Steps  []ProbeStep
	Issuer string // as the discovery document names it; empty: it was not read
	Keys   []*Key // nil: they were not had
}

// OK reports whether no step failed.
func (p *Probe) OK() bool {
	return !slices.ContainsFunc(p.Steps, func(s ProbeStep) bool { return s.Outcome == StepNo })
}

// Ask probes the issuer of cfg, whose tokens are to be accepted under the
// given algorithms and with clocks apart by skew. It takes at most ten
// seconds.
func Ask(ctx context.Context, cfg RemoteConfig, algorithms []string, skew time.Duration) *Probe {
	p := &Probe{}
	p.run(ctx, newSource(cfg), algorithms, skew)
	return p
}

func (p *Probe) ok(name, saw string) { p.Steps = append(p.Steps, ProbeStep{name, StepOK, "", saw, ""}) }
func (p *Probe) note(name, saw, mend string) {
	p.Steps = append(p.Steps, ProbeStep{name, StepNote, "", saw, mend})
}

// no notes the step that failed; it returns false.
func (p *Probe) no(name, want, saw, mend string) bool {
	p.Steps = append(p.Steps, ProbeStep{name, StepNo, want, saw, mend})
	return false
}

func (p *Probe) run(ctx context.Context, s source, algorithms []string, skew time.Duration) {
	var set []byte
	switch uri := s.uri; {
	case s.file != "":
		var err error
		if set, err = secret.ReadRegular(s.file, maxSetBytes); err != nil {
			p.no("file", "a JWK Set in "+s.file, err.Error(), "correct jwksFile, or the rights of the file")
			return
		}
		p.ok("file", s.file)
	default:
		if uri == "" {
			var ok bool
			if uri, ok = p.discovery(ctx, &s, skew); !ok {
				return
			}
		}
		header, ok := http.Header(nil), false
		if set, header, ok = p.fetch(ctx, &s, "jwks", uri); !ok {
			return
		}
		if s.uri != "" {
			p.clock(header, skew)
		}
	}
	p.set(set, algorithms)
}

// discovery reads the issuer's document and returns where the keys are.
func (p *Probe) discovery(ctx context.Context, s *source, skew time.Duration) (uri string, ok bool) {
	data, header, ok := p.fetch(ctx, s, "discovery", s.documentURL())
	if !ok {
		return "", false
	}
	doc, err := exchange.ParseClaims(data)
	if err != nil {
		return "", p.no("document", "a JSON object", "it "+err.Error(), "is this the URL of the issuer? its document is "+s.documentURL())
	}
	p.Issuer = text(doc, "issuer")
	if p.Issuer != s.issuer {
		mend := "write the issuer as its document does, if that is the one you mean"
		if strings.TrimSuffix(p.Issuer, "/") == strings.TrimSuffix(s.issuer, "/") {
			mend = "a slash at the end counts: write " + shown(p.Issuer)
		}
		return "", p.no("issuer", s.issuer, shown(p.Issuer), mend)
	}
	p.ok("issuer", s.issuer+", byte for byte")
	p.clock(header, skew)
	if uri, err = s.jwksURI(doc); err != nil {
		return "", p.no("jwks_uri", "an https URL", err.Error(), "name the keys with jwksUri or jwksFile")
	}
	return uri, true
}

// clock compares the issuer's clock with ours, by the Date of its answer.
func (p *Probe) clock(header http.Header, skew time.Duration) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		p.note("clock", "the answer has no Date to compare clocks by", "")
		return
	}
	// Date has whole seconds, and the answer took its time.
	off := time.Since(date).Round(time.Second)
	if off.Abs() > skew+2*time.Second {
		p.no("clock", "at most "+skew.String()+" apart", "the issuer's clock is "+off.Abs().String()+map[bool]string{true: " behind", false: " ahead"}[off > 0],
			"set the clocks right: tokens would count as expired or not yet valid")
		return
	}
	p.ok("clock", off.Abs().String()+" apart")
}

// fetch gets one document and notes every step on the way there.
func (p *Probe) fetch(ctx context.Context, s *source, what, at string) (data []byte, header http.Header, ok bool) {
	u, err := url.Parse(at)
	if _, refused := checkURL(at); err != nil || refused != nil {
		return nil, nil, p.no(what, "an https URL; http for 127.0.0.1, [::1] and localhost only", shown(at), "keys are not fetched from elsewhere")
	}
	way := &way{host: u.Host}
	data, header, err = s.get(httptrace.WithClientTrace(ctx, way.trace()), at)
	way.mu.Lock() // late dials may still be noted
	defer way.mu.Unlock()
	if !p.travelled(way, err) {
		return nil, nil, false
	}
	if err != nil {
		mend := "ask for the document with curl -v " + shown(at)
		if what == "discovery" {
			mend = "is this the URL of the issuer? where there is no discovery, name the keys with jwksUri"
		}
		return nil, nil, p.no(what, "status 200 and at most 1 MiB from "+shown(at), shown(err.Error()), mend)
	}
	p.ok(what, fmt.Sprintf("%s, %d bytes", shown(at), len(data)))
	return data, header, true
}

// way is what was met between here and a host.
type way struct {
	host string

	mu        sync.Mutex
	resolved  bool
	addresses []string
	connected string // to which address
	dialled   error  // why not
	secured   *tls.ConnectionState
	handshake error
}

func (w *way) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.resolved = true
			for _, a := range i.Addrs {
				w.addresses = append(w.addresses, a.String())
			}
		},
		ConnectDone: func(_, addr string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if err == nil {
				w.connected = addr
			} else {
				w.dialled = err
			}
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.secured, w.handshake = &s, err
		},
	}
}

// travelled notes the steps to the host, those of a host known already apart.
// err is what the request ended with.
func (p *Probe) travelled(w *way, err error) bool {
	known := slices.ContainsFunc(p.Steps, func(s ProbeStep) bool { return s.Name == "connect" && strings.HasPrefix(s.Saw, w.host+" ") })
	var dns *net.DNSError
	switch {
	case w.connected != "":
	case errors.As(err, &dns):
		return p.no("dns", "an address of "+w.host, dns.Error(), "is the name right, and does this machine's resolver know it?")
	case w.dialled != nil:
		err = w.dialled
		fallthrough
	default:
		mend := "is the host up, and does a firewall let this machine through? proxies of the environment are not used"
		if strings.Contains(fmt.Sprint(err), "never dialled") || strings.Contains(fmt.Sprint(err), "not a loopback") {
			mend = "issuers are not looked for there, whatever the name resolves to"
		}
		return p.no("connect", "a connection to "+w.host, fmt.Sprint(err), mend)
	}
	if !known {
		if w.resolved {
			p.ok("dns", strings.Join(w.addresses, " "))
		}
		p.ok("connect", w.host+" at "+w.connected)
	}
	switch {
	case w.handshake != nil:
		return p.untrusted(w)
	case w.secured != nil && !known:
		p.certificate(w.secured)
	}
	return true
}

// certificate notes a certificate that holds.
func (p *Probe) certificate(c *tls.ConnectionState) {
	// Of the chain that was verified, the certificate that ends first.
	first := c.PeerCertificates[0]
	for _, cert := range c.VerifiedChains[0] {
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	saw := fmt.Sprintf("%s, %s, until %s", tls.VersionName(c.Version), chain(c.VerifiedChains[0]), first.NotAfter.UTC().Format(time.DateOnly))
	if time.Until(first.NotAfter) < expirySoon {
		p.note("tls", saw, "the certificate ends soon; after that its keys cannot be fetched")
		return
	}
	p.ok("tls", saw)
}

// untrusted notes why a handshake failed.
func (p *Probe) untrusted(w *way) bool {
	var (
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	want, saw, mend := "a certificate of "+w.host+" that this machine trusts", shown(w.handshake.Error()), "try it with openssl s_client -connect "+w.host
	switch err := w.handshake; {
	case errors.As(err, &hostname):
		saw = "a certificate for " + names(hostname.Certificate)
		mend = "use the name that the certificate has"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		saw = fmt.Sprintf("a certificate good from %s to %s", invalid.Cert.NotBefore.UTC().Format(time.DateTime), invalid.Cert.NotAfter.UTC().Format(time.DateTime))
		mend = "renew it, or set this machine's clock right: it is " + time.Now().UTC().Format(time.DateTime)
	case errors.As(err, &unknown):
		if errors.As(err, &verify) {
			saw = chain(verify.UnverifiedCertificates)
		}
		saw += ", which nobody vouches for here"
		mend = "name its CA with caFile (here: --ca-file)"
	case errors.As(err, &record):
		want, mend = "TLS", "what listens there does not speak TLS; is it the right port?"
	}
	return p.no("tls", want, saw, mend)
}

// chain writes who vouches for whom.
func chain(certs []*x509.Certificate) string {
	var b strings.Builder
	for i, c := range certs {
		switch {
		case i == 0:
			b.WriteString("certificate for " + names(c))
		case i < 5:
			b.WriteString(" < " + shown(c.Subject.String()))
		}
	}
	if n := len(certs); n == 1 {
		b.WriteString(" < " + shown(certs[0].Issuer.String()))
	}
	return b.String()
}

func names(c *x509.Certificate) string {
	all := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		all = append(all, a.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	if len(all) > 5 {
		all = append(all[:5], "…")
	}
	return shown(strings.Join(all, " "))
}

// set judges the keys.
func (p *Probe) set(data []byte, algorithms []string) {
	list, left, err := ParseSet(data)
	if err != nil {
		p.no("keys", "a JWK Set (RFC 7517)", err.Error(), "is jwks_uri right?")
		return
	}
	p.Keys = list
	fits := 0
	for _, k := range list {
		var can []string
		for _, alg := range algorithms {
			if k.Fits(alg) {
				can = append(can, alg)
			}
		}
		if len(can) == 0 {
			p.note("key", k.describe(), "it verifies none of "+strings.Join(algorithms, " ")+"; list its algorithm under algorithms if the issuer signs access tokens with it")
			continue
		}
		fits++
		p.ok("key", k.describe()+", verifies "+strings.Join(can, " "))
	}
	for _, why := range left {
		p.note("key", shown(why), "it is not used")
	}
	if fits == 0 {
		p.no("keys", "a key for one of "+strings.Join(algorithms, " "), fmt.Sprintf("%d keys, none of which fits", len(list)+len(left)),
			"list the issuer's algorithm under algorithms; HS* and none are not to be had")
	}
}

// describe writes a key for people.
func (k *Key) describe() string {
	kind := ""
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		kind = fmt.Sprintf("RSA %d bits", public.N.BitLen())
	case *ecdsa.PublicKey:
		kind = "EC " + public.Curve.Params().Name
	case ed25519.PublicKey:
		kind = "Ed25519"
	}
	name := "no kid"
	if k.ID != "" {
		name = "kid " + shown(k.ID)
	}
	if k.Algorithm != "" {
		kind += ", alg " + k.Algorithm
	}
	return name + ", " + kind
}

// shown cuts a stranger's text. Who prints it sees to what a terminal obeys.
func shown(s string) string {
	if s == "" {
		return `""`
	}
	if len(s) > mostShown {
		s = strings.ToValidUTF8(s[:mostShown], "") + "…"
	}
	return s
}
