package apikey_test

import (
	"crypto/sha256"
	"testing"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

func TestAKeyInTheQueryIsTakenOutOfIt(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	parts := compile(t, apikey.Config{In: "query", Name: "key"}, directory.Key{Digest: sha256.Sum256([]byte(key))})
	if c := parts.Challenge; c.Scheme != "ApiKey" || c.Params != `query="key"` || parts.Doubt == "" || len(parts.Credentials) != 0 {
		t.Errorf("%+v", parts)
	}
	for query, want := range map[string]struct {
		code fault.Code
		rest string
		seen string
	}{
		"key=" + key:                            {fault.None, "", "key " + key[:11] + ", consumer acme"},
		"a=1&key=" + key + "&b=%2f+x":           {fault.None, "a=1&b=%2f+x", "key " + key[:11] + ", consumer acme"},
		"&&a&%6bey=%77" + key[1:] + "&":         {fault.None, "&&a&", "key " + key[:11] + ", consumer acme"},
		"a=1&key=" + key + "&key=" + key:        {fault.ParameterAmbiguous, "a=1", "name key"},
		"key=" + key + "&k%65y=":                {fault.ParameterAmbiguous, "", "name key"},
		"key=":                                  {fault.KeyMalformed, "", ""},
		"key":                                   {fault.KeyMalformed, "", ""},
		"key=hunter2&a=1":                       {fault.KeyMalformed, "a=1", ""},
		"key=+" + key:                           {fault.KeyMalformed, "", ""},
		"key=" + key + ";a=1":                   {fault.QueryMalformed, "key=" + key + ";a=1", "because the query holds a raw semicolon, which some take for a separator"},
		"key=" + key + "&a=%zz":                 {fault.QueryMalformed, "key=" + key + "&a=%zz", "because % in the query is not followed by two hexadecimal digits"},
		"a=%2":                                  {fault.QueryMalformed, "a=%2", "because % in the query is not followed by two hexadecimal digits"},
		"Key=" + key + "&keys=1&%256bey=" + key: {fault.CredentialMissing, "Key=" + key + "&keys=1&%256bey=" + key, ""},
		"":                                      {fault.CredentialMissing, "", ""},
	} {
		x := request("x-api-key", key) // which is not where it is asked for
		x.Req.Query, x.Req.HasQuery = []byte(query), true
		id, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: now})
		code := v.Code()
		if v == pipeline.NotMine {
			code = fault.CredentialMissing
		}
		if code != want.code || (id != nil) != (code == fault.None) {
			t.Errorf("%q: %s, want %s", query, code, want.code)
		}
		if string(x.Req.Query) != want.rest || code != fault.CredentialMissing && x.Req.HasQuery != (want.rest != "") {
			t.Errorf("%q: %q is left, want %q", query, x.Req.Query, want.rest)
		}
		if got := noted(x); got != want.seen {
			t.Errorf("%q: the trail has %q, want %q", query, got, want.seen)
		}
	}
}

func TestAGoodKeyInTheQueryAllocatesNothing(t *testing.T) {
	key := apikey.Generate()
	parts := compile(t, apikey.Config{In: "query", Name: "key"}, directory.Key{Digest: sha256.Sum256([]byte(key))})
	x, w := &exchange.Exchange{}, &pipeline.World{Now: now}
	query := []byte("page=2&%6Bey=" + key + "&sort=name")
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		x.Req.Query, x.Req.HasQuery = query, true
		if _, v := parts.Authenticate.Authenticate(x, w); !v.Passed() {
			t.Fatal(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
