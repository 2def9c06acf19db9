package config

import (
	"net/netip"
	"slices"
)

// front judges what a listener says of the proxies before it, and of HTTPS
// beside it.
func (c *checker) front(l *Listener, path string) {
	if c.d.problems.touch(path) {
		return
	}
	c.networks(l.TrustedProxies, under(path, "trustedProxies"))
	if l.ProxyProtocol != nil {
		c.networks(l.ProxyProtocol.From, under(under(path, "proxyProtocol"), "from"))
	}
	if at := under(path, "forwarded"); len(l.TrustedProxies) == 0 && c.doc.root.written(at) {
		c.complain(at, "nobody is trusted to say it", "name the proxies under trustedProxies, or remove the key")
	}
	if !l.RedirectToHTTPS {
		return
	}
	if l.PublicURL != "" {
		c.complain(under(path, "publicUrl"), "the listener only sends callers elsewhere", "write it at the listener that they are sent to")
	}
	at := under(path, "redirectToHttps")
	if !l.Plain() {
		c.complain(at, "the listener speaks TLS itself", "redirect on a plain listener, such as { address: \":80\", redirectToHttps: true }")
	}
	// TLS may also be spoken by a proxy before one of the others.
	serves := func(o Listener) bool { return !o.RedirectToHTTPS && (!o.Plain() || len(o.TrustedProxies) > 0) }
	if !slices.ContainsFunc(c.doc.Listeners, serves) {
		c.complain(at, "there is no listener to send callers to", "add one with tls, or with trustedProxies that speak it")
	}
}

// networks sees to it that a list has no equal ranges.
func (c *checker) networks(list []Network, path string) {
	for i, n := range list {
		if slices.Contains(list[:i], n) {
			c.complain(item(path, i), netip.Prefix(n).String()+" is listed twice", "remove one")
		}
	}
}
