package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// operator asks the admin surface and decodes a good answer into out.
func (r *running) operator(t *testing.T, method, path string, body, out any) int {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, r.admin+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	resp, answer := r.do(t, req)
	if resp.StatusCode == 200 && out != nil {
		if err := json.Unmarshal([]byte(answer), out); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
	}
	return resp.StatusCode
}

// recorded waits for the record of a response: it is written after the
// response is sent.
func (r *running) recorded(t *testing.T, resp *http.Response) {
	t.Helper()
	deadline := time.After(generous)
	for r.operator(t, "GET", "/v1/requests/"+resp.Header.Get("X-Request-Id"), nil, nil) != 200 {
		select {
		case <-deadline:
			t.Fatal("the request was never recorded")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// explained returns a one-line summary of what explain says.
func explained(e *events.Explanation) string {
	s := fmt.Sprint(e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	for _, step := range e.Steps {
		s += ", " + step.Outcome + " " + step.Phase
	}
	return s
}

func limitedByKey(t *testing.T) (r *running, key string) {
	t.Helper()
	key = apikey.Generate()
	return serve(t, "upstreams: { b: ["+reflector(t)+"] }\nconsumers: { acme: { apiKeys: [{ hash: \""+apikey.Hash(key)+"\" }] } }\n"+
		"routes: [{ name: orders, path: /orders/**, upstream: b, auth: { apiKey: true }, rateLimit: [3/hour per consumer, 100/min per ip] }, { path: /open, upstream: b, auth: none }]\n", ""), key
}

func TestExplainOfThePast(t *testing.T) {
	r, key := limitedByKey(t)
	var e events.Explanation
	if status := r.operator(t, "GET", "/v1/requests/last", nil, &e); status != 404 {
		t.Errorf("before the first request: %d", status)
	}
	good, _ := r.do(t, request(t, "GET", r.url+"/orders/1?token=canary", "X-Api-Key", key))
	bad, _ := r.do(t, request(t, "GET", r.url+"/orders/2", "X-Api-Key", apikey.Generate()))
	r.recorded(t, good)
	r.recorded(t, bad)
	for _, c := range []struct{ id, path, want string }{
		{good.Header.Get("X-Request-Id"), "/orders/1", "200, ok route, ok limit, ok authenticate, ok limit"},
		{bad.Header.Get("X-Request-Id"), "/orders/2", "401 key_unknown, ok route, ok limit, NO authenticate"},
		{"last", "/orders/2", "401 key_unknown, ok route, ok limit, NO authenticate"},
	} {
		e = events.Explanation{}
		if status := r.operator(t, "GET", "/v1/requests/"+c.id, nil, &e); status != 200 || explained(&e) != c.want || e.Path != c.path || e.MadeUp || e.Route != "orders" || e.Client != "127.0.0.1" {
			t.Errorf("%s: %d, %s, %+v", c.id, status, explained(&e), e)
		}
		if b, _ := json.Marshal(e); bytes.Contains(b, []byte(key)) || bytes.Contains(b, []byte("canary")) {
			t.Errorf("a credential is told: %s", b)
		}
	}
	if e.Public != "key_invalid" || e.Mend == "" {
		t.Errorf("%+v", e)
	}
	for id, want := range map[string]int{strings.Repeat("0", 32): 404, "x": 400, "LAST": 400} {
		if status := r.operator(t, "GET", "/v1/requests/"+id, nil, nil); status != want {
			t.Errorf("%s: %d, want %d", id, status, want)
		}
	}
}

func TestExplainJudgesLikeServingAndChargesNothing(t *testing.T) {
	r, key := limitedByKey(t)
	ask := func(q admin.Question) (e events.Explanation) {
		t.Helper()
		if status := r.operator(t, "POST", "/v1/explain", q, &e); status != 200 || !e.MadeUp || e.ID != "" {
			t.Errorf("%+v: %d %+v", q, status, e)
		}
		return e
	}
	for _, c := range []struct{ method, target, key string }{
		{"GET", "/orders/1", ""}, {"GET", "/orders/1", "nonsense"}, {"GET", "/nowhere", ""}, {"PUT", "/open", ""}, {"TRACE", "/open", ""}, {"BREW", "/open", ""}, {"G@T", "/open", ""},
		{"GET", "/orders/../open", ""}, {"GET", "/orders%2f1", ""}, {"GET", "/%zz", ""}, {"GET", "/ORDERS/1", ""}, {"GET", "/open#x", ""},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		field := ""
		var headers []string
		if c.key != "" {
			field, headers = "X-Api-Key: "+c.key+"\r\n", []string{"X-Api-Key: " + c.key}
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%sConnection: close\r\n\r\n", c.method, c.target, field)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		e := ask(admin.Question{Method: c.method, URL: "http://x" + c.target, Headers: headers})
		want := fmt.Sprintf(`"status":%d,"code":"%s"`, e.Status, e.Public)
		if e.Code == "" {
			want = "HTTP/1.1 200"
		}
		if !strings.Contains(string(answer), want) {
			t.Errorf("%s %s is explained as %d %s, but served as\n%s", c.method, c.target, e.Status, e.Code, answer)
		}
	}
	good := admin.Question{Method: "GET", URL: "https://x/orders/1", Headers: []string{"X-Api-Key: " + key}, Client: "203.0.113.9"}
	for range 20 {
		if e := ask(good); explained(&e) != "0, ok route, ok limit, ok authenticate, ok limit" || e.Client != "203.0.113.9" {
			t.Fatalf("%s %+v", explained(&e), e)
		}
	}
	for i := range 4 {
		resp, _ := r.do(t, request(t, "GET", r.url+"/orders/1", "X-Api-Key", key))
		if want := map[bool]int{true: 200, false: 429}[i < 3]; resp.StatusCode != want {
			t.Errorf("call %d: %d, want %d", i+1, resp.StatusCode, want)
		}
		r.recorded(t, resp)
	}
	if e := ask(good); e.Code != "rate_limited" {
		t.Errorf("explained after the limit is used up: %+v", e)
	}
	// Nothing of it was recorded.
	var last events.Explanation
	if r.operator(t, "GET", "/v1/requests/last", nil, &last); last.MadeUp || last.Code != "rate_limited" || last.ID == "" {
		t.Errorf("last is %+v", last)
	}
	for _, q := range []admin.Question{{Method: "GET", URL: "/orders"}, {Method: "GET", URL: "http://x/", Headers: []string{"no colon"}}, {Method: "GET", URL: "http://x/", Client: "nobody"}} {
		if status := r.operator(t, "POST", "/v1/explain", q, nil); status != 400 {
			t.Errorf("%+v: %d", q, status)
		}
	}
}

func TestExplainOfARoute(t *testing.T) {
	r, _ := limitedByKey(t)
	var d app.RouteDetail
	if status := r.operator(t, "GET", "/v1/routes/orders", nil, &d); status != 200 || d.Path != "/orders/**" || d.Upstream != "b" || len(d.Checks) != 2 || len(d.Bounds) != 5 {
		t.Errorf("%d %+v", status, d)
	}
	if d.Checks[0].Name != "limit" || d.Checks[1].Name != "authenticate" || !strings.HasSuffix(d.Checks[1].Value, "(from route)") {
		t.Errorf("%+v", d.Checks)
	}
	if status := r.operator(t, "GET", "/v1/routes/%2Fopen", nil, &d); status != 200 || d.Path != "/open" {
		t.Errorf("a route without a name: %d %+v", status, d)
	}
	if status := r.operator(t, "GET", "/v1/routes/nowhere", nil, nil); status != 404 {
		t.Errorf("an unknown one: %d", status)
	}
}

// A start that fails leaves nothing behind: the leak check of this package
// sees to goroutines, this test to addresses.
func TestAStartThatFailsLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	free := ""
	for free == "" { // below the ports that the system gives to others meanwhile
		if spare, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))); err == nil {
			free = spare.Addr().String()
			spare.Close()
		}
	}
	const rest = "upstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ path: /x, upstream: b, auth: none }]\n"
	for _, c := range []struct{ what, config, want string }{
		{"a busy listener", fmt.Sprintf("listeners: [{ name: pub, address: %q }]\nadmin: { address: %q }\n", busy, free) + rest,
			"listener pub: address " + busy + " is in use by another program; stop it or choose another address"},
		{"a busy admin address", fmt.Sprintf("listeners: [{ address: %q }]\nadmin: { address: %q }\n", free, busy) + rest,
			"admin: address " + busy + " is in use by another program; stop it or choose another address"},
		{"a busy health address", fmt.Sprintf("listeners: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: %q }\nhealth: { address: %q }\n", free, busy) + rest,
			"health: address " + busy + " is in use by another program; stop it or choose another address"},
		{"a log that cannot be opened", fmt.Sprintf("listeners: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: %q }\nlog: { access: { to: { file: none/access.log } } }\n", free) + rest,
			"log.access.to[0]: cannot open the access log"},
		{"a broken document", "routes: [", "this is not YAML"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "warder.yaml")
		if err := os.WriteFile(path, []byte(c.config), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, log buffer
		err := app.Run(app.Options{Config: path, State: filepath.Join(dir, "state"), Stdout: &out, Stderr: &log, Version: "test", Started: func(app.Running) { t.Error("started") }}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
		if strings.HasSuffix(c.want, "address") && err.Error() != c.want {
			t.Errorf("%s: more than a sentence: %v", c.what, err)
		}
		if ln, err := net.Listen("tcp", free); err != nil {
			t.Errorf("%s: the free address is held: %v", c.what, err)
		} else {
			ln.Close()
		}
		if out.String()+log.String() != "" {
			t.Errorf("%s: wrote %s%s", c.what, out.String(), log.String())
		}
	}
}

func TestExplainBehindProxies(t *testing.T) {
	key := apikey.Generate()
	routes := "upstreams: { b: [" + reflector(t) + "] }\nconsumers: { acme: { apiKeys: [{ hash: \"" + apikey.Hash(key) + "\" }] } }\n" +
		"routes: [{ path: /orders, upstream: b, auth: { apiKey: true }, rateLimit: 1/hour per ip }]\n"
	for _, c := range []struct{ words, url, want string }{
		{", tls: none", "https://local/orders", "403 transport_insecure, ok route, NO transport"},
		{", tls: none, trustedProxies: 10.0.0.5/32", "https://local/orders", "401 credential_missing, ok route, ok limit, NO authenticate"},
		{", tls: none, trustedProxies: 10.0.0.5/32", "http://local/orders", "403 transport_insecure, ok route, NO transport"},
	} {
		r := serveAt(t, "0.0.0.0:0", routes, c.words)
		var e events.Explanation
		if status := r.operator(t, "POST", "/v1/explain", admin.Question{Method: "GET", URL: c.url, Client: "203.0.113.9"}, &e); status != 200 || explained(&e) != c.want {
			t.Errorf("%s, %s: %d %s, want %s", c.words, c.url, status, explained(&e), c.want)
		}
	}
}

func TestTheApplicationLogWarnsOfWhatAListenerBelieves(t *testing.T) {
	r := serveAt(t, "0.0.0.0:0", "upstreams: { b: ["+reflector(t)+"] }\nroutes: [{ path: /open, upstream: b, auth: none }]\n", ", tls: none, trustedProxies: [10.0.0.0/8, 10.0.0.5/32]")
	for _, want := range []string{"only where a trusted proxy says https", "10.0.0.0/8"} {
		if !strings.Contains(r.errors.String(), want) {
			t.Errorf("the application log does not say %q:\n%s", want, r.errors)
		}
	}
	if strings.Contains(r.errors.String(), "range=10.0.0.5/32") {
		t.Errorf("one address is no wide range:\n%s", r.errors)
	}
}
