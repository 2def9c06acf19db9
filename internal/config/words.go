package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

var (
	errTLS  = errors.New("tls is the word none, or an object with certificates")
	errSink = errors.New("write stdout, or { file: NAME }")
)

// File is a path to a file, already joined to the folder of the document it
// stands in.
type File string

// Address is where to listen: HOST:PORT or :PORT, the host an IP address or
// localhost. The zero Address is none.
type Address string

// split returns host and port of a well-formed address.
func (a Address) split() (host string, ok bool) {
	i := strings.LastIndexByte(string(a), ':')
	if i < 0 {
		return "", false
	}
	host, port := string(a[:i]), string(a[i+1:])
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return "", false
	}
	if host == "" || host == "localhost" {
		return host, true
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(bare)
	if err != nil || ip.Is6() != (bare != host) || ip.Is6() && len(host) != len(bare)+2 {
		return "", false
	}
	return bare, true
}

// Loopback reports whether only this machine can reach the address.
func (a Address) Loopback() bool {
	host, ok := a.split()
	if !ok || host == "" {
		return false
	}
	if host == "localhost" {
		return true
	}
	return netip.MustParseAddr(host).IsLoopback()
}

// Network is a range of addresses in CIDR notation, IPv4 or IPv6.
type Network netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Network) UnmarshalText(text []byte) error {
	p, err := netip.ParsePrefix(string(text))
	switch {
	case err != nil:
		return errNetwork
	case p.Addr().Is4In6():
		return errors.New("an IPv4 range is written as IPv4, such as 10.0.0.0/24")
	case p != p.Masked():
		return errors.New("the address has bits behind the prefix length: the range is " + p.Masked().String())
	}
	*n = Network(p)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (n Network) MarshalText() ([]byte, error) { return netip.Prefix(n).MarshalText() }

// Prefixes returns the ranges as the rest of the house knows them.
func Prefixes(list []Network) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, n := range list {
		all[i] = netip.Prefix(n)
	}
	return all
}

var errNetwork = errors.New("this is not a range of addresses: write it as CIDR, such as 10.0.0.0/24, or 10.0.0.5/32 for one address")

// Digest is a SHA-256, written as "sha256:" and 64 hex digits.
type Digest [sha256.Size]byte

// UnmarshalText implements encoding.TextUnmarshaler. Its errors do not repeat
// the text: what stands in the wrong place may be the secret itself.
func (d *Digest) UnmarshalText(text []byte) error {
	switch {
	case strings.HasPrefix(string(text), "hmac:"):
		return errHMAC
	case strings.HasPrefix(string(text), "wk_"):
		return errKeyItself
	}
	hexed, ok := strings.CutPrefix(string(text), "sha256:")
	if !ok || len(hexed) != 2*len(d) {
		return errDigest
	}
	if _, err := hex.Decode(d[:], []byte(hexed)); err != nil {
		return errDigest
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) {
	return []byte("sha256:" + hex.EncodeToString(d[:])), nil
}

var (
	errKeyItself = errors.New("this is the key itself: treat it as known to others, and make another with warder key new, which prints the line for the configuration; warder key hash makes the line of a key that exists")

	errDigest = errors.New("a hash is sha256: and 64 hex digits")
	errHMAC   = errors.New("a hash is sha256: and 64 hex digits; keys that were imported, as hmac:, are in the store alone: warder key import")
)

// Thumbprint is the SHA-256 of a certificate in DER, written as 64 hex digits,
// with or without "sha256:" before them and colons between them. The zero
// Thumbprint is none.
type Thumbprint [sha256.Size]byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Thumbprint) UnmarshalText(text []byte) error {
	hexed := strings.TrimPrefix(string(text), "sha256:")
	if len(hexed) == 3*len(t)-1 {
		hexed = strings.ReplaceAll(hexed, ":", "")
	}
	if len(hexed) != 2*len(t) {
		return errThumbprint
	}
	if _, err := hex.Decode(t[:], []byte(hexed)); err != nil || *t == (Thumbprint{}) {
		return errThumbprint
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Thumbprint) MarshalText() ([]byte, error) { return Digest(t).MarshalText() }

var errThumbprint = errors.New("a thumbprint is the SHA-256 of the certificate, 64 hex digits, as openssl x509 -fingerprint -sha256 prints it")

// Digest returns the SHA-256 by which the client's secret is recognised.
// Before Resolve it is that of nothing.
func (c *Client) Digest() Digest {
	text := c.Secret.Reveal()
	var d Digest
	if d.UnmarshalText(text) == nil {
		return d
	}
	return sha256.Sum256(text)
}

// Named is a mapping from names to values, in the order of the document.
type Named[T any] []Entry[T]

// Entry is one value with its name and the place of the name.
type Entry[T any] struct {
	Name  string
	Pos   Pos
	Value T
}

// Get finds a value by its name; nil if there is none.
func (m Named[T]) Get(name string) *T {
	for i := range m {
		if m[i].Name == name {
			return &m[i].Value
		}
	}
	return nil
}

// Names returns the names in the order of the document.
func (m Named[T]) Names() []string {
	names := make([]string, len(m))
	for i := range m {
		names[i] = m[i].Name
	}
	return names
}

func (m *Named[T]) reserve(n int) { *m = make(Named[T], 0, n) }

// add makes a value in place; reserve has seen to it that it does not move.
func (m *Named[T]) add(name string, pos Pos) any {
	*m = append(*m, Entry[T]{Name: name, Pos: pos})
	return &(*m)[len(*m)-1].Value
}

const nameMend = "names are up to 63 letters, digits, dots, dashes and underscores, and begin with a letter or digit"

// isName reports whether s can name something. A slash cannot: it parts issuer
// and client where a caller is printed.
func isName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i, r := range s {
		letter := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r != '.' && r != '-' && r != '_') {
			return false
		}
	}
	return true
}

// short takes a list as the targets.
func (u *Upstream) short(d *decoder, n *yaml.Node, path string) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		d.into(n, path, &u.Targets)
	case yaml.ScalarNode:
		example := "http://10.0.0.1:8080"
		// What is no plain URL is not repeated: it may hold a password.
		if u, err := url.Parse(n.Value); err == nil && u.Host != "" && u.User == nil && u.RawQuery == "" {
			example = n.Value
		}
		d.complainAt(n, path, "a list of targets is meant here", "write ["+cut(example)+"], or { targets: [ … ] }")
	default:
		return false
	}
	return true
}

// short refuses a list, which a group of targets would be.
func (u *UpstreamRef) short(d *decoder, n *yaml.Node, path string) bool {
	if n.Kind != yaml.SequenceNode {
		return false
	}
	d.complainAt(n, path, "the name of one upstream is meant here, not a list", "write a name of upstreams, which lists the targets")
	return true
}

// Origin is the scheme and authority of a URL: https://api.example.com.
type Origin string

var errOrigin = errors.New("write http:// or https://, a host and, if it is not the usual one, a port; no path")

// UnmarshalText takes an origin, with or without a slash behind it.
func (o *Origin) UnmarshalText(text []byte) error {
	written := strings.TrimSuffix(string(text), "/")
	u, err := url.Parse(written)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Scheme+"://"+u.Host != written {
		return errOrigin
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errOrigin
		}
	}
	for i := range len(u.Host) {
		if c := u.Host[i]; c <= ' ' || c >= 0x7f || c == '%' || c == ',' || c == '"' {
			return errOrigin
		}
	}
	*o = Origin(written)
	return nil
}
