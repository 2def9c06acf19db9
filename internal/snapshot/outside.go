package snapshot

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/upstream"
)

// What a document says of the world outside a request: listeners with their
// certificates, upstreams.

func (b *build) compileListeners() {
	seen := map[string]string{}
	for i, l := range b.doc.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		address := string(l.Address)
		if other, twice := seen[address]; twice {
			b.complain(path+".address", "is the address of listener "+other, "")
		}
		seen[address] = l.Name
		connections := l.Limits.Connections
		if connections == 0 {
			connections = connectionLimit()
		}
		share := l.Limits.ConnectionsPerAddress
		if share == 0 {
			share = max(leastShare, connections/2)
		}
		spec := &Listener{
			Name: l.Name, Address: address, Connections: connections, PerAddress: share, Exposed: l.Plain() && !l.Address.Loopback(), H2C: l.H2C, PublicURL: string(l.PublicURL),
			Limits: http1.Limits{
				HeaderSize: int(l.Limits.HeaderSize), Headers: l.Limits.Headers,
				HeaderTimeout: l.Limits.HeaderTimeout.Std(), IdleTimeout: l.Limits.IdleTimeout.Std(),
				Connections: connections,
			},
		}
		if h := l.CertHeader; h != nil {
			spec.CertHeader = &exchange.CertHeader{From: config.Prefixes(h.From), XFCC: h.Form == "xfcc"}
		}
		if l.TLS != nil && !l.TLS.None {
			b.serverTLS(path+".tls", spec, l.TLS)
		}
		b.behind(spec, &l)
		spec.Security = securityOf(spec)
		b.s.Listeners = append(b.s.Listeners, spec)
	}
}

// behind says what stands in front of a listener, and whether it has another
// listener do its work.
func (b *build) behind(spec *Listener, l *config.Listener) {
	spec.Redirect = l.RedirectToHTTPS
	if len(l.TrustedProxies) > 0 {
		spec.Front = &exchange.Front{Trusted: config.Prefixes(l.TrustedProxies), RFC7239: l.Forwarded == "rfc7239"}
	}
	if l.ProxyProtocol != nil {
		spec.Introducers = config.Prefixes(l.ProxyProtocol.From)
	}
}

// securityOf makes a digest of what a listener believes of its peers, and of
// what they prove. Certificates of ours are no part of it: a connection that
// was made with the one before is as good.
func securityOf(l *Listener) string {
	parts := []string{"listener", fmt.Sprint(l.Redirect, l.Introducers, l.H2C, l.PublicURL)}
	if l.Front != nil {
		parts = append(parts, "front", fmt.Sprint(*l.Front))
	}
	if l.CertHeader != nil {
		parts = append(parts, "certHeader", fmt.Sprint(*l.CertHeader))
	}
	if l.TLS != nil {
		parts = append(parts, "tls", fmt.Sprint(l.TLS.MinVersion), l.asks)
	}
	return poolKey(parts...)
}

func (b *build) keyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := b.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := b.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s are no pair of certificate and key: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// pool reads a file of CA certificates. Nothing in it, or nothing that can be
// read as a certificate, is an error: an empty pool would trust nobody, or,
// worse, be taken for "the system's".
func (b *build) pool(file string) (*x509.CertPool, []byte, error) {
	pem, err := b.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s holds no CA certificate", file)
	}
	return p, pem, nil
}

// upstream makes a group of targets. Its connections outlive the snapshot
// while all that it is made from stays the same.
func (b *build) upstream(name string, u *config.Upstream) *upstream.Group {
	path := entry("upstreams", name)
	cfg := upstream.Config{Own: b.ownPorts()}
	if u.Host != "keep" {
		cfg.Host = u.Host
	}
	cfg.Protocol = protocols[u.Protocol]
	parts := []string{"upstream", name, u.Protocol, u.Host, fmt.Sprint(cfg.Own)}
	var client *tls.Config
	if u.TLS != nil {
		client = &tls.Config{ServerName: u.TLS.ServerName}
		parts = append(parts, u.TLS.ServerName)
		if u.TLS.CAFile != "" {
			p, pem, err := b.pool(string(u.TLS.CAFile))
			if err != nil {
				b.complain(path+".tls.caFile", err.Error(), "")
				return nil
			}
			client.RootCAs = p
			parts = append(parts, string(pem))
		}
		if u.TLS.CertFile != "" && u.TLS.KeyFile != "" {
			pair, err := b.keyPair(string(u.TLS.CertFile), string(u.TLS.KeyFile))
			if err != nil {
				b.complain(path+".tls", err.Error(), "")
				return nil
			}
			client.Certificates = []tls.Certificate{pair}
			for _, der := range pair.Certificate {
				parts = append(parts, "shows "+string(der))
			}
		}
	}
	for i, t := range u.Targets {
		target, err := compileTarget(t.URL, client)
		if err != nil {
			if len(b.doc.Problems()) == 0 { // else it may have been said already
				b.complain(fmt.Sprintf("%s.targets[%d]", path, i), err.Error(), "")
			}
			return nil
		}
		cfg.Targets = append(cfg.Targets, target)
		parts = append(parts, t.URL)
	}
	b.carriers[name] = poolKey(parts...)
	return borrow(&b.s.loans, b.carriers[name], func() *upstream.Group { return upstream.New(cfg) })
}

// protocols are the names of protocols that upstreams speak.
var protocols = map[string]upstream.Protocol{"http1": upstream.HTTP1, "http2": upstream.HTTP2, "grpc": upstream.GRPC}

// ownPorts are the loopback ports of our own surfaces, which no upstream may
// lead to: through one, strangers would ask in our name.
func (b *build) ownPorts() (own []uint16) {
	addresses := []config.Address{b.doc.Admin.Address}
	if b.doc.Health != nil {
		addresses = append(addresses, b.doc.Health.Address)
	}
	for _, a := range addresses {
		if _, text, err := net.SplitHostPort(string(a)); err == nil {
			if port, err := strconv.ParseUint(text, 10, 16); err == nil {
				own = append(own, uint16(port))
			}
		}
	}
	return own
}

func compileTarget(raw string, client *tls.Config) (upstream.Target, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return upstream.Target{}, errors.New("is no URL; write http://HOST:PORT or https://HOST:PORT")
	}
	if path := u.EscapedPath(); path != "" {
		normal, uses, bad := exchange.NormalizePath([]byte(path), func(n int) []byte { return make([]byte, n) })
		if bad != nil || uses != 0 || string(normal) != path {
			return upstream.Target{}, errors.New("has a path that is not in normal form; write it without dot segments, empty segments and needless escapes")
		}
	}
	t := upstream.Target{Name: raw, Host: u.Host, Address: u.Host, Prefix: strings.TrimSuffix(u.EscapedPath(), "/")}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		t.TLS = &tls.Config{}
		if client != nil {
			t.TLS = client.Clone()
		}
		t.TLS.MinVersion = tls.VersionTLS12
		if t.TLS.ServerName == "" {
			t.TLS.ServerName = u.Hostname()
		}
	}
	if u.Port() == "" {
		t.Address = net.JoinHostPort(u.Hostname(), port)
	}
	return t, nil
}

// poolKey makes one key of all that a resource is made from.
func poolKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return parts[0] + " " + hex.EncodeToString(h.Sum(nil))
}

// leastShare is the least default of limits.connectionsPerAddress.
const leastShare = 100

// connectionLimit is the default of limits.connections: what the open-file
// limit leaves when each connection may need one more to an upstream.
func connectionLimit() int {
	files := OpenFiles()
	if files == 0 {
		return 20_000
	}
	return max(100, min(20_000, (files-500)/2))
}

// OpenFiles returns how many descriptors the process may have, 0 if there is
// no limit worth the name.
func OpenFiles() int {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil || files.Cur > math.MaxInt32 {
		return 0
	}
	return int(files.Cur)
}
