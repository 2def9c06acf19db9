package app_test

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestLogout(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	b := r.browser(t)
	b.login(p, "/app/")
	name, value := b.session()
	b.wants(403, "csrf_refused", "POST", "/.warder/login/corp/logout", "Origin", "https://evil.example")
	b.wants(200, "<form", "GET", "/.warder/login/corp/logout", "Sec-Fetch-Site", "cross-site")
	b.wants(200, "", "GET", "/app/")
	resp, _ := b.ask("POST", "/.warder/login/corp/logout", "Sec-Fetch-Site", "same-origin")
	at, _ := url.Parse(resp.Header.Get("Location"))
	q := at.Query()
	if resp.StatusCode != 303 || !strings.HasPrefix(at.String(), p.url+"/end?") || strings.Count(q.Get("id_token_hint"), ".") != 2 ||
		q.Get("post_logout_redirect_uri") != r.url+"/.warder/login/corp/done" || q.Get("client_id") != "web" {
		t.Errorf("%d %v", resp.StatusCode, at)
	}
	home := b.cookies["__Host-warder-home"]
	if len(b.cookies) != 1 || home == "" {
		t.Errorf("the browser keeps %v", b.cookies)
	}
	b.wants(200, `href="/app/"`, "GET", "/.warder/login/corp/done")
	if len(b.cookies) > 0 {
		t.Errorf("the browser keeps %v", b.cookies)
	}
	for _, elsewhere := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\"><script>", ""} {
		b.cookies["__Host-warder-home"] = base64.RawURLEncoding.EncodeToString([]byte(elsewhere))
		if _, page := b.ask("GET", "/.warder/login/corp/done"); !strings.Contains(page, "You are logged out") || strings.Contains(page, "evil") || strings.Contains(page, "<script") {
			t.Errorf("%q leads elsewhere: %s", elsewhere, page)
		}
	}
	b.wants(200, `href="/"`, "GET", "/.warder/login/corp/done")
	b.cookies[name] = value
	b.wants(401, "session_expired", "GET", "/app/", xhr...)
	b.wants(302, "", "GET", "/app/")
}

func TestLogoutByTheIssuer(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := loggingIn(t, p, "")
	alice, again, bob := r.browser(t), r.browser(t), r.browser(t)
	alice.login(p, "/app/")
	p.set(func() { p.sid = "sid-2" })
	again.login(p, "/app/")
	p.set(func() { p.sid, p.claims = "sid-3", func(c jwt.MapClaims) { c["sub"] = "bob" } })
	bob.login(p, "/app/")
	post := func(token string) int {
		req, err := http.NewRequest("POST", r.url+"/.warder/login/corp/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, _ := r.do(t, req)
		if resp.Header.Get("Cache-Control") != "no-store" {
			t.Error("the answer may be stored")
		}
		return resp.StatusCode
	}
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"sid": "sid-1", "sub": "alice", "jti": rand.Text(), "events": event}
	}
	for what, change := range map[string]func(jwt.MapClaims){
		"no event":      func(c jwt.MapClaims) { c["events"] = nil },
		"another event": func(c jwt.MapClaims) { c["events"] = map[string]any{"x": map[string]any{}} },
		"an event of text": func(c jwt.MapClaims) {
			c["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": "x"}
		},
		"a nonce":          func(c jwt.MapClaims) { c["nonce"] = "x" },
		"no jti":           func(c jwt.MapClaims) { c["jti"] = nil },
		"nobody":           func(c jwt.MapClaims) { c["sub"], c["sid"] = nil, nil },
		"an empty sid":     func(c jwt.MapClaims) { c["sid"] = "" },
		"another audience": func(c jwt.MapClaims) { c["aud"] = "other" },
		"another issuer":   func(c jwt.MapClaims) { c["iss"] = "x" },
		"long ago":         func(c jwt.MapClaims) { c["iat"] = time.Now().Unix() - 900 },
		"expired":          func(c jwt.MapClaims) { c["exp"] = time.Now().Unix() - 900 },
		"without a time":   func(c jwt.MapClaims) { c["iat"] = nil },
	} {
		claims := good()
		change(claims)
		if status := post(p.sign(claims, "logout+jwt")); status != 400 {
			t.Errorf("%s: %d", what, status)
		}
	}
	if status := post(p.sign(good(), "at+jwt")); status != 400 {
		t.Errorf("an access token: %d", status)
	}
	for _, b := range []*browser{alice, again, bob} {
		b.wants(200, "", "GET", "/app/")
	}
	token := p.sign(good(), "logout+jwt")
	if status := post(token); status != 200 {
		t.Fatalf("%d\n%s", status, r.errors)
	}
	alice.wants(401, "session_expired", "GET", "/app/", xhr...)
	again.wants(200, "", "GET", "/app/")
	p.set(func() { p.sid, p.claims = "sid-1", nil })
	alice.login(p, "/app/")
	if status := post(token); status != 400 {
		t.Errorf("a logout token was taken twice: %d", status)
	}
	alice.wants(200, "", "GET", "/app/")
	all := good()
	all["sid"] = nil
	if status := post(p.sign(all, "logout+jwt")); status != 200 {
		t.Fatal(status)
	}
	alice.wants(401, "session_expired", "GET", "/app/", xhr...)
	again.wants(401, "session_expired", "GET", "/app/", xhr...)
	bob.wants(200, "", "GET", "/app/")
}

func TestALogoutReachesEveryInstanceAndStream(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	state := filepath.Join(t.TempDir(), "state")
	one, two := loggingInFrom(t, p, "", state), loggingInFrom(t, p, "", state)
	b := one.browser(t)
	b.login(p, "/app/")
	name, value := b.session()
	var ends []<-chan error
	for _, r := range []*running{one, two} {
		ends = append(ends, r.chat(t, "Cookie: "+name+"="+value+"\r\nOrigin: "+r.url))
	}
	other := two.browser(t)
	other.cookies[name] = value
	other.wants(200, "", "GET", "/app/")
	began := time.Now()
	b.wants(303, "", "POST", "/.warder/login/corp/logout", "Sec-Fetch-Site", "same-origin")
	b.cookies[name] = value
	b.wants(401, "session_expired", "GET", "/app/", xhr...)
	for {
		resp, _ := other.ask("GET", "/app/", xhr...)
		if resp.StatusCode == 401 {
			break
		}
		if time.Since(began) > generous {
			t.Fatal("the session lives on at the other instance")
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("refused elsewhere after %s", time.Since(began))
	for _, ended := range ends {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Logf("streams are closed after %s", time.Since(began))
}

// chat opens a WebSocket; what is returned is told when it has ended.
func (r *running) chat(t *testing.T, fields string) <-chan error {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(generous))
	fmt.Fprintf(c, "GET /chat HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		strings.TrimPrefix(r.url, "http://"), fields)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err, r.errors)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(in)
		ended <- err
	}()
	return ended
}

func TestASessionOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	state := filepath.Join(t.TempDir(), "state")
	var cookies map[string]string
	t.Run("before", func(t *testing.T) {
		b := loggingInFrom(t, p, "", state).browser(t)
		b.login(p, "/app/")
		cookies = b.cookies
		req := request(t, "GET", b.r.url+"/token")
		if resp, body := b.r.do(t, req); resp.StatusCode != 401 || !strings.Contains(body, "credential_missing") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		b.wants(200, "", "GET", "/token")
		b.wants(400, "credential_ambiguous", "GET", "/token", "Authorization", "Bearer a.b.c")
		b.cookies = map[string]string{}
		b.wants(302, "", "GET", "/token")
	})
	b := loggingInFrom(t, p, "", state).browser(t)
	b.cookies = cookies
	b.wants(200, "", "GET", "/app/")
}
