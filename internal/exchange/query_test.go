package exchange_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

func TestAQueryWithTooManyParametersIsRefused(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]bool{999: true, 1000: true, 1001: false} {
		h := exchange.Head{Query: []byte(strings.Repeat("a&", n-1) + "key=x"), HasQuery: true}
		_, found, err := h.TakeParameter("key", func(n int) []byte { return make([]byte, n) })
		if (err == nil) != want || err == nil && found != 1 || err != nil && err.Code != fault.QueryMalformed {
			t.Errorf("%d parameters: %d found, %v", n, found, err)
		}
	}
}

func TestAnAddressIsKnownByItsParameters(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://x/?key=a": true, "/?a=1&k%65y=b": true, "https://x/?a=1&key": true, "https://x/key=1": false, "https://x/?keys=1&a=key": false,
		"https://x/?%": false, "https://x/?ke%": false, "https://x/?key%7": false, "": false, "?": false, "https://x/?a?key=1": false, "https://x/?kez=1": false,
	} {
		if exchange.MentionsParameter([]byte(address), "key") != want {
			t.Errorf("%q: want %v", address, want)
		}
	}
}

func TestAParameterIsTakenDecodedAndTheRestIsLeft(t *testing.T) {
	t.Parallel()
	for query, c := range map[string]struct {
		value string
		n     int
		left  string
		has   bool
	}{
		"key=%41": {"A", 1, "", false}, "key=a+b": {"a b", 1, "", false}, "kez=1": {"", 0, "kez=1", true}, "": {"", 0, "", true}, "a=1&key=x": {"x", 1, "a=1", true},
	} {
		h := exchange.Head{Query: []byte(query), HasQuery: true}
		value, n, err := h.TakeParameter("key", func(n int) []byte { return make([]byte, n) })
		if err != nil || string(value) != c.value || n != c.n || string(h.Query) != c.left || h.HasQuery != c.has {
			t.Errorf("%q: %q of %d, %v; left %q, %t", query, value, n, err, h.Query, h.HasQuery)
		}
	}
}

// What is taken is what the standard library takes, and what is left is what
// was there without it.
func FuzzTakeParameter(f *testing.F) {
	for _, seed := range []string{"", "key=x", "a=1&key=x&b=2", "&&", "k%65y=%41+b&key", "key=%zz", "a;key=1", "=&key="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		h := exchange.Head{Query: []byte(query), HasQuery: query != ""}
		value, n, bad := h.TakeParameter("key", func(n int) []byte { return make([]byte, n) })
		want, err := url.ParseQuery(query)
		if (bad == nil) != (err == nil) && strings.Count(query, "&") < 1000 {
			t.Fatalf("%q: %v, and the library says %v", query, bad, err)
		}
		if bad != nil {
			if string(h.Query) != query || n != 0 {
				t.Fatalf("%q: refused, and changed", query)
			}
			return
		}
		if n != len(want["key"]) || n > 0 && string(value) != want["key"][0] {
			t.Fatalf("%q: %q of %d, want %q", query, value, n, want["key"])
		}
		var rest []string
		for _, pair := range strings.Split(query, "&") {
			if name, _, _ := strings.Cut(pair, "="); n > 0 {
				if decoded, _ := url.QueryUnescape(name); decoded == "key" {
					continue
				}
			}
			rest = append(rest, pair)
		}
		if got := string(h.Query); got != strings.Join(rest, "&") {
			t.Fatalf("%q: %q is left, want %q", query, got, strings.Join(rest, "&"))
		}
		if _, again, bad := h.TakeParameter("key", func(n int) []byte { return make([]byte, n) }); again != 0 || bad != nil {
			t.Fatalf("%q: taken twice", query)
		}
	})
}
