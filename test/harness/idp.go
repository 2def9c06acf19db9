package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// IdP is a running identity provider (test/idp). Its access tokens are JWTs
// for the audience orders-api, signed with RS256. Its clients are shop,
// batch, mobile and burst, its scopes orders:read, orders:write, profile and
// email.
type IdP struct {
	*Process
	Issuer  string
	control string
}

// Claims are the members of a token's payload, or of its header.
type Claims = map[string]any

var direct = &http.Client{Timeout: Patience, Transport: &http.Transport{}}

// StartIdP starts the identity provider on the given port of 127.0.0.1, 0 for
// a free one.
func StartIdP(t testing.TB, port int) *IdP {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, "test", "idp"))
	if err != nil {
		t.Fatal(err)
	}
	node := nodeWith(t, dir, "oidc-provider")
	p := start(t, dir, node, "server.mjs", strconv.Itoa(port))
	var ready struct{ Issuer, Control string }
	Eventually(t, "the identity provider is ready", func() bool {
		if p.ended() {
			t.Fatalf("the identity provider ended at once: %v\n%s", p.err, p.Stderr.String())
		}
		line, _, whole := strings.Cut(p.Stdout.String(), "\n")
		return whole && json.Unmarshal([]byte(line), &ready) == nil
	})
	return &IdP{Process: p, Issuer: ready.Issuer, control: ready.Control}
}

// nodeWith returns the Node that npm brought, so that the one of the machine
// does not matter; the test is skipped where it or the module is missing.
func nodeWith(t testing.TB, dir, module string) string {
	t.Helper()
	node := filepath.Join(dir, "node_modules", ".bin", "node")
	if !exists(node) || !exists(filepath.Join(dir, "node_modules", module)) {
		t.Skip("the identity providers in test/idp are not installed (make deps)")
	}
	if err := exec.Command(node, "--version").Run(); err != nil {
		t.Skipf("the Node in test/idp does not run here: %v", err)
	}
	return node
}

// StartOtherIdP starts an identity provider by other hands, oauth2-mock-server,
// and returns its issuer and an access token of it for the audience orders-api
// with scope orders:read. The token names neither client nor subject.
func StartOtherIdP(t testing.TB) (issuer, token string) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, "test", "idp"))
	if err != nil {
		t.Fatal(err)
	}
	node := nodeWith(t, dir, "oauth2-mock-server")
	port := strconv.Itoa(FreePort(t))
	p := start(t, dir, node, filepath.Join("node_modules", "oauth2-mock-server", "dist", "oauth2-mock-server.mjs"), "-a", "127.0.0.1", "-p", port)
	issuer = "http://localhost:" + port
	Eventually(t, "the other identity provider is ready", func() bool {
		if p.ended() {
			t.Fatalf("it ended at once: %v\n%s", p.err, p.Stderr.String())
		}
		return strings.Contains(p.Stdout.String(), "issuer is "+issuer)
	})
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}, "aud": {"orders-api"}}
	req, err := http.NewRequest(http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	call(t, req, &answer)
	return issuer, answer.AccessToken
}

// Token gets an access token for the client from the token endpoint.
func (i *IdP) Token(t testing.TB, client, scope string) string {
	t.Helper()
	return i.access(t, client, url.Values{"scope": {scope}})
}

// Opaque gets an access token for the client that says nothing of itself: by
// introspection it is one for the audience orders-api. A brief one lives for
// three seconds. Who may ask is gateway:by secret, gateway-by-post and
// gateway-by-key; see test/idp.
func (i *IdP) Opaque(t testing.TB, client, scope string, brief bool) string {
	t.Helper()
	resource := "urn:orders-opaque"
	if brief {
		resource = "urn:orders-brief"
	}
	return i.access(t, client, url.Values{"scope": {scope}, "resource": {resource}})
}

// Revoke has the provider take back an opaque token of the client.
func (i *IdP) Revoke(t testing.TB, client, token string) {
	t.Helper()
	i.ask(t, client, "/token/revocation", url.Values{"token": {token}}, nil)
}

// ClientKey returns the private key, in PEM, of the client gateway-by-key.
func (i *IdP) ClientKey(t testing.TB) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, i.control+"/client-key", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Key string }
	call(t, req, &answer)
	return answer.Key
}

// ask posts a form to the provider in the client's name.
func (i *IdP) ask(t testing.TB, client, path string, form url.Values, answer any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, i.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(client, client+"-secret")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	call(t, req, answer)
}

func (i *IdP) access(t testing.TB, client string, form url.Values) string {
	t.Helper()
	form.Set("grant_type", "client_credentials")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	i.ask(t, client, "/token", form, &answer)
	if answer.AccessToken == "" {
		t.Fatal("the identity provider gave no access token")
	}
	return answer.AccessToken
}

// Claims returns the payload of a good access token of the client, to be
// altered and signed.
func (i *IdP) Claims(client, scope string) Claims {
	now := time.Now().Unix()
	return Claims{
		"iss": i.Issuer, "aud": "orders-api", "sub": client, "client_id": client, "scope": scope,
		"iat": now, "exp": now + 3600, "jti": strconv.FormatInt(time.Now().UnixNano(), 36),
	}
}

// Sign has the provider sign anything with its current key. The header is
// that of an access token but for what is given.
func (i *IdP) Sign(t testing.TB, header, claims Claims) string {
	t.Helper()
	return i.token(t, "/sign", Claims{"header": header, "claims": claims})
}

// IDToken returns an ID token as the provider gives it to the client when a
// user has logged in.
func (i *IdP) IDToken(t testing.TB, client string) string {
	t.Helper()
	return i.token(t, "/id-token", Claims{"client": client, "claims": Claims{"nonce": "n-0S6_WzA2Mj"}})
}

// AddClient makes one more client known, with the members that its registration
// has (OpenID Connect Dynamic Client Registration 1.0 section 2).
func (i *IdP) AddClient(t testing.TB, client Claims) { t.Helper(); i.post(t, "/client", client, nil) }

// Rotate makes a new key that signs from now on; the old ones stay published.
func (i *IdP) Rotate(t testing.TB) { t.Helper(); i.post(t, "/rotate", nil, nil) }

// Retire withdraws every key but the one that signs.
func (i *IdP) Retire(t testing.TB) { t.Helper(); i.post(t, "/retire", nil, nil) }

// Fetches returns how often the key set was asked for.
func (i *IdP) Fetches(t testing.TB) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, i.control+"/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ JWKS int }
	call(t, req, &answer)
	return answer.JWKS
}

// Keys returns the published key set.
func (i *IdP) Keys(t testing.TB) []map[string]string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, i.Issuer+"/jwks", nil)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	call(t, req, &set)
	return set.Keys
}

func (i *IdP) token(t testing.TB, path string, body Claims) string {
	t.Helper()
	var answer struct{ Token string }
	i.post(t, path, body, &answer)
	return answer.Token
}

func (i *IdP) post(t testing.TB, path string, body, answer any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, i.control+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	call(t, req, answer)
}

// call does the request and reads the JSON answer, which must be a 200.
func call(t testing.TB, req *http.Request, answer any) {
	t.Helper()
	res, err := direct.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", req.Method, req.URL, err, text)
	}
}
