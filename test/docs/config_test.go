package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/app"
)

type part struct{ key, text string }

// frame is what a page need not repeat in every block.
var frame = []part{
	{"issuers", "issuers: { corp: { issuer: https://login.example.com/, audience: orders-api } }\n"},
	{"upstreams", "upstreams: { orders: [http://orders-1:8080], status: [http://status:8080] }\n"},
	{"consumers", "consumers: { acme-batch: { apiKeys: [{ hash: \"sha256:" + strings.Repeat("0", 63) + "1\" }] } }\n"},
	{"routes", "routes: [{ path: /anything, upstream: orders, auth: none }]\n"},
}

// routeFrame is the same for the keys of one route.
var routeFrame = []part{
	{"path", "path: /anything\n"},
	{"upstream", "upstream: orders\n"},
	{"auth", "auth: { jwt: corp }\n"},
}

var topKey = regexp.MustCompile(`(?m)^([A-Za-z]+):`)

func TestConfigurationsOfThePagesAreRight(t *testing.T) {
	t.Setenv("DEMO_SECRET", strings.Repeat("s", 43))
	dir := t.TempDir()
	certificate(t, dir, "tls/api")
	certificate(t, dir, "tls/internal-ca")
	certificate(t, dir, "tls/partners-ca")
	certificate(t, dir, "tls/gw")
	write(t, filepath.Join(dir, "keys.json"), `{"keys":[]}`)
	write(t, filepath.Join(dir, "db.password"), "p%40ss")
	write(t, filepath.Join(dir, "demo.secret"), strings.Repeat("s", 43))
	checked := 0
	for _, b := range blocks(t, "README.md", "docs/*.md") {
		if b.lang != "yaml" {
			continue
		}
		at := fmt.Sprintf("%s:%d", b.page, b.line)
		text := b.text
		switch b.mark {
		case "fragment":
			continue
		case "route":
			for _, f := range routeFrame {
				if !strings.Contains("\n"+b.text, "\n"+f.key+":") {
					text += f.text
				}
			}
			text = "routes:\n  -" + strings.ReplaceAll("\n"+strings.TrimSpace(text), "\n", "\n    ") + "\n"
		case "", "refused":
		default:
			t.Errorf("%s: yaml %s means nothing; see the comment of this package", at, b.mark)
			continue
		}
		var keys []string
		for _, m := range topKey.FindAllStringSubmatch(text, -1) {
			keys = append(keys, m[1])
		}
		for _, f := range frame {
			if !slices.Contains(keys, f.key) && !(f.key == "routes" && slices.Contains(keys, "apis")) {
				text += f.text
			}
		}
		file := filepath.Join(dir, "warder.yaml")
		write(t, file, text)
		report, err := app.Check(file, "")
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		var said strings.Builder
		for _, p := range report.Problems {
			fmt.Fprintln(&said, strings.ReplaceAll(p.String(), dir+string(filepath.Separator), ""))
		}
		checked++
		switch {
		case b.mark != "refused":
			if said.Len() > 0 {
				t.Errorf("%s: the configuration is refused:\n%s", at, said.String())
			}
		case b.next == nil || b.next.lang != "text" || !strings.HasPrefix(b.next.text, said.String()) || said.Len() == 0:
			t.Errorf("%s: the block behind it is not what warder check says:\n%s", at, said.String())
		}
	}
	if checked < 10 {
		t.Errorf("found %d configurations only", checked)
	}
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example.com"}, DNSNames: []string{"api.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}
