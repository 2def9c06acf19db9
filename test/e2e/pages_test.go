package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// What people see of a refusal, and of a login that does not end well: a page
// in their browser, readable on a phone and in the dark, with the code and the
// request's id to copy.
func TestPagesThatPeopleSee(t *testing.T) {
	b := harness.StartChromium(t)
	backend := harness.Nginx(t, "a")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := harness.Warder(t, fmt.Sprintf(`issuers: { corp: { issuer: "http://127.0.0.1:1/", login: { clientId: web, clientSecret: "${file:secret}" } } }
consumers: { acme: { password: %q }, other: {} }
upstreams: { b: [%q], dead: ["http://127.0.0.1:1"] }
routes:
  - { path: /key, upstream: b, auth: { apiKey: true } }
  - { path: /app, upstream: b, auth: { login: corp } }
  - { path: /others, upstream: b, auth: { basic: true, consumers: [other] } }
  - { path: /limited, upstream: b, auth: none, rateLimit: 1/min per global }
  - { path: /dead, upstream: dead, auth: none }
`, passwordHash(t, "correct horse"), backend.URL), harness.In(dir))
	p := b.Open("about:blank")
	for _, c := range []struct{ name, path, says, code string }{
		{"401", "/key", "A credential is required.", "credential_missing"},
		{"403", "/others", "This consumer may not use this API.", "consumer_not_allowed"},
		{"404", "/nowhere", "There is no such resource.", "route_unknown"},
		{"429", "/limited", "Too many requests.", "rate_limited"},
		{"502", "/dead", "The service behind the gateway is not available.", "upstream_unavailable"},
		{"503", "/app", "Credentials cannot be checked at the moment.", "identity_unavailable"},
		{"login-failed", "/.warder/login/corp/callback?state=x&code=y", "The login could not be completed.", "login_failed"},
		{"log-out", "/.warder/login/corp/logout", "Log out?", ""},
		{"logged-out", "/.warder/login/corp/done", "You are logged out", ""},
	} {
		if c.name == "429" {
			harness.Curl(t, g.URL+c.path)
		}
		p.Go(strings.Replace(g.URL, "//", "//acme:correct%20horse@", 1) + c.path)
		p.Until(fmt.Sprintf("document.readyState == 'complete' && !!document.querySelector('h1') && document.querySelector('h1').innerText == %q", c.says))
		if got := p.Eval("document.title"); got != c.says {
			t.Errorf("%s: title %q", c.name, got)
		}
		if got := p.Eval("[...document.querySelectorAll('code')].map(c => c.innerText).join(' ')"); c.code != "" && !regexp.MustCompile("^"+c.code+" [0-9a-f]{32}$").MatchString(got) {
			t.Errorf("%s: to copy is %q", c.name, got)
		}
		seen := map[string]bool{}
		for _, look := range []struct {
			name  string
			width int
			dark  bool
		}{{"desktop-light", 1280, false}, {"desktop-dark", 1280, true}, {"phone-light", 320, false}, {"phone-dark", 320, true}} {
			p.Look(look.width, 640, look.dark)
			if wide := p.Eval("document.documentElement.scrollWidth > innerWidth"); wide != "false" {
				t.Errorf("%s, %s: has to be scrolled to the side", c.name, look.name)
			}
			ground := p.Eval("getComputedStyle(document.body).backgroundColor")
			seen[ground] = true
			picture(t, c.name+"-"+look.name, p)
		}
		if len(seen) != 2 {
			t.Errorf("%s: light and dark are %v: its style is not applied", c.name, seen)
		}
	}
}
