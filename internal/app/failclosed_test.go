package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/store"
)

// sick is a server that does not do what it is there for. Its address; of one
// that is down nobody listens.
func sick(t *testing.T, how string, http11 bool) string {
	t.Helper()
	if how == "down" {
		return "127.0.0.1:1"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var open sync.WaitGroup
	t.Cleanup(func() { ln.Close(); close(over); open.Wait() })
	serve := func(c net.Conn) {
		defer c.Close()
		open.Go(func() { <-over; c.Close() })
		if http11 {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
		}
		head := ""
		if http11 {
			head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
		}
		switch how {
		case "slow":
			<-over
		case "garbage":
			io.WriteString(c, head+"<html>\x00sign in</html>\r\n")
		case "endless":
			io.WriteString(c, head+`{"active":true,"keys":[],"a":"`)
			for _, err := c.Write(make([]byte, 16<<10)); err == nil; _, err = c.Write([]byte(strings.Repeat("a", 16<<10))) {
			}
		}
	}
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() { serve(c) })
		}
	})
	return ln.Addr().String()
}

// ills is how a dependency may be sick.
var ills = []string{"down", "slow", "garbage", "endless"}

// asking sends one kind of request and returns the answer.
var asking = map[string]func(url string, fields ...string) (*http.Request, error){
	"GET": func(url string, _ ...string) (*http.Request, error) { return http.NewRequest("GET", url, nil) },
	"POST": func(url string, _ ...string) (*http.Request, error) {
		return http.NewRequest("POST", url, strings.NewReader("a=b"))
	},
	"a WebSocket": func(url string, _ ...string) (*http.Request, error) {
		req, err := http.NewRequest("GET", url, nil)
		if err == nil {
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		}
		return req, err
	},
}

// refusesAll asks in every way, and wants nothing but our outage.
func refusesAll(t *testing.T, r *running, what, path string, fields ...string) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	for kind, make := range asking {
		req, err := make(r.url + path)
		if err != nil {
			t.Error(err)
			return
		}
		for i := 0; i+1 < len(fields); i += 2 {
			req.Header.Add(fields[i], fields[i+1])
		}
		all.Go(func() { refusesOne(t, r, what+", "+kind, req) })
	}
}

func refusesOne(t *testing.T, r *running, what string, req *http.Request) {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 503 || !strings.Contains(string(body), "identity_unavailable") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s %v\n%s", what, resp.StatusCode, body, err, r.errors)
	}
}

// Whatever an issuer does in place of what it is there for, at each of its
// endpoints: nobody passes, nothing reaches the backend, and the fault is ours.
func TestASickIssuerLetsNobodyIn(t *testing.T) {
	t.Parallel()
	backend := &counting{seen: map[string]int{}}
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	file, sign := corp(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret!"), 0o600); err != nil {
		t.Fatal(err)
	}
	// All that a good issuer says, by a certificate of nobody.
	var good *httptest.Server
	reached := make(chan string, 100)
	good = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached <- r.URL.Path
		json.NewEncoder(w).Encode(map[string]any{"active": true, "keys": []any{}})
	}))
	good.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that end
	good.StartTLS()
	t.Cleanup(good.Close)

	var issuers, routes strings.Builder
	type asked struct{ what, path, authorization string }
	var all []asked
	bearing := "Bearer " + sign(nil)
	for _, how := range append(ills, "wrong certificate") {
		name := strings.ReplaceAll(how, " ", "-")
		at := good.URL
		if how != "wrong certificate" {
			at = "http://" + sick(t, how, true)
		}
		// A provider that is well but for its token endpoint.
		var well *httptest.Server
		well = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"issuer": well.URL, "jwks_uri": well.URL + "/jwks", "authorization_endpoint": well.URL + "/auth", "token_endpoint": at, "keys": []any{}})
		}))
		t.Cleanup(well.Close)
		proof := fmt.Sprintf(`clientId: web, clientSecret: "${file:%s}"`, secret)
		fmt.Fprintf(&issuers, "  jwks-%s: { issuer: %q, audience: api, jwksUri: %q, algorithms: [EdDSA] }\n", name, corpURL, at)
		fmt.Fprintf(&issuers, "  discovery-%s: { issuer: %q, audience: api, algorithms: [EdDSA] }\n", name, at)
		fmt.Fprintf(&issuers, "  asked-%s: { issuer: %q, audience: api, jwksFile: %q, introspection: { %s, endpoint: %q } }\n", name, corpURL, file, proof, at)
		fmt.Fprintf(&issuers, "  found-%s: { issuer: %q, audience: api, jwksFile: %q, introspection: { %s } }\n", name, at, file, proof)
		fmt.Fprintf(&issuers, "  login-%s: { issuer: %q, login: { %s } }\n", name, at, proof)
		fmt.Fprintf(&issuers, "  token-%s: { issuer: %q, login: { %s } }\n", name, well.URL, proof)
		for kind, auth := range map[string]string{"jwks": "jwt", "discovery": "jwt", "asked": "introspect", "found": "introspect", "login": "login", "token": "login"} {
			path := "/" + kind + "-" + name
			fmt.Fprintf(&routes, "  - { path: %q, upstream: b, upgrade: [websocket], auth: { %s: %s-%s } }\n", path, auth, kind, name)
			fmt.Fprintf(&routes, "  - { path: %q, upstream: b, upgrade: [websocket], auth: { anyOf: [{ apiKey: true }, { %s: %s-%s }] } }\n", path+"/any", auth, kind, name)
			what := kind + " " + how
			switch kind {
			case "jwks":
				all = append(all, asked{what, path, bearing}, asked{what + ", any", path + "/any", bearing})
			case "discovery":
				token := "Bearer " + sign(map[string]any{"iss": at})
				all = append(all, asked{what, path, token}, asked{what + ", any", path + "/any", token})
			case "asked", "found":
				all = append(all, asked{what, path, "Bearer opaque"}, asked{what + ", any", path + "/any", "Bearer opaque"})
			case "login":
				all = append(all, asked{what, "/.warder/login/" + kind + "-" + name + "/start", ""})
			case "token":
				all = append(all, asked{what, "/.warder/login/" + kind + "-" + name + "/", ""})
			}
		}
	}
	r := serve(t, fmt.Sprintf("consumers: { acme: { apiKeys: [{ hash: %q }] } }\nissuers:\n%supstreams: { b: [%q] }\nroutes:\n%s", apikey.Hash(apikey.Generate()), issuers.String(), srv.URL, routes.String()), "")
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var asking sync.WaitGroup
	for _, a := range all {
		asking.Go(func() {
			switch {
			case strings.HasPrefix(a.what, "login "):
				req, err := http.NewRequest("GET", r.url+a.path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				refusesOne(t, r, a.what, req)
			case strings.HasPrefix(a.what, "token "):
				resp, err := r.client.Get(r.url + a.path + "start")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				to, err := url.Parse(resp.Header.Get("Location"))
				if err != nil || len(resp.Cookies()) != 1 {
					t.Errorf("%s: no login begins: %d %v\n%s", a.what, resp.StatusCode, err, r.errors)
					return
				}
				req, err := http.NewRequest("GET", r.url+a.path+"callback?code=x&state="+to.Query().Get("state"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				c := resp.Cookies()[0]
				req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
				refusesOne(t, r, a.what, req)
			default:
				refusesAll(t, r, a.what, a.path, "Authorization", a.authorization)
			}
		})
	}
	asking.Wait()
	if len(backend.seen) > 0 {
		t.Errorf("the backend was reached: %v", backend.seen)
	}
	select {
	case path := <-reached:
		t.Errorf("a server with a certificate of nobody was told something: %s", path)
	default:
	}
}

// The same of the store and of the counters that tell a replayed proof.
func TestASickStoreOrCounterLetsNobodyIn(t *testing.T) {
	t.Parallel()
	file, sign := corp(t)
	for _, how := range ills {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			backend := &counting{seen: map[string]int{}}
			srv := httptest.NewServer(backend)
			t.Cleanup(srv.Close)
			config := func(store, more string) string {
				return fmt.Sprintf(`store: %q
%s
issuers: { corp: { issuer: %q, audience: api, jwksFile: %q, algorithms: [EdDSA] } }
upstreams: { b: [%q] }
routes:
  - { path: /key, upstream: b, upgrade: [websocket], auth: { apiKey: true } }
  - { path: /token, upstream: b, upgrade: [websocket], auth: { jwt: corp } }
  - { path: /any, upstream: b, upgrade: [websocket], auth: { anyOf: [{ apiKey: true }, { jwt: corp }] } }
`, store, more, corpURL, file, srv.URL)
			}
			r := serve(t, config(fmt.Sprintf("postgres://warder@%s/warder?sslmode=disable&connect_timeout=1", sick(t, how, false)), ""), "")
			key, token := apikey.Generate(), "Bearer "+sign(nil)
			refusesAll(t, r, "the store, by a key", "/key", "X-Api-Key", key)
			refusesAll(t, r, "the store, by a token", "/token", "Authorization", token)
			refusesAll(t, r, "the store, any, by a key", "/any", "X-Api-Key", key)
			refusesAll(t, r, "the store, any, by a token", "/any", "Authorization", token)

			r = serve(t, config(store.DefaultAddress, "counters: redis://"+sick(t, how, false)), "")
			me := newMe(t)
			bound := sign(map[string]any{"cnf": map[string]any{"jkt": me.thumb}})
			for _, path := range []string{"/token", "/any"} {
				req := request(t, "GET", r.url+path, "Authorization", "DPoP "+bound, "DPoP", me.proof(r.url+path, bound, nil))
				began := time.Now()
				refusesOne(t, r, "the counters, by a proof, "+path, req)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s took %v", path, took)
				}
			}
			if len(backend.seen) > 0 {
				t.Errorf("the backend was reached: %v", backend.seen)
			}
		})
	}
}
