package tokens_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

func claims(t *testing.T, object string) exchange.Claims {
	t.Helper()
	c, err := exchange.ParseClaims([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaimsMean(t *testing.T) {
	t.Parallel()
	r := &tokens.Rules{Issuer: pipeline.Issuer{Name: "corp", Consumer: []string{"azp", "app.id"}, Roles: []string{"roles", "realm.groups"}}}
	text := func(c exchange.Claims) string { s, ok := tokens.Text(c, "a.b"); return fmt.Sprint(s, ok) }
	says := func(c exchange.Claims) string { s, reason := tokens.Says(c, "sub"); return s + "|" + reason }
	audience := func(c exchange.Claims) string { a, ok := tokens.Audience(c); return fmt.Sprint(a, a == nil, ok) }
	marked := func(c exchange.Claims) string { return fmt.Sprint(tokens.Marked(c)) }
	others := func(c exchange.Claims) string { return tokens.MarksOfOthers(c, " here") }
	moment := func(c exchange.Claims) string {
		n := int64(7)
		there, reason := tokens.Moment(c, "exp", &n)
		return fmt.Sprintf("%d %v %s", n, there, reason)
	}
	client := func(c exchange.Claims) string { s, reason := r.ClientOf(c); return s + "|" + reason }
	roles := func(c exchange.Claims) string { l, reason := r.RolesOf(c); return fmt.Sprintf("%v %s", l, reason) }
	for _, c := range []struct {
		what    string
		read    func(exchange.Claims) string
		payload string
		want    string
	}{
		{"a text", text, `{"a.b":"x"}`, "xtrue"},
		{"a text is no path", text, `{"a":{"b":"x"}}`, "false"},
		{"a number is no text", text, `{"a.b":1}`, "false"},

		{"a name", says, `{"sub":"alice"}`, "alice|"},
		{"no name", says, `{}`, "|"},
		{"an empty name", says, `{"sub":""}`, "|sub is not a string that says something"},
		{"a null name", says, `{"sub":null}`, "|sub is not a string that says something"},

		{"one audience", audience, `{"aud":"a"}`, "[a] false true"},
		{"two audiences", audience, `{"aud":["a","b"]}`, "[a b] false true"},
		{"no audience", audience, `{}`, "[] true true"},
		{"an empty audience list", audience, `{"aud":[]}`, "[] true false"},
		{"a null audience", audience, `{"aud":null}`, "[] true false"},
		{"an audience that is half a list of texts", audience, `{"aud":["a",1]}`, "[] true false"},

		{"nothing marks", marked, `{"sub":"a"}`, "false"},
		{"typ marks", marked, `{"typ":"Bearer"}`, "true"},
		{"typ of a bound token marks", marked, `{"typ":"DPoP"}`, "true"},
		{"typ of another token does not", marked, `{"typ":"ID"}`, "false"},
		{"token_use marks", marked, `{"token_use":"access"}`, "true"},
		{"token_use of another token does not", marked, `{"token_use":"id"}`, "false"},

		{"no other's marks", others, `{"sub":"a","typ":"Bearer","token_use":"access"}`, ""},
		{"no marks at all", others, `{"sub":"a"}`, ""},
		{"typ of another", others, `{"typ":"Refresh"}`, "typ here is that of another kind of token"},
		{"typ that is null", others, `{"typ":null}`, "typ here is that of another kind of token"},
		{"token_use of another", others, `{"token_use":"id"}`, "token_use is not access"},
		{"at_hash", others, `{"at_hash":null}`, "at_hash marks another kind of token"},
		{"events", others, `{"events":{}}`, "events marks another kind of token"},
		{"nonce", others, `{"nonce":"n"}`, "nonce marks an ID token"},
		{"nonce in an access token", others, `{"nonce":"n","typ":"Bearer"}`, ""},

		{"a moment", moment, `{"exp":12}`, "12 true "},
		{"no moment", moment, `{}`, "7 false "},
		{"a fraction", moment, `{"exp":1.5}`, "7 true exp is not an integer from 0 to 2^53"},

		{"the first client", client, `{"azp":"a","app":{"id":"b"}}`, "a|"},
		{"the next client", client, `{"app":{"id":"b"}}`, "b|"},
		{"no client", client, `{}`, "|"},
		{"a client that is no text", client, `{"azp":1,"app":{"id":"b"}}`, "|azp is not a string that says something"},
		{"an empty client", client, `{"azp":""}`, "|azp is not a string that says something"},
		{"a client like a subject", client, `{"azp":"subject:alice"}`, "|azp reads like a subject, which no client may"},

		{"roles of two places, each once", roles, `{"roles":"a","realm":{"groups":["b","a",""]}}`, "[a b] "},
		{"no roles", roles, `{"roles":null}`, "[] "},
		{"roles that are no texts", roles, `{"roles":[1]}`, "[] roles is neither a string nor a list of strings"},
	} {
		if got := c.read(claims(t, c.payload)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestWordsAreEachTakenOnce(t *testing.T) {
	t.Parallel()
	if got := tokens.Words(tokens.Words(nil, " a  b a"), "b c"); fmt.Sprint(got) != "[a b c]" {
		t.Error(got)
	}
	if got := tokens.Words(nil, ""); got != nil {
		t.Error(got)
	}
}

// A caller without a client is printed so that no client can be taken for it.
func TestConsumersArePrintedUnderTheirIssuer(t *testing.T) {
	t.Parallel()
	r := &tokens.Rules{Issuer: pipeline.Issuer{Name: "corp"}}
	if got := r.ConsumerOf(&exchange.Identity{Client: "app", Subject: "alice"}); got != "corp/app" {
		t.Error(got)
	}
	if got := r.ConsumerOf(&exchange.Identity{Subject: "alice"}); got != "corp/subject:alice" {
		t.Error(got)
	}
}

func TestSpansAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	if a, b := tokens.Span(90), tokens.Span(1<<53); a != "1m30s" || b != "more than a century" {
		t.Error(a, b)
	}
}

// clients is a directory of the named consumers that claim clients.
type clients struct {
	pipeline.Directory
	by map[string]*exchange.Consumer
}

func (c clients) Client(issuer, client string) (*exchange.Consumer, bool) {
	named, ok := c.by[issuer+"/"+client]
	return named, ok
}

func TestARememberedTokenIsOfWhoeverClaimsItsClientNow(t *testing.T) {
	t.Parallel()
	acme, zeta := &exchange.Consumer{Name: "acme"}, &exchange.Consumer{Name: "zeta"}
	first := &exchange.Identity{Issuer: "corp", Client: "app", Consumer: "corp/app", Subject: "alice"}
	var kept atomic.Pointer[exchange.Identity]
	kept.Store(first)
	for _, c := range []struct {
		what string
		of   pipeline.Directory
		want *exchange.Consumer
		anew bool
	}{
		{"no directory", nil, nil, false},
		{"nobody", clients{}, nil, false},
		{"acme", clients{by: map[string]*exchange.Consumer{"corp/app": acme, "corp/": zeta}}, acme, true},
		{"acme still", clients{by: map[string]*exchange.Consumer{"corp/app": acme}}, acme, false},
		{"zeta", clients{by: map[string]*exchange.Consumer{"corp/app": zeta}}, zeta, true},
		{"nobody any more", clients{}, nil, true},
	} {
		before := kept.Load()
		id := tokens.Named(c.of, &kept, before, "corp/app")
		printed := "corp/app"
		if c.want != nil {
			printed = c.want.Name
		}
		if id.Named != c.want || id.Consumer != printed || id.Subject != "alice" || kept.Load() != id || (id != before) != c.anew {
			t.Errorf("%s: %+v, anew %t", c.what, id, id != before)
		}
		if c.anew && id.Whose != exchange.MarkOf(exchange.RevokedConsumer, printed) {
			t.Errorf("%s: revoked by another's mark", c.what)
		}
	}
	if first.Named != nil || first.Consumer != "corp/app" {
		t.Errorf("an identity was changed that requests may hold: %+v", first)
	}
	alone := &exchange.Identity{Issuer: "corp", Consumer: "corp/subject:alice"}
	if id := tokens.Named(clients{by: map[string]*exchange.Consumer{"corp/": zeta}}, &kept, alone, alone.Consumer); id != alone {
		t.Errorf("a token without a client is of %s", id.Consumer)
	}
}
