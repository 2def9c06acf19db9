package login_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/login"
)

// wants asks for a session with and without the store.
func (i *instance) wants(what, cookie string, want fault.Code) {
	i.h.t.Helper()
	if got := i.ask(cookie, true); got != want {
		i.h.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestASessionEndsWhenItIsNotUsed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.open(), h.open()
	cookie := one.login()
	h.clock.move(30*time.Minute - time.Second)
	one.wants("a moment before its idle time is over", cookie, fault.None)
	h.clock.move(30*time.Minute - time.Second)
	one.wants("used meanwhile", cookie, fault.None)
	h.clock.move(30 * time.Minute)
	one.wants("not used for its idle time", cookie, fault.SessionExpired)
	two.wants("elsewhere", cookie, fault.SessionExpired)
}

// What another instance was used for counts: it is told of in the store.
func TestAUseElsewhereKeepsASession(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.open(), h.open()
	cookie := one.login()
	two.wants("elsewhere", cookie, fault.None)
	for range 4 {
		h.clock.move(20 * time.Minute)
		for over := time.Now().Add(10 * time.Second); two.ask(cookie, true) != fault.None; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(over) {
				t.Fatal("the other instance lets the session end")
			}
		}
		for over := time.Now().Add(10 * time.Second); one.ask(cookie, true) != fault.None; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(over) {
				t.Fatal("the first instance lets the session end")
			}
		}
	}
}

func TestASessionEndsWithItsLifetimeHoweverItIsUsed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.open()
	cookie := one.login()
	for range 12*3 - 1 {
		h.clock.move(20 * time.Minute)
		one.wants("in use", cookie, fault.None)
	}
	h.clock.move(20*time.Minute - time.Second)
	one.wants("a second before its end", cookie, fault.None)
	h.clock.move(time.Second)
	one.wants("at its end", cookie, fault.SessionExpired)
}

// A shorter time in the configuration is in force at once.
func TestTimesAreThoseOfTheConfigurationInForce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var cfg login.Config
	one := h.open(func(c *login.Config) { cfg = *c })
	cookie := one.login()
	h.clock.move(10 * time.Minute)
	cfg.Idle = 10 * time.Minute
	shorter := &instance{h, login.NewParty(cfg)}
	shorter.wants("under a shorter idle time", cookie, fault.SessionExpired)
	one.wants("under the one before", cookie, fault.None)
}

// Requests that share a session, and instances that share a store, refresh it
// once when it is due.
func TestASessionIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.issuer.expires = 60
	one, two := h.open(), h.open()
	cookie := one.login()
	two.wants("elsewhere", cookie, fault.None)
	h.clock.move(59 * time.Second)
	one.wants("before it is due", cookie, fault.None)
	if h.issuer.refreshes != 0 {
		t.Error("it was refreshed before its time")
	}
	h.issuer.set(func() { h.issuer.expires = 600 })
	h.clock.move(time.Second)
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			if got := []*instance{one, two}[n%2].ask(cookie, true); got != fault.None {
				t.Errorf("%v", got)
			}
		})
	}
	all.Wait()
	if h.issuer.refreshes != 1 {
		t.Errorf("%d refreshes", h.issuer.refreshes)
	}
}

func TestTheIssuerEndsASessionByItsRefresh(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.issuer.expires = 60
	one := h.open()
	cookie := one.login()
	h.issuer.set(func() { h.issuer.status = 503 })
	one.wants("until it is due an outage ends nothing", cookie, fault.None)
	h.clock.move(time.Minute)
	one.wants("due in an outage", cookie, fault.IdentityUnavailable)
	cookies := map[string]string{}
	if w := one.visit("GET", one.begin(cookies), "", cookies); w.Code != 503 || w.code != fault.IdentityUnavailable {
		t.Errorf("a new login in an outage: %d %v %s", w.Code, w.code, w.reason)
	}
	h.issuer.set(func() { h.issuer.status = 0 })
	one.wants("the outage is over", cookie, fault.None)
	h.clock.move(time.Minute)
	h.issuer.set(func() { h.issuer.subject = "mallory" })
	one.wants("of another subject", cookie, fault.IdentityUnavailable)
	h.issuer.set(func() { h.issuer.subject, h.issuer.current = "alice", "taken back" })
	one.wants("the issuer says no", cookie, fault.SessionExpired)
	one.wants("and it stays so", cookie, fault.SessionExpired)
}

// While the store is down what is in memory goes on, and nothing else does.
func TestLoginsWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]func(t *testing.T, h *house, one, two *instance, cookie string){
		"a new login": func(t *testing.T, h *house, one, _ *instance, _ string) {
			cookies := map[string]string{}
			callback := one.begin(cookies) // nothing is kept of it here
			w := one.visit("GET", callback, "", cookies)
			if w.Code != 503 || w.code != fault.IdentityUnavailable || cookies[one.Cookie()] != "" {
				t.Errorf("%d %v %v %v", w.Code, w.code, w.Header(), cookies)
			}
		},
		"a session in memory": func(t *testing.T, h *house, one, _ *instance, cookie string) {
			one.wants("at once", cookie, fault.None)
			h.clock.move(20 * time.Minute)
			one.wants("later", cookie, fault.None)
		},
		"a session in memory that is over": func(t *testing.T, h *house, one, _ *instance, cookie string) {
			h.clock.move(30 * time.Minute)
			// Another instance may know of a use, which nobody can ask.
			one.wants("not used for its idle time", cookie, fault.IdentityUnavailable)
		},
		"a session not in memory": func(t *testing.T, h *house, _, two *instance, cookie string) {
			two.wants("elsewhere", cookie, fault.IdentityUnavailable)
			two.wants("made up", "AAAA", fault.SessionExpired)
		},
		"a refresh that is due": func(t *testing.T, h *house, one, _ *instance, cookie string) {
			h.clock.move(30 * time.Second)
			one.wants("before", cookie, fault.None)
			h.clock.move(30 * time.Second)
			one.wants("due", cookie, fault.IdentityUnavailable)
			if h.issuer.refreshes != 0 {
				t.Error("a refresh token was used that could not have been kept")
			}
		},
		"a logout": func(t *testing.T, h *house, one, _ *instance, cookie string) {
			cookies := map[string]string{one.Cookie(): cookie}
			w := one.visit("POST", "/.warder/login/corp/logout", "", cookies, "Sec-Fetch-Site", "same-origin")
			if w.Code != 503 || w.code != fault.IdentityUnavailable || cookies[one.Cookie()] != cookie {
				t.Errorf("%d %v, the browser has %v", w.Code, w.code, cookies)
			}
			one.wants("here it has ended", cookie, fault.IdentityUnavailable)
		},
		"a logout by the issuer": func(t *testing.T, h *house, one, _ *instance, cookie string) {
			token := h.issuer.sign(jwt.MapClaims{"sub": "alice", "jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})
			w := one.visit("POST", "/.warder/login/corp/backchannel-logout", url.Values{"logout_token": {token}}.Encode(), nil, "Content-Type", "application/x-www-form-urlencoded")
			if w.Code != 503 || w.code != fault.IdentityUnavailable || w.event != "" {
				t.Errorf("%d %v %q", w.Code, w.code, w.event)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.issuer.expires = 0
			if what == "a refresh that is due" {
				h.issuer.expires = 60
			}
			one, two := h.open(), h.open()
			cookie := one.login()
			if err := h.store.Close(); err != nil {
				t.Fatal(err)
			}
			c(t, h, one, two, cookie)
		})
	}
}

// Ends elsewhere are not heard of while the store is down: after a while no
// session is believed.
func TestASessionIsNotBelievedWhenTheStoreWasSilentForTooLong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.open(func(c *login.Config) { c.MaxSilence = 10 * time.Minute })
	cookie := one.login()
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.clock.move(9 * time.Minute)
	one.wants("before", cookie, fault.None)
	h.clock.move(2 * time.Minute)
	one.wants("after", cookie, fault.KeysStale)
}

// Every login that fails says why, to operators alone.
func TestAFailedLoginIsARefusalWithAReason(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.open()
	for at, want := range map[string]string{
		"/.warder/login/corp/callback":                 "the callback has no state, or more than one",
		"/.warder/login/corp/callback?state=x&code=c":  "this browser has not begun this login, or more than ten minutes ago",
		"/.warder/login/corp/callback?state=x&state=y": "the callback has no state, or more than one",
	} {
		w := one.visit("GET", at, "", map[string]string{})
		if w.Code != 401 || w.code != fault.LoginFailed || w.reason != want {
			t.Errorf("%s: %d %v %q", at, w.Code, w.code, w.reason)
		}
	}
	cookies := map[string]string{}
	callback := one.begin(cookies)
	h.clock.move(10 * time.Minute)
	if w := one.visit("GET", callback, "", cookies); w.Code != 401 || w.code != fault.LoginFailed {
		t.Errorf("ten minutes later: %d %v", w.Code, w.code)
	}
	if w := one.visit("POST", "/.warder/login/corp/backchannel-logout", "logout_token=x", nil, "Content-Type", "application/x-www-form-urlencoded"); w.Code != 400 || w.code != fault.LoginFailed || w.event != "" {
		t.Errorf("a forged logout: %d %v %q", w.Code, w.code, w.event)
	}
	one.login()
	token := h.issuer.sign(jwt.MapClaims{"sub": "alice", "jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})
	if w := one.visit("POST", "/.warder/login/corp/backchannel-logout", url.Values{"logout_token": {token}}.Encode(), nil, "Content-Type", "application/x-www-form-urlencoded"); w.Code != 200 || w.code != fault.None || w.event != "logout by the issuer" {
		t.Errorf("a logout by the issuer: %d %v %q", w.Code, w.code, w.event)
	}
}

// What was granted is what the issuer says, and what was asked for only if it
// says nothing: an answer that cannot be read grants nothing.
func TestScopesAreThoseThatWereGranted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.open(func(c *login.Config) { c.Scopes = []string{"openid", "admin"} })
	for what, c := range map[string]struct {
		said any
		want string
	}{
		"nothing": {nil, "[openid admin]"},
		"fewer":   {"openid", "[openid]"},
		"none":    {"", "[]"},
		"a list":  {[]string{"openid"}, "[]"},
		"null":    {json.RawMessage("null"), "[openid admin]"},
		"a truth": {true, "[]"},
	} {
		h.issuer.set(func() { h.issuer.scope = c.said })
		id, err := one.Identity(t.Context(), []byte(one.login()), []byte("127.0.0.1"), h.clock.now(), true)
		if err != nil {
			t.Fatal(err)
		}
		if id.Token.Client != exchange.MarkOf(exchange.RevokedConsumer, "corp/web") {
			t.Error("the session is not known as its client's")
		}
		if got := fmt.Sprint(id.Scopes); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// Requests that wait for a refresh share what comes of it, also when it is
// nothing: they do not ask an issuer that is slow one after the other.
func TestARefreshThatFailsFailsForAllWhoWaitForIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.issuer.expires = 60
	one := h.open()
	cookie := one.login()
	h.clock.move(time.Minute)
	h.issuer.set(func() { h.issuer.status, h.issuer.slow, h.issuer.asked = 503, 5*time.Second, 0 })
	came := h.clock.now()
	for range 10 {
		if _, err := one.Identity(t.Context(), []byte(cookie), []byte("127.0.0.1"), came, true); fault.Of(err) != fault.IdentityUnavailable {
			t.Errorf("in an outage: %v", err)
		}
	}
	if h.issuer.asked != 1 {
		t.Errorf("the issuer was asked %d times for requests that came at once", h.issuer.asked)
	}
	h.issuer.set(func() { h.issuer.status = 0 })
	one.wants("who comes later", cookie, fault.None)
}
