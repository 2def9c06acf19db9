package snapshot_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/snapshot"
)

// files are what a compiler reads.
type files map[string][]byte

func (f files) read(path string) ([]byte, error) {
	if b, ok := f[path]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("cannot read %s: %w", path, fs.ErrNotExist)
}

// add makes a certificate and its key, as NAME.crt and NAME.key, signed by
// itself or by the pair called by.
func (f files) add(t *testing.T, name, by string, rsaKey bool, template *x509.Certificate) {
	t.Helper()
	var key crypto.Signer
	var err error
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); rsaKey {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(int64(len(f)+1)), true
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by != "" {
		pair, err := tls.X509KeyPair(f[by+".crt"], f[by+".key"])
		if err != nil {
			t.Fatal(err)
		}
		parent, signer = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f[name+".crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	f[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// ca is a template for a CA.
func ca(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
}

func withTLS(f files) *snapshot.Compiler {
	c := newCompiler()
	c.ReadFile = f.read
	return c
}

// speaking makes a document with a TLS listener of pairs.
func speaking(clientAuth string, pairs ...string) string {
	for i, name := range pairs {
		pairs[i] = fmt.Sprintf("{ certFile: %s.crt, keyFile: %[1]s.key }", name)
	}
	return "listeners: [{ name: one, address: \":8443\", tls: { certificates: [" + strings.Join(pairs, ", ") + "]" + clientAuth + " } }]\n" + frontRoutes
}

func TestANameMayHaveCertificatesOfSeveralKinds(t *testing.T) {
	t.Parallel()
	f := files{}
	names := []string{"a.example", "*.a.example"}
	f.add(t, "ec", "", false, &x509.Certificate{DNSNames: names})
	f.add(t, "rsa", "", true, &x509.Certificate{DNSNames: names})
	f.add(t, "other", "", false, &x509.Certificate{DNSNames: []string{"b.example"}})
	s := compile(t, withTLS(f), speaking("", "ec", "rsa", "other"))
	for _, c := range []struct {
		name   string
		scheme tls.SignatureScheme
		want   string
	}{
		{"a.example", tls.ECDSAWithP256AndSHA256, "ec"},
		{"a.example", tls.PSSWithSHA256, "rsa"},
		{"x.a.example", tls.PSSWithSHA256, "rsa"},
		{"unknown.example", tls.PSSWithSHA256, "rsa"},
		{"", tls.PSSWithSHA256, "rsa"},
		{"", tls.ECDSAWithP256AndSHA256, "ec"},
		{"b.example", tls.ECDSAWithP256AndSHA256, "other"},
		{"a.example", tls.Ed25519, "ec"}, // the handshake says what is missing
	} {
		got, err := s.Listeners[0].TLS.GetCertificate(&tls.ClientHelloInfo{
			ServerName: c.name, SignatureSchemes: []tls.SignatureScheme{c.scheme}, SupportedVersions: []uint16{tls.VersionTLS13},
			SupportedCurves: []tls.CurveID{tls.X25519}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		})
		want, _ := pem.Decode(f[c.want+".crt"])
		if err != nil || string(got.Certificate[0]) != string(want.Bytes) {
			t.Errorf("%q by %v: not %s (%v)", c.name, c.scheme, c.want, err)
		}
	}
}

func TestACAFileThatVouchesForNobodyDoesNotLoad(t *testing.T) {
	t.Parallel()
	f := files{"empty.pem": nil, "text.pem": []byte("hello")}
	f.add(t, "server", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	expired := ca("old")
	expired.NotAfter = time.Now().Add(-time.Hour)
	f.add(t, "old", "", false, expired)
	f.add(t, "good", "", false, ca("good"))
	for _, mode := range []string{"none", "optional", "required"} {
		for file, want := range map[string]string{
			"missing.pem": "cannot read missing.pem: file does not exist",
			"empty.pem":   "empty.pem holds no CA certificate",
			"text.pem":    "text.pem holds no CA certificate",
			"server.crt":  "server.crt holds as number 1 a certificate that is not of a CA",
			"server.key":  `server.key holds a block of type "PRIVATE KEY"`,
			"old.crt":     "old.crt holds only CA certificates that have expired, the last on ",
		} {
			got := complaints(t, withTLS(f), speaking(", clientAuth: { caFile: "+file+", mode: "+mode+" }", "server"))
			if !strings.HasPrefix(got, "warder.yaml:1:") || !strings.Contains(got, "listeners[0].tls.clientAuth.caFile: "+want) || strings.Count(got, "\n") > 0 {
				t.Errorf("%s, %s: %s", mode, file, got)
			}
		}
		f["both.pem"] = append(f["good.crt"], f["old.crt"]...)
		compile(t, withTLS(f), speaking(", clientAuth: { caFile: both.pem, mode: "+mode+" }", "server"))
	}
}

func TestResumptionVerifiesAgain(t *testing.T) {
	t.Parallel()
	f := files{}
	f.add(t, "server", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	f.add(t, "good", "", false, ca("partners"))
	f.add(t, "other", "", false, ca("partners"))
	client := func() *x509.Certificate {
		return &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	f.add(t, "trusted", "good", false, client())
	f.add(t, "foreign", "other", false, client())
	f.add(t, "webserver", "good", false, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	s := compile(t, withTLS(f), speaking(", clientAuth: { caFile: good.crt }", "server"))
	if s.Listeners[0].TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Fatal("clientAuth without mode does not require a certificate")
	}
	for name, good := range map[string]bool{"trusted": true, "foreign": false, "webserver": false, "": false} {
		state := tls.ConnectionState{DidResume: true}
		if name != "" {
			block, _ := pem.Decode(f[name+".crt"])
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			state.PeerCertificates = []*x509.Certificate{cert}
		}
		if err := s.Listeners[0].TLS.VerifyConnection(state); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestConnectionsEndWithWhatTheyProvedNotWithOurCertificate(t *testing.T) {
	t.Parallel()
	f := files{}
	f.add(t, "one", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	f.add(t, "two", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	f.add(t, "ca", "", false, ca("ca"))
	f.add(t, "ca2", "", false, ca("ca"))
	security := func(clientAuth, pair string) string {
		return compile(t, withTLS(f), speaking(clientAuth, pair)).Listeners[0].Security
	}
	if security("", "one") != security("", "two") {
		t.Error("a renewed certificate ends connections")
	}
	seen := map[string]string{}
	for _, words := range []string{
		"", ", minVersion: 1.3", ", clientAuth: { caFile: ca.crt }", ", clientAuth: { caFile: ca2.crt }",
		", clientAuth: { caFile: ca.crt, mode: optional }", ", clientAuth: { caFile: ca2.crt, mode: optional }",
	} {
		digest := security(words, "one")
		if other, twice := seen[digest]; twice {
			t.Errorf("%q is the same as %q", words, other)
		}
		seen[digest] = words
	}
	if security("", "one") != security(", clientAuth: { caFile: ca.crt, mode: none }", "one") {
		t.Error("mode none differs from not asking")
	}
}

// resumes shakes hands at a time and reports whether a session of before was
// taken up.
func resumes(t *testing.T, l *snapshot.Listener, client *tls.Config, at time.Time) bool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near.SetDeadline(time.Now().Add(10 * time.Second))
	far.SetDeadline(time.Now().Add(10 * time.Second))
	done := make(chan error, 1)
	go func() {
		defer far.Close()
		c := tls.Server(far, l.Handshake(at))
		_, err := c.Write([]byte("x")) // with the handshake and a ticket before it
		done <- err
	}()
	c := tls.Client(near, client)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}

func TestTicketKeysAreRotatedAndShared(t *testing.T) {
	t.Parallel()
	f := files{}
	f.add(t, "server", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	f.add(t, "renewed", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	c := withTLS(f)
	before := compile(t, c, speaking("", "server")).Listeners[0]
	after := compile(t, c, speaking("", "renewed")).Listeners[0]
	client := func() *tls.Config {
		return &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	one, now := client(), time.Now()
	for i, c := range []struct {
		on   *snapshot.Listener
		at   time.Duration
		want bool
	}{{before, 0, false}, {before, 0, true}, {after, 0, true}, {before, 13 * time.Hour, true}, {after, 26 * time.Hour, true}} {
		if got := resumes(t, c.on, one, now.Add(c.at)); got != c.want {
			t.Errorf("step %d: resumed %v", i, got)
		}
	}
	idle := client()
	resumes(t, before, idle, now.Add(26*time.Hour))
	for at := 39 * time.Hour; at < 80*time.Hour; at += 13 * time.Hour {
		after.Handshake(now.Add(at))
	}
	if resumes(t, after, idle, now.Add(80*time.Hour)) {
		t.Error("a ticket of days ago is taken")
	}
}

func TestAConsumersCertificateNamesItsCAWhereThereAreSeveral(t *testing.T) {
	t.Parallel()
	f := files{}
	f.add(t, "server", "", false, &x509.Certificate{DNSNames: []string{"a.example"}})
	f.add(t, "one", "", false, ca("one"))
	f.add(t, "two", "", false, ca("two"))
	f.add(t, "strange", "", false, ca("one"))
	f["both.crt"] = append(slices.Clone(f["one.crt"]), f["two.crt"]...)
	document := func(clientAuth, consumers string) string {
		return strings.Replace(speaking(clientAuth, "server"), "consumers: { ", "consumers: { "+consumers+", ", 1)
	}
	one, both := ", clientAuth: { caFile: one.crt, mode: optional }", ", clientAuth: { caFile: both.crt }"
	for name, c := range map[string]struct{ clientAuth, consumers, want string }{
		"one CA, none named":     {one, "a: { certificates: [{ sanDns: x.example }] }", ""},
		"two CAs, one named":     {both, "a: { certificates: [{ caFile: two.crt, sanDns: x.example }] }", ""},
		"two CAs, one each":      {both, "a: { certificates: [{ caFile: two.crt, sanDns: x.example }] }, b: { certificates: [{ caFile: one.crt, sanDns: x.example }] }", ""},
		"two CAs, none named":    {both, "a: { certificates: [{ sanDns: x.example }] }", "consumers.a.certificates[0]: caFile is missing: listeners trust 2 CAs"},
		"of the same name":       {one, "a: { certificates: [{ caFile: strange.crt, sanDns: x.example }] }", "which no listener trusts"},
		"claimed twice":          {one, "a: { certificates: [{ sanDns: x.example }] }, b: { certificates: [{ caFile: one.crt, sanDns: X.example }] }", "consumers.b.certificates[0]: such certificates are already those of consumer a"},
		"nobody asks":            {"", "a: { certificates: [{ sanDns: x.example }] }", "no listener asks for client certificates"},
		"not asked, and written": {", clientAuth: { caFile: one.crt, mode: none }", "a: { certificates: [{ sanDns: x.example }] }", "no listener asks for client certificates"},
		"a file that is not":     {one, "a: { certificates: [{ caFile: gone.crt, sanDns: x.example }] }", "cannot read gone.crt"},
		"a list that is not":     {", clientAuth: { caFile: one.crt, crlFile: gone.crl }", "a: {}", "clientAuth.crlFile[0]: cannot read gone.crl"},
		"a certificate as list":  {", clientAuth: { caFile: one.crt, crlFile: one.crt }", "a: {}", "clientAuth.crlFile[0]: one.crt holds a block of type"},
	} {
		if c.want == "" {
			compile(t, withTLS(f), document(c.clientAuth, c.consumers))
		} else if got := complaints(t, withTLS(f), document(c.clientAuth, c.consumers)); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestUpstreamsThatAreShownAnotherCertificateAreOthers(t *testing.T) {
	t.Parallel()
	f := files{}
	f.add(t, "ours", "", false, &x509.Certificate{})
	c := withTLS(f)
	document := "upstreams: { b: { targets: [https://127.0.0.1:9000], tls: { certFile: ours.crt, keyFile: ours.key } } }\nroutes: [{ path: /x, upstream: b, auth: none }]\n"
	first := compile(t, c, document).Routes()[0].Upstream
	if compile(t, c, document).Routes()[0].Upstream != first {
		t.Error("connections are lost though nothing has changed")
	}
	f.add(t, "ours", "", false, &x509.Certificate{})
	if compile(t, c, document).Routes()[0].Upstream == first {
		t.Error("the old certificate is shown after the file changed")
	}
}
