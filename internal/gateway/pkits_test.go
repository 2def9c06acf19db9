package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

// pkitsOtherwise are the cases of the NIST Public Key Interoperability Test
// Suite where we decide otherwise than it says, and why. lax: it is let in
// here and should not be.
var pkitsOtherwise = []struct {
	lax   bool
	why   string
	cases string // numbers; "4.4." stands for all below it
}{
	{true, "it is about revocation lists, which Go's copy of the suite does not hold; see TestRevocationLists", "4.4. 4.5.2 4.5.5 4.5.7 4.7.4 4.7.5 4.14. 4.15."},
	{true, "it demands certificate policies of the caller's choice (initial settings); no key of the configuration does", "4.8.1 4.8.2 4.8.3 4.8.14 4.10.1.2 4.10.1.3 4.10.3 4.10.5 4.10.6 4.10.13 4.12.3"},
	{true, "the constraint is on an e-mail address in the subject, where none is looked for: no consumer is known by one", "4.13.24"},
	{false, "DSA is not supported", "4.1.4 4.1.5"},
	{false, "names are compared byte by byte", "4.3.3 4.3.4 4.3.5 4.3.10 4.3.11"},
	{false, "CAs that issue themselves a certificate count as links of the chain", "4.6.15 4.6.17"},
	{false, "the certificate shown is that of a CA", "4.6.8 4.6.14 4.8.6"},
	{false, "constraints on directory names are not supported, and critical", "4.13.1 4.13.4 4.13.5 4.13.6 4.13.11 4.13.14 4.13.18 4.13.19 4.13.27"},
	{false, "an excluded host excludes its subdomains too", "4.13.25 4.13.36"},
	{false, "a distribution point without a full name is not read", "4.14."},
}

// otherwise returns why a case is decided otherwise; "": it is not.
func otherwise(number string, lax bool) string {
	for _, o := range pkitsOtherwise {
		for one := range strings.FieldsSeq(o.cases) {
			if o.lax == lax && (one == number || strings.HasSuffix(one, ".") && strings.HasPrefix(number, one)) {
				return o.why
			}
		}
	}
	return ""
}

// TestPKITS shows the chains of the suite to a listener, as a proxy would
// forward them: the suite in Go's source tree holds no private keys.
func TestPKITS(t *testing.T) {
	t.Parallel()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("the suite comes with Go's source tree: ", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "src/crypto/x509/testdata/nist-pkits")
	b, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	if err != nil {
		t.Skip("the suite comes with Go's source tree: ", err)
	}
	var cases []struct {
		Name           string
		CertPath       []string
		ShouldValidate bool
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	der := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "certs", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ca := newAuthority(t, "servers")
	anchor := ca.write("root.crt", "CERTIFICATE", der("TrustAnchorRootCertificate.crt"))
	policy, kind := newLooker()
	h := newHouse(t, nil, kind)
	address := h.serve(", limits: { headerSize: 32KiB }, clientCertHeader: { form: client-cert, from: [127.0.0.1/32] }, tls: { certificates: ["+ca.server("a.example")+"]"+clientAuth(anchor, "none")+" }", looked)
	transport := &http.Transport{TLSClientConfig: tlsFor("a.example", ca)}
	t.Cleanup(transport.CloseIdleConnections)
	n := 0
	for _, c := range cases {
		if c.CertPath[0] != "TrustAnchorRootCertificate.crt" {
			t.Errorf("%s: begins with %s", c.Name, c.CertPath[0])
			continue
		}
		req, err := http.NewRequest("GET", "https://"+address+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "a.example"
		binary := func(name string) string { return ":" + base64.StdEncoding.EncodeToString(der(name)) + ":" }
		last := len(c.CertPath) - 1
		req.Header.Set("Client-Cert", binary(c.CertPath[last]))
		var chain []string
		for i := last - 1; i > 0; i-- {
			chain = append(chain, binary(c.CertPath[i]))
		}
		if len(chain) > 0 {
			req.Header.Set("Client-Cert-Chain", strings.Join(chain, ", "))
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		state := <-policy.saw
		in := state == exchange.CertVerified
		n++
		number, _, _ := strings.Cut(c.Name, " ")
		if in != c.ShouldValidate && otherwise(number, in) == "" {
			t.Errorf("%s: let in %t", c.Name, in)
		}
	}
	if n != 249 {
		t.Errorf("%d cases, of 249", n)
	}
}
