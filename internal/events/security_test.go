package events_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

func attackFrom(s *events.Security, code fault.Code, addr string, consumer string) {
	r := events.Record{Code: code, Client: netip.MustParseAddr(addr), Trail: &exchange.Trail{}}
	r.Trail.Begin(0)
	if consumer != "" {
		r.Trail.Saw("consumer", consumer)
	}
	s.Note(&r)
}

func TestAnAttackWritesFewLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := events.NewSecurity(slog.New(slog.NewTextHandler(&b, nil)))
		attackFrom(s, fault.None, "192.0.2.1", "")
		attackFrom(s, fault.TokenExpired, "192.0.2.1", "")
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.Len() > 0 {
			t.Errorf("what is no security event is told: %s", b.String())
		}
		for range 500 {
			attackFrom(s, fault.AccountLocked, "192.0.2.1", "ops")
		}
		attackFrom(s, fault.TransportInsecure, "2001:db8::1", "")
		for i := range 3000 {
			attackFrom(s, fault.PasswordWrong, fmt.Sprintf("10.0.%d.%d", i/250, i%250), "")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		text := b.String()
		if !strings.Contains(text, `msg="security event" code=account_locked from=192.0.2.1/32 count=500 last=`) || !strings.Contains(text, "consumer=ops") {
			t.Errorf("nothing of the first attack in\n%s", text)
		}
		if n := strings.Count(text, "\n"); n != 21 || !strings.Contains(text, "of other networks\" count=2982") {
			t.Errorf("%d lines, want 21:\n%s", n, text)
		}
		b.Reset()
		attackFrom(s, fault.KeyUnknown, "192.0.2.7", "")
		s.Close()
		attackFrom(s, fault.KeyUnknown, "192.0.2.8", "")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(b.String(), "\n"); n != 1 || !strings.Contains(b.String(), "192.0.2.7/32") {
			t.Errorf("at the end: %s", b.String())
		}
	})
}

// What was taken back is told in the same lines, with whom it came from if
// there was a request.
func TestWhatHappenedIsToldBesideRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := events.NewSecurity(slog.New(slog.NewTextHandler(&b, nil)))
		for range 3 {
			s.Happened("tokens revoked")
		}
		attackFrom(s, fault.LoginFailed, "192.0.2.1", "")
		attackFrom(s, fault.TokenRevoked, "192.0.2.1", "")
		attackFrom(s, fault.KeyRevoked, "192.0.2.1", "")
		s.Note(&events.Record{Code: fault.None, Event: "logout by the issuer", Client: netip.MustParseAddr("192.0.2.2"), ID: exchange.RequestID{1}})
		s.Close()
		text := b.String()
		for _, want := range []string{
			`msg="security event" event="tokens revoked" count=3` + "\n", "code=login_failed from=192.0.2.1/32 count=1", "code=token_revoked from", "code=key_revoked from",
			`event="logout by the issuer" from=192.0.2.2/32 count=1 last=01`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
	})
}
