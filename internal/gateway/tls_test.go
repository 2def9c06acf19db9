package gateway_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// authority issues certificates and keeps them in files.
type authority struct {
	t    testing.TB
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t, dir: t.TempDir(), name: name}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// file writes the authority's certificate, for caFile.
func (a *authority) file() string { return a.write("ca.crt", "CERTIFICATE", a.cert.Raw) }

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// server writes a pair for names and returns the words of a certificate.
func (a *authority) server(names ...string) string {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{DNSNames: names, Subject: pkix.Name{CommonName: "cn.example"}})
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	n := fmt.Sprint(a.n)
	return fmt.Sprintf("{ certFile: %q, keyFile: %q }", a.write(n+".crt", "CERTIFICATE", cert.Raw), a.write(n+".key", "PRIVATE KEY", private))
}

func (a *authority) client(name string) *tls.Certificate {
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// over opens a TLS connection by hand. The error may come late: in TLS 1.3 a
// client hears with the first answer that its certificate was not taken.
func over(t testing.TB, address string, cfg *tls.Config) (*tls.Conn, error) {
	t.Helper()
	d := net.Dialer{Timeout: generous}
	c, err := tls.DialWithDialer(&d, "tcp", address, cfg)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(generous))
	t.Cleanup(func() { c.Close() })
	return c, nil
}

// get asks for /x of host over c, with HTTP/1.1.
func get(c *tls.Conn, host string) (status int, header http.Header, err error) {
	if _, err = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, err
}

// asked is get over a connection of its own.
func asked(t testing.TB, address, host string, cfg *tls.Config) (int, error) {
	t.Helper()
	c, err := over(t, address, cfg)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	status, _, err := get(c, host)
	return status, err
}

func TestCertificatesArePickedByServerName(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	h := newHouse(t, nil)
	address := h.serve(", tls: { certificates: ["+strings.Join([]string{
		ca.server("first.example"), ca.server("*.wild.example"), ca.server("a.wild.example", "API.example"),
	}, ", ")+"] }", closed)
	for name, want := range map[string]string{
		"first.example":    "first.example",
		"a.wild.example":   "a.wild.example", // the exact name comes before the wildcard
		"b.wild.example":   "*.wild.example",
		"B.Wild.Example":   "*.wild.example",
		"api.example":      "a.wild.example",
		"c.b.wild.example": "first.example", // a wildcard is one label
		"wild.example":     "first.example",
		"unknown.example":  "first.example",
		"cn.example":       "first.example", // a common name is no name
		"":                 "first.example",
	} {
		c, err := over(t, address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("%q: %s is shown", name, got)
		}
	}
}

// looker is a policy that lets through who has a verified certificate, and
// says on the way what it saw.
type looker struct{ saw chan exchange.CertState }

func (l looker) Authenticate(x *exchange.Exchange, _ *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	v := x.ClientCert()
	l.saw <- v.State
	if v.Leaf() == nil {
		return nil, pipeline.Refuse(fault.CredentialMissing)
	}
	return &exchange.Identity{Subject: v.Leaf().Subject.CommonName}, pipeline.Pass
}

func newLooker() (looker, pipeline.Kind) {
	l := looker{make(chan exchange.CertState, 1)}
	return l, pipeline.Policy("auth.jwt", func(string, pipeline.Env) (pipeline.Parts, error) {
		return pipeline.Parts{Authenticate: l}, nil
	})
}

const looked = "  - { name: x, path: /x, upstream: b, auth: { jwt: x } }\n"

func clientAuth(caFile, mode string) string {
	return fmt.Sprintf(", clientAuth: { caFile: %q, mode: %s }", caFile, mode)
}

func TestRequiredClientCertificatesAreVerifiedInTheHandshake(t *testing.T) {
	t.Parallel()
	ca, partners, foreign := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "partners")
	policy, kind := newLooker()
	h := newHouse(t, nil, kind)
	address := h.serve(", tls: { certificates: ["+ca.server("a.example")+"]"+clientAuth(partners.file(), "required")+" }", looked)
	server, key := partners.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	stranger := foreign.client("x")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, certs := range map[string][]tls.Certificate{
			"none":                     nil,
			"of a CA of the same name": {*foreign.client("x")},
			"of a server":              {{Certificate: [][]byte{server.Raw}, PrivateKey: key}},
			"of a CA that comes along": {{Certificate: append(stranger.Certificate, foreign.cert.Raw), PrivateKey: stranger.PrivateKey}},
		} {
			cfg := &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), MaxVersion: version, GetClientCertificate: always(certs)}
			if status, err := asked(t, address, "a.example", cfg); err == nil {
				t.Errorf("%x, %s: answered %d", version, name, status)
			}
		}
		eventually(t, "a word in the log", func() bool { return strings.Contains(h.log.String(), "clientAuth requires a good certificate") })
		cfg := &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), MaxVersion: version, GetClientCertificate: always([]tls.Certificate{*partners.client("x")})}
		if status, err := asked(t, address, "a.example", cfg); err != nil || status != 502 {
			t.Errorf("%x, a good one: %d, %v", version, status, err)
		} else if state := <-policy.saw; state != exchange.CertVerified {
			t.Errorf("%x, a good one: %v", version, state)
		}
	}
}

// always shows a certificate, welcome or not.
func always(certs []tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certs) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certs[0], nil
	}
}

func TestOptionalClientCertificatesCountOnlyOnceVerified(t *testing.T) {
	t.Parallel()
	ca, partners, foreign := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "partners")
	policy, kind := newLooker()
	h := newHouse(t, nil, kind)
	address := h.serve(", tls: { certificates: ["+ca.server("a.example")+"]"+clientAuth(partners.file(), "optional")+" }", looked)
	for name, c := range map[string]struct {
		certs  []tls.Certificate
		state  exchange.CertState
		status int
	}{
		"none":                     {nil, exchange.CertMissing, 401},
		"of a CA of the same name": {[]tls.Certificate{*foreign.client("x")}, exchange.CertUntrusted, 401},
		"good":                     {[]tls.Certificate{*partners.client("x")}, exchange.CertVerified, 502},
	} {
		conn, err := over(t, address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always(c.certs)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time by heart
			status, _, err := get(conn, "a.example")
			if err != nil || status != c.status {
				t.Fatalf("%s: %d, %v", name, status, err)
			}
			if state := <-policy.saw; state != c.state {
				t.Errorf("%s: %v", name, state)
			}
		}
	}
	// Not asked, there is nothing to show.
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0", tls: { certificates: [`+ca.server("a.example")+"]"+clientAuth(partners.file(), "none")+" } }", looked)); err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always([]tls.Certificate{*partners.client("x")})}
	if status, err := asked(t, address, "a.example", cfg); err != nil || status != 401 {
		t.Errorf("mode none: %d, %v", status, err)
	} else if state := <-policy.saw; state != exchange.CertMissing {
		t.Errorf("mode none: %v", state)
	}
}

func TestATicketResumesUnderTheCAsItWasMadeUnderOnly(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"required", "optional"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			ca, partners, others := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "others")
			policy, kind := newLooker()
			h := newHouse(t, nil, kind)
			load := func(cert, caFile, more string) {
				t.Helper()
				if err := h.load(document(`{ name: one, address: "127.0.0.1:0", tls: { certificates: [`+cert+"]"+clientAuth(caFile, mode)+" } }", looked+more)); err != nil {
					t.Fatal(err)
				}
			}
			cert, more := ca.server("a.example"), "  - { name: y, path: /y, upstream: b, auth: none }\n"
			load(cert, partners.file(), "")
			cfg := &tls.Config{
				ServerName: "a.example", RootCAs: ca.pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(8),
				GetClientCertificate: always([]tls.Certificate{*partners.client("x")}),
			}
			again := func(what string, resumes bool, want exchange.CertState) {
				t.Helper()
				c, err := over(t, h.Addresses()["one"], cfg)
				if err == nil {
					_, _, err = get(c, "a.example")
				}
				if err != nil {
					if want != exchange.CertUntrusted || mode == "optional" {
						t.Fatalf("%s, %x, %s: %v", mode, version, what, err)
					}
					return
				}
				if state, resumed := <-policy.saw, c.ConnectionState().DidResume; state != want || resumed != resumes {
					t.Errorf("%s, %x, %s: resumed %v, state %v", mode, version, what, resumed, state)
				}
				c.Close()
			}
			again("the first time", false, exchange.CertVerified)
			again("the second time", true, exchange.CertVerified)
			load(cert, partners.file(), more)
			again("after a reload that leaves TLS alone", true, exchange.CertVerified)
			load(ca.server("a.example"), partners.file(), "")
			again("after a renewed certificate", true, exchange.CertVerified)
			both := partners.write("both.crt", "CERTIFICATE", partners.cert.Raw)
			add(t, both, others.cert)
			load(cert, both, "")
			again("after a CA more", false, exchange.CertVerified)
			load(cert, others.file(), "")
			again("after other CAs", false, exchange.CertUntrusted)
			load(cert, partners.file(), "")
			again("after the first CAs again", false, exchange.CertVerified)
		}
	}
}

// add appends a certificate to a file.
func add(t *testing.T, path string, cert *x509.Certificate) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestATicketOfOneListenerIsNothingOnAnother(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	h := newHouse(t, nil)
	cert := ", tls: { certificates: [" + ca.server("a.example") + "] } }"
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0"`+cert+`, { name: two, address: "127.0.0.2:0"`+cert, closed)); err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for i, name := range []string{"one", "one", "two"} {
		c, err := over(t, h.Addresses()[name], cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := get(c, "a.example"); err != nil || c.ConnectionState().DidResume != (i == 1) {
			t.Errorf("%s: resumed %v, %v", name, c.ConnectionState().DidResume, err)
		}
	}
}

func TestARenewedCertificateLosesNoConnection(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	h := newHouse(t, nil)
	load := func(cert string) {
		if err := h.load(document(`{ name: one, address: "127.0.0.1:0", tls: { certificates: [`+cert+"] } }", closed)); err != nil {
			t.Fatal(err)
		}
	}
	load(ca.server("a.example"))
	cfg := &tls.Config{ServerName: "a.example", RootCAs: ca.pool()}
	address := h.Addresses()["one"]
	old, err := over(t, address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int64
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: cfg.Clone(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	defer transport.CloseIdleConnections()
	h2 := &http.Client{Transport: transport, Timeout: generous}
	for i := range 3 {
		if status, _, err := get(old, "a.example"); err != nil || status != 401 {
			t.Fatalf("HTTP/1.1 after %d renewals: %d, %v", i, status, err)
		}
		resp, err := h2.Get("https://a.example/x")
		if err != nil || resp.StatusCode != 401 || resp.ProtoMajor != 2 {
			t.Fatalf("HTTP/2 after %d renewals: %v, %v", i, resp, err)
		}
		resp.Body.Close()
		was := old.ConnectionState().PeerCertificates[0].SerialNumber
		fresh, err := over(t, address, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if now := fresh.ConnectionState().PeerCertificates[0].SerialNumber; (now.Cmp(was) == 0) != (i == 0) {
			t.Errorf("after %d renewals a new connection is shown number %v", i, now)
		}
		load(ca.server("a.example"))
	}
	if dials.Load() != 1 {
		t.Errorf("HTTP/2 connected %d times", dials.Load())
	}
}

func TestAConnectionIsForOneHostWhereCertificatesAreAsked(t *testing.T) {
	t.Parallel()
	ca, partners := newAuthority(t, "servers"), newAuthority(t, "partners")
	h := newHouse(t, nil)
	certs := ", tls: { certificates: [" + ca.server("a.example", "b.example") + "]"
	if err := h.load(document(`{ name: asks, address: "127.0.0.1:0"`+certs+clientAuth(partners.file(), "optional")+` } }, { name: quiet, address: "127.0.0.2:0"`+certs+" } }", closed)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		listener, sni, host string
		want                int
	}{
		{"asks", "a.example", "a.example", 401},
		{"asks", "A.example", "a.EXAMPLE.:443", 401},
		{"asks", "a.example", "b.example", 421},
		{"asks", "b.example", "a.example", 421},
		{"asks", "a.example", "sub.a.example", 421},
		{"asks", "a.example", "127.0.0.1", 421},
		{"asks", "", "a.example", 421},
		{"asks", "", "127.0.0.1", 421},
		{"quiet", "a.example", "b.example", 401},
		{"quiet", "", "a.example", 401},
	} {
		cfg := &tls.Config{ServerName: c.sni, InsecureSkipVerify: true}
		address := h.Addresses()[c.listener]
		if got, err := asked(t, address, c.host, cfg); err != nil || got != c.want {
			t.Errorf("HTTP/1.1, %s, %q for %q: %d, %v", c.listener, c.sni, c.host, got, err)
		}
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: cfg, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			cfg := cfg.Clone()
			cfg.NextProtos = []string{"h2"}
			return over(t, address, cfg)
		}}
		r, _ := http.NewRequest("GET", "https://a.example/x", nil)
		r.Host = c.host
		resp, err := transport.RoundTrip(r)
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != c.want {
			t.Errorf("HTTP/2, %s, %q for %q: %v, %v", c.listener, c.sni, c.host, resp, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		transport.CloseIdleConnections()
	}
	// HTTP/1.0 need not say for whom it is.
	c, err := over(t, h.Addresses()["asks"], &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /x HTTP/1.0\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode == 401 {
		t.Errorf("without Host: %v, %v", resp, err)
	}
}
