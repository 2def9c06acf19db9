package template_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/template"
)

func fill(t testing.TB, text string, e template.Encoding, id *exchange.Identity) (string, error) {
	t.Helper()
	c, err := template.Compile(text, e)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	b, err := c.Append([]byte("before"), &exchange.Exchange{Identity: id}, 1000)
	return strings.TrimPrefix(string(b), "before"), err
}

func claims(t testing.TB, object string) exchange.Claims {
	t.Helper()
	c, err := exchange.ParseClaims([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValuesAreWrittenAsTheyAreOrNotAtAll(t *testing.T) {
	t.Parallel()
	id := &exchange.Identity{
		Consumer: "corp/app", Subject: "alice", Scopes: []string{"a", "b,c"}, Roles: []string{"x", "y"},
		Claims: claims(t, `{"sub":"alice","n":1.50,"yes":true,"none":null,"empty":"","list":["a", 2,false],"no":[],"comma":["a,b"],"blank":["a "],
			"nested":{"deep":["p","q"],"s":"t"},"lists":[["a"]],"nulls":[null],"line":"a\r\nb","edge":" a","uni":"é","tab":["a\tb"],"url/x":"u","hollow":["",""],
			"long":"`+strings.Repeat("x", 1001)+`"}`),
	}
	for _, c := range []struct {
		text     string
		encoding template.Encoding
		want     string
		fails    bool // otherwise an empty want is ErrNothing
	}{
		{"just text", template.Plain, "just text", false},
		{"{claims.sub}", template.Plain, "alice", false},
		{"u:{subject};c:{consumer}", template.Plain, "u:alice;c:corp/app", false},
		{"{claims.n}", template.Plain, "1.50", false},
		{"{claims.yes}", template.Plain, "true", false},
		{"{claims.list}", template.Plain, "a,2,false", false},
		{"{claims.nested.deep}", template.Plain, "p,q", false},
		{"{claims.url/x}", template.Plain, "u", false},
		{"{scopes}", template.Plain, "a b,c", false},
		{"{roles}", template.Plain, "x,y", false},
		{"{roles}", template.JSON, `["x","y"]`, false},
		{"{claims.nested}", template.JSON, `{"deep":["p","q"],"s":"t"}`, false},
		{"{claims.list}", template.JSON, `["a",2,false]`, false},
		{"{claims.uni}", template.JSON, `"\u00e9"`, false},
		{"{claims.line}", template.Percent, "a%0D%0Ab", false},
		{"{claims.comma}", template.Percent, "a%2Cb", false},
		{"{claims.comma}", template.Base64URL, "YSxi", false},
		{"{claims.edge}", template.Percent, "%20a", false},
		{"x {claims.edge}", template.Plain, "x  a", false},

		{"{claims.missing}", template.Plain, "", false},
		{"x {claims.missing}", template.Plain, "", false},
		{"{issuer}", template.Plain, "", false},
		{"{claims.none}", template.Plain, "", false},
		{"{claims.none}", template.JSON, "", false},
		{"{claims.empty}", template.Plain, "", false},
		{"{claims.no}", template.Plain, "", false},
		{"{claims.no}", template.JSON, "", false},

		{"{claims.comma}", template.Plain, "", true},
		{"{claims.blank}", template.Plain, "", true},
		{"{claims.nested}", template.Plain, "", true},
		{"{claims.nested}", template.Percent, "", true},
		{"{claims.lists}", template.Plain, "", true},
		{"{claims.nulls}", template.Percent, "", true},
		{"{claims.hollow}", template.Plain, "", true},
		{"{claims.line}", template.Plain, "", true},
		{"{claims.edge}", template.Plain, "", true},
		{"{claims.uni}", template.Plain, "", true},
		{"{claims.tab}", template.Plain, "", true},
		{"{claims.long}", template.Plain, "", true},
	} {
		got, err := fill(t, c.text, c.encoding, id)
		switch {
		case c.fails:
			if err == nil || err == template.ErrNothing {
				t.Errorf("%s: %q, %v; want an error", c.text, got, err)
			}
		case c.want == "":
			if err != template.ErrNothing {
				t.Errorf("%s: %q, %v; want nothing", c.text, got, err)
			}
		case err != nil || got != c.want:
			t.Errorf("%s: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestZeroAndNobodyGiveNothing(t *testing.T) {
	t.Parallel()
	var zero template.Template
	if _, err := zero.Append(nil, &exchange.Exchange{Identity: &exchange.Identity{}}, 10); err != template.ErrNothing {
		t.Error(err)
	}
	if _, err := fill(t, "text", template.Plain, nil); err != template.ErrNothing {
		t.Error("somebody without an identity is told of:", err)
	}
}

func TestTextsThatDoNotCompile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "}", "a{b", "{}", "{claims.}", "{claims}", "{Claims.sub}", "{header.x}", "{path.id}", "{claims.{sub}}", "é", "a\tb", " a", "a ", strings.Repeat("x", 1025), strings.Repeat("{subject}", 17)} {
		if _, err := template.Compile(text, template.Plain); err == nil {
			t.Errorf("%q compiles", text)
		}
	}
}

// FuzzValue holds every value that is written against the claim it is of.
func FuzzValue(f *testing.F) {
	f.Add(`{"a":["x","y"]}`, uint8(0))
	f.Add(`{"a":"é, ☃"}`, uint8(1))
	f.Add(`{"a":"\u0000"}`, uint8(2))
	f.Add(`{"a":{"b":" "}}`, uint8(3))
	f.Fuzz(func(t *testing.T, object string, e uint8) {
		all, err := exchange.ParseClaims([]byte(object))
		if err != nil {
			return
		}
		encoding := template.Encoding(e % 4)
		got, err := fill(t, "{claims.a}", encoding, &exchange.Identity{Claims: all})
		if err != nil {
			return
		}
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Fatalf("%q", got)
			}
		}
		raw, _ := all.Get("a")
		text, isText := raw.Text()
		switch {
		case encoding == template.JSON:
			if !json.Valid([]byte(got)) {
				t.Fatalf("%q is no JSON", got)
			}
		case isText && encoding == template.Plain && got != text:
			t.Fatalf("%q became %q", text, got)
		case isText && encoding == template.Percent:
			if back, err := url.PathUnescape(got); err != nil || back != text {
				t.Fatalf("%q became %q", text, got)
			}
		case isText && encoding == template.Base64URL:
			if back, err := base64.RawURLEncoding.DecodeString(got); err != nil || string(back) != text {
				t.Fatalf("%q became %q", text, got)
			}
		case raw[0] == '[':
			n := 0
			for range raw.Members {
				n++
			}
			if parts := strings.Split(got, ","); len(parts) != n {
				t.Fatalf("a list of %d became %q", n, got)
			}
		}
	})
}
