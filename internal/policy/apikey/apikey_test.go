package apikey_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func compile(t testing.TB, cfg apikey.Config, keys ...directory.Key) pipeline.Parts {
	t.Helper()
	d, err := directory.New([]directory.Consumer{{Name: "acme", Roles: []string{"partner"}, Keys: keys}})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := apikey.New(cfg, pipeline.Env{Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func request(header string, values ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	for _, v := range values {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(header), Value: []byte(v), ID: exchange.IdentifyString(header)})
	}
	x.Trail.Begin(0)
	return x
}

func noted(x *exchange.Exchange) string {
	var all []string
	for _, o := range x.Trail.Steps()[0].Operands() {
		all = append(all, o.Name+" "+o.Text)
	}
	return strings.Join(all, ", ")
}

func TestKeyProvesItsConsumer(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	expires := now.Add(time.Hour)
	parts := compile(t, apikey.Config{}, directory.Key{Digest: sha256.Sum256([]byte(key)), Expires: expires})
	x := request("x-api-key", key)
	id, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: now})
	if !v.Passed() {
		t.Fatalf("%+v", v)
	}
	if id.Method != "apiKey" || id.Proof != key[:11] || id.Consumer != "acme" || id.Named == nil || id.Named.Name != "acme" ||
		len(id.Roles) != 1 || id.Roles[0] != "partner" || !id.Expires.Equal(expires) || id.Subject != "" || id.Scopes != nil {
		t.Errorf("%+v", id)
	}
	if got := noted(x); got != "key "+key[:11]+", consumer acme" {
		t.Errorf("trail %q", got)
	}
	if len(parts.Credentials) != 1 || parts.Credentials[0] != "x-api-key" || parts.Forward {
		t.Error("a key is never forwarded")
	}
	if c := parts.Challenge; c.Scheme != "ApiKey" || c.Params != `header="x-api-key"` || c.Errors {
		t.Errorf("challenge %+v", c)
	}
}

func TestEveryOtherKeyIsRefused(t *testing.T) {
	t.Parallel()
	good, old, stranger := apikey.Generate(), apikey.Generate(), apikey.Generate()
	parts := compile(t, apikey.Config{}, directory.Key{Digest: sha256.Sum256([]byte(good))}, directory.Key{Digest: sha256.Sum256([]byte(old)), Expires: now})
	for what, c := range map[string]struct {
		values []string
		code   fault.Code
		trail  string
	}{
		"presented twice":              {[]string{good, good}, fault.CredentialAmbiguous, ""},
		"a good and an empty one":      {[]string{good, ""}, fault.CredentialAmbiguous, ""},
		"empty":                        {[]string{""}, fault.KeyMalformed, ""},
		"two in one field":             {[]string{good + "," + good}, fault.KeyMalformed, ""},
		"cut":                          {[]string{good[:60]}, fault.KeyMalformed, ""},
		"a password, not to be logged": {[]string{"hunter2"}, fault.KeyMalformed, ""},
		"a scheme before it":           {[]string{"Bearer " + good}, fault.KeyMalformed, ""},
		"its hash":                     {[]string{apikey.Hash(good)}, fault.KeyMalformed, ""},
		"a key nobody has":             {[]string{stranger}, fault.KeyUnknown, "key " + stranger[:11]},
		"a key that ends now":          {[]string{old}, fault.KeyExpired, "key " + old[:11] + ", consumer acme"},
	} {
		x := request("X-API-Key", c.values...)
		id, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: now})
		if v.Passed() || id != nil || v == pipeline.NotMine || v.Code() != c.code {
			t.Errorf("%s: %+v, %+v", what, id, v)
		}
		if got := noted(x); got != c.trail {
			t.Errorf("%s: trail %q, want %q", what, got, c.trail)
		}
		if c.code != fault.CredentialAmbiguous && v.Code().Public() != fault.KeyInvalid {
			t.Errorf("%s: the caller is told %s", what, v.Code().Public())
		}
	}
}

func TestRequestWithoutKeyIsLeftToOthers(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	parts := compile(t, apikey.Config{Name: "X-Partner-Key"}, directory.Key{Digest: sha256.Sum256([]byte(key))})
	for _, header := range []string{"authorization", "x-api-key", "x-partner-keys"} {
		if _, v := parts.Authenticate.Authenticate(request(header, key), &pipeline.World{Now: now}); v != pipeline.NotMine {
			t.Errorf("a key in %s: %+v", header, v)
		}
	}
	if _, v := parts.Authenticate.Authenticate(request("X-PARTNER-key", key), &pipeline.World{Now: now}); !v.Passed() {
		t.Errorf("its own header: %+v", v)
	}
	if parts.Challenge.Params != `header="x-partner-key"` || parts.Credentials[0] != "x-partner-key" {
		t.Errorf("%+v", parts)
	}
}

func TestConfigThatCannotBeKeptDoesNotLoad(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"authorization", "Cookie", "Host", "connection", "a b", `a"b`, "x_key", "x:key", "é", strings.Repeat("x", 65)} {
		if _, err := apikey.New(apikey.Config{Name: header}, pipeline.Env{Directory: &directory.Directory{}}); err == nil {
			t.Errorf("header %q compiled", header)
		}
	}
	if _, err := apikey.New(apikey.Config{}, pipeline.Env{}); err == nil {
		t.Error("compiled without a directory")
	}
	var cfg apikey.Config
	for text, good := range map[string]bool{"true": true, "false": false, "": false, "x-api-key": false, "TRUE": false} {
		if err := cfg.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	var place apikey.Place
	if place.UnmarshalText([]byte("header")) != nil || place.UnmarshalText([]byte("query")) != nil || place.UnmarshalText([]byte("body")) == nil {
		t.Error("header and query are the places")
	}
	for _, name := range []string{"", "a b", "a=b", "a&b", "é", ".key", "a%6B", strings.Repeat("x", 65)} {
		if _, err := apikey.New(apikey.Config{In: "query", Name: name}, pipeline.Env{Directory: &directory.Directory{}}); err == nil {
			t.Errorf("parameter %q compiled", name)
		}
	}
}

func TestGoodKeyAllocatesNothing(t *testing.T) {
	key := apikey.Generate()
	parts := compile(t, apikey.Config{}, directory.Key{Digest: sha256.Sum256([]byte(key))})
	x, w := request("x-api-key", key), &pipeline.World{Now: now}
	if n := testing.AllocsPerRun(100, func() {
		if _, v := parts.Authenticate.Authenticate(x, w); !v.Passed() {
			t.Fatal(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	key := apikey.Generate()
	parts := compile(b, apikey.Config{}, directory.Key{Digest: sha256.Sum256([]byte(key))})
	x, w := request("x-api-key", key), &pipeline.World{Now: now}
	b.ReportAllocs()
	for b.Loop() {
		parts.Authenticate.Authenticate(x, w)
	}
}
