package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/scalar"
)

// checker holds a decoded document against the rules that need more than one
// field. What already has a problem is passed over, so that one mistake is
// answered once.
type checker struct {
	doc *Document
	d   *decoder
}

func checkDocument(doc *Document, d *decoder) {
	c := checker{doc, d}
	c.addresses()
	c.accessLog(&doc.Log.Access)
	c.counters()
	c.storePassword()
	for i := range doc.Listeners {
		c.guard(&doc.Listeners[i].Limits, under(item("listeners", i), "limits"))
		c.front(&doc.Listeners[i], item("listeners", i))
		c.clientCertificates(&doc.Listeners[i], item("listeners", i))
		if doc.Listeners[i].H2C && !doc.Listeners[i].Plain() {
			c.complain(under(item("listeners", i), "h2c"), "HTTP/2 without TLS on a listener with TLS, which speaks HTTP/2 anyway", "remove it")
		}
	}
	c.duration("drain.limit", doc.Drain.Limit, time.Second, time.Hour)
	c.duration("freshness.jwks", doc.Freshness.JWKS, time.Minute, 30*24*time.Hour)
	c.duration("freshness.revocations", doc.Freshness.Revocations, 10*time.Second, 24*time.Hour)
	for i := range doc.Issuers {
		c.issuer(&doc.Issuers[i].Value, under("issuers", doc.Issuers[i].Name))
	}
	for i, n := range c.doc.NeverBlock {
		if netip.Prefix(n).IsValid() && netip.Prefix(n).Bits() == 0 {
			c.complain(item("neverBlock", i), "this is everybody: nobody who guesses would ever be slowed down", "list single machines or small networks")
		}
	}
	c.keys()
	c.authorizationServer()
	c.consumers()
	for _, e := range doc.Upstreams {
		c.upstream(&e.Value, under("upstreams", e.Name))
	}
	c.routes()
}

// complain notes a problem at path, unless there is one already.
func (c *checker) complain(path, text, mend string) {
	if len(c.d.problems) < maxProblems && !c.d.problems.touch(path) {
		c.d.complain(c.doc.At(path), path, text, mend)
	}
}

// unknown notes that a reference at path names nothing in a section, unless
// the section itself could not be read.
func (c *checker) unknown(path, what, name, section string, known func() []string) {
	unread := slices.ContainsFunc(c.d.problems, func(p Problem) bool { return p.Path == section })
	if !unread {
		c.complain(path, "there is no "+what+" "+strconv.Quote(cut(name)), c.d.suggest(name, known))
	}
}

func (c *checker) duration(path string, v scalar.Duration, least, most time.Duration) {
	if v.Std() < least || v.Std() > most {
		c.complain(path, fmt.Sprintf("%v is not between %v and %v", v, scalar.Duration(least), scalar.Duration(most)), "")
	}
}

func (c *checker) number(path string, v, least, most int64) {
	if v < least || v > most {
		c.complain(path, fmt.Sprintf("%d is not between %d and %d", v, least, most), "")
	}
}

func (c *checker) accessLog(l *AccessLog) {
	if len(l.To) == 0 {
		c.complain("log.access.to", "an empty list would lose every record", "name stdout or a file")
	}
}

func (c *checker) guard(g *Guard, path string) {
	if g.HeaderSize < 1<<10 || g.HeaderSize > 32<<10 {
		c.complain(under(path, "headerSize"), fmt.Sprintf("%v is not between 1KiB and 32KiB", g.HeaderSize), "")
	}
	c.number(under(path, "headers"), int64(g.Headers), 1, 1000)
	c.duration(under(path, "headerTimeout"), g.HeaderTimeout, 100*time.Millisecond, time.Minute)
	c.duration(under(path, "idleTimeout"), g.IdleTimeout, 100*time.Millisecond, time.Hour)
	if at := under(path, "connections"); c.doc.root.written(at) {
		c.number(at, int64(g.Connections), 1, 1_000_000)
	}
	if at := under(path, "connectionsPerAddress"); c.doc.root.written(at) {
		c.number(at, int64(g.ConnectionsPerAddress), 1, 1_000_000)
		if g.Connections > 0 && g.ConnectionsPerAddress > g.Connections {
			c.complain(at, fmt.Sprintf("%d is more than connections, %d, and would bound nothing", g.ConnectionsPerAddress, g.Connections), "write a smaller number, or remove the key")
		}
	}
}

// addresses fills in and judges where we listen and where the store is. It
// runs again after Resolve, for the addresses that were references.
func (c *checker) addresses() {
	doc := c.doc
	c.store(string(doc.Store.Reveal()))
	if len(doc.Listeners) == 0 {
		if doc.root.written("listeners") {
			c.complain("listeners", "there is no listener", "remove the key for the default, 127.0.0.1:8080")
		}
		l := Listener{Address: defaultPlain}
		l.defaults()
		doc.Listeners = []Listener{l}
	}
	used := map[Address]string{}
	names := map[string]string{}
	for i := range doc.Listeners {
		l, path := &doc.Listeners[i], item("listeners", i)
		at := under(path, "address")
		if l.Address == "" && !doc.root.written(at) {
			l.Address = defaultPlain
			if !l.Plain() {
				l.Address = defaultTLS
			}
		}
		if !c.address(l.Address, at, used) || c.d.problems.touch(path) {
			continue
		}
		if l.Plain() && l.TLS == nil && !l.Address.Loopback() && !l.RedirectToHTTPS {
			c.complain(path, fmt.Sprintf("a plain listener beyond loopback: %s", l.Address),
				"add tls with certificates, or write tls: none if plain HTTP is meant: tls: none serves public routes only, unless trustedProxies say https")
		}
		if l.Name == "" {
			l.Name = string(l.Address)
		} else if !isName(l.Name) && l.Name != string(l.Address) {
			c.complain(under(path, "name"), "this cannot be a name", nameMend)
		}
		if other, twice := names[l.Name]; twice {
			c.complain(under(path, "name"), "the name is taken by "+other, "")
		}
		names[l.Name] = path
	}
	if c.address(doc.Admin.Address, "admin.address", used) && !doc.Admin.Address.Loopback() {
		c.complain("admin.address", fmt.Sprintf("the admin address %s is beyond loopback", doc.Admin.Address),
			"listen on 127.0.0.1; TLS for it is not in this build")
	}
	if doc.Health != nil {
		c.address(doc.Health.Address, "health.address", used)
	}
}

const (
	defaultPlain Address = "127.0.0.1:8080"
	defaultTLS   Address = ":8443"
)

// address judges one address; it reports whether there is one to judge.
func (c *checker) address(a Address, path string, used map[Address]string) bool {
	waits := slices.ContainsFunc(c.doc.references, func(r reference) bool { return r.path == path })
	if waits || c.d.problems.touch(path) {
		return false
	}
	if _, ok := a.split(); !ok {
		c.complain(path, fmt.Sprintf("%q is not an address to listen on", cut(string(a))),
			"write HOST:PORT or :PORT, the host an IP address or localhost")
		return false
	}
	if strings.HasSuffix(string(a), ":0") {
		return true // a port the system picks is never taken twice
	}
	if other, twice := used[a]; twice {
		c.complain(path, "the address is taken by "+other, "")
	}
	used[a] = path
	return true
}

func (c *checker) issuer(i *Issuer, path string) {
	if c.d.problems.touch(path) {
		return
	}
	c.preset(i, path)
	if c.d.problems.touch(path) {
		return
	}
	c.issuerURL(i.Issuer, under(path, "issuer"))
	if i.JWKSURI != "" {
		c.remote(i.JWKSURI, under(path, "jwksUri"))
		if i.JWKSFile != "" {
			c.complain(under(path, "jwksFile"), "jwksUri and jwksFile are both written", "remove one")
		}
	}
	if len(i.Audience) == 0 && len(i.ClientIDs) == 0 && i.Login == nil {
		c.complain(under(path, "audience"), "an issuer needs an audience: tokens for another API must not open this one",
			"add audience, or clientIds where access tokens have no aud")
	}
	c.strings(i.Audience, under(path, "audience"))
	c.strings(i.ClientIDs, under(path, "clientIds"))
	c.strings(i.Consumer, under(path, "consumer"))
	c.strings(i.Roles, under(path, "roles"))
	c.strings(i.Algorithms, under(path, "algorithms"))
	if len(i.Algorithms) == 0 {
		c.complain(under(path, "algorithms"), "there is no algorithm", "remove the key for RS256, PS256, ES256, EdDSA")
	}
	if i.ClockSkew > scalar.Duration(time.Minute) {
		c.complain(under(path, "clockSkew"), fmt.Sprintf("%v is more than 60s", i.ClockSkew), "set the clocks right instead")
	}
	if i.TokenBinding == "mtls" && !c.asksCertificates() {
		c.complain(under(path, "tokenBinding"), "no listener asks for client certificates, so that every token of this issuer would be refused",
			"give a listener tls.clientAuth with mode: optional or required, or clientCertHeader where a proxy asks for them")
	}
	c.introspection(i.Introspection, under(path, "introspection"))
	c.login(i.Login, path)
	if i.Login != nil && len(i.Tenants) > 0 {
		c.complain(under(path, "login"), "browsers log in at one tenant, and tenants lists several", "give each tenant that people log in at an issuer of its own, with tenant")
	}
}

// strings sees to it that a list holds no empty and no equal values.
func (c *checker) strings(list []string, path string) {
	seen := make(map[string]bool, len(list))
	for i, s := range list {
		switch {
		case s == "":
			c.complain(item(path, i), "it is empty", "")
		case seen[s]:
			c.complain(item(path, i), strconv.Quote(cut(s))+" is listed twice", "remove one")
		}
		seen[s] = true
	}
}

// roles judges the roles of a consumer.
func (c *checker) roles(list []string, path string) {
	const most, longest = 64, 256
	c.strings(list, path)
	if len(list) > most {
		c.complain(path, fmt.Sprintf("lists %d roles; at most %d are allowed", len(list), most), "")
	}
	for i, role := range list {
		if len(role) > longest || printable(role) != role {
			c.complain(item(path, i), "this cannot be a role", fmt.Sprintf("roles are up to %d printable characters", longest))
		}
	}
}

// remote judges the URL of a party that keys or tokens come from: https, or
// http on this machine.
func (c *checker) remote(raw, path string) {
	u, why := httpURL(raw)
	if why == "" && u.Scheme == "http" && !loopbackHost(u.Hostname()) {
		why = "plain http reaches beyond this machine"
	}
	if why != "" {
		c.complain(path, why, "write an https URL; http is for localhost and loopback addresses")
	}
}

// issuerURL judges an issuer identifier (RFC 8414 section 2): no query besides.
func (c *checker) issuerURL(raw, path string) {
	if strings.ContainsRune(raw, '?') {
		c.complain(path, "an issuer has no query", "")
	}
	c.remote(raw, path)
}

// httpURL reads an absolute http or https URL without user and fragment.
func httpURL(raw string) (*url.URL, string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, "this is not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "this is not an http or https URL"
	case u.Hostname() == "" || u.Opaque != "":
		return nil, "the URL has no host"
	case u.User != nil:
		return nil, "a URL does not carry user or password"
	case strings.ContainsRune(raw, '#'):
		return nil, "a URL has no fragment here"
	case !validPort(u):
		return nil, "the URL's port is not 1 to 65535"
	}
	return u, ""
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (c *checker) keys() {
	// References are not resolved yet: what is there stands in the document.
	if k := c.doc.Keys; k != nil && !k.Passphrase.IsZero() {
		c.complain("keys.passphrase", "a secret does not stand in the document", "write a reference such as ${env:NAME} or ${file:PATH}")
	}
}

func (c *checker) authorizationServer() {
	s, path := c.doc.AuthorizationServer, "authorizationServer"
	if s == nil {
		return
	}
	if s.Issuer != "" {
		c.issuerURL(s.Issuer, under(path, "issuer"))
	}
	c.duration(under(path, "accessTokenLifetime"), s.AccessTokenLifetime, time.Second, time.Hour)
	for i := range s.Clients {
		e := &s.Clients[i]
		at := under(under(path, "clients"), e.Name)
		var digest Digest
		if !e.Value.Secret.IsZero() && digest.UnmarshalText(e.Value.Secret.Reveal()) != nil {
			c.complain(under(at, "secret"), "a secret does not stand in the document",
				"write its hash, sha256: and 64 hex digits, or a reference such as ${env:NAME} or ${file:PATH}")
		}
		c.strings(e.Value.Audience, under(at, "audience"))
		c.strings(e.Value.Scopes, under(at, "scopes"))
		for j, scope := range e.Value.Scopes {
			if strings.ContainsFunc(scope, notScope) {
				c.complain(item(under(at, "scopes"), j), strconv.Quote(cut(scope))+" is not a scope", "a scope has no spaces, quotes or backslashes; list several one by one")
			}
		}
	}
}

// notScope finds what a scope-token (RFC 6749 section 3.3) cannot hold.
func notScope(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }

func (c *checker) consumers() {
	keys := map[Digest]string{}
	callers := map[Caller]string{}
	for _, e := range c.doc.Consumers {
		path := under("consumers", e.Name)
		c.password(&e.Value, under(path, "password"))
		c.roles(e.Value.Roles, under(path, "roles"))
		for i, k := range e.Value.APIKeys {
			key := item(under(path, "apiKeys"), i)
			c.networks(k.From, under(key, "from"))
			c.strings(k.Routes, under(key, "routes"))
			at := under(key, "hash")
			if c.d.problems.touch(at) || k.Hash == (Digest{}) {
				continue
			}
			if other, twice := keys[k.Hash]; twice {
				c.complain(at, "the same key is listed by "+other, "give every consumer keys of its own")
			}
			keys[k.Hash] = key
		}
		for i := range e.Value.Certificates {
			c.consumerCert(&e.Value.Certificates[i], item(under(path, "certificates"), i))
		}
		for i, caller := range e.Value.Clients {
			at := item(under(path, "clients"), i)
			if c.d.problems.touch(at) {
				continue
			}
			if c.doc.Issuers.Get(caller.Issuer) == nil {
				c.unknown(under(at, "issuer"), "issuer", caller.Issuer, "issuers", c.doc.Issuers.Names)
			}
			if other, twice := callers[caller]; twice {
				c.complain(at, "the same client is listed by "+other, "a client is one consumer")
			}
			callers[caller] = at
		}
	}
}

// password judges the hash of a consumer's password.
func (c *checker) password(v *Consumer, at string) {
	if !c.doc.root.written(at) || slices.ContainsFunc(c.d.references, func(r reference) bool { return r.path == at }) {
		return // what a reference brings is judged when it is there
	}
	if _, err := password.Parse(string(v.Password.Reveal())); err != nil {
		c.complain(at, err.Error(), "")
	}
}

func (c *checker) upstream(u *Upstream, path string) {
	if c.d.problems.touch(path) {
		return
	}
	list := path
	if c.doc.root.written(under(path, "targets")) {
		list = under(path, "targets")
	}
	if len(u.Targets) == 0 {
		c.complain(list, "there is no target", "list one URL or more")
	}
	seen := make(map[string]bool, len(u.Targets))
	for i, t := range u.Targets {
		at := item(list, i)
		parsed, why := httpURL(t.URL)
		switch {
		case why != "":
			c.complain(at, why, "write a URL such as http://10.0.0.1:8080")
			continue
		case strings.ContainsRune(t.URL, '?'):
			c.complain(at, "a target has no query", "its path is a prefix; remove the rest")
		case seen[t.URL]:
			c.complain(at, "the target is listed twice", "remove one")
		case parsed.Scheme == "http" && u.TLS != nil:
			c.complain(at, "an http target in an upstream with tls", "write https, or remove tls")
		}
		seen[t.URL] = true
	}
	if u.Host != "keep" && u.Host != "upstream" && !isHost(u.Host) {
		c.complain(under(path, "host"), strconv.Quote(cut(u.Host))+" is not a host name", "write keep, upstream or a host name")
	}
	if u.TLS != nil && u.TLS.ServerName != "" && !isHost(u.TLS.ServerName) {
		c.complain(under(under(path, "tls"), "serverName"), strconv.Quote(cut(u.TLS.ServerName))+" is not a host name", "")
	}
	if t := u.TLS; t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		c.complain(under(path, "tls"), "certFile and keyFile go together, and one is missing", "write both or neither")
	}
	c.timeout(&u.Timeout, under(path, "timeout"))
}

func (c *checker) timeout(t *Timeout, path string) {
	if t != nil && t.Connect == scalar.Unlimited {
		c.complain(under(path, "connect"), "connecting cannot be unlimited", "write a duration such as 2s")
	}
}

// store judges where the store is, and does not repeat it: there may be a
// password in it. What follows the scheme is judged by who opens it.
func (c *checker) store(address string) {
	for _, scheme := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(address, scheme); ok && rest != "" {
			return
		}
	}
	c.complain("store", "this is no address of a store", "write sqlite:state.db, or postgres://USER:${env:PGPASSWORD}@HOST/DATABASE")
}
