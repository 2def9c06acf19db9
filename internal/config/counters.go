package config

import (
	"net/url"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/warder-gateway/warder/internal/secret"
)

// Counters says where limits are counted: memory, or the address of a Redis or
// Valkey server. It is a secret, because a password may stand in it.
type Counters struct {
	URL    secret.Value `json:"url" required:"true"`
	CAFile File         `json:"caFile"` // empty: the system's
}

func (c *Counters) defaults() { c.URL = secret.New([]byte("memory")) }

// short takes the address alone.
func (c *Counters) short(d *decoder, n *yaml.Node, path string) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	d.referring(n, path, reflect.ValueOf(&c.URL).Elem())
	return true
}

// CountersPath returns the path of the counters' address, which may be written
// in two forms.
func (d *Document) CountersPath() string {
	if d.root.written("counters.url") {
		return "counters.url"
	}
	return "counters"
}

// passwordMark stands for what a reference will bring.
const passwordMark = "\x00"

// counters sees to it that a password of the counters' server is a reference.
// What else is wrong with an address is found when it is compiled.
func (c *checker) counters() {
	path := c.doc.CountersPath()
	rest := c.passwordInUser(path, &c.doc.Counters.URL, "redis://:${env:REDIS_PASSWORD}@HOST:6379")
	if _, password, ok := strings.Cut(rest, "sentinelPassword="); ok {
		c.notLiteral(path, password, "redis://:${env:REDIS_PASSWORD}@HOST:6379")
	}
}

// storePassword sees to it that a password of the store is a reference.
func (c *checker) storePassword() {
	const mend = "postgres://USER:${env:PGPASSWORD}@HOST/DATABASE, or of all of it"
	rest := c.passwordInUser("store", &c.doc.Store, mend)
	_, query, _ := strings.Cut(rest, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil && (plain == "password" || plain == "sslpassword") {
			c.notLiteral("store", value, mend)
		}
	}
}

// passwordInUser judges the password in the user part of the address at path,
// and returns what follows the scheme, with passwordMark for each reference.
func (c *checker) passwordInUser(path string, address *secret.Value, mend string) string {
	text := string(address.Reveal())
	for _, r := range c.doc.references {
		if r.path != path {
			continue
		}
		text = ""
		for _, p := range r.parts {
			if p.scheme != "" && p.other == "" {
				p.text = passwordMark
			} else if p.scheme != "" {
				p.text = p.other // stands in the document like the rest
			}
			text += p.text
		}
	}
	_, rest, _ := strings.Cut(text, "://")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		_, password, _ := strings.Cut(authority[:at], ":")
		c.notLiteral(path, password, mend)
	}
	return rest
}

func (c *checker) notLiteral(path, password, mend string) {
	if strings.Trim(password, passwordMark) != "" {
		c.complain(path, "a password does not stand in the document", "write a reference in its place, such as "+mend)
	}
}
