package exchange_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

func TestMembersAreThoseOfTheArray(t *testing.T) {
	t.Parallel()
	for text, want := range map[exchange.JSON][]exchange.JSON{
		``: nil, `"a"`: nil, `{"a":1}`: nil, `[]`: nil, `[ ]`: nil,
		`["a"]`: {`"a"`}, `[ "a,]" , 1 ,[2,3],{"b":[4]},null]`: {`"a,]"`, `1`, `[2,3]`, `{"b":[4]}`, `null`},
	} {
		var got []exchange.JSON
		for one := range text.Members {
			got = append(got, one)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for range exchange.JSON(`[1,2]`).Members { // one may leave early
		break
	}
}

func TestTextIsWrittenAsShortAsASCIIAllows(t *testing.T) {
	t.Parallel()
	if got := string(exchange.AppendJSON(nil, "a b\"\\\n\x7fé😀\xff")); got != `"a b\"\\\u000a\u007f\u00e9\ud83d\ude00\ufffd"` {
		t.Error(got)
	}
}

// FuzzASCII holds what is written against encoding/json: it means the same, and
// is printable ASCII without spaces between its parts.
func FuzzASCII(f *testing.F) {
	for _, seed := range []string{`{"a": [1, "é\u0000\"\\", "😀"], "b ": null}`, `{"a":"\ud83d\ude00 "}`, "{\"\u007f\":1e5}", `{"a":{"b":[{}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		claims, err := exchange.ParseClaims(object)
		if err != nil {
			return
		}
		for _, c := range claims {
			ascii := c.Raw.AppendASCII(nil)
			for _, b := range ascii {
				if b < ' ' || b > '~' {
					t.Fatalf("%q has the byte %x", ascii, b)
				}
			}
			var was, is any
			if json.Unmarshal([]byte(c.Raw), &was) == nil && (json.Unmarshal(ascii, &is) != nil || !reflect.DeepEqual(was, is)) {
				t.Fatalf("%s became %s", c.Raw, ascii)
			}
			var name string
			if quoted := exchange.AppendJSON(nil, c.Name); json.Unmarshal(quoted, &name) != nil || name != c.Name {
				t.Fatalf("%q became %s", c.Name, quoted)
			}
		}
	})
}
