package admin_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/events"
)

const token = "wat_0123456789012345678901234567890123456789012"

// oracle is an Explainer that answers what it was asked.
type oracle struct{ asked []admin.Question }

func (o *oracle) Past(id string) (*events.Explanation, error) {
	switch id {
	case "gone":
		return nil, fmt.Errorf("request %w", admin.ErrNotFound)
	case "odd":
		return nil, errors.New("that is no id")
	}
	return &events.Explanation{ID: id}, nil
}

func (o *oracle) Judge(q admin.Question) (*events.Explanation, error) {
	o.asked = append(o.asked, q)
	return &events.Explanation{Method: q.Method}, nil
}

func (o *oracle) Route(name string) (any, error) {
	if name == "gone" {
		return nil, fmt.Errorf("route %w", admin.ErrNotFound)
	}
	return map[string]string{"name": name}, nil
}

func config(change ...func(*admin.Config)) admin.Config {
	c := admin.Config{
		Address: "127.0.0.1:8901", TokenDigest: sha256.Sum256([]byte(token)),
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "warder_x 1\n") }),
		MetricsOpen: func() bool { return false },
		Ready:       func() (string, bool) { return "ready", true },
		Status:      func() control.Status { return control.Status{File: "warder.yaml", Error: "why"} },
		Explainer:   &oracle{},
		Log:         slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

type call struct {
	method, path, body string
	change             func(*http.Request)
}

// do sends a call as an operator would send it, before change.
func do(h http.Handler, c call) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, "http://127.0.0.1:8901/", strings.NewReader(c.body))
	path, query, _ := strings.Cut(c.path, "?")
	r.URL.Opaque, r.URL.RawQuery, r.RequestURI = "", query, c.path
	u, err := r.URL.Parse("http://127.0.0.1:8901/x")
	if err != nil {
		panic(err)
	}
	u.Path, u.RawPath = unescape(path), path
	r.URL = u
	r.Header.Set("Authorization", "Bearer "+token)
	if c.method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.change != nil {
		c.change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func unescape(path string) string {
	return strings.NewReplacer("%2F", "/", "%2f", "/", "%20", " ", "%2A", "*").Replace(path)
}

func code(w *httptest.ResponseRecorder) string {
	var p struct {
		Status int
		Code   string
	}
	json.Unmarshal(w.Body.Bytes(), &p)
	if p.Code == "" {
		return fmt.Sprint(w.Code)
	}
	if p.Status != w.Code {
		return fmt.Sprintf("%d, but the page says %d", w.Code, p.Status)
	}
	return fmt.Sprint(w.Code, " ", p.Code)
}

// sample returns a call that an endpoint answers with 200.
func sample(pattern string) call {
	method, path, _ := strings.Cut(pattern, " ")
	c := call{method: method, path: strings.NewReplacer("{id}", "last", "{name...}", "GET%20%2Forders%2F%2A%2A").Replace(path)}
	if method == "POST" {
		c.body = `{"method":"GET","url":"http://x/"}`
	}
	return c
}

// open are the endpoints that need no token: health, and nothing else.
var open = []string{"GET /livez", "GET /readyz"}

func withoutToken(r *http.Request) { r.Header.Del("Authorization") }

func TestEveryEndpointButHealthNeedsTheToken(t *testing.T) {
	t.Parallel()
	h := admin.Handler(config())
	if len(admin.Endpoints()) < 7 {
		t.Fatal("where are the endpoints?")
	}
	for _, pattern := range admin.Endpoints() {
		c := sample(pattern)
		if w := do(h, c); w.Code != 200 {
			t.Errorf("%s with the token: %s", pattern, code(w))
		}
		for what, change := range map[string]func(*http.Request){
			"no token":       withoutToken,
			"an empty token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
			"no scheme":      func(r *http.Request) { r.Header.Set("Authorization", token) },
			"another scheme": func(r *http.Request) { r.Header.Set("Authorization", "Basic "+token) },
			"another token":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token[:len(token)-1]+"3") },
			"a cut token":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token[:len(token)-1]) },
			"a longer token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"0") },
			"another case":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.ToUpper(token)) },
			"its digest": func(r *http.Request) {
				r.Header.Set("Authorization", fmt.Sprintf("Bearer %x", sha256.Sum256([]byte(token))))
			},
			"two fields":      func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) },
			"in the query":    func(r *http.Request) { withoutToken(r); r.URL.RawQuery = "access_token=" + token },
			"in a cookie":     func(r *http.Request) { withoutToken(r); r.Header.Set("Cookie", "token="+token) },
			"another field":   func(r *http.Request) { withoutToken(r); r.Header.Set("X-Api-Key", token) },
			"a space more":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer  "+token) },
			"a list of it":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+", Bearer "+token) },
			"an empty field":  func(r *http.Request) { r.Header["Authorization"] = []string{""} },
			"only the scheme": func(r *http.Request) { r.Header.Set("Authorization", "Bearer") },
		} {
			c.change = change
			w := do(h, c)
			if slices.Contains(open, pattern) {
				if w.Code != 200 {
					t.Errorf("%s with %s: %s, but it is open", pattern, what, code(w))
				}
				continue
			}
			if code(w) != "401 credential_missing" || w.Header().Get("WWW-Authenticate") != `Bearer realm="warder admin"` {
				t.Errorf("%s with %s: %s", pattern, what, code(w))
			}
		}
		c.change = func(r *http.Request) { r.Header.Set("Authorization", "bEARER "+token) }
		if w := do(h, c); w.Code != 200 {
			t.Errorf("%s with the scheme in another case: %s", pattern, code(w))
		}
	}
}

func TestNobodyIsAnOperatorWithoutADigest(t *testing.T) {
	t.Parallel()
	h := admin.Handler(config(func(c *admin.Config) { c.TokenDigest = [32]byte{} }))
	for _, value := range []string{"Bearer " + token, "Bearer ", "Bearer x", ""} {
		w := do(h, call{method: "GET", path: "/v1/status", change: func(r *http.Request) { r.Header.Set("Authorization", value) }})
		if w.Code != 401 {
			t.Errorf("%q: %s", value, code(w))
		}
	}
}

func TestWithoutATokenNobodyLearnsWhatExists(t *testing.T) {
	t.Parallel()
	h := admin.Handler(config())
	unknown := do(h, call{method: "GET", path: "/nothing/here", change: withoutToken})
	for _, c := range []call{
		{method: "GET", path: "/"}, {method: "GET", path: "/v1/"}, {method: "GET", path: "/v2/status"}, {method: "GET", path: "/v1/status"},
		{method: "GET", path: "//v1/status"}, {method: "GET", path: "/v1//status"}, {method: "GET", path: "/v1/./status"}, {method: "GET", path: "/x/../v1/status"},
		{method: "GET", path: "/v1/status/"}, {method: "POST", path: "/v1/status"}, {method: "DELETE", path: "/v1/status"}, {method: "OPTIONS", path: "/v1/status"},
		{method: "GET", path: "/v1/explain"}, {method: "GET", path: "/v1/requests/"}, {method: "GET", path: "/v1/routes"}, {method: "GET", path: "/debug/pprof/"},
		{method: "CONNECT", path: "/v1/status"}, {method: "TRACE", path: "/v1/status"}, {method: "GET", path: "/x/../livez"}, {method: "POST", path: "/livez"},
	} {
		c.change = withoutToken
		w := do(h, c)
		if w.Code != 401 || w.Body.String() != unknown.Body.String() || fmt.Sprint(w.Header()) != fmt.Sprint(unknown.Header()) {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, w.Code, w.Header(), w.Body)
		}
	}
	for _, c := range []struct {
		call
		want int
	}{
		{call{method: "GET", path: "/nothing"}, 404}, {call{method: "DELETE", path: "/v1/status"}, 405}, {call{method: "GET", path: "//v1/status"}, 307},
	} {
		if c.method == "DELETE" {
			c.change = func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
		}
		if w := do(h, c.call); w.Code != c.want {
			t.Errorf("%s %s with the token: %d, want %d", c.method, c.path, w.Code, c.want)
		}
	}
}

func TestPagesOfOtherSitesReachNothing(t *testing.T) {
	t.Parallel()
	metricsOpen := admin.Handler(config(func(c *admin.Config) { c.MetricsOpen = func() bool { return true } }))
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(value string) func(*http.Request) { return func(r *http.Request) { r.Host = value } }
	for _, c := range []struct {
		what   string
		change func(*http.Request)
		want   string
	}{
		{"a name that was pointed here", host("evil.example:8901"), "421 host_unknown"},
		{"a name like ours", host("127.0.0.1.evil.example"), "421 host_unknown"},
		{"a name like localhost", host("localhost.evil.example:8901"), "421 host_unknown"},
		{"an address that is not ours", host("192.0.2.1:8901"), "421 host_unknown"},
		{"no name", host(""), "421 host_unknown"},
		{"another site", set("Sec-Fetch-Site", "cross-site"), "403 cross_site"},
		{"a site beside ours", set("Sec-Fetch-Site", "same-site"), "403 cross_site"},
		{"another origin", set("Origin", "https://evil.example"), "403 cross_site"},
		{"no origin to speak of", set("Origin", "null"), "403 cross_site"},
		{"another port of ours", set("Origin", "http://127.0.0.1:8080"), "403 cross_site"},
		{"our own origin", set("Origin", "http://127.0.0.1:8901"), "200"},
		{"our own site", set("Sec-Fetch-Site", "same-origin"), "200"},
		{"typed by hand", set("Sec-Fetch-Site", "none"), "200"},
		{"localhost", host("localhost:8901"), "200"},
		{"LOCALHOST", host("LOCALHOST"), "200"},
		{"IPv6", host("[::1]:8901"), "200"},
		{"IPv4 in IPv6", host("[::ffff:127.0.0.1]"), "200"},
	} {
		for _, at := range []struct {
			h http.Handler
			call
		}{
			{admin.Handler(config()), sample("GET /v1/status")},
			{admin.Handler(config()), sample("POST /v1/explain")},
			{metricsOpen, call{method: "GET", path: "/metrics", change: withoutToken}},
		} {
			before := at.change
			at.change = func(r *http.Request) {
				if before != nil {
					before(r)
				}
				c.change(r)
			}
			if got := code(do(at.h, at.call)); got != c.want {
				t.Errorf("%s at %s: %s, want %s", c.what, at.path, got, c.want)
			}
		}
	}
}

func TestOnlyJSONIsWritten(t *testing.T) {
	t.Parallel()
	h := admin.Handler(config())
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "text/json", "application/json,text/plain"} {
		c := sample("POST /v1/explain")
		c.change = func(r *http.Request) { r.Header.Set("Content-Type", media) }
		if got := code(do(h, c)); got != "415 media_type_unsupported" {
			t.Errorf("%q: %s", media, got)
		}
	}
	c := sample("POST /v1/explain")
	c.change = func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }
	if got := code(do(h, c)); got != "200" {
		t.Errorf("with a charset: %s", got)
	}
}

func TestAQuestionIsReadStrictlyAndHandedOnAsItIs(t *testing.T) {
	t.Parallel()
	o := &oracle{}
	h := admin.Handler(config(func(c *admin.Config) { c.Explainer = o }))
	for _, body := range []string{"", "{", "[]", `"x"`, `{"metod":"GET"}`, `{"method":1}`, `{"method":"GET"} {}`, `{"method":"GET"}x`, `{"url":"` + strings.Repeat("x", 70_000) + `"}`} {
		if got := code(do(h, call{method: "POST", path: "/v1/explain", body: body})); got != "400 body_invalid" {
			t.Errorf("%.40q: %s", body, got)
		}
	}
	if len(o.asked) > 0 {
		t.Fatalf("judged: %v", o.asked)
	}
	// What is malformed about the request itself is for the judge to say.
	for _, url := range []string{"http://x/%zz", "http://x/ y", "::", ""} {
		body, _ := json.Marshal(admin.Question{Method: "GET", URL: url, Headers: []string{"A: b"}, Client: "192.0.2.1"})
		if w := do(h, call{method: "POST", path: "/v1/explain", body: string(body)}); w.Code != 200 || o.asked[len(o.asked)-1].URL != url {
			t.Errorf("%q: %s", url, code(w))
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	h := admin.Handler(config())
	for _, c := range []struct {
		call
		want, says, media string
	}{
		{call{method: "GET", path: "/v1/status"}, "200", `"error":"why"`, "application/json"},
		{call{method: "GET", path: "/v1/requests/last"}, "200", `"id":"last"`, "application/json"},
		{call{method: "GET", path: "/v1/requests/gone"}, "404 not_found", "request not found", "application/problem+json"},
		{call{method: "GET", path: "/v1/requests/odd"}, "400 request_invalid", "that is no id", "application/problem+json"},
		{call{method: "GET", path: "/v1/routes/read-orders"}, "200", `"name":"read-orders"`, "application/json"},
		{call{method: "GET", path: "/v1/routes/GET%20%2Forders%2F%2A%2A"}, "200", `"name":"GET /orders/**"`, "application/json"},
		{call{method: "GET", path: "/v1/routes/gone"}, "404 not_found", "route not found", "application/problem+json"},
		{call{method: "GET", path: "/metrics"}, "200", "warder_x 1", ""},
		{call{method: "GET", path: "/livez"}, "200", "ok\n", "text/plain; charset=utf-8"},
		{call{method: "GET", path: "/readyz"}, "200", "ready\n", "text/plain; charset=utf-8"},
		{call{method: "HEAD", path: "/v1/status"}, "200", "", "application/json"},
	} {
		w := do(h, c.call)
		if code(w) != c.want || !strings.Contains(w.Body.String(), c.says) || c.media != "" && w.Header().Get("Content-Type") != c.media {
			t.Errorf("%s %s: %s %v %s", c.method, c.path, code(w), w.Header(), w.Body)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"} {
			if w.Header().Get(name) != want {
				t.Errorf("%s: %s is %q", c.path, name, w.Header().Get(name))
			}
		}
	}
}

func TestHealthIsTwoWordsAndNothingElse(t *testing.T) {
	t.Parallel()
	word, ok := "degraded", true
	h := admin.Health(func() (string, bool) { return word, ok })
	anywhere := func(r *http.Request) { withoutToken(r); r.Host = "warder.prod.example" }
	for path, want := range map[string]string{"/livez": "200", "/readyz": "200", "/metrics": "401 credential_missing", "/v1/status": "401 credential_missing", "/": "401 credential_missing"} {
		if got := code(do(h, call{method: "GET", path: path, change: anywhere})); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if got := code(do(h, call{method: "GET", path: path})); strings.HasPrefix(got, "200") != strings.HasPrefix(want, "200") {
			t.Errorf("%s with some token: %s", path, got)
		}
	}
	if w := do(h, call{method: "GET", path: "/readyz", change: anywhere}); w.Body.String() != "degraded\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	word, ok = "not ready", false
	if w := do(h, call{method: "GET", path: "/readyz", change: anywhere}); w.Code != 503 || w.Body.String() != "not ready\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(h, call{method: "GET", path: "/livez", change: anywhere}); w.Code != 200 {
		t.Errorf("not ready, but alive: %d", w.Code)
	}
}

func TestTheServerIsBounded(t *testing.T) {
	t.Parallel()
	s := admin.Server(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 || s.ReadTimeout > time.Minute {
		t.Errorf("%+v", s)
	}
}
