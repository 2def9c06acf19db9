package app_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(storetest.Exit))
}

// generous is how long tests wait for what comes at once: a busy machine makes
// them slow and never red.
const generous = time.Minute

// eventually waits until something holds, as long as is generous; otherwise the
// rest says what is wrong. Logs are handed in as they are, so that they are read
// then.
func eventually(t testing.TB, holds func() bool, otherwise string, args ...any) {
	t.Helper()
	for over := time.Now().Add(generous); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatalf(otherwise, args...)
		}
	}
}

// running is a gateway in this process, on real sockets.
type running struct {
	url, admin, token string
	address           string // where url is not
	config            string
	log, errors       *buffer
	client            *http.Client
}

// buffer is what a gateway wrote. Safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve runs a gateway until the test ends. config names no listener; extra
// is what stands in the one listener beside its address.
func serve(t *testing.T, config, extra string) *running {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", config, extra)
}

// serveAt is serve with another address of the listener.
func serveAt(t *testing.T, address, config, extra string) *running {
	t.Helper()
	return serveFrom(t, filepath.Join(t.TempDir(), "state"), address, config, extra)
}

// serveFrom is serveAt with a state folder that others may have, too.
func serveFrom(t *testing.T, state, address, config, extra string) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{config: filepath.Join(dir, "warder.yaml"), log: &buffer{}, errors: &buffer{}}
	frame := fmt.Sprintf("listeners: [{ name: test, address: %q%s }]\nadmin: { address: \"127.0.0.1:0\" }\ndrain: { delay: 0s, limit: 5s }\n", address, extra)
	if err := os.WriteFile(r.config, []byte(frame+config), 0o600); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	started, ended := make(chan app.Running, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(app.Options{
			Config: r.config, State: state, Stdout: r.log, Stderr: r.errors, Version: "test",
			AskWithin: generous,
			Started:   func(at app.Running) { started <- at },
		}, signals)
	}()
	select {
	case at := <-started:
		scheme := "http://"
		if strings.Contains(extra, "certFile") {
			scheme = "https://"
		}
		r.url, r.admin = scheme+at.Gateway["test"], "http://"+at.Admin
	case err := <-ended:
		t.Fatalf("the gateway did not start: %v", err)
	}
	token, err := os.ReadFile(filepath.Join(state, app.TokenFile))
	if err != nil {
		t.Fatal(err)
	}
	r.token = strings.TrimSpace(string(token))
	transport := &http.Transport{}
	r.client = &http.Client{Transport: transport, Timeout: generous}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		signals <- syscall.SIGTERM
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
	return r
}

// do sends a request and returns the response with its body read.
func (r *running) do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func request(t *testing.T, method, url string, fields ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// reflector is a backend that answers with the request it got.
func reflector(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(reflection{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

type reflection struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
}

func reflected(t *testing.T, body string) (r reflection) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("no reflection: %v: %s", err, body)
	}
	return r
}

// certificate makes a pair of files for 127.0.0.1 and returns the listener's
// words for them and a pool that trusts them.
func certificate(t *testing.T) (words string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	crt, pem1 := filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyFile, pem2 := filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for path, content := range map[string][]byte{crt: pem1, keyFile: pem2} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(pem1)
	return fmt.Sprintf(`, tls: { certificates: [{ certFile: %q, keyFile: %q }] }`, crt, keyFile), trust
}

func TestPublicRouteProxies(t *testing.T) {
	r := serve(t, "upstreams: { b: ["+reflector(t)+"] }\nroutes: [{ path: /x/**, upstream: b, auth: none }]\n", "")
	resp, body := r.do(t, request(t, "GET", r.url+"/x/a%2Db?q=%41&r"))
	if resp.StatusCode != 200 {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	got := reflected(t, body)
	if got.URI != "/x/a-b?q=%41&r" {
		t.Errorf("the backend saw %s; the path goes on in normal form, the query as it came", got.URI)
	}
	if id := resp.Header.Get("X-Request-Id"); len(id) != 32 || got.Header.Get("X-Request-Id") != id {
		t.Errorf("request id %q to the caller, %q to the backend", id, got.Header.Get("X-Request-Id"))
	}
}

func TestBackendNeverSeesWhatClientSaysOfItself(t *testing.T) {
	r := serve(t, "upstreams: { b: ["+reflector(t)+"] }\nroutes: [{ name: open, path: /**, upstream: b, auth: none }, { path: /pass, upstream: b, auth: none, pass: [x-original-url] }]\n", "")
	spoofed := []string{
		"X-Forwarded-For", "X-FORWARDED-HOST", "x-forwarded-proto", "X-Forwarded-Client-Cert", "X.Forwarded.For", "Forwarded",
		"X-Real-IP", "True-Client-Ip", "Client-Cert", "Client-Cert-Chain", "X-Original-Url", "X-Rewrite-Url", "X-Envoy-External-Address",
		"X-Http-Method-Override", "X-Method-Override", "X_Forwarded_For", "X-Client-Cert", "Traceparent", "Tracestate", "X-Request-Id",
		"Authorization", "X-Api-Key", "Proxy-Authorization",
	}
	req := request(t, "GET", r.url+"/")
	for _, name := range spoofed {
		req.Header[name] = []string{"spoofed"}
	}
	req.Header.Set("Connection", "X-Extra")
	req.Header.Set("X-Extra", "spoofed")
	_, body := r.do(t, req)
	if strings.Contains(body, "spoofed") {
		t.Errorf("the backend saw a field that the client may not send: %s", body)
	}
	got := reflected(t, body)
	if v := got.Header.Values("X-Forwarded-For"); len(v) != 1 || v[0] != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", v)
	}
	if _, body := r.do(t, request(t, "GET", r.url+"/pass", "X-Original-Url", "meant")); !strings.Contains(body, "meant") {
		t.Error("a field listed under pass did not go on")
	}
}

func TestRefusalPage(t *testing.T) {
	r := serve(t, "upstreams: { b: ["+reflector(t)+"] }\nconsumers: { c: { apiKeys: [{ hash: \""+apikey.Hash(apikey.Generate())+"\" }] } }\nroutes: [{ path: /k, methods: [GET], upstream: b, auth: { apiKey: true } }]\n", "")
	for _, c := range []struct{ name, accept, want, reads string }{
		{"JSON when nothing is said", "", "application/problem+json", `"code":"credential_missing"`},
		{"JSON for a browser, which accepts anything", "text/html,*/*;q=0.8", "application/problem+json", `"code":"credential_missing"`},
		{"HTML when only HTML is accepted", "text/html", "text/html; charset=utf-8", "credential_missing"},
		{"text when only text is accepted", "text/plain", "text/plain; charset=utf-8", "credential_missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := request(t, "GET", r.url+"/k")
			if c.accept != "" {
				req.Header.Set("Accept", c.accept)
			}
			resp, body := r.do(t, req)
			if resp.StatusCode != 401 || resp.Header.Get("Content-Type") != c.want || !strings.Contains(body, c.reads) {
				t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Www-Authenticate": `ApiKey header="x-api-key"`} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if !strings.Contains(body, resp.Header.Get("X-Request-Id")) {
				t.Errorf("the page does not name the request: %s", body)
			}
		})
	}
	resp, _ := r.do(t, request(t, "POST", r.url+"/k"))
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("wrong method: %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	if resp, body := r.do(t, request(t, "HEAD", r.url+"/k")); resp.StatusCode != 401 || body != "" || resp.ContentLength <= 0 {
		t.Errorf("HEAD: %d, %d bytes, length %d", resp.StatusCode, len(body), resp.ContentLength)
	}
}

// Unknown and expired keys must not be told apart by a caller.
func TestPublicRefusalsOfKeysAreAlike(t *testing.T) {
	expired, unknown := apikey.Generate(), apikey.Generate()
	r := serve(t, "upstreams: { b: ["+reflector(t)+"] }\nconsumers: { c: { apiKeys: [{ hash: \""+apikey.Hash(expired)+"\", expires: 2020-01-31 }] } }\nroutes: [{ path: /k, upstream: b, auth: { apiKey: true } }]\n", "")
	var pages []string
	for _, key := range []string{expired, unknown, "garbage"} {
		resp, body := r.do(t, request(t, "GET", r.url+"/k", "X-Api-Key", key))
		id := resp.Header.Get("X-Request-Id")
		resp.Header.Del("X-Request-Id")
		resp.Header.Del("Date")
		pages = append(pages, fmt.Sprint(resp.StatusCode, resp.Header, strings.ReplaceAll(body, id, "ID")))
	}
	if pages[0] != pages[1] || pages[1] != pages[2] {
		t.Errorf("pages differ:\n%s", strings.Join(pages, "\n"))
	}
}

func TestHTTP2GoesTheSameWay(t *testing.T) {
	words, trust := certificate(t)
	key := apikey.Generate()
	r := serve(t, "upstreams: { b: ["+reflector(t)+"] }\nconsumers: { c: { apiKeys: [{ hash: \""+apikey.Hash(key)+"\" }] } }\nroutes: [{ path: /k/**, upstream: b, auth: { apiKey: true }, body: { maxSize: 64KiB } }]\n", words)
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2], func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: h2}
			if !h2 {
				transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			defer transport.CloseIdleConnections()
			r.client = &http.Client{Transport: transport, Timeout: generous}
			resp, body := r.do(t, request(t, "GET", r.url+"/k/1?a=b", "X-Api-Key", key, "X-Forwarded-For", "6.6.6.6"))
			if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != h2 {
				t.Fatalf("%s %d: %s", resp.Proto, resp.StatusCode, body)
			}
			got := reflected(t, body)
			if got.URI != "/k/1?a=b" || got.Header.Get("X-Forwarded-Proto") != "https" || got.Header.Get("X-Api-Key") != "" || strings.Contains(body, "6.6.6.6") {
				t.Errorf("the backend saw %s", body)
			}
			sent := strings.Repeat("x", 32<<10)
			req, _ := http.NewRequest("POST", r.url+"/k/1", io.MultiReader(strings.NewReader(sent))) // no length
			req.Header.Set("X-Api-Key", key)
			if resp, body := r.do(t, req); resp.StatusCode != 200 || reflected(t, body).Body != sent {
				t.Errorf("a body without length: %d, %d bytes", resp.StatusCode, len(body))
			}
			for name, body := range map[string]io.Reader{
				"declared":   strings.NewReader(strings.Repeat("x", 65<<10)),
				"undeclared": io.MultiReader(strings.NewReader(strings.Repeat("x", 65<<10))),
			} {
				req, _ := http.NewRequest("POST", r.url+"/k/1", body)
				req.Header.Set("X-Api-Key", key)
				resp, page := r.do(t, req)
				if resp.StatusCode != 413 || !strings.Contains(page, "body_too_large") {
					t.Errorf("a body over body.maxSize, %s: %d %s", name, resp.StatusCode, page)
				}
			}
			for _, path := range []string{"/k/../x", "/k/%2e%2e/x", "/k//x", "/k/a%2Fb", "/k/a;b"} {
				req := request(t, "GET", r.url+"/", "X-Api-Key", key)
				req.URL.Opaque = path
				if h2 {
					req.URL.Opaque = "//" + req.URL.Host + path
				}
				resp, page := r.do(t, req)
				if resp.StatusCode != 400 || !strings.Contains(page, "path_not_normal") {
					t.Errorf("path %s: %d %s", path, resp.StatusCode, page)
				}
			}
			if resp, _ := r.do(t, request(t, "GET", r.url+"/k/1")); resp.StatusCode != 401 {
				t.Errorf("without a key: %d", resp.StatusCode)
			}
		})
	}
}

// A stream must reach the client as it comes, head first.
func TestStreamIsNotHeldBack(t *testing.T) {
	next := make(chan string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		for event := range next {
			io.WriteString(w, event)
			http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(srv.Close)
	r := serve(t, "upstreams: { b: ["+srv.URL+"] }\nroutes: [{ path: /s, upstream: b, auth: none }]\n", "")
	resp, err := r.client.Get(r.url + "/s") // returns with the head: no event was sent yet
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"data: one\n", "data: two\n"} {
		next <- want
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

func TestUpstreamFaults(t *testing.T) {
	garbage := rawServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
	cut := rawServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
	silent := rawServer(t, "")
	r := serve(t, fmt.Sprintf(`upstreams: { dead: ["http://127.0.0.1:1"], garbage: ["http://%s"], cut: ["http://%s"], silent: ["http://%s"] }
routes:
  - { path: /dead, upstream: dead, auth: none }
  - { path: /garbage, upstream: garbage, auth: none }
  - { path: /cut, upstream: cut, auth: none }
  - { path: /silent, upstream: silent, auth: none, timeout: { firstByte: 100ms } }
`, garbage, cut, silent), "")
	for path, want := range map[string]string{
		"/dead": "502 upstream_unavailable", "/garbage": "502 response_malformed", "/cut": "502 upstream_error", "/silent": "504 upstream_timeout",
	} {
		resp, body := r.do(t, request(t, "GET", r.url+path))
		var page struct{ Code string }
		json.Unmarshal([]byte(body), &page)
		if got := fmt.Sprint(resp.StatusCode, " ", page.Code); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// rawServer answers every request with the same bytes and closes; with no
// bytes it keeps silent until the test ends.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	over := make(chan struct{})
	t.Cleanup(func() { ln.Close(); close(over); open.Wait() })
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				if answer == "" {
					<-over
					return
				}
				io.WriteString(c, answer)
			})
		}
	})
	return ln.Addr().String()
}

// A target that leads back here is found out at the first return.
func TestLoopDetected(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	r := serveAt(t, address, "upstreams: { me: [http://"+address+"] }\nroutes: [{ path: /x, upstream: me, auth: none }]\n", "")
	resp, body := r.do(t, request(t, "GET", r.url+"/x"))
	if resp.StatusCode != 508 || !strings.Contains(body, "loop_detected") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body = r.do(t, request(t, "GET", r.url+"/x", "Via", "1.1 warder (00000000)")); resp.StatusCode != 508 {
		t.Errorf("behind another Warder: %d %s", resp.StatusCode, body)
	}
}
