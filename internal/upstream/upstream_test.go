package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin answers with its name and what it was asked for.
func origin(t *testing.T, name string, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Host, r.RequestURI)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	start(srv)
	t.Cleanup(srv.Close)
	return srv
}

func plain(s *httptest.Server)  { s.Start() }
func secure(s *httptest.Server) { s.StartTLS() }

func target(s *httptest.Server) upstream.Target {
	address := s.Listener.Addr().String()
	return upstream.Target{Name: s.URL, Address: address, Host: address}
}

func group(t *testing.T, cfg upstream.Config) *upstream.Group {
	t.Helper()
	g := upstream.New(cfg)
	g.Start()
	t.Cleanup(g.Close)
	return g
}

// nobody is the body of a request without one.
type nobody struct{}

func (nobody) Read([]byte) (int, error) { return 0, io.EOF }
func (nobody) Continue() error          { return nil }
func (nobody) Trailers() *exchange.Head { return nil }
func (nobody) Replay() ([]byte, bool)   { return nil, true }

// ask sends GET path and returns what came back.
func ask(g *upstream.Group, path string) (answer, target string, err error) {
	x := &exchange.Exchange{ReqBody: nobody{}}
	x.Req.Reset()
	x.Req.Method, x.Req.Path, x.Req.Major, x.Req.Minor, x.Req.Length = []byte("GET"), []byte(path), 1, 1, 0
	x.Req.Authority, x.Req.Host = []byte("api.example.com"), []byte("api.example.com")
	x.Req.Fields = []exchange.Field{{Name: []byte("Host"), Value: []byte("api.example.com"), ID: exchange.HeaderHost}}
	if err := g.Do(x, http1.Timeouts{Connect: 5 * time.Second, FirstByte: 5 * time.Second}); err != nil {
		return "", x.Target, err
	}
	defer x.RespBody.Close()
	b, err := io.ReadAll(struct{ io.Reader }{x.RespBody})
	return string(b), x.Target, err
}

func TestTargetsTakeTurns(t *testing.T) {
	t.Parallel()
	a, b, c := origin(t, "a", plain), origin(t, "b", plain), origin(t, "c", plain)
	g := group(t, upstream.Config{Targets: []upstream.Target{target(a), target(b), target(c)}})
	var turns []string
	for range 6 {
		answer, chosen, err := ask(g, "/")
		if err != nil {
			t.Fatal(err)
		}
		name := answer[:1]
		if chosen != map[string]*httptest.Server{"a": a, "b": b, "c": c}[name].URL {
			t.Errorf("the record says %s, %s answered", chosen, name)
		}
		turns = append(turns, name)
	}
	if got := strings.Join(turns, ""); got != "abcabc" {
		t.Errorf("turns %s", got)
	}
}

func TestTurnsAreFairAmongMany(t *testing.T) {
	t.Parallel()
	a, b := origin(t, "a", plain), origin(t, "b", plain)
	g := group(t, upstream.Config{Targets: []upstream.Target{target(a), target(b)}})
	var mu sync.Mutex
	count := map[string]int{}
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for range 10 {
				answer, _, err := ask(g, "/")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				count[answer[:1]]++
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	if count["a"] != 40 || count["b"] != 40 {
		t.Errorf("%v", count)
	}
}

func TestHostAndPrefix(t *testing.T) {
	t.Parallel()
	srv := origin(t, "a", plain)
	address := srv.Listener.Addr().String()
	for _, c := range []struct{ host, prefix, want string }{
		{"", "", "a api.example.com /orders/1"},
		{"upstream", "", "a " + address + " /orders/1"},
		{"orders.internal", "", "a orders.internal /orders/1"},
		{"", "/v1", "a api.example.com /v1/orders/1"},
	} {
		to := target(srv)
		to.Prefix = c.prefix
		if got, _, err := ask(group(t, upstream.Config{Targets: []upstream.Target{to}, Host: c.host}), "/orders/1"); got != c.want || err != nil {
			t.Errorf("host %q, prefix %q: %q, %v; want %q", c.host, c.prefix, got, err, c.want)
		}
	}
}

func TestATargetIsVerified(t *testing.T) {
	t.Parallel()
	srv := origin(t, "a", secure)
	right := x509.NewCertPool()
	right.AddCert(srv.Certificate())
	for _, c := range []struct {
		what string
		tls  *tls.Config
		ok   bool
	}{
		{"the right CA and name", &tls.Config{RootCAs: right, ServerName: "example.com"}, true},
		{"another name", &tls.Config{RootCAs: right, ServerName: "orders.internal"}, false},
		{"no such CA", &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}, false},
	} {
		to := target(srv)
		to.TLS = c.tls
		answer, _, err := ask(group(t, upstream.Config{Targets: []upstream.Target{to}}), "/")
		if (err == nil) != c.ok || !c.ok && fault.Of(err) != fault.UpstreamUnreachable {
			t.Errorf("%s: %q, %v", c.what, answer, err)
		}
	}
	// Plain words to a port that speaks TLS get no further.
	if answer, _, err := ask(group(t, upstream.Config{Targets: []upstream.Target{target(srv)}}), "/"); err == nil && !strings.Contains(answer, "HTTPS server") {
		t.Errorf("without TLS: %q", answer)
	}
}

func TestFaultsCarryACode(t *testing.T) {
	t.Parallel()
	dead := origin(t, "dead", plain)
	dead.Close()
	live := origin(t, "live", plain)
	for what, g := range map[string]*upstream.Group{
		"no target at all": group(t, upstream.Config{}),
		"nobody listens":   group(t, upstream.Config{Targets: []upstream.Target{target(dead)}}),
	} {
		_, _, err := ask(g, "/")
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.UpstreamUnreachable {
			t.Errorf("%s: %v", what, err)
		}
	}
	g := upstream.New(upstream.Config{Targets: []upstream.Target{target(live)}})
	if _, _, err := ask(g, "/"); err != nil {
		t.Fatal(err)
	}
	g.Close()
	if _, _, err := ask(g, "/"); fault.Of(err) != fault.UpstreamUnreachable {
		t.Errorf("after Close: %v", err)
	}
}

func TestAnExchangeInFlightOutlivesClose(t *testing.T) {
	t.Parallel()
	going, on := make(chan bool), make(chan bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		going <- true
		<-on
		io.WriteString(w, "whole")
	}))
	t.Cleanup(srv.Close)
	g := upstream.New(upstream.Config{Targets: []upstream.Target{target(srv)}})
	done := make(chan string)
	go func() {
		answer, _, err := ask(g, "/")
		done <- fmt.Sprint(answer, " ", err)
	}()
	<-going
	g.Close()
	on <- true
	if got := <-done; got != "whole <nil>" {
		t.Error(got)
	}
}
