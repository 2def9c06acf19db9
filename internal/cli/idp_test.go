package cli_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/cli"
)

// fakeIdP is an issuer on loopback whose URL ends in a slash.
type fakeIdP struct {
	url string
	key ed25519.PrivateKey
}

func startFakeIdP(t *testing.T) *fakeIdP {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeIdP{key: key}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, f.url, f.url+"jwks")
		case "/jwks":
			fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
		}
	}))
	t.Cleanup(srv.Close)
	f.url = srv.URL + "/"
	return f
}

func (f *fakeIdP) token(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": f.url, "aud": "orders-api", "sub": "alice", "client_id": "shop", "scope": "orders:read", "exp": time.Now().Unix() + 300}
	for name, v := range change {
		claims[name] = v
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(`{"alg":"EdDSA","kid":"k1"}`)) + "." + b64(payload)
	return input + "." + b64(ed25519.Sign(f.key, []byte(input)))
}

// run runs one command line.
func run(in string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = cli.Main(args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestIdPCheckPrintsTheWayAndTheLinesForIt(t *testing.T) {
	t.Parallel()
	f := startFakeIdP(t)
	code, out, errOut := run("", "idp", "check", f.url)
	if code != 0 || errOut != "" {
		t.Fatalf("%d %s\n%s", code, errOut, out)
	}
	for _, want := range []string{"  ok    issuer     " + f.url, "kid k1, Ed25519, verifies EdDSA", "issuers:\n  idp:\n    issuer: " + f.url + "\n    audience: orders-api   # change it"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	code, out, _ = run("", "idp", "check", strings.TrimSuffix(f.url, "/"))
	if code != 1 || !strings.Contains(out, "mend: a slash at the end counts: write "+f.url) || !strings.Contains(out, "    issuer: "+f.url+"\n") {
		t.Errorf("%d\n%s", code, out)
	}
}

func TestIdPCheckJudgesAToken(t *testing.T) {
	t.Parallel()
	f := startFakeIdP(t)
	file := filepath.Join(t.TempDir(), "warder.yaml")
	write(t, file, "issuers: { corp: { issuer: "+f.url+", audience: orders-api } }\nupstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ path: /, upstream: b, auth: { jwt: corp } }]\n")
	for name, c := range map[string]struct {
		change map[string]any
		args   []string
		code   string
		says   string
	}{
		"by name":                        {nil, []string{"corp", "-c", file}, "", "alice"},
		"by URL, audience of the token":  {map[string]any{"aud": "x"}, []string{f.url}, "", "taken from the token itself"},
		"by URL, audience given":         {nil, []string{f.url, "--audience", "orders-api"}, "", "orders:read"},
		"another audience":               {map[string]any{"aud": "x"}, []string{"corp", "-c", file}, "token_audience_wrong", "audience orders-api"},
		"another audience, by URL":       {map[string]any{"aud": "x"}, []string{f.url, "--audience", "orders-api"}, "token_audience_wrong", "want"},
		"an ID token":                    {map[string]any{"nonce": "n"}, []string{"corp", "-c", file}, "token_type_wrong", "nonce"},
		"what a terminal would obey":     {map[string]any{"aud": "\x1b[31m\u202e\n"}, []string{"corp", "-c", file}, "token_audience_wrong", "corp"},
		"expired":                        {map[string]any{"exp": 1}, []string{"corp", "-c", file}, "token_expired", "expired"},
		"of another issuer":              {map[string]any{"iss": "https://evil.example/"}, []string{"corp", "-c", file}, "token_issuer_unknown", "evil"},
		"no JSON object is in its place": {map[string]any{"exp": "x"}, []string{"corp", "-c", file}, "credential_malformed", "exp"},
	} {
		code, out, errOut := run(f.token(t, c.change)+"\n", append([]string{"idp", "check", "--token", "-", "--output", "json"}, c.args...)...)
		var report app.IdPReport
		if err := json.Unmarshal([]byte(out), &report); err != nil || report.Token == nil {
			t.Fatalf("%s: %v %s\n%s", name, err, errOut, out)
		}
		if wantCode := map[bool]int{true: 0, false: 1}[c.code == ""]; code != wantCode || report.Token.Code != c.code || report.OK != (c.code == "") {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
		if !strings.Contains(out, c.says) || strings.Contains(report.Token.Mend, "{") {
			t.Errorf("%s: no %q in\n%s", name, c.says, out)
		}
		if code, out, _ := run(f.token(t, c.change), append([]string{"idp", "check", "--token", "-"}, c.args...)...); code != map[bool]int{true: 0, false: 1}[c.code == ""] || !strings.Contains(out, c.code) || strings.ContainsAny(out, "\x1b\u202e") {
			t.Errorf("%s, as text: exit %d\n%s", name, code, out)
		}
	}
}

func TestIdPCheckUsedWrongly(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"is not a URL; for a name, add the file": {"corp"},
		"a URL and --config together":            {"https://x.example/", "-c", "warder.yaml"},
		"stand beside a URL":                     {"corp", "-c", "warder.yaml", "--audience", "x"},
		"there must be one token":                {"https://x.example/", "--token", "-"},
	} {
		if code, _, errOut := run("", append([]string{"idp", "check"}, args...)...); code != 2 || !strings.Contains(errOut, want) {
			t.Errorf("%v: %d %s", args, code, errOut)
		}
	}
	file := filepath.Join(t.TempDir(), "warder.yaml")
	write(t, file, "issuers: { corp: { issuer: https://x.example/, audience: a } }\nupstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ path: /, upstream: b, auth: none }]\n")
	if code, _, errOut := run("", "idp", "check", "other", "-c", file); code != 1 || !strings.Contains(errOut, `is called "other"; there are: corp`) {
		t.Errorf("%d %s", code, errOut)
	}
}

func TestInitWritesWhatLoadsAndNothingOver(t *testing.T) {
	t.Parallel()
	f := startFakeIdP(t)
	file := filepath.Join(t.TempDir(), "warder.yaml")
	args := []string{"init", file, "--issuer", f.url, "--audience", "orders-api", "--upstream", "http://127.0.0.1:9000", "--path", "/orders/**"}
	code, out, errOut := run("", args...)
	if code != 0 || !strings.Contains(out, "warder check -c "+file) || !strings.Contains(out, "ok    issuer") {
		t.Fatalf("%d %s\n%s", code, errOut, out)
	}
	if code, out, _ := run("", "check", "-c", file); code != 0 {
		t.Errorf("the file does not load:\n%s", out)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := run("", args...); code != 1 || !strings.Contains(errOut, "is there already") {
		t.Errorf("%d %s", code, errOut)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Error("the file was touched")
	}
}

func TestInitOfEveryProviderLoads(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://acme.okta.com/oauth2/default":                                        "preset: okta\n    tenant: acme.okta.com",
		"https://acme.okta.com/oauth2/aus1":                                           "preset: okta\n    issuer: https://acme.okta.com/oauth2/aus1",
		"https://acme.eu.auth0.com/":                                                  "preset: auth0\n    tenant: acme.eu.auth0.com",
		"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc":                   "preset: cognito\n    tenant: eu-west-1_abc\n    clientIds: app1",
		"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0": "preset: entra-id\n    tenant: 11111111-2222-3333-4444-555555555555",
		"https://sts.windows.net/11111111-2222-3333-4444-555555555555/":               "preset: entra-id\n    tenant: 11111111-2222-3333-4444-555555555555",
		"https://sso.example.com/realms/acme":                                         "preset: keycloak\n    issuer: https://sso.example.com/realms/acme",
		"https://login.example.com/?not":                                              "",
		"https://acme.okta.com":                                                       "",
		"https://login.microsoftonline.com/common/v2.0":                               "",
		"https://login.example.com/\"}\nroutes: [{ path: /evil, auth: none }]\n#":     "",
		"http://login.example.com/":                                                   "",
	} {
		file := filepath.Join(t.TempDir(), "warder.yaml")
		code, _, errOut := run("", "init", file, "--offline", "--issuer", issuer, "--audience", "orders-api", "--client", "app1", "--upstream", "http://127.0.0.1:9000")
		text, err := os.ReadFile(file)
		if want == "" {
			if code != 1 || err == nil || !strings.Contains(errOut, "this would not load") {
				t.Errorf("%q: %d %s\n%s", issuer, code, errOut, text)
			}
			continue
		}
		if code != 0 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %s\n%s", issuer, code, errOut, text)
			continue
		}
		if code, out, _ := run("", "check", "-c", file); code != 0 {
			t.Errorf("%s: %s", issuer, out)
		}
	}
}

func TestInitWritesNothingWhereTheIssuerIsSilentOrFlagsAreMissing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warder.yaml")
	if code, _, errOut := run("", "init", file, "--issuer", "http://127.0.0.1:1/", "--audience", "a", "--upstream", "http://127.0.0.1:9000"); code != 1 || !strings.Contains(errOut, "--offline writes all the same") {
		t.Errorf("%d %s", code, errOut)
	}
	if code, _, errOut := run("", "init", file); code != 2 || !strings.Contains(errOut, "add --issuer, --audience, --upstream") {
		t.Errorf("%d %s", code, errOut)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("a file was written")
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
