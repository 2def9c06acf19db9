package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// webApp is a gateway whose application browsers log in to. It returns where
// that is.
func webApp(t *testing.T, idp *harness.IdP, backend *harness.Backend) (w *harness.Wire, at string) {
	t.Helper()
	w = harness.StartWire(t, fmt.Sprintf("upstreams: { app: [%q] }\nroutes: [{ path: /open, upstream: app, auth: none }]\n", backend.URL))
	at = "https://" + w.TLS
	idp.AddClient(t, harness.Claims{
		"client_id": "web", "client_secret": "web-secret", "scope": "openid profile offline_access",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"redirect_uris":                       []string{at + "/.warder/login/corp/callback"},
		"post_logout_redirect_uris":           []string{at + "/.warder/login/corp/done"},
		"backchannel_logout_uri":              w.URL + "/.warder/login/corp/backchannel-logout",
		"backchannel_logout_session_required": true,
	})
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.Config), "web.secret"), []byte("web-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Write(t, fmt.Sprintf(`
issuers:
  corp: { issuer: %q, login: { clientId: web, clientSecret: "${file:web.secret}", scopes: [openid, profile, offline_access] } }
upstreams: { app: [%q] }
routes:
  - { path: /**, upstream: app, auth: { login: corp } }
`, idp.Issuer, backend.URL))
	harness.Eventually(t, "the login is in force", func() bool {
		return harness.Curl(t, "-k", at+"/app").Status == http.StatusUnauthorized
	})
	return w, at
}

// person is a client with cookies that fills in forms as a user does.
type person struct {
	t *testing.T
	*http.Client
}

func newPerson(t *testing.T, roots *x509.CertPool) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &person{t, &http.Client{Transport: transport, Jar: jar, Timeout: harness.Patience}}
}

func (p *person) do(method, at string, form url.Values, fields ...string) (status int, where, body string) {
	p.t.Helper()
	req, err := http.NewRequest(method, at, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := p.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, res.Request.URL.String(), string(text)
}

var (
	action = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"`)
)

// submit fills in the form of a page.
func (p *person) submit(body string, values url.Values) (status int, where, next string) {
	p.t.Helper()
	at := action.FindStringSubmatch(body)
	if at == nil {
		p.t.Fatalf("no form in:\n%s", body)
	}
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for name, v := range values {
		form[name] = v
	}
	return p.do("POST", html.UnescapeString(at[1]), form)
}

func TestLoginAtARealProvider(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	w, at := webApp(t, idp, harness.Nginx(t, "a"))
	login := func() *person {
		p := newPerson(t, w.Roots)
		_, where, body := p.do("GET", at+"/app?x=1", nil)
		if !strings.HasPrefix(where, idp.Issuer) {
			t.Fatalf("not sent to the issuer: %s\n%s", where, body)
		}
		_, _, body = p.submit(body, url.Values{"login": {"alice"}, "password": {"x"}})
		status, where, body := p.submit(body, nil) // consent
		if status != 200 || where != at+"/app?x=1" {
			t.Fatalf("%d %s\n%s\n%s", status, where, body, w.Stderr)
		}
		return p
	}
	one, two := login(), login()
	for _, p := range []*person{one, two} {
		if status, _, body := p.do("GET", at+"/app", nil); status != 200 || strings.Contains(body, "__Host-") {
			t.Fatalf("%d %s", status, body)
		}
	}
	if status, _, body := one.do("POST", at+"/app", nil, "Origin", "https://evil.example"); status != 403 || !strings.Contains(body, "csrf_refused") {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := one.do("POST", at+"/app", nil, "Origin", at); status != 200 {
		t.Errorf("%d", status)
	}

	// Logout ends the session here and at the issuer.
	_, where, body := one.do("POST", at+"/.warder/login/corp/logout", nil, "Sec-Fetch-Site", "same-origin")
	if !strings.HasPrefix(where, idp.Issuer) {
		t.Fatalf("not sent to the issuer: %s\n%s", where, body)
	}
	status, where, body := one.submit(body, url.Values{"logout": {"yes"}})
	if status != 200 || where != at+"/.warder/login/corp/done" || !strings.Contains(body, "You are logged out") {
		t.Errorf("%d %s\n%s", status, where, body)
	}
	if _, where, _ := one.do("GET", at+"/app", nil); !strings.HasPrefix(where, idp.Issuer) {
		t.Errorf("still in: %s", where)
	}
	if status, _, _ := two.do("GET", at+"/app", nil); status != 200 {
		t.Errorf("the other browser: %d", status)
	}

	// A logout at the issuer ends the session here.
	_, _, body = two.do("GET", idp.Issuer+"/session/end", nil)
	two.submit(body, url.Values{"logout": {"yes"}})
	harness.Eventually(t, "the issuer's logout has ended the session", func() bool {
		status, _, body := two.do("GET", at+"/app", nil, "Accept", "application/json")
		return status == 401 && strings.Contains(body, "session_expired")
	})
}

// TestLoginInChromium is the same in a real browser, which keeps its own rules
// for cookies, redirects, forms and pages that are shown again.
func TestLoginInChromium(t *testing.T) {
	b := harness.StartChromium(t)
	idp := harness.StartIdP(t, 0)
	_, at := webApp(t, idp, harness.Nginx(t, "a"))
	const ready = "document.readyState == 'complete' && "
	login := func(p *harness.Tab) {
		p.Until(ready + "!!document.querySelector('input[name=login]')")
		p.Eval("document.querySelector('input[name=login]').value = 'alice', document.querySelector('input[name=password]').value = 'x', document.querySelector('form').submit(), true")
	}
	consent := func(p *harness.Tab) {
		p.Until(ready + "!!document.querySelector('input[value=consent]')")
		p.Eval("document.querySelector('form').submit(), true")
	}
	on := func(path string) string {
		return fmt.Sprintf("%s location.href == %q", ready, at+path)
	}
	// Two tabs are sent to the login; each comes back to its own page.
	one, two := b.Open(at+"/one"), b.Open(at+"/two?a=%2F")
	login(one)
	consent(one)
	one.Until(on("/one"))
	login(two)
	consent(two)
	two.Until(on("/two?a=%2F"))
	fetch := func(p *harness.Tab, method, url string) string {
		return p.Eval(fmt.Sprintf("fetch(%q, {method: %q, redirect: 'manual'}).then(r => r.status + ' ' + r.type, e => 'failed')", url, method))
	}
	for _, p := range []*harness.Tab{one, two} {
		if got := fetch(p, "GET", "/api"); got != "200 basic" {
			t.Errorf("a script of the page gets %q", got)
		}
		if got := fetch(p, "POST", "/api"); got != "200 basic" {
			t.Errorf("a script that changes something gets %q", got)
		}
		if got := p.Eval("'<' + document.cookie + '>'"); got != "<>" {
			t.Errorf("scripts see the cookie: %s", got)
		}
	}
	// Logout in one tab, by a page of ours that asks first.
	two.Go(at + "/.warder/login/corp/logout")
	two.Until(ready + "!!document.querySelector('button') && document.title == 'Log out?'")
	picture(t, "logout", two)
	two.Eval("document.querySelector('button').click(), true")
	two.Until(ready + "!!document.querySelector('button[value=yes]')")
	two.Eval("document.querySelector('button[value=yes]').click(), true")
	two.Until(on("/.warder/login/corp/done"))
	picture(t, "done", two)
	// The other tab is an expired page now: its scripts are told, and are not
	// sent to a login page.
	if got := fetch(one, "GET", "/api"); got != "401 basic" {
		t.Errorf("a script of an expired page gets %q", got)
	}
	one.Go(at + "/three")
	login(one)
	consent(one)
	one.Until(on("/three"))
	// Back is a page from before: it is asked for again, in the new session.
	one.Back()
	one.Until("location.href.startsWith('" + at + "') || location.href.startsWith('" + idp.Issuer + "')")
	one.Go(at + "/.warder/login/corp/callback?state=stolen&code=x")
	one.Until(ready + "document.body.innerText.includes('login_failed')")
	picture(t, "failed", one)
	one.Go(at + "/four")
	one.Until(on("/four"))
}

// picture keeps what a page looks like where WARDER_PICTURES says.
func picture(t *testing.T, name string, p *harness.Tab) {
	t.Helper()
	png := p.Picture()
	if dir := os.Getenv("WARDER_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
