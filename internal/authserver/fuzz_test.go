package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// sentence is what an error description may look like: it is a constant.
var sentence = regexp.MustCompile(`^[A-Z][A-Za-z0-9_ ,/-]*\.$`)

// Whatever is sent to the token endpoint, it answers as RFC 6749 says, never
// with a fault of its own, and with a token only to who knows the secret.
func FuzzTokenEndpoint(f *testing.F) {
	s := newServer(f, config(f))
	form := "application/x-www-form-urlencoded"
	var demo http.Request
	demo.Header = http.Header{}
	basic("demo", secret)(&demo)
	authorization := demo.Header.Get("Authorization")
	f.Add(authorization, form, "", good)
	f.Add(authorization, form, "", good+"&scope=orders:read&resource=orders-api")
	f.Add("", form, "", post)
	f.Add("", form+"; charset=utf-8", "", post+"&client_id=demo")
	f.Add(authorization, form, "", post)
	f.Add("Basic ZGVtbzp3cm9uZw==", form, "", good)
	f.Add("Bearer x", form, "a=b", good+"&client_assertion=x")
	f.Add("", "text/plain", "", "%zz;&&=&a=b&a=c")
	f.Fuzz(func(t *testing.T, authorization, contentType, query, body string) {
		r := tokenRequest(body)
		r.Header.Set("Content-Type", contentType)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.URL.RawQuery = query
		w := serve(s, r)
		raw := w.Body.String()
		var a answer
		if err := json.Unmarshal([]byte(raw), &a); err != nil {
			t.Fatalf("status %d: %v", w.Code, err)
		}
		if w.Code == http.StatusOK {
			if !knowsSecret(r, body) {
				t.Fatalf("a token for somebody who does not know the secret: %q %q", authorization, body)
			}
			verify(t, s, a.AccessToken)
			return
		}
		if w.Code >= 500 || strings.Contains(raw, "token\":") {
			t.Fatalf("status %d: %s", w.Code, raw)
		}
		switch a.Error {
		case "invalid_request", "invalid_client", "invalid_scope", "invalid_target", "unsupported_grant_type":
		default:
			t.Fatalf("error %q", a.Error)
		}
		if !sentence.MatchString(a.Description) {
			t.Fatalf("description %q", a.Description)
		}
	})
}

// knowsSecret reads the credential of a request in its own way.
func knowsSecret(r *http.Request, body string) bool {
	is := func(s string) bool { return s == secret }
	if _, password, ok := r.BasicAuth(); ok {
		password, _ = url.QueryUnescape(password)
		return is(password)
	}
	for pair := range strings.SplitSeq(body, "&") {
		if _, value, ok := strings.Cut(pair, "="); ok {
			if value, err := url.QueryUnescape(value); err == nil && is(value) {
				return true
			}
		}
	}
	return false
}
