package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// refusal is what a request must be turned away with.
type refusal struct {
	status    int
	inner     string   // in the access log
	public    string   // to the caller; "": the same
	challenge string   // WWW-Authenticate as a whole; "": none
	fields    []string // header fields that must be there
}

const (
	nothingPresented = `Bearer realm="corp"`
	tokenInvalid     = `Bearer realm="corp", error="invalid_token"`
	scopeMissing     = `Bearer realm="corp", error="insufficient_scope", scope="orders:read"`
)

// The main job on real input: the nine lines of the documentation, an
// identity provider, two backends, curl.
func TestMainJob(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	a, b := harness.Nginx(t, "a"), harness.Nginx(t, "b")
	g := harness.Warder(t, nineLines(idp.Issuer, a, b))

	orders := g.URL + "/orders/42?page=2"
	good := idp.Token(t, "shop", "orders:read profile")

	t.Run("a good token reaches both backends in turn", func(t *testing.T) {
		var answered []string
		for range 4 {
			r := harness.Curl(t, append(bearer(good), orders)...)
			if r.Status != http.StatusOK {
				t.Fatalf("status %d: %s", r.Status, r.Body)
			}
			seen := r.Seen(t)
			answered = append(answered, seen.Backend)
			if seen.Method != "GET" || seen.URI != "/orders/42?page=2" || seen.Host != strings.TrimPrefix(g.URL, "http://") {
				t.Errorf("the backend saw %s %s of %s", seen.Method, seen.URI, seen.Host)
			}
			if seen.ForwardedFor != "127.0.0.1" || !strings.Contains(seen.Via, "warder") {
				t.Errorf("the backend saw X-Forwarded-For %q, Via %q", seen.ForwardedFor, seen.Via)
			}
			if seen.Authorization != "Bearer "+good {
				t.Errorf("the verified token was not passed on: the backend saw %q", seen.Authorization)
			}
			if r.ID() == "" || seen.RequestID != r.ID() {
				t.Errorf("the caller has request id %q, the backend %q", r.ID(), seen.RequestID)
			}
			checkGoodRecord(t, g.Record(t, r.ID()))
		}
		if !slices.Equal(answered, []string{"a", "b", "a", "b"}) && !slices.Equal(answered, []string{"b", "a", "b", "a"}) {
			t.Errorf("answered by %v, want both in turn", answered)
		}
	})

	t.Run("HEAD goes with GET", func(t *testing.T) {
		r := harness.Curl(t, append(bearer(good), "-I", orders)...)
		if r.Status != http.StatusOK {
			t.Errorf("status %d", r.Status)
		}
	})

	claims := idp.Claims("shop", "orders:read")
	key := idp.Keys(t)[0]
	past := time.Now().Add(-time.Hour).Unix()
	unsigned := base64JSON(t, harness.Claims{"alg": "none", "typ": "at+jwt"}) + "." + base64JSON(t, claims) + "."

	before := hits(t, a, b)
	for _, c := range []struct {
		name string
		args []string
		want refusal
	}{
		{
			"no token", []string{orders},
			refusal{401, "credential_missing", "", nothingPresented, nil},
		}, {
			"garbage", append(bearer("garbage"), orders),
			refusal{401, "credential_malformed", "token_invalid", tokenInvalid, nil},
		}, {
			"two Authorization fields", append(append(bearer(good), bearer(good)...), orders),
			refusal{400, "credential_ambiguous", "", `Bearer realm="corp", error="invalid_request"`, nil},
		}, {
			"expired", append(bearer(idp.Sign(t, nil, with(claims, "exp", past))), orders),
			refusal{401, "token_expired", "", tokenInvalid, nil},
		}, {
			"wrong audience", append(bearer(idp.Sign(t, nil, with(claims, "aud", "invoices-api"))), orders),
			refusal{401, "token_audience_wrong", "", tokenInvalid, nil},
		}, {
			"wrong issuer", append(bearer(idp.Sign(t, nil, with(claims, "iss", idp.Issuer+"/"))), orders),
			refusal{401, "token_issuer_unknown", "token_invalid", tokenInvalid, nil},
		}, {
			"altered signature", append(bearer(altered(t, good)), orders),
			refusal{401, "token_signature_invalid", "token_invalid", tokenInvalid, nil},
		}, {
			"signed by a stranger under the issuer's key id", append(bearer(forge(t, harness.Claims{"alg": "RS256", "typ": "at+jwt", "kid": key["kid"]}, claims)), orders),
			refusal{401, "token_signature_invalid", "token_invalid", tokenInvalid, nil},
		}, {
			"signed by a stranger under another key id", append(bearer(forge(t, harness.Claims{"alg": "RS256", "typ": "at+jwt", "kid": "stranger"}, claims)), orders),
			refusal{401, "token_key_unknown", "token_invalid", tokenInvalid, nil},
		}, {
			"alg none", append(bearer(unsigned), orders),
			refusal{401, "token_algorithm_refused", "token_invalid", tokenInvalid, nil},
		}, {
			"alg none with a signature", append(bearer(unsigned+"c2lnbmF0dXJl"), orders),
			refusal{401, "token_algorithm_refused", "token_invalid", tokenInvalid, nil},
		}, {
			"RS256 made HS256 with the public key as secret", append(bearer(confuse(t, key, claims)), orders),
			refusal{401, "token_algorithm_refused", "token_invalid", tokenInvalid, nil},
		}, {
			"an ID token in place of an access token", append(bearer(idp.IDToken(t, "shop")), orders),
			refusal{401, "token_type_wrong", "", tokenInvalid, nil},
		}, {
			"an ID token for the right audience", append(bearer(idp.Sign(t, harness.Claims{"typ": "JWT"}, with(with(claims, "scope", nil), "nonce", "n"))), orders),
			refusal{401, "token_type_wrong", "", tokenInvalid, nil},
		}, {
			"missing scope", append(bearer(idp.Token(t, "shop", "profile email")), orders),
			refusal{403, "scope_missing", "", scopeMissing, nil},
		}, {
			"unknown route", append(bearer(good), g.URL+"/invoices/1"),
			refusal{404, "route_unknown", "", "", nil},
		}, {
			"wrong method", append(bearer(good), "-X", "POST", "-d", "x=1", orders),
			refusal{405, "method_not_allowed", "", "", []string{"Allow"}},
		}, {
			"dot segments", append(bearer(good), g.URL+"/orders/../admin"),
			refusal{400, "path_not_normal", "", "", nil},
		}, {
			"escaped dot segments", append(bearer(good), g.URL+"/orders/%2e%2e/admin"),
			refusal{400, "path_not_normal", "", "", nil},
		}, {
			"an escaped slash", append(bearer(good), g.URL+"/orders/1%2f2"),
			refusal{400, "path_not_normal", "", "", nil},
		}, {
			"a backslash", append(bearer(good), g.URL+`/orders/..\admin`),
			refusal{400, "path_not_normal", "", "", nil},
		}, {
			"an empty segment", append(bearer(good), g.URL+"/orders//42"),
			refusal{400, "path_not_normal", "", "", nil},
		},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, g, c.want, c.args...) })
	}

	t.Run("no refused request reached a backend", func(t *testing.T) {
		if now := hits(t, a, b); now != before {
			t.Errorf("the backends answered %d requests meanwhile", now-before)
		}
	})

	t.Run("over the limit", func(t *testing.T) {
		token := idp.Token(t, "burst", "orders:read")
		client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for i := range 100 {
			if err := get(client, orders, token, http.StatusOK); err != nil {
				t.Fatalf("request %d of the 100 allowed: %v", i+1, err)
			}
		}
		// What flowed back while they were sent is still there to be taken.
		harness.Eventually(t, "the limit is reached", func() bool {
			return get(client, orders, token, http.StatusTooManyRequests) == nil
		})
		r := refused(t, g, refusal{429, "rate_limited", "", "", []string{"Retry-After"}}, append(bearer(token), orders)...)
		if wait, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
			t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
		}
		if r := harness.Curl(t, append(bearer(good), orders)...); r.Status != http.StatusOK {
			t.Errorf("another consumer is answered %d", r.Status)
		}
	})
}

func checkGoodRecord(t *testing.T, rec harness.Record) {
	t.Helper()
	if rec.Status != 200 || rec.Code != "" || rec.PublicCode != "" {
		t.Errorf("access log: status %d, code %q, public code %q", rec.Status, rec.Code, rec.PublicCode)
	}
	if rec.Method != "GET" || rec.Path != "/orders/42" || rec.Route == "" || rec.Time == "" || rec.Host == "" {
		t.Errorf("access log: method %q, path %q, route %q, time %q, host %q", rec.Method, rec.Path, rec.Route, rec.Time, rec.Host)
	}
	if rec.Client != "127.0.0.1" || rec.Issuer != "corp" || rec.ClientID != "shop" || rec.Consumer != "corp/shop" || rec.Subject != "shop" {
		t.Errorf("access log: client %q, issuer %q, client id %q, consumer %q, subject %q", rec.Client, rec.Issuer, rec.ClientID, rec.Consumer, rec.Subject)
	}
	if !slices.Contains(rec.Scopes, "orders:read") || !slices.Contains(rec.Scopes, "profile") {
		t.Errorf("access log: scopes %q", rec.Scopes)
	}
}

// refused runs curl and checks that it is turned away as wanted, and that the
// log has the inner code.
func refused(t *testing.T, g *harness.Gateway, want refusal, args ...string) *harness.Response {
	t.Helper()
	if want.public == "" {
		want.public = want.inner
	}
	r := harness.Curl(t, args...)
	p := r.Problem(t)
	if r.Status != want.status || p.Status != want.status || p.Code != want.public {
		t.Errorf("answered %d, body %d %s; want %d %s", r.Status, p.Status, p.Code, want.status, want.public)
	}
	if !strings.HasSuffix(p.Type, want.public) || p.Title == "" || p.RequestID == "" || p.RequestID != r.ID() {
		t.Errorf("body: type %q, title %q, request id %q; header: request id %q", p.Type, p.Title, p.RequestID, r.ID())
	}
	challenges := slices.DeleteFunc(slices.Clone(r.Header.Values("Www-Authenticate")), func(c string) bool {
		return strings.HasPrefix(c, "DPoP ") // beside that of Bearer; see TestTokensBoundToAKey
	})
	if got := strings.Join(challenges, ", "); got != want.challenge {
		t.Errorf("WWW-Authenticate %q, want %q", got, want.challenge)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("Cache-Control %q, X-Content-Type-Options %q", r.Header.Get("Cache-Control"), r.Header.Get("X-Content-Type-Options"))
	}
	if got := r.Header.Get("Content-Length"); got != strconv.Itoa(len(r.Body)) {
		t.Errorf("Content-Length %q of %d bytes", got, len(r.Body))
	}
	for _, f := range want.fields {
		if r.Header.Get(f) == "" {
			t.Errorf("there is no %s", f)
		}
	}
	rec := g.Record(t, r.ID())
	if rec.Status != want.status || rec.Code != want.inner || rec.PublicCode != want.public {
		t.Errorf("access log: %d, inner %q, public %q; want %d, %q, %q", rec.Status, rec.Code, rec.PublicCode, want.status, want.inner, want.public)
	}
	if want.inner != want.public && strings.Contains(fmt.Sprint(r.Header, string(r.Body)), want.inner) {
		t.Errorf("the caller was shown the inner code:\n%s", r.Body)
	}
	return r
}

// altered returns the token with its signature changed in the middle.
func altered(t *testing.T, token string) string {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	signature[len(signature)/2] ^= 1
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(signature)
}

func hits(t *testing.T, backends ...*harness.Backend) int {
	t.Helper()
	n := 0
	for _, b := range backends {
		n += b.Hits(t)
	}
	return n
}
