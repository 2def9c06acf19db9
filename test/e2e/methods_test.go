package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// proof is what curl is told to show, and what must become of it: 200 or the
// inner code.
type proof struct {
	name, path, cert string // the certificate by its DNS name; "": none
	args             []string
	want             string
}

// call asks over TLS for a host of this name.
func (p *proof) call(t *testing.T, g *harness.Wire, ca *harness.CA, address string) {
	t.Helper()
	host, port, _ := strings.Cut(address, ":")
	args := append([]string{"-k", "--resolve", "a.example:" + port + ":" + host}, p.args...)
	if p.cert != "" {
		dir := filepath.Dir(ca.File)
		args = append(args, "--cert", filepath.Join(dir, p.cert+".crt"), "--key", filepath.Join(dir, p.cert+".key"))
	}
	r := harness.Curl(t, append(args, "https://a.example:"+port+p.path)...)
	got := fmt.Sprint(r.Status)
	if r.Status != http.StatusOK {
		got = g.Record(t, r.ID()).Code
	}
	if got != p.want {
		t.Errorf("%s: %s, want %s\n%s", p.name, got, p.want, r.Body)
	}
}

// Certificates that openssl made, its list of those taken back and its
// responder, curl that shows them, nginx that forwards them; a password of curl;
// and tokens of a real provider that are bound to a certificate.
func TestClientCertificatesOfARealCA(t *testing.T) {
	t.Parallel()
	ca, stranger := harness.StartCA(t), harness.StartCA(t)
	good, _ := ca.Issue("batch.acme.example")
	ca.Issue("old.acme.example")
	ca.Issue("nobody.example")
	ca.Revoke("old.acme.example")
	strange, strangeKey := stranger.Issue("batch.acme.example")
	idp := harness.StartIdP(t, 0)
	backend := harness.Nginx(t, "a")
	key, hash := newKey(t)
	config := fmt.Sprintf(`issuers: { corp: { issuer: %q, audience: orders-api } }
consumers:
  acme:
    apiKeys: [{ hash: %q }]
    certificates: [{ sanDns: batch.acme.example }, { sanDns: old.acme.example }]
    password: %q
upstreams: { orders: [%q] }
routes:
  - { path: /cert, upstream: orders, auth: { mtls: true } }
  - { path: /bound, upstream: orders, auth: { jwt: corp } }
  - { path: /password, upstream: orders, auth: { basic: true } }
  - { path: /any, upstream: orders, auth: { anyOf: [{ jwt: corp }, { basic: true }, { mtls: true }] } }
  - { path: /all, upstream: orders, auth: { allOf: [{ apiKey: true }, { mtls: true }] } }
`, idp.Issuer, hash, passwordHash(t, "correct horse"), backend.URL)
	listed := harness.StartWire(t, config, harness.ClientCertificates(ca, fmt.Sprintf(", crlFile: %q", ca.List()), ""))
	asked := harness.StartWire(t, config, harness.ClientCertificates(ca, fmt.Sprintf(", ocsp: %q", ca.Responder()), ""))
	behind := harness.StartWire(t, config, harness.ClientCertificates(ca, "", ", clientCertHeader: { form: xfcc, from: [127.0.0.1/32] }"))
	front := harness.NginxForwardingCertificates(t, behind.TLS, strange, strangeKey)

	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	sum := sha256.Sum256(block.Bytes)
	bound := bearer(idp.Sign(t, nil, with(idp.Claims("shop", "orders:read"), "cnf", harness.Claims{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])})))
	apiKey := []string{"-H", "X-Api-Key: " + key}
	password := func(p string) []string { return []string{"-u", "acme:" + p} }

	before := backend.Hits(t)
	let := 0
	for _, p := range []proof{
		{"a certificate", "/cert", "batch.acme.example", nil, "200"},
		{"none", "/cert", "", nil, "certificate_missing"},
		{"one that was taken back", "/cert", "old.acme.example", nil, "certificate_revoked"},
		{"one of nobody", "/cert", "nobody.example", nil, "certificate_untrusted"},
		{"a bound token", "/bound", "batch.acme.example", bound, "200"},
		{"a bound token over HTTP/1.1", "/bound", "batch.acme.example", append([]string{"--http1.1"}, bound...), "200"},
		{"a bound token without its certificate", "/bound", "", bound, "token_binding_failed"},
		{"a bound token with another certificate", "/bound", "nobody.example", bound, "token_binding_failed"},
		{"a password", "/password", "", password("correct horse"), "200"},
		{"a wrong password", "/password", "", password("wrong"), "password_wrong"},
		{"any: a certificate", "/any", "batch.acme.example", nil, "200"},
		{"any: a password", "/any", "", password("correct horse"), "200"},
		{"any: a certificate beside a wrong password", "/any", "batch.acme.example", password("wrong"), "password_wrong"},
		{"any: a password beside a certificate that was taken back", "/any", "old.acme.example", password("correct horse"), "certificate_revoked"},
		{"any: nothing", "/any", "", nil, "credential_missing"},
		{"all", "/all", "batch.acme.example", apiKey, "200"},
		{"all: without the certificate", "/all", "", apiKey, "certificate_missing"},
		{"all: without the key", "/all", "batch.acme.example", nil, "credential_missing"},
	} {
		for how, g := range map[string]*harness.Wire{"by list": listed, "by responder": asked, "behind nginx": behind} {
			one, address := p, g.TLS
			one.name = how + ", " + p.name
			if g == behind {
				address = front
				if p.cert == "old.acme.example" {
					continue // nobody is asked there
				}
			}
			if p.want == "200" {
				let++
			}
			one.call(t, g, ca, address)
		}
	}
	theirs := proof{"behind nginx, of a stranger whom nginx believes", "/cert", "batch.acme.example", nil, "certificate_untrusted"}
	theirs.call(t, behind, stranger, front)
	made := proof{"a field that the client made up", "/cert", "", []string{"-H", `X-Forwarded-Client-Cert: Cert="x";DNS=batch.acme.example`}, "certificate_missing"}
	made.call(t, listed, ca, listed.TLS)
	if got := backend.Hits(t) - before; got != let {
		t.Errorf("the backend answered %d requests, want %d", got, let)
	}
}

// passwordHash runs warder password hash.
func passwordHash(t *testing.T, password string) string {
	t.Helper()
	said, stderr, code := harness.RunWith(t, password+"\n", "password", "hash")
	phc := regexp.MustCompile(`\$argon2id\S+[^"\s]`).FindString(said)
	if code != 0 || phc == "" {
		t.Fatal(said, stderr)
	}
	return phc
}
