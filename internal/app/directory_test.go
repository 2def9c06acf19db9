package app_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// chatty starts an upstream that takes a WebSocket and keeps it.
func chatty(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "hello")
			return
		}
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		// The answer to the example key of RFC 6455 section 1.3.
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		buf.Flush()
		io.Copy(io.Discard, buf)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// webSocket opens one by a key. What is returned is told how it ended: the
// status of its closing frame, 0 if there was none.
func (r *running) webSocket(t *testing.T, key string) <-chan int {
	t.Helper()
	return r.webSocketBy(t, "X-Api-Key: "+key)
}

// webSocketBy is webSocket by a field of the request.
func (r *running) webSocketBy(t *testing.T, field string) <-chan int {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(generous))
	fmt.Fprintf(c, "GET /chat HTTP/1.1\r\nHost: x\r\n%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		field, base64.StdEncoding.EncodeToString([]byte("the sample nonce")))
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	ended := make(chan int, 1)
	go func() {
		frame, _ := io.ReadAll(in)
		status := 0
		if len(frame) >= 4 && frame[0] == 0x88 {
			status = int(frame[2])<<8 | int(frame[3])
		}
		ended <- status
	}()
	return ended
}

// answers waits until requests with a key are answered so, and says how long
// that took.
func (r *running) answers(t *testing.T, key string, want int) time.Duration {
	t.Helper()
	return r.answersBy(t, "X-Api-Key", key, want)
}

// answersBy is answers by a field of the request.
func (r *running) answersBy(t *testing.T, field, value string, want int) time.Duration {
	t.Helper()
	return r.answersAt(t, "/hello", field, value, want)
}

// answersAt is answersBy for another path.
func (r *running) answersAt(t *testing.T, path, field, value string, want int) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		resp, body := r.do(t, request(t, "GET", r.url+path, field, value))
		took := time.Since(began)
		if resp.StatusCode == want {
			return took
		}
		if took > generous {
			t.Fatalf("%d %s, want %d\n%s", resp.StatusCode, body, want, r.errors)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const keyed = `upstreams: { a: [%s] }
store: %q
routes:
  - { name: hello, path: /hello, upstream: a, auth: { apiKey: true, consumers: acme } }
  - { name: chat, path: /chat, upstream: a, auth: { apiKey: true }, upgrade: [websocket] }
`

// newKey makes a key of a consumer in the store.
func newKey(t *testing.T, s *store.Store, consumer string) string {
	t.Helper()
	key := apikey.Generate()
	if _, err := directory.AddKey(t.Context(), s, consumer, apikey.Ref([]byte(key)), nil, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return key
}

// A key that is made is good on every gateway of the store; one that is revoked
// or deleted is refused by every gateway, and ends every stream it opened.
func TestARevocationReachesEveryRequestAndStreamOfEveryGateway(t *testing.T) {
	t.Parallel()
	for engine, address := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return store.DefaultAddress },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			state, at := filepath.Join(t.TempDir(), "state"), address(t)
			config := fmt.Sprintf(keyed, chatty(t), at)
			one := serveFrom(t, state, "127.0.0.1:0", config, "")
			two := serveFrom(t, state, "127.0.0.1:0", config, "")
			office := storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
			if err := directory.AddConsumer(t.Context(), office, "acme", time.Now()); err != nil {
				t.Fatal(err)
			}
			revoked, deleted, stays := newKey(t, office, "acme"), "", newKey(t, office, "acme")
			if err := directory.AddConsumer(t.Context(), office, "globex", time.Now()); err != nil {
				t.Fatal(err)
			}
			deleted = newKey(t, office, "globex")
			for _, r := range []*running{one, two} {
				t.Logf("a new key is good after %s", r.answers(t, revoked, 200))
				r.answers(t, stays, 200)
				r.answers(t, deleted, 403) // the route lets in acme alone
			}
			var ends, goesOn []<-chan int
			for _, r := range []*running{one, two} {
				ends = append(ends, r.webSocket(t, revoked), r.webSocket(t, deleted))
				goesOn = append(goesOn, r.webSocket(t, stays))
			}
			began := time.Now()
			if _, err := directory.RevokeKey(t.Context(), office, apikey.Prefix(revoked), time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := directory.DeleteConsumer(t.Context(), office, "globex"); err != nil {
				t.Fatal(err)
			}
			for _, r := range []*running{one, two} {
				t.Logf("a revoked key is refused after %s", r.answers(t, revoked, 401))
				r.answers(t, deleted, 401)
			}
			for _, ended := range ends {
				if status := <-ended; status != 1008 {
					t.Errorf("a stream ended with status %d, want 1008", status)
				}
			}
			t.Logf("its streams are closed after %s", time.Since(began))
			for _, ended := range goesOn {
				select {
				case status := <-ended:
					t.Errorf("the stream of another key ended with status %d", status)
				default:
				}
			}
			two.answers(t, stays, 200)
			for code, log := range map[string]*buffer{"key_revoked": one.log, "key_unknown": two.log} {
				eventually(t, func() bool { return strings.Contains(log.String(), `"`+code+`"`) }, "no refusal with %s in the log", code)
			}
		})
	}
}

func TestAConfigurationDoesNotTakeTheNameOfAConsumerOfTheStore(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	r := serveFrom(t, state, "127.0.0.1:0", fmt.Sprintf(keyed, chatty(t), store.DefaultAddress), "")
	if said := r.errors.String(); !strings.Contains(said, "neither the configuration nor the store has") {
		t.Errorf("nothing is said of a consumer that there is not:\n%s", said)
	}
	office := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: state})
	if err := directory.AddConsumer(t.Context(), office, "acme", time.Now()); err != nil {
		t.Fatal(err)
	}
	r.answers(t, newKey(t, office, "acme"), 200)
	src, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.config, append(src, "consumers: { acme: {} }\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "the store has a consumer of this name, too"
	eventually(t, func() bool { return strings.Contains(r.errors.String(), want) }, "%s", r.errors)
}

func TestKeysOfAStoreThatNeverAnsweredAreOurOutage(t *testing.T) {
	t.Parallel()
	r := serve(t, fmt.Sprintf(keyed, reflector(t), "postgres://warder@127.0.0.1:1/warder"), "")
	resp, body := r.do(t, request(t, "GET", r.url+"/hello", "X-Api-Key", apikey.Generate()))
	if resp.StatusCode != 503 || !strings.Contains(body, `"code":"identity_unavailable"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}
