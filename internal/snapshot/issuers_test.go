package snapshot_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// privateKey is a key in PEM.
func privateKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestWhatAnIssuerSaidIsForgottenWhenItIsAskedInAnotherWay(t *testing.T) {
	t.Parallel()
	const doc = `issuers:
  corp:
    issuer: https://login.example.com/
    audience: orders-api
    introspection: { clientId: warder, clientAuth: privateKeyJwt, keyFile: client.key, cache: 20s }
upstreams: { b: [http://127.0.0.1:9001] }
routes:
  - { path: /a, upstream: b, auth: { introspect: corp } }
`
	key := privateKey(t)
	c := newCompiler()
	c.ReadFile = func(string) ([]byte, error) { return key, nil }
	first := compile(t, c, doc).Issuers[0].Introspector
	if first == nil {
		t.Fatal("nobody is asked")
	}
	for _, c2 := range []struct{ what, old, new string }{
		{"the audience", "orders-api", "orders"}, {"a route", "path: /a", "path: /b"}, {"jwt", "cache: 20s", "cache: 20s, jwt: true"},
	} {
		if s := compile(t, c, strings.Replace(doc, c2.old, c2.new, 1)); s.Issuers[0].Introspector != first {
			t.Errorf("%s: all was forgotten", c2.what)
		}
	}
	for _, c2 := range []struct{ what, old, new string }{
		{"the issuer", "login.example.com", "another.example.com"}, {"the client", "clientId: warder", "clientId: other"},
		{"the endpoint", "cache:", "endpoint: https://x.example.com/, cache:"}, {"the time", "20s", "10s"}, {"the name", "corp", "okta"},
	} {
		if s := compile(t, c, strings.ReplaceAll(doc, c2.old, c2.new)); s.Issuers[0].Introspector == first {
			t.Errorf("%s: what was said is still believed", c2.what)
		}
	}
	key = privateKey(t)
	if s := compile(t, c, doc); s.Issuers[0].Introspector == first {
		t.Error("the key: what was said is still believed")
	}
}

func TestWhatCannotAskIsAProblem(t *testing.T) {
	t.Parallel()
	const doc = `issuers: { corp: { issuer: https://login.example.com/, audience: orders-api, introspection: { clientId: warder, clientAuth: privateKeyJwt, keyFile: client.key } } }
upstreams: { b: [http://127.0.0.1:9001] }
routes:
  - { path: /a, upstream: b, auth: none }
`
	for what, c := range map[string]struct {
		file []byte
		err  error
		doc  string
		want string
	}{
		"no file":        {nil, errors.New("client.key: no such file"), doc, "issuers.corp.introspection: client.key: no such file"},
		"no key in it":   {[]byte("x"), nil, doc, "issuers.corp.introspection: client.key: holds no private key in PEM form"},
		"no certificate": {privateKey(t), nil, strings.Replace(doc, "clientAuth: privateKeyJwt", "clientAuth: tlsClient, certFile: client.crt", 1), "are no pair of certificate and key"},
	} {
		compiler := newCompiler()
		compiler.ReadFile = func(string) ([]byte, error) { return c.file, c.err }
		if said := complaints(t, compiler, c.doc); !strings.Contains(said, c.want) || strings.Count(said, "\n") != 0 {
			t.Errorf("%s: %s", what, said)
		}
	}
	compiler := newCompiler()
	compiler.Local = func(*config.Document) (snapshot.Local, error) {
		return snapshot.Local{Keys: map[string]keys.Set{"https://login.example.com/": keys.NewStatic()}}, nil
	}
	if said := complaints(t, compiler, doc); !strings.Contains(said, "issuers.corp.introspection: is asked of the authorization server of this gateway") {
		t.Errorf("our own: %s", said)
	}
}
