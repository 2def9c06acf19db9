package config

import (
	"slices"
	"strconv"
	"strings"
)

// routes judges every route with what it inherits.
func (c *checker) routes() {
	c.settings(&c.doc.Defaults, "defaults")
	for _, e := range c.doc.APIs {
		path := under("apis", e.Name)
		if b := e.Value.BasePath; b != "" && !isBasePath(b) {
			c.complain(under(path, "basePath"), strconv.Quote(cut(b))+" is not a base path",
				"it begins with a slash, does not end with one, and has no * or {…}")
		}
		c.host(e.Value.Host, under(path, "host"))
		c.settings(&e.Value.Defaults, under(path, "defaults"))
	}
	names := map[string]string{}
	for r := range c.doc.eachRoute() {
		c.route(r)
		if r.Name == "" {
			continue
		}
		at := under(r.at, "name")
		switch other, twice := names[r.Name]; {
		case !isName(r.Name):
			c.complain(at, "this cannot be a name", nameMend)
		case twice:
			c.complain(at, "the name is taken by "+other, "")
		}
		names[r.Name] = r.at
	}
}

func (c *checker) route(r placedRoute) {
	// What else is said of a route that has a problem may follow from it.
	sound := !c.d.problems.touch(r.at)
	if r.Path != "" && r.Path[0] != '/' {
		c.complain(under(r.at, "path"), "a path begins with a slash", "")
	}
	c.host(r.Host, under(r.at, "host"))
	if r.Methods != nil {
		c.strings(r.Methods, under(r.at, "methods"))
		if len(r.Methods) == 0 {
			c.complain(under(r.at, "methods"), "there is no method", "remove the key for all of them")
		}
	}
	c.upgrade(r)
	seen := make(map[string]bool, len(r.Match.Headers))
	for _, h := range r.Match.Headers {
		if seen[strings.ToLower(h.Name)] {
			at := under(under(under(r.at, "match"), "headers"), h.Name)
			c.complain(at, "the header is written twice; case does not count", "remove one")
		}
		seen[strings.ToLower(h.Name)] = true
	}
	c.settings(&r.Settings, r.at)
	if !sound {
		return
	}
	s := r.effective(c.doc)
	if s.auth == nil {
		c.complain(under(r.at, "auth"), "a route needs auth", "write auth: none to make it public")
	}
	if s.upstream == nil {
		c.complain(under(r.at, "upstream"), "a route needs an upstream", "")
	}
}

// upgrade judges what connections of a route may switch to.
func (c *checker) upgrade(r placedRoute) {
	if r.Upgrade == nil {
		return
	}
	at := under(r.at, "upgrade")
	c.strings(r.Upgrade, at)
	switch {
	case len(r.Upgrade) == 0:
		c.complain(at, "there is no protocol", "remove the key if connections stay with HTTP")
	case r.Methods != nil && !slices.Contains(r.Methods, "GET"):
		c.complain(at, "a WebSocket is opened with GET, which methods does not list", "add GET to methods, or give the WebSocket a route of its own")
	}
	if s := r.effective(c.doc); s.upstream != nil {
		if u := c.doc.Upstreams.Get(s.upstream.Name); u != nil && u.Protocol != "http1" {
			c.complain(at, "a WebSocket is opened over HTTP/1.1, which the upstream does not speak", "give the WebSocket an upstream with protocol http1")
		}
	}
}

// settings judges what routes, APIs and defaults have in common.
func (c *checker) settings(s *Settings, path string) {
	if u, at := s.Upstream, under(path, "upstream"); u != nil && c.doc.Upstreams.Get(u.Name) == nil {
		c.unknown(at, "upstream", u.Name, "upstreams", c.doc.Upstreams.Names)
	}
	c.timeout(s.Timeout, under(path, "timeout"))
	if s.PathAllow != nil {
		c.strings(*s.PathAllow, under(path, "pathAllow"))
	}
	if s.Pass != nil {
		c.strings(*s.Pass, under(path, "pass"))
		for i, name := range *s.Pass {
			if !isToken(name) {
				c.complain(item(under(path, "pass"), i), strconv.Quote(cut(name))+" is not the name of a header", "")
			}
		}
	}
}

// host judges the host of a route or API; the empty one was not written.
func (c *checker) host(h, path string) {
	if h == "" && !c.doc.root.written(path) || h == "any" || isHost(strings.TrimPrefix(h, "*.")) {
		return
	}
	c.complain(path, strconv.Quote(cut(h))+" is not a host", "write a name in lower case such as api.example.com or *.example.com, without a port, or any")
}

// isHost reports whether s is a host name in lower case, or an IPv4 address.
func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
				return false
			}
		}
	}
	return true
}

func isBasePath(s string) bool {
	return s == "/" || s[0] == '/' && s[len(s)-1] != '/' && !strings.ContainsAny(s, "*{}?#")
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for _, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
			return false
		}
	}
	return s != ""
}
