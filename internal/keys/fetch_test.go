package keys_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// load starts a set and waits for the end of its first fetch.
func load(t *testing.T, cfg keys.RemoteConfig) keys.Status {
	t.Helper()
	r := keys.NewRemote(cfg)
	r.Start()
	defer r.Close()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s := r.Status(); s.Err != nil || !s.Loaded.IsZero() {
			if s.Err != nil {
				if _, err := r.Find(t.Context(), "k", "EdDSA", false); fault.Of(err) != fault.IdentityUnavailable {
					t.Errorf("never loaded: %v", err)
				}
			}
			return s
		}
	}
	t.Fatal("the first fetch did not end")
	return keys.Status{}
}

// site serves what the test says; SELF in an answer is its own URL.
func site(t *testing.T, secure bool, answers map[string]string) *httptest.Server {
	t.Helper()
	var self string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if to, redirect := strings.CutPrefix(answer, "redirect "); redirect {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, strings.ReplaceAll(answer, "SELF", self))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	self = s.URL
	t.Cleanup(s.Close)
	return s
}

const discovery = "/.well-known/openid-configuration"

func TestFetching(t *testing.T) {
	t.Parallel()
	good := set(jwk(t, "k", edKey(), nil))
	doc := func(issuer, uri string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, uri) }
	for _, c := range []struct {
		name    string
		answers map[string]string
		path    string // of the issuer
		jwks    string // path of a jwksUri
		want    string // of the error; empty: loaded
	}{
		{"by discovery", map[string]string{discovery: doc("SELF", "SELF/jwks"), "/jwks": good}, "", "", ""},
		{"by discovery below a path with a slash", map[string]string{"/a" + discovery: doc("SELF/a/", "SELF/jwks"), "/jwks": good}, "/a/", "", ""},
		{"by a given jwksUri", map[string]string{"/jwks": good}, "", "/jwks", ""},
		{"the document is another issuer's", map[string]string{discovery: doc("https://evil.example", "SELF/jwks"), "/jwks": good}, "", "", "byte for byte"},
		{"the document's issuer has one slash more", map[string]string{discovery: doc("SELF/", "SELF/jwks"), "/jwks": good}, "", "", "byte for byte"},
		{"the document has no issuer", map[string]string{discovery: `{"jwks_uri":"SELF/jwks"}`, "/jwks": good}, "", "", "byte for byte"},
		{"the document says issuer twice", map[string]string{discovery: `{"issuer":"x","issuer":"SELF","jwks_uri":"SELF/jwks"}`, "/jwks": good}, "", "", "twice"},
		{"the document has no jwks_uri", map[string]string{discovery: `{"issuer":"SELF"}`}, "", "", "no jwks_uri"},
		{"jwks_uri is http elsewhere", map[string]string{discovery: doc("SELF", "http://idp.example/jwks")}, "", "", "not https"},
		{"jwks_uri is a file", map[string]string{discovery: doc("SELF", "file:///etc/passwd")}, "", "", "not a URL"},
		{"jwks_uri is link-local", map[string]string{discovery: doc("SELF", "https://169.254.169.254/jwks")}, "", "", "never dialled"},
		{"jwks_uri is link-local by IPv6", map[string]string{discovery: doc("SELF", "https://[::ffff:169.254.169.254]/jwks")}, "", "", "never dialled"},
		{"jwks_uri has a user", map[string]string{discovery: doc("SELF", "https://a:b@127.0.0.1/jwks")}, "", "", "not a URL"},
		{"no document", nil, "", "", "status 404"},
		{"a redirect", map[string]string{"/jwks": "redirect /real", "/real": good}, "", "/jwks", "redirect"},
		{"a redirect of the document", map[string]string{discovery: "redirect /real", "/real": doc("SELF", "SELF/jwks"), "/jwks": good}, "", "", "redirect"},
		{"too large", map[string]string{"/jwks": good + strings.Repeat(" ", 1<<20)}, "", "/jwks", "larger than"},
		{"not JSON", map[string]string{"/jwks": "<html>"}, "", "/jwks", "not a JSON object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := site(t, false, c.answers)
			cfg := keys.RemoteConfig{Issuer: s.URL + c.path}
			if c.jwks != "" {
				cfg.JWKSURI = s.URL + c.jwks
			}
			st := load(t, cfg)
			if c.want == "" && (st.Err != nil || st.Keys != 1) {
				t.Errorf("%+v", st)
			}
			if c.want != "" && (st.Err == nil || !strings.Contains(st.Err.Error(), c.want)) {
				t.Errorf("%v, want %q", st.Err, c.want)
			}
		})
	}
}

func TestHTTPSIsVerified(t *testing.T) {
	t.Parallel()
	s := site(t, true, map[string]string{
		discovery: `{"issuer":"SELF","jwks_uri":"SELF/jwks"}`, "/jwks": set(jwk(t, "k", edKey(), nil)),
		"/plain" + discovery: `{"issuer":"SELF/plain","jwks_uri":"http://127.0.0.1:1/jwks"}`,
	})
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	if st := load(t, keys.RemoteConfig{Issuer: s.URL, CAPool: pool}); st.Err != nil || st.Keys != 1 {
		t.Errorf("with its CA: %+v", st)
	}
	if st := load(t, keys.RemoteConfig{Issuer: s.URL}); st.Err == nil || !strings.Contains(st.Err.Error(), "certificate") {
		t.Errorf("without: %+v", st)
	}
	if st := load(t, keys.RemoteConfig{Issuer: s.URL + "/plain", CAPool: pool}); st.Err == nil || !strings.Contains(st.Err.Error(), "not https") {
		t.Errorf("a document that leads from https to http: %+v", st)
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://idp.example/": true, "https://10.0.0.1:8443/x": true,
		"http://127.0.0.1:8080/": true, "http://127.9.9.9/": true, "http://[::1]:80/": true, "http://localhost:1/": true,
		"http://idp.example/": false, "http://10.0.0.1/": false, "http://localhost.evil.example/": false, "http://127.0.0.1.evil.example/": false,
		"http://0.0.0.0/": false, "http://2130706433/": false, "http://LOCALHOST@evil.example/": false, "ftp://127.0.0.1/": false, "//127.0.0.1/": false, "": false,
		"https:///x": false, "https://:443/": false, "https://u:p@idp.example/": false, "https://idp.example/#x": false,
	} {
		if err := keys.CheckURL(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestKeysFromAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if st := load(t, keys.RemoteConfig{JWKSFile: write("good", set(jwk(t, "k", edKey(), nil)))}); st.Err != nil || st.Keys != 1 {
		t.Errorf("%+v", st)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "missing"): "no such file", dir: "not a regular file", write("bad", "x"): "not a JSON object",
		write("large", strings.Repeat(" ", 1<<20+1)): "larger than",
	} {
		if st := load(t, keys.RemoteConfig{JWKSFile: name}); st.Err == nil || !strings.Contains(st.Err.Error(), want) {
			t.Errorf("%s: %v", name, st.Err)
		}
	}
}
