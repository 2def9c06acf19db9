package exchange_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

func cookies(values ...string) *exchange.Head {
	h := &exchange.Head{}
	for _, v := range values {
		h.Fields = append(h.Fields, exchange.Field{Name: []byte("cookie"), Value: []byte(v), ID: exchange.HeaderCookie})
	}
	return h
}

func left(h *exchange.Head) string {
	h.DropOwnCookies(func(n int) []byte { return make([]byte, n) })
	var kept []string
	for _, f := range h.Fields {
		if !f.Drop {
			kept = append(kept, string(f.Value))
		}
	}
	return strings.Join(kept, "|")
}

func TestOwnCookiesGoNoFurther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sent, want string }{
		{"a=1", "a=1"},
		{"__Host-warder-session-1=x", ""},
		{"a=1; __Host-warder-session-1=x; b=2", "a=1; b=2"},
		{"__Host-warder-x=1; a=1", "a=1"},
		{"a=1;__HOST-WARDER-x=1;b=2", "a=1;b=2"},
		{"a=__Host-warder-x", "a=__Host-warder-x"},
		{" __Host-warder-x", ""},
		{"a=1; =__Host-warder-x=1", "a=1"},
		{"__Host-warder=1; a=1", "__Host-warder=1; a=1"},
		{"a=1|__Host-warder-x=1|b=2", "a=1|b=2"},
	} {
		if got := left(cookies(strings.Split(c.sent, "|")...)); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.sent, got, c.want)
		}
	}
}

// Some browsers send a cookie without a name as its value alone, which names
// one of ours then.
func TestABackendSetsNoCookieOfOursWithoutAName(t *testing.T) {
	t.Parallel()
	for value, drop := range map[string]bool{
		"=__Host-warder-session-1=x": true, " = __host-Warder-login-1=x; Path=/": true, "__Host-warder-session-1=x": true,
		"=theirs": false, "a=__Host-warder-session-1=x": false,
	} {
		h := &exchange.Head{Fields: []exchange.Field{{Name: []byte("Set-Cookie"), Value: []byte(value)}}}
		if h.DropOwnSetCookies(); h.Fields[0].Drop != drop {
			t.Errorf("%q goes on: %v", value, !h.Fields[0].Drop)
		}
	}
}

func TestACookieIsCountedInEveryField(t *testing.T) {
	t.Parallel()
	v, n := cookies("a=1; s=x", "s=y;b=2; S=z").Cookie("s")
	if string(v) != "x" || n != 2 {
		t.Errorf("%q %d", v, n)
	}
	if _, n := cookies("ss=1; as=1").Cookie("s"); n != 0 {
		t.Error(n)
	}
}

func TestOnlyCookiesAreReadAsCookies(t *testing.T) {
	t.Parallel()
	h := cookies("a=1")
	h.Fields = append(h.Fields, header("X-Other", "s=1; __Host-warder-x=1"))
	if _, n := h.Cookie("s"); n != 0 {
		t.Error("another field is read for a cookie")
	}
	h.DropOwnCookies(func(int) []byte { t.Error("memory was asked for"); return nil })
	if string(h.Fields[1].Value) != "s=1; __Host-warder-x=1" || h.Fields[1].Drop {
		t.Errorf("another field was changed: %q", h.Fields[1].Value)
	}
}

func TestOwnCookiesAreSetByNobodyElse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		drop        bool
	}{
		{"Set-Cookie", "__Host-warder-session-1=x; Path=/", true},
		{"SET-COOKIE", " __host-Warder-x=", true},
		{"Set-Cookie", "a=__Host-warder-x", false},
		{"Set-Cookie2", "__Host-warder-x=1", false},
		{"Sat-Cookie", "__Host-warder-x=1", false},
		{"Via", "__Host-warder-x=1", false},
	} {
		h := &exchange.Head{Fields: []exchange.Field{header(c.name, c.value)}}
		if h.DropOwnSetCookies(); h.Fields[0].Drop != c.drop {
			t.Errorf("%s: %s, dropped %t", c.name, c.value, !c.drop)
		}
	}
}

func FuzzOwnCookies(f *testing.F) {
	f.Add("a=1; __Host-warder-session-1=x; b=2")
	f.Fuzz(func(t *testing.T, value string) {
		h := cookies(value)
		kept := left(h)
		for pair := range strings.SplitSeq(kept, ";") {
			if exchange.OwnCookie([]byte(pair)) {
				t.Fatalf("%q leaves %q", value, kept)
			}
		}
		if !bytes.Contains(bytes.ToLower([]byte(value)), []byte("__host-warder-")) && kept != value {
			t.Fatalf("%q becomes %q", value, kept)
		}
	})
}
