package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/password"
)

// basicHouse serves a route that asks consumer ops for a password, behind a
// proxy that says who asks.
func basicHouse(t *testing.T) (h *house, load func(secret string), ask func(user, secret, from string, fields ...string) *http.Response) {
	t.Helper()
	h = newHouse(t, nil)
	h.compiler.Guard = guessing.NewGuard()
	load = func(secret string) {
		t.Helper()
		if err := h.load(fmt.Sprintf("consumers: { ops: { password: %q } }\n", password.New([]byte(secret))) +
			document(`{ name: one, address: "127.0.0.1:0", trustedProxies: 127.0.0.1/32 }`, "  - { path: /x, upstream: b, auth: { basic: true } }\n")); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	ask = func(user, secret, from string, fields ...string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+h.Addresses()["one"]+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			r.SetBasicAuth(user, secret)
		}
		r.Header.Set("X-Forwarded-For", from)
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Set(name, value)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	return h, load, ask
}

// Unknown user, wrong password, right password while locked, no password: the
// caller cannot tell which it was. The operator can.
func TestPasswordWrongIsByteForByteTheSame(t *testing.T) {
	t.Parallel()
	h, load, ask := basicHouse(t)
	load("correct horse")
	same := regexp.MustCompile(`(?m)[0-9a-f]{32}|^Date: .*$`)
	first := ""
	check := func(what, user, secret, from string) exchange.RequestID {
		t.Helper()
		resp := ask(user, secret, from)
		dump, err := httputil.DumpResponse(resp, true)
		if err != nil {
			t.Fatal(err)
		}
		got := same.ReplaceAllString(string(dump), "-")
		if first == "" {
			first = got
		}
		if got != first || !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.Contains(got, `"code":"password_wrong"`) {
			t.Errorf("%s is answered with\n%s\nand not with\n%s", what, got, first)
		}
		id, _ := exchange.ParseRequestID(resp.Header.Get("X-Request-Id"))
		return id
	}
	check("a wrong password", "ops", "wrong", "192.0.2.2")
	// Wrong ones of the last hour, the last just now: five minutes to wait.
	for i := range 14 {
		h.compiler.Guard.Passwords.Check(&guessing.Attempt{
			Account: "ops", Known: true, Stored: &password.Hash{}, From: netip.MustParseAddr("192.0.2.1"),
			Now: time.Now().Add(time.Duration(i-13) * 4 * time.Minute), Waiting: t,
		})
	}
	if rec := h.recorded(check("a right password while locked", "ops", "correct horse", "192.0.2.1")); rec.Code != fault.AccountLocked {
		t.Errorf("the record says %v", rec.Code)
	} else if got := fmt.Sprint(rec.Trail.Steps()); !strings.Contains(got, "until") {
		t.Errorf("it is not said until when: %s", got)
	}
	check("an unknown user", "nobody", "correct horse", "192.0.2.2")
	check("no password", "ops", "", "192.0.2.2")
	check("a control character", "ops", "a\x00b", "192.0.2.2")
	if resp := ask("ops", "correct horse", "192.0.2.3"); resp.StatusCode != http.StatusBadGateway { // its upstream is nobody
		t.Errorf("the right password is answered with %d", resp.StatusCode)
	}
}

func TestBasicIsNotAskedForInAnswersToScripts(t *testing.T) {
	t.Parallel()
	_, load, ask := basicHouse(t)
	load("correct horse")
	for field, asked := range map[string]bool{
		"Accept: text/html":                true,
		"Sec-Fetch-Mode: navigate":         true,
		"Sec-Fetch-Mode: cors":             false,
		"Sec-Fetch-Mode: same-origin":      false,
		"X-Requested-With: XMLHttpRequest": false,
	} {
		resp := ask("", "", "192.0.2.1", field)
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || (got == `Basic realm="warder", charset="UTF-8"`) != asked || !asked && got != "" {
			t.Errorf("%s: %d %q", field, resp.StatusCode, got)
		}
	}
}

func TestAChangedPasswordIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	h, load, ask := basicHouse(t)
	status := func(secret string) int {
		resp := ask("ops", secret, "192.0.2.1")
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	load("correct horse")
	for range 2 {
		if got := status("correct horse"); got != http.StatusBadGateway {
			t.Fatalf("status %d", got)
		}
	}
	if c := h.compiler.Guard.Passwords.Counts(); c.Hashed != 1 || c.Remembered != 1 {
		t.Errorf("%+v", c)
	}
	load("battery staple")
	if got := status("correct horse"); got != http.StatusUnauthorized {
		t.Errorf("the old password is answered with %d", got)
	}
	if got := status("battery staple"); got != http.StatusBadGateway {
		t.Errorf("the new password is answered with %d", got)
	}
}
