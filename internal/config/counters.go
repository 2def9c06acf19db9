package config

import (
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

// counters sees to it that a password of the counters' server is a reference.
// What else is wrong with an address is found when it is compiled.
func (c *checker) counters() {
	const reference = "\x00"
	path := c.doc.CountersPath()
	text := string(c.doc.Counters.URL.Reveal())
	for _, r := range c.doc.references {
		if r.path != path {
			continue
		}
		text = ""
		for _, p := range r.parts {
			if p.scheme != "" {
				p.text = reference
			}
			text += p.text
		}
	}
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		_, password, _ := strings.Cut(authority[:at], ":")
		c.notLiteral(path, password, reference)
	}
	if _, password, ok := strings.Cut(rest, "sentinelPassword="); ok {
		c.notLiteral(path, password, reference)
	}
}

func (c *checker) notLiteral(path, password, reference string) {
	if strings.Trim(password, reference) != "" {
		c.complain(path, "a password does not stand in the document", "write a reference in its place, such as redis://:${env:REDIS_PASSWORD}@HOST:6379")
	}
}
