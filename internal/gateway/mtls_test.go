package gateway_test

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/warder-gateway/warder/internal/exchange"
)

// issue makes a client's certificate.
func (a *authority) issue(change func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, DNSNames: []string{"batch.acme.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	cert, key := a.sign(template)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// under makes a CA below a.
func (a *authority) under(name string, change func(*x509.Certificate)) *authority {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if change != nil {
		change(template)
	}
	b := &authority{t: a.t, dir: a.t.TempDir(), name: name, n: 1000}
	b.cert, b.key = a.sign(template)
	return b
}

// newRevoker makes a CA that may sign lists of revoked certificates.
func newRevoker(t testing.TB, name string) *authority {
	a := &authority{t: t, dir: t.TempDir(), name: name}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

// list writes a's revocation list and returns its path.
func (a *authority) list(next time.Duration, revoked ...*tls.Certificate) string {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(next)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write("ca.crl", "X509 CRL", der)
}

// with appends what comes along with a certificate.
func with(c *tls.Certificate, more ...*authority) *tls.Certificate {
	chained := *c
	for _, a := range more {
		chained.Certificate = append(chained.Certificate[:len(chained.Certificate):len(chained.Certificate)], a.cert.Raw)
	}
	return &chained
}

// partner is a document of a listener that knows consumers by certificates.
func partner(ca *authority, clientAuth, consumers, rest string) string {
	return fmt.Sprintf(`listeners: [{ name: one, address: "127.0.0.1:0", tls: { certificates: [%s]%s }%s }]
consumers: { %s }
upstreams: { b: [http://127.0.0.1:1] }
routes:
  - { name: x, path: /x, upstream: b, auth: { mtls: true } }
  - { name: open, path: /open, upstream: b, auth: none }
`, ca.server("a.example"), clientAuth, rest, consumers)
}

const acme = "acme: { certificates: [{ sanDns: Batch.acme.example }] }"

// asker asks with certificates, and says what became of it in one word.
type asker struct {
	t       *testing.T
	h       *house
	address string
	ca      *authority
	said    string // by the trail of the last refused request
}

func (a *asker) ask(cert *tls.Certificate) string {
	a.t.Helper()
	var certs []tls.Certificate
	if cert != nil {
		certs = append(certs, *cert)
	}
	c, err := over(a.t, a.address, &tls.Config{ServerName: "a.example", RootCAs: a.ca.pool(), GetClientCertificate: always(certs)})
	if err != nil {
		return "closed"
	}
	defer c.Close()
	return a.on(c)
}

// on asks on an open connection.
func (a *asker) on(c *tls.Conn) string {
	a.t.Helper()
	status, header, err := get(c, "a.example")
	if err != nil {
		return "closed"
	}
	if status == http.StatusBadGateway {
		return "in"
	}
	return a.code(header.Get("X-Request-Id"))
}

// code returns the inner code of a refused request, and what its trail says.
func (a *asker) code(id string) (code string) {
	a.t.Helper()
	parsed, _ := exchange.ParseRequestID(id)
	eventually(a.t, "the record of "+id, func() bool {
		r, ok := a.h.records.Find(parsed)
		if ok {
			code = r.Code.String()
			a.said = ""
			for _, step := range r.Trail.Steps() {
				for _, o := range step.Operands() {
					a.said += o.Name + " " + o.String() + "\n"
				}
			}
		}
		return ok
	})
	return code
}

func serveDocument(t *testing.T, ca *authority, document string) *asker {
	h := newHouse(t, nil)
	if err := h.load(document); err != nil {
		t.Fatal(err)
	}
	return &asker{t: t, h: h, address: h.Addresses()["one"], ca: ca}
}

func TestACertificateProvesTheConsumerThatListsIt(t *testing.T) {
	t.Parallel()
	ca, partners := newAuthority(t, "servers"), newAuthority(t, "partners")
	between := partners.under("between", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	tooDeep := between.under("too deep", nil)
	servers := partners.under("servers only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	confined := partners.under("confined", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"other.example"}, true
	})
	stranger := newAuthority(t, "partners")
	pinned := partners.issue(func(c *x509.Certificate) { c.DNSNames = nil })
	uri := func(all ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.DNSNames = nil
			for _, one := range all {
				u, err := url.Parse(one)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	weak := func() *tls.Certificate {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(77), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"batch.acme.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, partners.cert, key.Public(), partners.key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}()
	consumers := acme + `, other: { certificates: [{ sanUri: "spiffe://acme.example/batch" }, { sanDns: twice.example }] }` +
		fmt.Sprintf(`, third: { certificates: [{ thumbprint: "%x" }, { sanUri: "https://twice.example/" }] }`, sha256.Sum256(pinned.Leaf.Raw))
	for _, mode := range []string{"optional", "required"} {
		a := serveDocument(t, ca, partner(ca, clientAuth(partners.file(), mode), consumers, ""))
		for name, c := range map[string]struct {
			cert *tls.Certificate
			want string
			said string
		}{
			"none":                         {nil, "certificate_missing", ""},
			"by DNS name":                  {partners.issue(nil), "in", ""},
			"by a name in other letters":   {partners.issue(func(c *x509.Certificate) { c.DNSNames = []string{"x.example", "BATCH.acme.EXAMPLE"} }), "in", ""},
			"by SPIFFE ID":                 {partners.issue(uri("spiffe://acme.example/batch")), "in", ""},
			"by thumbprint":                {pinned, "in", ""},
			"through a CA between":         {with(between.issue(nil), between), "in", ""},
			"of a longer path than is let": {with(tooDeep.issue(nil), tooDeep, between), "certificate_untrusted", ""},
			"without the CA between":       {between.issue(nil), "certificate_untrusted", ""},
			"of a CA for servers":          {with(servers.issue(nil), servers), "certificate_untrusted", ""},
			"of a CA for other names":      {with(confined.issue(nil), confined), "certificate_untrusted", ""},
			"of a stranger":                {stranger.issue(nil), "certificate_untrusted", ""},
			"expired":                      {partners.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "certificate_untrusted", ""},
			"for servers":                  {partners.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "certificate_untrusted", ""},
			"not for signatures":           {partners.issue(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "certificate_untrusted", ""},
			"of a CA itself":               {partners.issue(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "certificate_untrusted", ""},
			"with a short key":             {weak, "certificate_untrusted", ""},
			"of nobody":                    {partners.issue(func(c *x509.Certificate) { c.DNSNames = []string{"nobody.example"} }), "certificate_untrusted", "no consumer lists it; to do so: certificates: [{ caFile: …, sanDns: nobody.example }]"},
			"by common name":               {partners.issue(func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "batch.acme.example" }), "certificate_untrusted", "no consumer lists it"},
			"by a wildcard":                {partners.issue(func(c *x509.Certificate) { c.DNSNames = []string{"*.acme.example"} }), "certificate_untrusted", "no consumer lists it"},
			"with two SPIFFE IDs":          {partners.issue(uri("spiffe://acme.example/batch", "spiffe://acme.example/x")), "certificate_untrusted", "no consumer lists it"},
			"of two consumers": {partners.issue(func(c *x509.Certificate) { uri("https://twice.example/")(c); c.DNSNames = []string{"twice.example"} }),
				"certificate_untrusted", "two consumers claim"},
		} {
			want := c.want
			if mode == "required" && c.said == "" && want != "in" {
				want = "closed" // in the handshake
			}
			a.said = ""
			if got := a.ask(c.cert); got != want || !strings.Contains(a.said, c.said) {
				t.Errorf("%s, %s: %s, want %s; %s", mode, name, got, want, a.said)
			}
		}
	}
}

func TestAConsumersCertificateIsThatOfItsCA(t *testing.T) {
	t.Parallel()
	ca, one, two := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "partners")
	both := one.write("both.crt", "CERTIFICATE", one.cert.Raw)
	add(t, both, two.cert)
	consumers := fmt.Sprintf("acme: { certificates: [{ caFile: %q, sanDns: batch.acme.example }] }", one.file())
	a := serveDocument(t, ca, partner(ca, clientAuth(both, "optional"), consumers, ""))
	if got := a.ask(one.issue(nil)); got != "in" {
		t.Errorf("of its CA: %s", got)
	}
	if got := a.ask(two.issue(nil)); got != "certificate_untrusted" {
		t.Errorf("of another CA that the listener trusts: %s", got)
	}
}

func TestARevokedCertificateIsRefusedOnItsOpenConnection(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"optional", "required"} {
		ca, partners := newAuthority(t, "servers"), newRevoker(t, "partners")
		between := partners.under("between", nil)
		good, bad, deep := partners.issue(nil), partners.issue(nil), with(between.issue(nil), between)
		document := func() string {
			return partner(ca, fmt.Sprintf(", clientAuth: { caFile: %q, mode: %s, crlFile: [%q, %q] }", partners.file(), mode, partners.dir+"/ca.crl", between.dir+"/ca.crl"), acme, "")
		}
		partners.list(time.Hour)
		between.list(time.Hour)
		a := serveDocument(t, ca, document())
		open := map[string]*tls.Conn{}
		for name, cert := range map[string]*tls.Certificate{"good": good, "bad": bad, "deep": deep} {
			c, err := over(t, a.address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always([]tls.Certificate{*cert})})
			if err != nil {
				t.Fatal(err)
			}
			open[name] = c
			if got := a.on(c); got != "in" {
				t.Fatalf("%s, %s: %s", mode, name, got)
			}
		}
		partners.list(time.Hour, bad, &tls.Certificate{Leaf: between.cert})
		if err := a.h.load(document()); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"good": "in", "bad": "certificate_revoked", "deep": "certificate_revoked"} {
			if got := a.on(open[name]); got != want {
				t.Errorf("%s, %s: %s, want %s", mode, name, got, want)
			}
		}
		want := "certificate_revoked"
		if mode == "required" {
			want = "closed"
			// Also where the route asks for nothing: the listener does.
			io.WriteString(open["bad"], "GET /open HTTP/1.1\r\nHost: a.example\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(open["bad"]), nil)
			if err != nil || resp.StatusCode != 403 {
				t.Errorf("a public route: %v, %v", resp, err)
			} else if code := a.code(resp.Header.Get("X-Request-Id")); code != "certificate_revoked" {
				t.Errorf("a public route: %s", code)
			}
		}
		if got := a.ask(bad); got != want {
			t.Errorf("%s, anew: %s", mode, got)
		}
	}
}

func TestAStreamEndsWhenItsCertificateIsRevoked(t *testing.T) {
	t.Parallel()
	ca, partners := newAuthority(t, "servers"), newRevoker(t, "partners")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	good, bad := partners.issue(nil), partners.issue(nil)
	document := func() string {
		d := partner(ca, fmt.Sprintf(", clientAuth: { caFile: %q, mode: optional, crlFile: %q }", partners.file(), partners.dir+"/ca.crl"), acme, "")
		return strings.Replace(d, "http://127.0.0.1:1", srv.URL, 1)
	}
	partners.list(time.Hour)
	a := serveDocument(t, ca, document())
	open := func(cert *tls.Certificate) *bufio.Reader {
		c, err := over(t, a.address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always([]tls.Certificate{*cert})})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
		r := bufio.NewReader(c)
		for line := ""; !strings.HasPrefix(line, "data:"); {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	ended, stays := open(bad), open(good)
	partners.list(time.Hour, bad)
	if err := a.h.load(document()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, ended); os.IsTimeout(err) {
		t.Error("the stream goes on")
	}
	gone := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stays)
		gone <- err
	}()
	partners.list(time.Hour, bad, good)
	select {
	case <-gone:
		t.Error("a stream ended whose certificate is good")
	case <-time.After(2 * time.Millisecond):
	}
	if err := a.h.load(document()); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; os.IsTimeout(err) {
		t.Error("the second stream goes on")
	}
}

// responder answers as a CA's OCSP responder does.
type responder struct {
	ca     *authority
	status atomic.Int64
	down   atomic.Bool
	asked  atomic.Int64
	by     *tls.Certificate // nil: the CA itself
	next   time.Duration
	*httptest.Server
}

func newResponder(t *testing.T, ca *authority) *responder {
	r := &responder{ca: ca, next: time.Hour}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.asked.Add(1)
	b, _ := io.ReadAll(req.Body)
	q, err := ocsp.ParseRequest(b)
	if err != nil || r.down.Load() {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return
	}
	answer := ocsp.Response{
		Status: int(r.status.Load()), SerialNumber: q.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(r.next), RevokedAt: time.Now().Add(-time.Minute),
	}
	signer, key := r.ca.cert, crypto.Signer(r.ca.key)
	if r.by != nil {
		signer, key, answer.Certificate = r.by.Leaf, r.by.PrivateKey.(crypto.Signer), r.by.Leaf
	}
	der, err := ocsp.CreateResponse(r.ca.cert, signer, answer, key)
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	w.Write(der)
}

func TestWhatAResponderSaysDecides(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	signer := func(change func(*x509.Certificate)) func(*responder) {
		return func(r *responder) {
			r.by = r.ca.issue(func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
				if change != nil {
					change(c)
				}
			})
		}
	}
	for name, c := range map[string]struct {
		change func(*responder)
		want   string
	}{
		"good":                           {func(*responder) {}, "in"},
		"revoked":                        {func(r *responder) { r.status.Store(ocsp.Revoked) }, "certificate_revoked"},
		"not known":                      {func(r *responder) { r.status.Store(ocsp.Unknown) }, "identity_unavailable"},
		"out of order":                   {func(r *responder) { r.down.Store(true) }, "identity_unavailable"},
		"out of date":                    {func(r *responder) { r.next = -time.Second }, "identity_unavailable"},
		"signed by whom it may":          {signer(nil), "in"},
		"signed by a client":             {signer(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "identity_unavailable"},
		"signed by one that has expired": {signer(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "identity_unavailable"},
		"signed by a stranger":           {func(r *responder) { r.ca = newRevoker(t, "partners") }, "identity_unavailable"},
	} {
		partners := newRevoker(t, "partners")
		r := newResponder(t, partners)
		caFile, cert, written := partners.file(), partners.issue(nil), partners.issue(func(c *x509.Certificate) { c.OCSPServer = []string{"ldap://x/", r.URL} })
		c.change(r)
		for how, cert := range map[string]*tls.Certificate{r.URL: cert, "aia": written} {
			a := serveDocument(t, ca, partner(ca, fmt.Sprintf(", clientAuth: { caFile: %q, mode: optional, ocsp: %q }", caFile, how), acme, ""))
			before := r.asked.Load()
			for range 3 {
				if got := a.ask(cert); got != c.want {
					t.Errorf("%s, %s: %s, want %s: %s", name, how, got, c.want, a.said)
				}
			}
			if n := r.asked.Load() - before; n != 1 {
				t.Errorf("%s, %s: asked %d times", name, how, n)
			}
		}
	}
	// A certificate that names no responder, where it should.
	partners := newRevoker(t, "partners")
	a := serveDocument(t, ca, partner(ca, fmt.Sprintf(", clientAuth: { caFile: %q, mode: required, ocsp: aia }", partners.file()), acme, ""))
	if got := a.ask(partners.issue(nil)); got != "identity_unavailable" {
		t.Errorf("no responder: %s", got)
	}
}

// A hundred connections at once of one client are one question to its CA.
func TestManyHandshakesAreOneQuestion(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"optional", "required"} {
		ca, partners := newAuthority(t, "servers"), newRevoker(t, "partners")
		r := newResponder(t, partners)
		a := serveDocument(t, ca, partner(ca, fmt.Sprintf(", clientAuth: { caFile: %q, mode: %s, ocsp: %q }", partners.file(), mode, r.URL), acme, ""))
		cert := partners.issue(nil)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				status, err := asked(t, a.address, "a.example", &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always([]tls.Certificate{*cert})})
				if err != nil || status != http.StatusBadGateway { // its upstream is nobody
					t.Errorf("%s: %d %v", mode, status, err)
				}
			})
		}
		all.Wait()
		if n := r.asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times", mode, n)
		}
	}
}

func TestAForwardedCertificateIsVerifiedAgain(t *testing.T) {
	t.Parallel()
	ca, partners, stranger := newAuthority(t, "servers"), newAuthority(t, "partners"), newAuthority(t, "partners")
	between := partners.under("between", nil)
	binary := func(c *x509.Certificate) string { return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":" }
	text := func(all ...*x509.Certificate) (escaped string) {
		for _, c := range all {
			escaped += url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
		}
		return escaped
	}
	good, deep, bad := partners.issue(nil).Leaf, between.issue(nil).Leaf, stranger.issue(nil).Leaf
	for form, cases := range map[string]map[string]struct {
		fields []string
		want   string
	}{
		"client-cert": {
			"nothing":                {nil, "certificate_missing"},
			"good":                   {[]string{"Client-Cert: " + binary(good)}, "in"},
			"with its chain":         {[]string{"Client-Cert: " + binary(deep), "Client-Cert-Chain: " + binary(between.cert) + ", " + binary(partners.cert)}, "in"},
			"without its chain":      {[]string{"Client-Cert: " + binary(deep)}, "certificate_untrusted"},
			"of a stranger":          {[]string{"Client-Cert: " + binary(bad)}, "certificate_untrusted"},
			"a chain and no leaf":    {[]string{"Client-Cert-Chain: " + binary(good)}, "certificate_untrusted"},
			"twice":                  {[]string{"Client-Cert: " + binary(good), "Client-Cert: " + binary(good)}, "certificate_untrusted"},
			"text":                   {[]string{"Client-Cert: batch.acme.example"}, "certificate_untrusted"},
			"empty":                  {[]string{"Client-Cert: ::"}, "certificate_untrusted"},
			"the other form":         {[]string{`X-Forwarded-Client-Cert: Cert="` + text(good) + `"`}, "certificate_missing"},
			"an endless chain":       {[]string{"Client-Cert: " + binary(good), "Client-Cert-Chain: " + strings.Repeat(binary(good)+",", 12) + binary(good)}, "certificate_untrusted"},
			"named by Connection":    {[]string{"Client-Cert: " + binary(good), "Connection: client-cert"}, "request_malformed"},
			"with parameters behind": {[]string{"Client-Cert: " + binary(good) + ";a=1"}, "certificate_untrusted"},
		},
		"xfcc": {
			"nothing":           {nil, "certificate_missing"},
			"good":              {[]string{`X-Forwarded-Client-Cert: By=spiffe://x;Hash=00;Cert="` + text(good) + `";Subject="CN=\"a, b;c\"";URI=;DNS=x`}, "in"},
			"with its chain":    {[]string{`X-Forwarded-Client-Cert: Cert="` + text(deep) + `";Chain="` + text(deep, between.cert) + `"`}, "in"},
			"of a stranger":     {[]string{`X-Forwarded-Client-Cert: Cert="` + text(bad) + `"`}, "certificate_untrusted"},
			"none, by nginx":    {[]string{`X-Forwarded-Client-Cert: Cert=""`}, "certificate_missing"},
			"none, and a name":  {[]string{`X-Forwarded-Client-Cert: Cert="";DNS=batch.acme.example`}, "certificate_untrusted"},
			"a name, and none":  {[]string{`X-Forwarded-Client-Cert: DNS=batch.acme.example;Cert=""`}, "certificate_untrusted"},
			"only a hash":       {[]string{`X-Forwarded-Client-Cert: Hash=0123;DNS=batch.acme.example`}, "certificate_untrusted"},
			"two hops":          {[]string{`X-Forwarded-Client-Cert: Cert="` + text(good) + `",Cert="` + text(good) + `"`}, "certificate_untrusted"},
			"two certificates":  {[]string{`X-Forwarded-Client-Cert: Cert="` + text(good) + `";Cert="` + text(good) + `"`}, "certificate_untrusted"},
			"twice":             {[]string{`X-Forwarded-Client-Cert: Cert="` + text(good) + `"`, `X-Forwarded-Client-Cert: Cert="` + text(good) + `"`}, "certificate_untrusted"},
			"a quote not ended": {[]string{`X-Forwarded-Client-Cert: Cert="` + text(good)}, "certificate_untrusted"},
			"the other form":    {[]string{"Client-Cert: " + binary(good)}, "certificate_missing"},
		},
	} {
		for _, from := range []string{"127.0.0.1/32", "10.0.0.1/32"} {
			rest := fmt.Sprintf(", limits: { headerSize: 32KiB }, clientCertHeader: { form: %s, from: [%s] }", form, from)
			a := serveDocument(t, ca, partner(ca, clientAuth(partners.file(), "optional"), acme, rest))
			for name, c := range cases {
				// The proxy's own certificate is good, and is not its client's.
				conn, err := over(t, a.address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool(), GetClientCertificate: always([]tls.Certificate{*partners.issue(nil)})})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: a.example\r\n%s\r\n", strings.Join(append(c.fields, ""), "\r\n"))
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				got, want := "in", c.want
				if resp.StatusCode != 502 {
					got = a.code(resp.Header.Get("X-Request-Id"))
				}
				if from != "127.0.0.1/32" && want != "request_malformed" {
					want = "in" // by its own certificate: what it says of others is not read
				}
				if got != want {
					t.Errorf("%s from %s, %s: %s, want %s; %s", form, from, name, got, want, a.said)
				}
			}
		}
	}
}

func tlsFor(name string, ca *authority) *tls.Config {
	return &tls.Config{ServerName: name, RootCAs: ca.pool()}
}
