package tokens_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

var world = &pipeline.World{Now: time.Unix(1_750_000_000, 0)}

func request(authorization ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	for _, value := range authorization {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: []byte(value), ID: exchange.HeaderAuthorization})
	}
	x.Trail.Begin(0)
	return x
}

func because(x *exchange.Exchange) string {
	for _, o := range x.Trail.Steps()[0].Operands() {
		if o.Name == "because" {
			return o.Text
		}
	}
	return ""
}

func TestOneTokenIsPresented(t *testing.T) {
	t.Parallel()
	const (
		other = "the Authorization field is of another scheme than Bearer"
		none  = "the Authorization field holds no token"
		long  = "the token is longer than 16 KiB"
	)
	malformed := pipeline.Refuse(fault.CredentialMalformed)
	longest := strings.Repeat("a", 16<<10)
	for _, c := range []struct {
		what    string
		fields  []string
		token   string
		dpop    bool
		verdict pipeline.Verdict
		because string
	}{
		{"a bearer token", []string{"Bearer a.b-c"}, "a.b-c", false, pipeline.Pass, ""},
		{"a token with a proof", []string{"DPoP a.b-c"}, "a.b-c", true, pipeline.Pass, ""},
		{"the scheme in any case", []string{"bEARER a"}, "a", false, pipeline.Pass, ""},
		{"the other scheme in any case", []string{"dpop a"}, "a", true, pipeline.Pass, ""},
		{"several spaces", []string{"Bearer   a"}, "a", false, pipeline.Pass, ""},
		{"whatever the token is made of", []string{"Bearer \"a, b\""}, `"a, b"`, false, pipeline.Pass, ""},
		{"16 KiB", []string{"Bearer " + longest}, longest, false, pipeline.Pass, ""},
		{"one byte more", []string{"Bearer " + longest + "a"}, "", false, malformed, long},
		{"no field", nil, "", false, pipeline.NotMine, ""},
		{"two fields", []string{"Bearer a", "Bearer a"}, "", false, pipeline.Refuse(fault.CredentialAmbiguous), "there is more than one Authorization field"},
		{"two fields of two schemes", []string{"Basic a", "Bearer a"}, "", false, pipeline.Refuse(fault.CredentialAmbiguous), "there is more than one Authorization field"},
		{"an empty field", []string{""}, "", false, pipeline.NotMine, other},
		{"another scheme", []string{"Basic dTpw"}, "", false, pipeline.NotMine, other},
		{"a shorter scheme", []string{"Bear er"}, "", false, pipeline.NotMine, other},
		{"a scheme that begins like ours", []string{"BearerX a"}, "", false, pipeline.NotMine, other},
		{"one that goes on with a sign", []string{"DPoP~ a"}, "", false, pipeline.NotMine, other},
		{"the scheme alone", []string{"Bearer"}, "", false, malformed, none},
		{"the other scheme alone", []string{"DPoP"}, "", false, malformed, none},
		{"the scheme and spaces", []string{"Bearer  "}, "", false, malformed, none},
		{"a tab", []string{"Bearer\ta"}, "", false, malformed, none},
		{"no space", []string{`Bearer"a"`}, "", false, malformed, none},
	} {
		x := request(c.fields...)
		got, v := tokens.Presented(x, world)
		if v != c.verdict || string(got.Token) != c.token || got.DPoP != c.dpop || because(x) != c.because {
			t.Errorf("%s: %.20q %v, %+v because %q", c.what, got.Token, got.DPoP, v, because(x))
		}
	}
}

// Without a clock every token would be fresh.
func TestNoTokenIsJudgedWithoutAClock(t *testing.T) {
	t.Parallel()
	if c, v := tokens.Presented(request("Bearer a"), &pipeline.World{}); v != pipeline.Refuse(fault.InternalError) || c.Token != nil {
		t.Errorf("%q %+v", c.Token, v)
	}
}

func TestWhatTokensAreMadeOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]bool{ // base64url, token68
		"aZ09-_": {true, true}, "a.b": {false, true}, "a-._~+/z==": {false, true},
		"": {true, false}, "==": {false, false}, "a=b": {false, false}, "a b": {false, false}, "a&b": {false, false},
		"a\nb": {false, false}, "\xff": {false, false}, `"a"`: {false, false}, "a,b": {false, false},
	} {
		if got := [2]bool{tokens.Base64URL([]byte(text)), tokens.Token68([]byte(text))}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestChallengesNameTheSchemesByWhichTokensMayCome(t *testing.T) {
	t.Parallel()
	if c := tokens.Challenge("a \"b\\\n\u00fc", true); c.Scheme != "Bearer" || c.Params != `realm="a \"b\\"` || !c.Errors || c.Proofs == "" {
		t.Errorf("%+v", c)
	}
	if c := tokens.Challenge("corp", false); c.Scheme != "" || c.Params != "" || c.Errors || c.Proofs == "" {
		t.Errorf("%+v", c)
	}
}

// Whatever stands in the field: a token is its end, behind one of two schemes
// and at least one space.
func FuzzPresented(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "DPoP  a", "Bearer", "bearer\ta", "BearerX a", "Basic dTpw", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		c, v := tokens.Presented(request(string(field)), world)
		if v.Passed() != (len(c.Token) > 0) {
			t.Fatalf("%+v with %q", v, c.Token)
		}
		if !v.Passed() {
			return
		}
		head, found := bytes.CutSuffix(field, c.Token)
		scheme := string(bytes.TrimRight(head, " "))
		want := "bearer"
		if c.DPoP {
			want = "dpop"
		}
		if !found || len(scheme) == len(head) || !strings.EqualFold(scheme, want) || len(c.Token) > 16<<10 || c.Token[0] == ' ' {
			t.Errorf("%q is read as %q", field, c.Token)
		}
	})
}
