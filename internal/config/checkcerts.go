package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// clientCertificates judges what a listener says of the certificates of its
// clients.
func (c *checker) clientCertificates(l *Listener, path string) {
	if c.d.problems.touch(path) {
		return
	}
	var a *ClientAuth
	if l.TLS != nil {
		a = l.TLS.ClientAuth
	}
	if a != nil {
		at := under(under(path, "tls"), "clientAuth")
		seen := map[File]bool{}
		for i, file := range a.CRLFile {
			if seen[file] {
				c.complain(item(under(at, "crlFile"), i), strconv.Quote(cut(string(file)))+" is listed twice", "remove one")
			}
			seen[file] = true
		}
		if c.doc.root.written(under(at, "ocsp")) && a.OCSP != OCSPByCertificate {
			if _, why := httpURL(a.OCSP); why != "" {
				c.complain(under(at, "ocsp"), why, "write aia, to ask the responder that each certificate names, or the URL of one")
			}
		}
	}
	h := l.CertHeader
	if h == nil {
		return
	}
	at := under(path, "clientCertHeader")
	if a == nil {
		c.complain(at, "forwarded certificates are verified here too, and there is no CA to do it by",
			"add tls.clientAuth with caFile; mode: none if the proxies alone ask for certificates")
	}
	if len(h.From) == 0 {
		c.complain(under(at, "from"), "there is no proxy", "list the addresses of the proxies")
	}
	c.networks(h.From, under(at, "from"))
	for i, n := range h.From {
		if p := netip.Prefix(n); wide(p) {
			c.complain(item(under(at, "from"), i), p.String()+" is wider than /24 (/64 for IPv6): whoever has an address in it could be anybody", "list the proxies one by one")
		}
	}
}

// asksCertificates reports whether clients of some listener may show a
// certificate, to it or to a proxy before it; or whether that cannot be told.
func (c *checker) asksCertificates() bool {
	if c.d.problems.touch("listeners") {
		return true
	}
	for _, l := range c.doc.Listeners {
		if l.TLS != nil && l.TLS.ClientAuth != nil && (l.CertHeader != nil || l.TLS.ClientAuth.Asks()) {
			return true
		}
	}
	return false
}

func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < 24
	}
	return p.Bits() < 64
}

// consumerCert judges by which name a consumer's certificate is known.
func (c *checker) consumerCert(cert *ConsumerCert, path string) {
	if c.d.problems.touch(path) {
		return
	}
	names := 0
	for _, there := range []bool{cert.SANDNS != "", cert.SANURI != "", cert.Thumbprint != (Thumbprint{})} {
		if there {
			names++
		}
	}
	if names != 1 {
		c.complain(path, "a certificate is known by one name, and there are "+strconv.Itoa(names), "write one of sanDns, sanUri and thumbprint; the subject (CN) is not looked at")
		return
	}
	switch at := under(path, "sanDns"); {
	case cert.SANDNS == "":
	case strings.Contains(cert.SANDNS, "*"):
		c.complain(at, "there are no wildcards: each consumer's certificates are named", "write whole names, one entry for each")
	case !isHost(strings.ToLower(cert.SANDNS)) || strings.Contains(cert.SANDNS, ":"):
		c.complain(at, strconv.Quote(cut(cert.SANDNS))+" is not a host name", "")
	}
	if cert.SANURI != "" {
		at := under(path, "sanUri")
		u, err := url.Parse(cert.SANURI)
		switch {
		case strings.Contains(cert.SANURI, "*"):
			c.complain(at, "there are no wildcards: each consumer's certificates are named", "write whole URIs, one entry for each")
		case err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "":
			c.complain(at, strconv.Quote(cut(cert.SANURI))+" is not a URI", "write it as the certificate has it, such as spiffe://example.org/orders")
		case u.String() != cert.SANURI:
			c.complain(at, "a certificate's URI would never be equal to it", "write "+cut(u.String()))
		}
	}
}
