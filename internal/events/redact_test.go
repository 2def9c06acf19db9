package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/telemetry"
)

func TestQueryCredentialsAreRedacted(t *testing.T) {
	t.Parallel()
	alloc := func(n int) []byte { return make([]byte, n) }
	for query, want := range map[string]string{
		"a=b&page=2&sort=name":                               "a=b&page=2&sort=name",
		"author=x&keyword=y&state=open":                      "author=x&keyword=y&state=open",
		"access_token=canary":                                "access_token=[redacted]",
		"a=1&Access-Token=canary&b=2":                        "a=1&Access-Token=[redacted]&b=2",
		"acce%73s%5Ftoken=canary":                            "acce%73s%5Ftoken=[redacted]",
		"id_token=canary;b=2":                                "id_token=[redacted];b=2",
		"api_key=canary&key=canary":                          "api_key=[redacted]&key=[redacted]",
		"X-Amz-Signature=canary":                             "X-Amz-Signature=[redacted]",
		"user.password=canary&password[]=can":                "user.password=[redacted]&password[]=[redacted]",
		"code=canary&SAMLResponse=canary":                    "code=[redacted]&SAMLResponse=[redacted]",
		"token=":                                             "token=",
		"token":                                              "token",
		"x=eyJhbGciOiJub25lIn0.canary":                       "x=[redacted]",
		"x=%65yJhbGciOiJub25lIn0.canary":                     "x=[redacted]",
		"wk_canary":                                          "[redacted]",
		"x=wk_canary":                                        "x=[redacted]",
		"x=Bearer%20canary":                                  "x=[redacted]",
		"x=basic+canary":                                     "x=[redacted]",
		"to=https%3A%2F%2Fa%2F%3Ftoken%3Dcanary":             "to=[redacted]",
		"eyJcanary=1":                                        "[redacted]",
		strings.Repeat("n", 65) + "=canary":                  strings.Repeat("n", 65) + "=[redacted]",
		"a=b=c&&;=x":                                         "a=b=c&&;=x",
		"%=%zz&token=canary%":                                "%=%zz&token=[redacted]",
		"x=%2565yJhbGciOiJub25lIn0.canary":                   "x=[redacted]",
		"x=%252565yJhbGciOiJub25lIn0.canary":                 "x=[redacted]",
		"x=%25%36%35yJhbGciOiJub25lIn0.canary":               "x=[redacted]",
		"x=wk%255Fcanary":                                    "x=[redacted]",
		"x=Bearer%2520canary&y=basic%2Bcanary":               "x=[redacted]&y=[redacted]",
		"access%255Ftoken=canary":                            "access%255Ftoken=[redacted]",
		"to=https%253A%252F%252Fa%252F%253Ftoken%253Dcanary": "to=[redacted]",
		"x=%":       "x=%",
		"x=%25":     "x=%25",
		"x=%252":    "x=%252",
		"x=100%25a": "x=100%25a",
	} {
		if got := string(events.RedactQuery([]byte(query), &exchange.Legend{}, alloc)); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	// A name that nothing else would take for that of a credential.
	known := &exchange.Legend{Parameters: []string{"partner-nr"}}
	for query, want := range map[string]string{
		"page=2&partner-nr=canary":                        "page=2&partner-nr=[redacted]",
		"Partner%2DNr=canary":                             "Partner%2DNr=[redacted]",
		"partner%252dnr=canary;page=2":                    "partner%252dnr=[redacted];page=2",
		"to=https%3A%2F%2Fa%2F%3Fpartner-nr%3Dcanary":     "to=[redacted]",
		"to=https%253A%252F%252Fa%253Fpartner-nr%253Dcan": "to=[redacted]",
		"partner=x&to=partner-nr&n=partner-nrs%3D1":       "partner=x&to=partner-nr&n=partner-nrs%3D1",
	} {
		if got := string(events.RedactQuery([]byte(query), known, alloc)); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
		if got := string(events.RedactQuery([]byte(query), nil, alloc)); strings.Contains(got, "can") || strings.Contains(got, "2&") {
			t.Errorf("%q: where nothing is known, %q is shown", query, got)
		}
	}
	long := "a=" + strings.Repeat("b", 2000) + "&token=canary"
	if got := string(events.RedactQuery([]byte(long), &exchange.Legend{}, alloc)); !strings.HasSuffix(got, "…") || len(got) > 1100 || strings.Contains(got, "canary") {
		t.Errorf("a long query: %d bytes, %q", len(got), got[len(got)-20:])
	}
}

// jwt looks like a token.
const jwt = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJjYW5hcnkifQ.canary-signature_canary"

func TestPathCredentialsAreRedacted(t *testing.T) {
	t.Parallel()
	twice := strings.NewReplacer("e", "%2565", ".", "%252E").Replace(jwt)
	for path, want := range map[string]string{
		"/":                                 "/",
		"*":                                 "*",
		"/orders/42":                        "/orders/42",
		"/" + jwt:                           "/[redacted]",
		jwt:                                 "[redacted]",
		"/verify/" + jwt + "/now":           "/verify/[redacted]/now",
		"/verify/" + jwt + "/":              "/verify/[redacted]/",
		"//" + jwt + "//" + jwt:             "//[redacted]//[redacted]",
		"/token=" + jwt:                     "/[redacted]",
		"/a;jwt=" + jwt + ";b":              "/[redacted]",
		"/Bearer%20" + jwt:                  "/[redacted]",
		"/v1." + jwt:                        "/[redacted]",
		"/session_" + jwt:                   "/[redacted]",
		"/a%2F" + jwt:                       "/[redacted]",
		"/a%252F" + jwt + "/b":              "/[redacted]/b",
		"/" + twice + "/b":                  "/[redacted]/b",
		"/%65" + jwt[1:]:                    "/[redacted]",
		"/eyJhbGciOiJub25lIn0.eyJhIjoxfQ.":  "/[redacted]", // RFC 7519 section 6
		"/eyJhbGciOiJkaXIifQ..aaaa.bbbb.cc": "/[redacted]", // RFC 7516, no key
		"/ewogICJhbGciOiAibm9uZSJ9.a.canary-canary-canary": "/[redacted]", // white space first
		"/wk_canary":              "/[redacted]",
		"/keys/wk_canary/scopes":  "/keys/[redacted]/scopes",
		"/keys/x:wk_canary":       "/keys/[redacted]",
		"/keys/%77k%5Fcanary":     "/keys/[redacted]",
		"/keys/%2577k%255Fcanary": "/keys/[redacted]",

		"/hawk_list/network_status":                        "/hawk_list/network_status",
		"/files/experimental-feature-list.of-things.v1.js": "/files/experimental-feature-list.of-things.v1.js",
		"/monkeyJungle-of-the-north.v1.2.json":             "/monkeyJungle-of-the-north.v1.2.json",
		"/exchange.rates.2026.11.22.json":                  "/exchange.rates.2026.11.22.json",
		"/cursor/eyJpZCI6MTAsInBhZ2UiOjJ9":                 "/cursor/eyJpZCI6MTAsInBhZ2UiOjJ9",
		"/cursor/eyJpZCI6MTAsInBhZ2UiOjJ9.json":            "/cursor/eyJpZCI6MTAsInBhZ2UiOjJ9.json",
		"/eyJpZCI6MTAsInBhZ2UiOjJ9/a.b.c.d.e.f":            "/eyJpZCI6MTAsInBhZ2UiOjJ9/a.b.c.d.e.f",
		"/eyJpZCI6MTAsInBhZ2UiOjJ9;a.b.c":                  "/eyJpZCI6MTAsInBhZ2UiOjJ9;a.b.c",
		"/%zz%%25":                                         "/%zz%%25",
	} {
		alloc := func(n int) []byte { return make([]byte, n) }
		got, found := events.RedactPath([]byte(path), alloc)
		if string(got) != want || found != (path != want) {
			t.Errorf("%q: got %q (%t), want %q", path, got, found, want)
		}
	}
}

func TestALongPathWithACredentialIsCut(t *testing.T) {
	t.Parallel()
	alloc := func(n int) []byte { return make([]byte, n) }
	long := strings.Repeat("x", 5000)
	for path, want := range map[string]string{
		"/" + jwt + "/" + long:                 "/[redacted]/" + long[:2048-12] + "…",
		"/" + long + "/" + jwt:                 "/" + long[:2047] + "…",
		strings.Repeat("/wk_", 3000):           strings.Repeat("/[redacted]", 187)[:2048] + "…",
		"/" + long:                             "/" + long,
		"/" + long[:2047-11] + "/" + jwt:       "/" + long[:2047-11] + "/[redacted]",
		"/" + long[:2047-11] + "/" + jwt + "/": "/" + long[:2047-11] + "/[redacted]…",
	} {
		if got, _ := events.RedactPath([]byte(path), alloc); string(got) != want {
			t.Errorf("%.20q… (%d bytes): got %d bytes, …%q, want %d, …%q", path, len(path), len(got), got[len(got)-20:], len(want), want[len(want)-20:])
		}
	}
}

func TestLookingForCredentialsInAPathAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	for _, path := range []string{"/orders/42", "/a.b.c/" + strings.Repeat("x", 100), "/caf%C3%A9/a.b.c.d-e_f", "/wk/hawk_list", "/cursor/eyJpZCI6MTAsInBhZ2UiOjJ9.json"} {
		p := []byte(path)
		if n := testing.AllocsPerRun(100, func() { events.RedactPath(p, nil) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// Whatever stands before and after, and however it is escaped.
func FuzzRedactPath(f *testing.F) {
	f.Add("/orders/", "/42", uint8(0))
	f.Add("/a.b-c%2F", "?", uint8(1))
	f.Add("/%", "%2", uint8(2))
	f.Add("/x;y=", ".z", uint8(7))
	f.Fuzz(func(t *testing.T, before, after string, escapes uint8) {
		if strings.Contains(before+after, "canary") || len(before) > 1000 {
			return
		}
		alloc := func(n int) []byte { return make([]byte, n) }
		once, _ := events.RedactPath([]byte(before), alloc)
		if twice, found := events.RedactPath(once, alloc); found {
			t.Errorf("%q: %q became %q", before, once, twice)
		}
		for _, credential := range []string{jwt, "wk_canary"} {
			for i := range escapes % 4 { // the credential's letters, then its percent signs again
				if i == 0 {
					credential = strings.NewReplacer("e", "%65", "k", "%6B", "_", "%5f", ".", "%2E").Replace(credential)
				} else {
					credential = strings.ReplaceAll(credential, "%", "%25")
				}
			}
			got, found := events.RedactPath([]byte(before+"/"+credential+after), alloc)
			if !found || strings.Contains(string(got), "canary") || len(got) > 2048+len("…") {
				t.Errorf("%q between %q and %q: %q", credential, before, after, got)
			}
		}
	})
}

// Secrets, canaries: in every credential slot of a request, never in what it
// leaves behind.
func TestNoCredentialIsLeftBehind(t *testing.T) {
	t.Parallel()
	x := refused()
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "DPoP", "Referer", "X-Amz-Security-Token", "X-Forwarded-Client-Cert"} {
		field(x, name, "canary-"+name)
	}
	x.Req.Target = []byte("/orders/42?access_token=canary-target")
	x.Req.Authority = []byte("canary@api.example.com")
	x.Req.Path = []byte("/orders/" + jwt + "/wk_canary/%2577k_canary")
	x.Trail.Begin(0)
	x.Trail.Saw("path", string(x.Req.Path))
	x.Trail.End(exchange.Refused, fault.ScopeMissing)
	x.Req.Query = []byte("access_token=canary-q&code=canary-q&x=eyJcanary.canary.canary")
	rec := events.NewRecorder(telemetry.NewMetrics("test", []telemetry.Code{{Name: "internal_error", Status: 500}}))
	var log bytes.Buffer
	rec.Redirect(&log)
	rec.Record(x, legend, fault.ScopeMissing, 0)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	r, ok := rec.Last()
	if !ok || log.Len() == 0 {
		t.Fatal("nothing was recorded")
	}
	if want := "/orders/[redacted]/[redacted]/[redacted]"; string(r.Path) != want {
		t.Errorf("path %q, want %q", r.Path, want)
	}
	explained, _ := json.Marshal(events.Explain(r))
	madeUp := events.Capture(x, legend, fault.ScopeMissing, 0)
	explainedAtOnce, _ := json.Marshal(events.Explain(&madeUp))
	if !strings.Contains(string(explained), "path /orders/[redacted]/") {
		t.Errorf("the explanation does not say which path: %s", explained)
	}
	for name, text := range map[string]string{"explanation at once": string(explainedAtOnce), "access log": log.String(), "ring": fmt.Sprintf("%+v %s %s %+v", *r, r.Query, r.Path, *r.Identity), "explanation": string(explained)} {
		if strings.Contains(text, "canary") {
			t.Errorf("the %s holds a credential: %s", name, text)
		}
	}
}
