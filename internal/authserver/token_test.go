package authserver_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

const good = "grant_type=client_credentials"

var post = good + "&client_id=demo&client_secret=" + url.QueryEscape(secret)

func TestTokenSaysWhoTheClientIsAndWhatItMayDo(t *testing.T) {
	t.Parallel()
	all := []any{"orders-api", "https://stock.example.com"}
	cases := map[string]struct {
		body     string
		edit     func(*http.Request)
		client   string
		scope    string
		audience any
	}{
		"secret by Basic":                    {good, basic("demo", secret), "demo", "orders:read orders:write", all},
		"secret in the body":                 {post, nil, "demo", "orders:read orders:write", all},
		"Basic in lower case":                {good, header("Authorization", "basic cGxhaW46Wm05eUlIUm9aU0J2ZEdobGNpQmpiR2xsYm5R"), "plain", "", "orders-api"},
		"Basic with the same id in the body": {good + "&client_id=demo", basic("demo", secret), "demo", "orders:read orders:write", all},
		"Basic with a needless escape":       {good, header("Authorization", "Basic JTcwbGFpbjpabTl5SUhSb1pTQnZkR2hsY2lCamJHbGxiblE="), "plain", "", "orders-api"},
		"an empty secret is no secret":       {good + "&client_secret=", basic("demo", secret), "demo", "orders:read orders:write", all},
		"an empty resource is none":          {good + "&resource=", basic("demo", secret), "demo", "orders:read orders:write", all},
		"one scope":                          {good + "&scope=orders:read", basic("demo", secret), "demo", "orders:read", all},
		"scopes in another order, one twice": {good + "&scope=orders:write+orders:read+orders:write", basic("demo", secret), "demo", "orders:read orders:write", all},
		"an empty scope is no scope":         {good + "&scope=", basic("demo", secret), "demo", "orders:read orders:write", all},
		"a client without scopes":            {good, basic("plain", otherSecret), "plain", "", "orders-api"},
		"one resource":                       {good + "&resource=https://stock.example.com", basic("demo", secret), "demo", "orders:read orders:write", "https://stock.example.com"},
		"a parameter nobody knows":           {good + "&color=blue", basic("demo", secret), "demo", "orders:read orders:write", all},
		"charset given": {good, func(r *http.Request) {
			basic("demo", secret)(r)
			r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
		}, "demo", "orders:read orders:write", all},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			s := newServer(t, cfg)
			if c.edit == nil {
				c.edit = func(*http.Request) {}
			}
			w := serve(s, tokenRequest(c.body, c.edit))
			a := decode(t, w)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d, %s: %s", w.Code, a.Error, a.Description)
			}
			if a.TokenType != "Bearer" || a.ExpiresIn != 300 || a.Scope != c.scope {
				t.Errorf("answer %+v", a)
			}
			got := verify(t, s, a.AccessToken)
			if len(got.ID) < 22 {
				t.Errorf("jti %q is shorter than 128 bits", got.ID)
			}
			got.ID = ""
			now := cfg.Now().Unix()
			want := claims{Issuer: issuer, Subject: c.client, Client: c.client, Audience: c.audience, Issued: now, Expires: now + 300, Scope: c.scope}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("claims %+v\nwant   %+v", got, want)
			}
		})
	}
}

func TestTokenLifetimeIsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.AccessTokenLifetime = 90 * time.Second
	s := newServer(t, cfg)
	a := decode(t, serve(s, tokenRequest(post)))
	if c := verify(t, s, a.AccessToken); a.ExpiresIn != 90 || c.Expires-c.Issued != 90 {
		t.Errorf("expires_in %d, exp-iat %d, want 90", a.ExpiresIn, c.Expires-c.Issued)
	}
}

func TestNoTwoTokensAreTheSame(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	first := verify(t, s, decode(t, serve(s, tokenRequest(post))).AccessToken)
	second := verify(t, s, decode(t, serve(s, tokenRequest(post))).AccessToken)
	if first.ID == second.ID {
		t.Error("two tokens have one jti")
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	t.Parallel()
	demo := basic("demo", secret)
	and := func(edits ...func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			for _, e := range edits {
				e(r)
			}
		}
	}
	del := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }
	target := func(query string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = query } }
	contentType := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", v) }
	}
	cases := map[string]struct {
		body   string
		edit   func(*http.Request)
		status int
		code   string
	}{
		// The request.
		"no content type":                  {good, and(demo, del("Content-Type")), 400, "invalid_request"},
		"JSON":                             {`{"grant_type":"client_credentials"}`, and(demo, contentType("application/json")), 400, "invalid_request"},
		"multipart":                        {good, and(demo, contentType("multipart/form-data; boundary=x")), 400, "invalid_request"},
		"a content type that is none":      {good, and(demo, contentType("application/x-www-form-urlencoded; charset")), 400, "invalid_request"},
		"another charset":                  {good, and(demo, contentType("application/x-www-form-urlencoded; charset=utf-16")), 400, "invalid_request"},
		"two content types":                {good, and(demo, header("Content-Type", "application/x-www-form-urlencoded")), 400, "invalid_request"},
		"a compressed body":                {good, and(demo, header("Content-Encoding", "gzip")), 400, "invalid_request"},
		"parameters in the address":        {good, and(demo, target("scope=orders:read")), 400, "invalid_request"},
		"the secret in the address":        {good, target("client_id=demo&client_secret=" + url.QueryEscape(secret)), 400, "invalid_request"},
		"a body of 16 KiB and a byte":      {good + "&x=" + strings.Repeat("a", 16<<10-len(good)-3+1), demo, 413, "invalid_request"},
		"a bad escape":                     {good + "&scope=%zz", demo, 400, "invalid_request"},
		"a raw semicolon":                  {good + ";scope=orders:read", demo, 400, "invalid_request"},
		"a value that is not UTF-8":        {good + "&scope=%ff", demo, 400, "invalid_request"},
		"a name that is not UTF-8":         {good + "&%ff=x", demo, 400, "invalid_request"},
		"grant_type twice":                 {good + "&" + good, demo, 400, "invalid_request"},
		"scope twice":                      {good + "&scope=orders:read&scope=orders:read", demo, 400, "invalid_request"},
		"scope twice, once empty":          {good + "&scope=orders:read&scope=", demo, 400, "invalid_request"},
		"scope twice, once escaped":        {good + "&scope=orders:read&s%63ope=orders:write", demo, 400, "invalid_request"},
		"client_secret twice":              {post + "&client_secret=x", nil, 400, "invalid_request"},
		"resource twice":                   {good + "&resource=orders-api&resource=https://stock.example.com", demo, 400, "invalid_request"},
		"an unknown parameter twice":       {good + "&x=1&x=2", demo, 400, "invalid_request"},
		"no grant_type":                    {"scope=orders:read", demo, 400, "invalid_request"},
		"an empty grant_type":              {"grant_type=", demo, 400, "invalid_request"},
		"an empty body":                    {"", demo, 400, "invalid_request"},
		"a grant type that is not offered": {"grant_type=password&username=x&password=y", demo, 400, "unsupported_grant_type"},

		// The client.
		"no credential":                     {good, nil, 401, "invalid_client"},
		"a client id without a secret":      {good + "&client_id=demo", nil, 401, "invalid_client"},
		"an empty secret in the body":       {good + "&client_id=demo&client_secret=", nil, 401, "invalid_client"},
		"a secret without a client id":      {good + "&client_secret=" + url.QueryEscape(secret), nil, 401, "invalid_client"},
		"a wrong secret":                    {good, basic("demo", "wrong"), 401, "invalid_client"},
		"a wrong secret in the body":        {good + "&client_id=demo&client_secret=wrong", nil, 401, "invalid_client"},
		"another client's secret":           {good, basic("plain", secret), 401, "invalid_client"},
		"an unknown client":                 {good, basic("nobody", secret), 401, "invalid_client"},
		"the client in another case":        {good, basic("Demo", secret), 401, "invalid_client"},
		"the digest in place of the secret": {good, basic("demo", digest(secret)), 401, "invalid_client"},
		"an empty secret by Basic":          {good, basic("demo", ""), 401, "invalid_client"},
		"an empty client by Basic":          {good, basic("", secret), 401, "invalid_client"},
		"Basic that is not form-encoded":    {good, rawBasic("demo:" + secret), 401, "invalid_client"},
		"Basic without a colon":             {good, rawBasic("demo"), 401, "invalid_client"},
		"Basic without a value":             {good, header("Authorization", "Basic"), 401, "invalid_client"},
		"Basic that is not base64":          {good, header("Authorization", "Basic ???"), 401, "invalid_client"},
		"Basic with altered trailing bits":  {good, header("Authorization", "Basic JTcwbGFpbjpabTl5SUhSb1pTQnZkR2hsY2lCamJHbGxiblF="), 401, "invalid_client"},
		"Basic without padding":             {good, header("Authorization", "Basic cGxhaW46eA"), 401, "invalid_client"},
		"a right pair under another scheme": {good, func(r *http.Request) {
			demo(r)
			r.Header.Set("Authorization", "Bearer"+strings.TrimPrefix(r.Header.Get("Authorization"), "Basic"))
		}, 401, "invalid_client"},
		"Bearer":                             {good, header("Authorization", "Bearer abc"), 401, "invalid_client"},
		"a client assertion":                 {good + "&client_assertion=x.y.z&client_assertion_type=urn", nil, 401, "invalid_client"},
		"the secret by Basic and in a body":  {post, demo, 400, "invalid_request"},
		"a secret by Basic, another in body": {good + "&client_secret=x", demo, 400, "invalid_request"},
		"a secret and a client assertion":    {post + "&client_assertion=x.y.z", nil, 400, "invalid_request"},
		"Basic and a client assertion":       {good + "&client_assertion_type=urn", demo, 400, "invalid_request"},
		"two Authorization fields":           {good, and(demo, header("Authorization", "Bearer x")), 400, "invalid_request"},
		"Basic with another id in the body":  {good + "&client_id=plain", demo, 400, "invalid_request"},
		"a wrong secret for a wrong grant":   {"grant_type=password", basic("demo", "wrong"), 401, "invalid_client"},

		// What is asked for.
		"a scope of nobody":            {good + "&scope=admin", demo, 400, "invalid_scope"},
		"one scope too many":           {good + "&scope=orders:read+admin", demo, 400, "invalid_scope"},
		"a scope in another case":      {good + "&scope=Orders:Read", demo, 400, "invalid_scope"},
		"a scope for a client without": {good + "&scope=orders:read", basic("plain", otherSecret), 400, "invalid_scope"},
		"two spaces between scopes":    {good + "&scope=orders:read++orders:write", demo, 400, "invalid_scope"},
		"a space before the scope":     {good + "&scope=+orders:read", demo, 400, "invalid_scope"},
		"a tab between scopes":         {good + "&scope=orders:read%09orders:write", demo, 400, "invalid_scope"},
		"a part of a scope":            {good + "&scope=orders", demo, 400, "invalid_scope"},
		"a resource of nobody":         {good + "&resource=https://other.example.com", demo, 400, "invalid_target"},
		"a resource with a slash more": {good + "&resource=https://stock.example.com/", demo, 400, "invalid_target"},
		"another client's resource":    {good + "&resource=https://stock.example.com", basic("plain", otherSecret), 400, "invalid_target"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, config(t))
			if c.edit == nil {
				c.edit = func(*http.Request) {}
			}
			w := serve(s, tokenRequest(c.body, c.edit))
			raw := w.Body.String()
			a := decode(t, w)
			if w.Code != c.status || a.Error != c.code {
				t.Fatalf("%d %s (%s), want %d %s", w.Code, a.Error, a.Description, c.status, c.code)
			}
			if a.AccessToken != "" || strings.Contains(raw, "access_token") {
				t.Error("the refusal carries a token")
			}
			challenge := w.Header().Get("WWW-Authenticate")
			if (w.Code == 401) != strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("status %d with challenge %q", w.Code, challenge)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
				t.Error("the refusal may be stored")
			}
		})
	}
}

func TestABodyOf16KiBIsStillRead(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	body := good + "&x=" + strings.Repeat("a", 16<<10-len(good)-3)
	if w := serve(s, tokenRequest(body, basic("demo", secret))); w.Code != http.StatusOK {
		t.Errorf("status %d, want 200", w.Code)
	}
}

// endless is a body that never ends and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte("a"), len(p))), nil
}

func TestAnEndlessBodyIsNotReadFurtherThanItsBound(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	body := &endless{}
	r := tokenRequest("", basic("demo", secret))
	r.Body = io.NopCloser(body)
	if w := serve(s, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", w.Code)
	}
	if body.read > 64<<10 {
		t.Errorf("%d bytes were read", body.read)
	}
}

func TestABodyThatBreaksOffIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, config(t))
	r := tokenRequest("")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(post), brokenReader{}))
	if w := serve(s, r); w.Code != http.StatusBadRequest || decode(t, w).Error != "invalid_request" {
		t.Errorf("status %d, want 400 invalid_request", w.Code)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken off") }

func TestRefusalsNeverReflectTheRequest(t *testing.T) {
	t.Parallel()
	const canary = "cAnArY"
	s := newServer(t, config(t))
	demo := basic("demo", secret)
	requests := map[string]*http.Request{
		"path":          httptest.NewRequest("GET", "/"+canary, nil),
		"method":        httptest.NewRequest(canary, "/auth/token", nil),
		"query":         httptest.NewRequest("POST", "/auth/token?"+canary, nil),
		"content type":  tokenRequest(good, demo, func(r *http.Request) { r.Header.Set("Content-Type", canary) }),
		"parameter":     tokenRequest(good+"&"+canary+"=1&"+canary+"=2", demo),
		"bad escape":    tokenRequest(good+"&"+canary+"=%zz", demo),
		"grant type":    tokenRequest("grant_type="+canary, demo),
		"client id":     tokenRequest(good, basic(canary, "x")),
		"secret":        tokenRequest(good, basic("demo", canary)),
		"scheme":        tokenRequest(good, header("Authorization", canary+" x")),
		"scope":         tokenRequest(good+"&scope="+canary, demo),
		"resource":      tokenRequest(good+"&resource="+canary, demo),
		"origin":        tokenRequest("", header("Origin", canary)),
		"unknown field": tokenRequest("", header(canary, canary)),
	}
	for name, r := range requests {
		w := serve(s, r)
		var wire bytes.Buffer
		w.Result().Write(&wire)
		if w.Code < 400 || strings.Contains(strings.ToLower(wire.String()), strings.ToLower(canary)) {
			t.Errorf("%s: status %d, answer %s", name, w.Code, wire.String())
		}
	}
}

func TestTheLogNamesNoSecretAndNoStranger(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := config(t)
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := newServer(t, cfg)
	for range 6 {
		serve(s, tokenRequest(good, basic("demo", "wr0ng-secret")))
		serve(s, tokenRequest(good, basic("stranger", "wr0ng-secret")))
	}
	if strings.Count(log.String(), "client slowed down") != 1 || !strings.Contains(log.String(), "client=demo from=192.0.2.1/32 for=1s") {
		t.Errorf("log %q, want one line about demo", log.String())
	}
	if strings.Contains(log.String(), "wr0ng") || strings.Contains(log.String(), "stranger") {
		t.Errorf("log %q", log.String())
	}
}
