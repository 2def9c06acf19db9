package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// events opens a stream of events by a session; what is returned is closed
// when it has ended.
func (r *running) events(t *testing.T, cookie string) <-chan struct{} {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", strings.TrimPrefix(r.url, "http://"), cookie)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err, r.errors)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, len("data: 1\n\n"))); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, resp.Body)
		close(ended)
	}()
	return ended
}

var sessionInLog = regexp.MustCompile(`"subject":"([a-z-]+)","session":"([0-9a-f]{16})"`)

// sessionOf returns how the access log calls the session of a subject.
func (r *running) sessionOf(t *testing.T, subject string) string {
	t.Helper()
	for over := time.Now().Add(10 * time.Second); time.Now().Before(over); time.Sleep(10 * time.Millisecond) {
		for _, m := range sessionInLog.FindAllStringSubmatch(r.log.String(), -1) {
			if m[1] == subject {
				return m[2]
			}
		}
	}
	t.Fatalf("the access log names no session of %s:\n%s", subject, r.log)
	return ""
}

// rows is how many sessions the store has.
func rows(t *testing.T, s *store.Store) int {
	t.Helper()
	page, _, err := s.List(t.Context(), store.Query{Kind: "session"})
	if err != nil {
		t.Fatal(err)
	}
	return len(page)
}

// From the acknowledged revocation on it takes less than a second until every
// gateway refuses the session, has ended the streams that it opened, and the
// store has it no more. Other sessions go on.
func TestARevokedSessionIsRefusedByEveryGatewayAndItsStreamsEnd(t *testing.T) {
	t.Parallel()
	at, state := storetest.Postgres(t), filepath.Join(t.TempDir(), "state")
	p := newProvider(t)
	var fleet []*running
	for range 3 {
		fleet = append(fleet, loggingInOver(t, p, "", state, at))
	}
	office := storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
	enter := func(subject string) (*browser, string) {
		p.set(func() { p.claims = func(c jwt.MapClaims) { c["sub"], c["sid"] = subject, "sid-"+subject } })
		b := fleet[0].browser(t)
		b.login(p, "/app/")
		name, value := b.session()
		return b, name + "=" + value
	}
	_, stays := enter("stays")
	revoke := func(r directory.Revocation) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := directory.Revoke(ctx, office, r, time.Now())
			return err
		}
	}
	answers := func(g *running, cookie string, want int, code string) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			resp, body := g.do(t, request(t, "GET", g.url+"/app/", append(xhr, "Cookie", cookie)...))
			if resp.StatusCode == want && strings.Contains(body, code) {
				return
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%d %s, want %d %s\n%s", resp.StatusCode, body, want, code, g.errors)
			}
		}
	}
	everybody := func(what string, by func(subject string) func(context.Context) error) {
		b, cookie := enter(what)
		have := rows(t, office)
		var sockets, kept []<-chan error
		var streams []<-chan struct{}
		for _, g := range fleet {
			answers(g, cookie, 200, "")
			sockets = append(sockets, g.chat(t, "Cookie: "+cookie+"\r\nOrigin: "+g.url))
			streams = append(streams, g.events(t, cookie))
			kept = append(kept, g.chat(t, "Cookie: "+stays+"\r\nOrigin: "+g.url))
		}
		if err := by(what)(t.Context()); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Now()
		for _, g := range fleet {
			answers(g, cookie, 401, "session_expired")
		}
		refused := time.Since(acknowledged)
		for _, ended := range sockets {
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, ended := range streams {
			<-ended
		}
		t.Logf("%s: refused by all after %s, streams closed after %s", what, refused, time.Since(acknowledged))
		eventually(t, func() bool { return rows(t, office) == have-1 }, "%s: the store does not come to %d sessions", what, have-1)
		b.wants(302, "", "GET", "/app/") // and its browser is sent to the login
		for _, g := range fleet {
			answers(g, stays, 200, "")
		}
		for _, ended := range kept {
			select {
			case err := <-ended:
				t.Errorf("%s: the stream of another session has ended: %v", what, err)
			default:
			}
		}
	}
	everybody("session", func(subject string) func(context.Context) error {
		ref := fleet[2].sessionOf(t, subject)
		return func(ctx context.Context) error { return login.End(ctx, office, ref) }
	})
	everybody("subject", func(subject string) func(context.Context) error {
		return revoke(directory.Revocation{What: exchange.RevokedSubject, Issuer: p.url, Name: subject, Before: time.Now()})
	})
	if err := login.End(t.Context(), office, "0123456789abcdef"); err == nil || !strings.Contains(err.Error(), "there is no such session") {
		t.Errorf("a session that there is not: %v", err)
	}
	if err := login.End(t.Context(), office, "alice"); err == nil || !strings.Contains(err.Error(), "expected the 16 digits") {
		t.Errorf("what is no session: %v", err)
	}
	// What follows ends all there are.
	for what, r := range map[string]directory.Revocation{
		"consumer": {What: exchange.RevokedConsumer, Name: "corp/web"},
		"issuer":   {What: exchange.RevokedIssuer, Issuer: p.url},
		"all":      {What: exchange.RevokedAll},
	} {
		_, cookie := enter(what)
		r.Before = time.Now()
		if err := revoke(r)(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, g := range fleet {
			answers(g, cookie, 401, "session_expired")
			answers(g, stays, 401, "session_expired")
		}
		// Who logs in again is let in, a second later.
		eventually(t, func() bool {
			var b *browser
			b, stays = enter("stays")
			resp, _ := b.ask("GET", "/app/")
			return resp.StatusCode == 200
		}, "%s: a login afterwards is not let in", what)
	}
}
