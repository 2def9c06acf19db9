package basic_test

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/basic"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func compile(t testing.TB, secret string) pipeline.Parts {
	t.Helper()
	prepared, err := password.Prepare([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	h, err := password.Parse(password.New(prepared))
	if err != nil {
		t.Fatal(err)
	}
	d, err := directory.New([]directory.Consumer{{Name: "ops", Roles: []string{"admin"}, Password: &h}})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := basic.New(true, pipeline.Env{Directory: d, Guard: guessing.NewGuard()})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func request(values ...string) *exchange.Exchange {
	x := &exchange.Exchange{Client: netip.MustParseAddr("192.0.2.1")}
	for _, v := range values {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: []byte(v), ID: exchange.HeaderAuthorization})
	}
	x.Trail.Begin(0)
	return x
}

func encode(pair string) string { return base64.StdEncoding.EncodeToString([]byte(pair)) }

func TestPasswordProvesItsConsumer(t *testing.T) {
	t.Parallel()
	parts := compile(t, "pä:ss wort")
	w := &pipeline.World{Now: now, Remote: true}
	for what, value := range map[string]string{
		"composed":           "Basic " + encode("ops:pä:ss wort"),
		"decomposed":         "Basic " + encode("ops:pa\u0308:ss wort"),
		"two spaces, a case": "bASIC  " + encode("ops:pä:ss wort"),
	} {
		id, v := parts.Authenticate.Authenticate(request(value), w)
		if !v.Passed() || id.Method != "basic" || id.Consumer != "ops" || id.Named == nil || len(id.Roles) != 1 || id.Password == [32]byte{} {
			t.Errorf("%s: %+v, %+v", what, id, v)
		}
	}
	if parts.Forward || len(parts.Credentials) != 1 || parts.Credentials[0] != "authorization" {
		t.Error("a password is never forwarded")
	}
}

// What cannot be a credential is refused before any hash: these cost nothing.
func TestMalformedCredentialsAreNeverHashed(t *testing.T) {
	t.Parallel()
	guard := guessing.NewGuard()
	d, err := directory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := basic.New(true, pipeline.Env{Directory: d, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	w := &pipeline.World{Now: now, Remote: true}
	good := encode("ops:correct horse!")
	for what, value := range map[string]string{
		"nothing":                    "Basic",
		"a space":                    "Basic ",
		"no base64":                  "Basic ops:password",
		"base64 of URLs":             "Basic " + base64.URLEncoding.EncodeToString([]byte("ops:\xc3\xbf\xc3\xbf>?")),
		"no padding":                 "Basic " + strings.TrimRight(encode("ops:pass"), "="),
		"loose last bits":            "Basic b3BzOnBhc3N=",
		"something behind it":        "Basic " + good + " x",
		"two in one field":           "Basic " + good + ", Basic " + good,
		"parameters":                 "Basic realm=\"x\"",
		"no colon":                   "Basic " + encode("ops"),
		"no user":                    "Basic " + encode(":password"),
		"no password":                "Basic " + encode("ops:"),
		"only spaces that are none":  "Basic " + encode("ops:\x00"),
		"a NUL in the user":          "Basic " + encode("ops\x00:password"),
		"a line end in the password": "Basic " + encode("ops:pass\r\nword"),
		"a user that is no UTF-8":    "Basic " + encode("\xff:password"),
		"Latin-1":                    "Basic " + encode("ops:p\xe4ss"),
		"a long user":                "Basic " + encode(strings.Repeat("u", 129)+":password"),
		"a long password":            "Basic " + encode("ops:"+strings.Repeat("p", 257)),
		"64 KiB":                     "Basic " + strings.Repeat("A", 64<<10),
	} {
		x := request(value)
		if id, v := parts.Authenticate.Authenticate(x, w); id != nil || v.Passed() || v == pipeline.NotMine || v.Code() != fault.PasswordWrong {
			t.Errorf("%s: %+v, %+v", what, id, v)
		}
		if ops := x.Trail.Steps()[0].Operands(); len(ops) != 1 || ops[0].Name != "because" || strings.Contains(ops[0].Text, "ops") {
			t.Errorf("%s: the trail says %v", what, ops)
		}
	}
	if n := guard.Passwords.Counts().Hashed; n != 0 {
		t.Errorf("%d hashes were worked out", n)
	}
	for what, values := range map[string][]string{
		"no field": nil, "another scheme": {"Bearer " + good}, "a scheme that begins like it": {"Basics " + good}, "empty": {""},
	} {
		if _, v := parts.Authenticate.Authenticate(request(values...), w); v != pipeline.NotMine {
			t.Errorf("%s: %+v", what, v)
		}
	}
	for _, second := range []string{"Basic " + good, "Bearer x", ""} {
		if _, v := parts.Authenticate.Authenticate(request("Basic "+good, second), w); v.Code() != fault.CredentialAmbiguous {
			t.Errorf("two fields: %+v", v)
		}
	}
}

// Explaining works nothing out and counts nothing.
func TestExplainingHashesNothing(t *testing.T) {
	t.Parallel()
	parts := compile(t, "correct horse")
	good := "Basic " + encode("ops:correct horse")
	look := &pipeline.World{Now: now}
	if _, v := parts.Authenticate.Authenticate(request(good), look); v.Passed() || v != pipeline.CannotTell(fault.PasswordWrong) {
		t.Errorf("before it was served: %+v", v)
	}
	if _, v := parts.Authenticate.Authenticate(request(good), &pipeline.World{Now: now, Remote: true}); !v.Passed() {
		t.Fatalf("%+v", v)
	}
	if id, v := parts.Authenticate.Authenticate(request(good), look); !v.Passed() || id.Consumer != "ops" {
		t.Errorf("after it was served: %+v", v)
	}
}

func TestConfigIsTheWordTrue(t *testing.T) {
	t.Parallel()
	var cfg basic.Config
	for text, good := range map[string]bool{"true": true, "false": false, "": false, "yes": false, "TRUE": false} {
		if err := cfg.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, env := range []pipeline.Env{{}, {Directory: &directory.Directory{}}, {Guard: guessing.NewGuard()}} {
		if _, err := basic.New(true, env); err == nil {
			t.Error("compiled without a directory or a guard")
		}
	}
}

func TestARememberedPasswordAllocatesNothing(t *testing.T) {
	parts := compile(t, "correct horse")
	x, w := request("Basic "+encode("ops:correct horse")), &pipeline.World{Now: now, Remote: true}
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		x.Client = netip.MustParseAddr("192.0.2.1")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: header, ID: exchange.HeaderAuthorization})
		x.Trail.Begin(0)
		if _, v := parts.Authenticate.Authenticate(x, w); !v.Passed() {
			t.Fatal(v)
		}
	}); n > 1 { // the name of the field, in this test
		t.Errorf("%v allocations", n)
	}
}

var header = []byte("Basic " + encode("ops:correct horse"))

func BenchmarkRemembered(b *testing.B) {
	parts := compile(b, "correct horse")
	x, w := request(string(header)), &pipeline.World{Now: now, Remote: true}
	b.ReportAllocs()
	for b.Loop() {
		x.Trail.Reset()
		x.Trail.Begin(0)
		if _, v := parts.Authenticate.Authenticate(x, w); !v.Passed() {
			b.Fatal(v)
		}
	}
}

func FuzzAuthenticate(f *testing.F) {
	d, err := directory.New(nil)
	if err != nil {
		f.Fatal(err)
	}
	parts, err := basic.New(true, pipeline.Env{Directory: d, Guard: guessing.NewGuard()})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"Basic " + encode("a:b"), "basic", "Basic =", "Basic b3BzOnBhc3N=", "Bearer x"} {
		f.Add(seed)
	}
	look := &pipeline.World{Now: now} // works out nothing
	f.Fuzz(func(t *testing.T, value string) {
		id, v := parts.Authenticate.Authenticate(request(value), look)
		if id != nil || v.Passed() {
			t.Fatalf("%q is let in where nobody has a password", value)
		}
		if v == pipeline.CannotTell(fault.PasswordWrong) {
			_, encoded, _ := strings.Cut(value, " ")
			pair, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
			if user, secret, ok := strings.Cut(string(pair), ":"); err != nil || !ok || user == "" || secret == "" {
				t.Fatalf("%q is taken for a credential", value)
			}
		}
	})
}
