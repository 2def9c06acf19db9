package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

var usual = []string{"RS256", "PS256", "ES256", "EdDSA"}

const probeKey = `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

// probed is an issuer whose every answer can be spoilt.
type probed struct {
	issuer   string // in the document; "": its URL
	document string // "": as it must be
	jwks     string
	jwksURI  string
	status   int
	date     string
}

func (i probed) serve(t *testing.T, secure *tls.Certificate) string {
	t.Helper()
	var self string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.date != "" {
			w.Header().Set("Date", i.date)
		}
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			if i.status != 0 {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(i.status)
				return
			}
			issuer, uri := self, self+"/jwks"
			if i.issuer != "" {
				issuer = strings.ReplaceAll(i.issuer, "SELF", self)
			}
			if i.jwksURI != "" {
				uri = i.jwksURI
			}
			if i.document != "" {
				fmt.Fprint(w, i.document)
				return
			}
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, uri)
		case "/jwks":
			fmt.Fprint(w, i.jwks)
		}
	}))
	if secure != nil {
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{*secure}}
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = nil
	self = srv.URL
	return self
}

// steps writes a probe in short: "ok connect", "no tls".
func steps(p *keys.Probe) (all []string) {
	for _, s := range p.Steps {
		all = append(all, string(s.Outcome)+" "+s.Name)
	}
	return all
}

func last(p *keys.Probe) keys.ProbeStep { return p.Steps[len(p.Steps)-1] }

func TestAProbeGoesTheWayToTheKeys(t *testing.T) {
	t.Parallel()
	odd := `{"kty":"oct","kid":"hs","k":"AAAA"},` + jwkOfP384(t)
	url := probed{jwks: `{"keys":[` + probeKey + `,` + odd + `]}`}.serve(t, nil)
	p := keys.Ask(context.Background(), keys.RemoteConfig{Issuer: url}, usual, 30*time.Second)
	want := []string{"ok connect", "ok discovery", "ok issuer", "ok clock", "ok jwks", "ok key", "note key", "note key"}
	if got := steps(p); !slices.Equal(got, want) || !p.OK() || len(p.Keys) != 2 {
		t.Fatalf("%v %+v", got, p)
	}
	if saw := p.Steps[5].Saw; saw != "kid ed, Ed25519, verifies EdDSA" {
		t.Error(saw)
	}
	if s := p.Steps[6]; !strings.Contains(s.Saw, "p384") || !strings.Contains(s.Mend, "algorithms") {
		t.Errorf("%+v", s)
	}
	if s := p.Steps[7]; !strings.Contains(s.Saw, `"hs"`) || !strings.Contains(s.Saw, "oct") {
		t.Errorf("%+v", s)
	}
}

func TestAProbeSaysWhereItEndsAndWhatToDo(t *testing.T) {
	t.Parallel()
	good := `{"keys":[` + probeKey + `]}`
	for name, c := range map[string]struct {
		idp  probed
		path string // behind the URL
		step string
		saw  string
		mend string
	}{
		"a slash too much here":    {probed{jwks: good, issuer: "SELF"}, "/", "no issuer", "http://127", "a slash at the end counts"},
		"a slash too few here":     {probed{jwks: good, issuer: "SELF/"}, "", "no issuer", "/", "a slash at the end counts"},
		"somebody else's document": {probed{jwks: good, issuer: "https://evil.example"}, "", "no issuer", "https://evil.example", "as its document does"},
		"no document":              {probed{status: 404}, "", "no discovery", "status 404", "is this the URL of the issuer"},
		"a redirect":               {probed{status: 302}, "", "no discovery", "redirect, which is not followed", ""},
		"a page":                   {probed{document: "<html>"}, "", "no document", "is not a JSON object", ""},
		"a member twice":           {probed{document: `{"issuer":"a","issuer":"b"}`}, "", "no document", "twice", ""},
		"jwks_uri beyond loopback": {probed{jwksURI: "http://192.0.2.1/keys"}, "", "no jwks", "192.0.2.1", "not fetched from elsewhere"},
		"jwks_uri at metadata":     {probed{jwksURI: "https://169.254.169.254/keys"}, "", "no connect", "never dialled", "whatever the name resolves to"},
		"no key set":               {probed{jwks: `{}`}, "", "no keys", `no array "keys"`, "jwks_uri"},
		"no keys in it":            {probed{jwks: `{"keys":[]}`}, "", "no keys", "0 keys", "HS*"},
		"a clock an hour behind":   {probed{jwks: good, date: time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)}, "", "no clock", "behind", "set the clocks right"},
		"a clock an hour ahead":    {probed{jwks: good, date: time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, "", "no clock", "ahead", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := c.idp.serve(t, nil)
			p := keys.Ask(context.Background(), keys.RemoteConfig{Issuer: url + c.path}, usual, 30*time.Second)
			i := slices.IndexFunc(p.Steps, func(s keys.ProbeStep) bool { return s.Outcome == keys.StepNo })
			if i < 0 || p.OK() {
				t.Fatalf("nothing failed: %v", steps(p))
			}
			s := p.Steps[i]
			if "no "+s.Name != c.step || !strings.Contains(s.Saw, c.saw) || !strings.Contains(s.Mend, c.mend) || s.Want == "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestAProbeReadsWhatCertificatesSay(t *testing.T) {
	t.Parallel()
	good := probed{jwks: `{"keys":[` + probeKey + `]}`}
	now := time.Now()
	for name, c := range map[string]struct {
		host      string
		from, end time.Time
		trusted   bool
		step      string
		saw       string
	}{
		"good":           {"127.0.0.1", now.Add(-time.Hour), now.Add(90 * 24 * time.Hour), true, "ok tls", "TLS 1.3, certificate for 127.0.0.1"},
		"ends soon":      {"127.0.0.1", now.Add(-time.Hour), now.Add(24 * time.Hour), true, "note tls", "until"},
		"expired":        {"127.0.0.1", now.Add(-2 * time.Hour), now.Add(-time.Hour), true, "no tls", "good from"},
		"another name":   {"192.0.2.7", now.Add(-time.Hour), now.Add(90 * 24 * time.Hour), true, "no tls", "192.0.2.7"},
		"an unknown one": {"127.0.0.1", now.Add(-time.Hour), now.Add(90 * 24 * time.Hour), false, "no tls", "nobody vouches"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert := selfSigned(t, c.host, c.from, c.end)
			cfg := keys.RemoteConfig{Issuer: good.serve(t, cert), CAPool: x509.NewCertPool()}
			if c.trusted {
				cfg.CAPool.AddCert(cert.Leaf)
			}
			p := keys.Ask(context.Background(), cfg, usual, 30*time.Second)
			i := slices.Index(steps(p), c.step)
			if i < 0 || !strings.Contains(p.Steps[i].Saw, c.saw) {
				t.Fatalf("%v %+v", steps(p), p.Steps)
			}
			if ok := c.step != "no tls"; p.OK() != ok {
				t.Errorf("%+v", p.Steps)
			}
		})
	}
}

func TestAProbeTellsWhatDoesNotListenOrSpeakTLS(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	ln.Close()
	plain := strings.Replace(probed{}.serve(t, nil), "http:", "https:", 1)
	for issuer, want := range map[string]string{"https://" + free: "no connect", plain: "no tls", "https://host.invalid": "no dns", "http://192.0.2.1/": "no discovery"} {
		p := keys.Ask(context.Background(), keys.RemoteConfig{Issuer: issuer}, usual, 0)
		if s := last(p); string(s.Outcome)+" "+s.Name != want || s.Mend == "" {
			t.Errorf("%s: %+v", issuer, s)
		}
	}
}

func TestAProbeOfKeysThatAreNamed(t *testing.T) {
	t.Parallel()
	url := probed{jwks: `{"keys":[` + probeKey + `]}`}.serve(t, nil)
	p := keys.Ask(context.Background(), keys.RemoteConfig{Issuer: "https://x.example", JWKSURI: url + "/jwks"}, usual, 30*time.Second)
	if got := steps(p); !slices.Equal(got, []string{"ok connect", "ok jwks", "ok clock", "ok key"}) {
		t.Errorf("%v", got)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(`{"keys":[`+probeKey+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p = keys.Ask(context.Background(), keys.RemoteConfig{Issuer: "https://x.example", JWKSFile: file}, usual, 0)
	if got := steps(p); !slices.Equal(got, []string{"ok file", "ok key"}) {
		t.Errorf("%v", got)
	}
	p = keys.Ask(context.Background(), keys.RemoteConfig{Issuer: "https://x.example", JWKSFile: file + ".gone"}, usual, 0)
	if got := steps(p); !slices.Equal(got, []string{"no file"}) {
		t.Errorf("%v", got)
	}
}

// What a stranger chose is cut before it is shown.
func TestAProbeCutsLongTexts(t *testing.T) {
	t.Parallel()
	url := probed{issuer: strings.Repeat("x", 5000)}.serve(t, nil)
	p := keys.Ask(context.Background(), keys.RemoteConfig{Issuer: url}, usual, 30*time.Second)
	if s := last(p); s.Name != "issuer" || len(s.Saw) > 1000 {
		t.Errorf("%+v", s)
	}
}

func jwkOfP384(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return `{"kty":"EC","crv":"P-384","kid":"p384","x":"` + b64(point[1:49]) + `","y":"` + b64(point[49:]) + `"}`
}

func selfSigned(t *testing.T, host string, from, end time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: end,
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
