package authserver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/authserver"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// problems returns what New complains of, as "path: text".
func problems(t *testing.T, cfg authserver.Config) []string {
	t.Helper()
	s, err := authserver.New(cfg)
	if err == nil {
		return nil
	}
	if s != nil {
		t.Error("New returns a server beside an error")
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v does not join problems", err)
	}
	var list []string
	for _, err := range joined.Unwrap() {
		var p *pipeline.Problem
		if !errors.As(err, &p) {
			t.Errorf("%v is not a problem with a place", err)
		}
		list = append(list, err.Error())
	}
	return list
}

func TestIssuersThatAreAccepted(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{
		"https://login.example.com",
		"https://login.example.com/auth",
		"https://login.example.com:8443/a/b-c_d~e.f",
		"https://192.0.2.7",
		"http://127.0.0.1:8080/auth",
		"http://127.9.9.9",
		"http://[::1]:8080/auth",
		"http://localhost:8080",
	} {
		cfg := config(t)
		cfg.Issuer = issuer
		if got := problems(t, cfg); got != nil {
			t.Errorf("%s: %q", issuer, got)
		}
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	client := func(edit func(*authserver.Client)) func(*authserver.Config) {
		return func(cfg *authserver.Config) {
			c := cfg.Clients["demo"]
			edit(&c)
			cfg.Clients = map[string]authserver.Client{"demo": c}
		}
	}
	secret := func(s string) func(*authserver.Config) {
		return client(func(c *authserver.Client) { c.Secret = s })
	}
	issuer := func(s string) func(*authserver.Config) {
		return func(cfg *authserver.Config) { cfg.Issuer = s }
	}
	lifetime := func(d time.Duration) func(*authserver.Config) {
		return func(cfg *authserver.Config) { cfg.AccessTokenLifetime = d }
	}
	id := func(s string) func(*authserver.Config) {
		return func(cfg *authserver.Config) {
			cfg.Clients = map[string]authserver.Client{s: cfg.Clients["demo"]}
		}
	}
	many := func(n int, format string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(format, i))
		}
		return list
	}
	cases := map[string]struct {
		edit func(*authserver.Config)
		want string
	}{
		"no issuer":                   {issuer(""), "issuer: is required"},
		"issuer without a scheme":     {issuer("login.example.com"), "issuer: must begin with https://"},
		"issuer over plain HTTP":      {issuer("http://login.example.com"), "issuer: must begin with https://"},
		"a name that looks loopback":  {issuer("http://127.0.0.1.example.com"), "issuer: must begin with https://"},
		"another scheme":              {issuer("ftp://127.0.0.1"), "issuer: must begin with https://"},
		"issuer without a host":       {issuer("https:///auth"), "issuer: needs a host"},
		"host in upper case":          {issuer("https://Login.example.com"), "issuer: needs a host, in lower case"},
		"scheme in upper case":        {issuer("HTTPS://login.example.com"), "issuer: is not a well-formed address"},
		"an empty port":               {issuer("https://login.example.com:"), "issuer: needs a host"},
		"issuer that is no address":   {issuer("https://login.example.com/%zz"), "issuer: is not a well-formed address"},
		"issuer with a user":          {issuer("https://a@login.example.com"), "issuer: must have no user, query or fragment"},
		"issuer with a query":         {issuer("https://login.example.com?a=b"), "issuer: must have no user, query or fragment"},
		"issuer with an empty query":  {issuer("https://login.example.com?"), "issuer: must have no user, query or fragment"},
		"issuer with a fragment":      {issuer("https://login.example.com#a"), "issuer: must have no user, query or fragment"},
		"issuer with a slash at end":  {issuer("https://login.example.com/"), "issuer: its path may hold"},
		"issuer with a double slash":  {issuer("https://login.example.com/a//b"), "issuer: its path may hold"},
		"issuer with dot segments":    {issuer("https://login.example.com/a/../b"), "issuer: its path may hold"},
		"issuer in the well-known":    {issuer("https://login.example.com/.well-known"), "issuer: its path may hold"},
		"issuer with an escape":       {issuer("https://login.example.com/%41"), "issuer: its path may hold"},
		"issuer of great length":      {issuer("https://login.example.com/" + strings.Repeat("a", 600)), "issuer: is not a well-formed address"},
		"lifetime below zero":         {lifetime(-time.Second), "accessTokenLifetime: must be whole seconds, from 1s to 1h"},
		"lifetime over an hour":       {lifetime(time.Hour + time.Second), "accessTokenLifetime: must be whole seconds, from 1s to 1h"},
		"lifetime in parts of second": {lifetime(1500 * time.Millisecond), "accessTokenLifetime: must be whole seconds, from 1s to 1h"},
		"no signer":                   {func(cfg *authserver.Config) { cfg.Signer = nil }, "there is no key to sign tokens with"},
		"a signer without a key":      {func(cfg *authserver.Config) { cfg.Signer = &keys.TokenSigner{} }, "there is no key to sign tokens with"},
		"an empty client id":          {id(""), "clients.: a client id is"},
		"a client id with a colon":    {id("a:b"), "clients.a:b: a client id is"},
		"a client id with a newline":  {id("a\n"), "clients.a\n: a client id is"},
		"a client id of great length": {id(strings.Repeat("a", 129)), "a client id is 1 to 128"},
		"no secret":                   {secret(""), `clients.demo.secret: must be "sha256:"`},
		"the secret itself":           {secret("s3cret"), `clients.demo.secret: must be "sha256:"`},
		"another digest":              {secret("md5:d41d8cd98f00b204e9800998ecf8427e"), `clients.demo.secret: must be "sha256:"`},
		"a digest cut off":            {secret(digest("x")[:70]), `clients.demo.secret: must be "sha256:"`},
		"a digest in upper case":      {secret("sha256:" + strings.ToUpper(digest("x")[7:])), `clients.demo.secret: must be "sha256:"`},
		"a digest that is not hex":    {secret("sha256:" + strings.Repeat("g", 64)), `clients.demo.secret: must be "sha256:"`},
		"the digest of nothing":       {secret(digest("")), "clients.demo.secret: is the digest of an empty secret"},
		"no audience":                 {client(func(c *authserver.Client) { c.Audience = nil }), "clients.demo.audience: at least one is required"},
		"an empty audience":           {client(func(c *authserver.Client) { c.Audience = []string{""} }), "clients.demo.audience: an audience is"},
		"an audience with a space":    {client(func(c *authserver.Client) { c.Audience = []string{"a b"} }), "clients.demo.audience: an audience is"},
		"an audience twice":           {client(func(c *authserver.Client) { c.Audience = []string{"a", "b", "a"} }), "clients.demo.audience: an audience is listed twice"},
		"too many audiences":          {client(func(c *authserver.Client) { c.Audience = many(21, "a%d") }), "clients.demo.audience: at most 20"},
		"an empty scope":              {client(func(c *authserver.Client) { c.Scopes = []string{""} }), "clients.demo.scopes: a scope is"},
		"two scopes in one":           {client(func(c *authserver.Client) { c.Scopes = []string{"a b"} }), "clients.demo.scopes: a scope is"},
		"a scope with a quote":        {client(func(c *authserver.Client) { c.Scopes = []string{`a"`} }), "clients.demo.scopes: a scope is"},
		"a scope twice":               {client(func(c *authserver.Client) { c.Scopes = []string{"a", "a"} }), "clients.demo.scopes: a scope is listed twice"},
		"too many scopes":             {client(func(c *authserver.Client) { c.Scopes = many(101, "s%d") }), "clients.demo.scopes: at most 100"},
		"too many clients": {func(cfg *authserver.Config) {
			cfg.Clients = map[string]authserver.Client{}
			for _, name := range many(10001, "c%d") {
				cfg.Clients[name] = authserver.Client{Secret: digest("x"), Audience: []string{"a"}}
			}
		}, "clients: at most 10000"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			c.edit(&cfg)
			got := problems(t, cfg)
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("problems %q, want one: %q", got, c.want)
			}
		})
	}
}

func TestEveryProblemIsReportedAtOnceInAFixedOrder(t *testing.T) {
	t.Parallel()
	cfg := authserver.Config{AccessTokenLifetime: -1, Clients: map[string]authserver.Client{"b": {}, "a": {}}}
	var places []string
	for _, p := range problems(t, cfg) {
		place, _, _ := strings.Cut(p, ":")
		places = append(places, place)
	}
	want := "issuer accessTokenLifetime there is no key to sign tokens with clients.a.secret clients.a.audience clients.b.secret clients.b.audience"
	if got := strings.Join(places, " "); got != want {
		t.Errorf("problems at %s, want %s", got, want)
	}
}

// What the operator's lists become later must not change what was compiled.
func TestServerKeepsItsOwnCopyOfTheConfig(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := newServer(t, cfg)
	cfg.Clients["demo"].Scopes[0] = "admin"
	cfg.Clients["demo"].Audience[0] = "admin-api"
	a := decode(t, serve(s, tokenRequest(post)))
	audience := verify(t, s, a.AccessToken).Audience.([]any)
	if a.Scope != "orders:read orders:write" || audience[0] != "orders-api" {
		t.Errorf("scope %q, audience %q", a.Scope, audience)
	}
}
