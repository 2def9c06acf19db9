package introspect_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/introspect"
	"github.com/warder-gateway/warder/internal/secret"
)

var now = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

type members = map[string]any

// gone deletes a member.
var gone any = struct{ gone bool }{}

// issuer is an authorization server whose endpoint says what the test wants.
type issuer struct {
	*httptest.Server
	asked atomic.Int64

	mu     sync.Mutex
	serve  http.HandlerFunc
	tokens map[string]string // answers by token; others are not active
}

func newIssuer(t testing.TB, secure bool) *issuer {
	i := &issuer{tokens: map[string]string{}}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		token := r.PostFormValue("token")
		i.mu.Lock()
		serve, answer := i.serve, i.tokens[token]
		i.mu.Unlock()
		if serve != nil {
			serve(w, r)
			return
		}
		if answer == "" {
			answer = `{"active":false}`
		}
		io.WriteString(w, answer)
	}))
	i.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		i.StartTLS()
	} else {
		i.Start()
	}
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) does(serve http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = serve
}

func (i *issuer) says(token, answer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[token] = answer
}

// answer is what is said of a good access token; change what the case is about.
func answer(t testing.TB, changes ...members) string {
	t.Helper()
	m := members{
		"active": true, "iss": "https://login.example.com/", "aud": "orders-api", "sub": "alice", "client_id": "mobile",
		"scope": "orders:read profile", "token_type": "Bearer", "exp": now.Unix() + 300, "jti": "t1",
	}
	for _, c := range changes {
		maps.Copy(m, c)
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == gone })
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// asker asks at i and lives as long as the test.
func asker(t testing.TB, i *issuer, change ...func(*keys.IntrospectorConfig)) *keys.Introspector {
	t.Helper()
	auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "warder", Secret: secret.New([]byte("s"))})
	if err != nil {
		t.Fatal(err)
	}
	cfg := keys.IntrospectorConfig{Issuer: "https://login.example.com/", Endpoint: i.URL + "/introspect", Auth: auth, Cache: 30 * time.Second, Within: time.Minute}
	for _, c := range change {
		c(&cfg)
	}
	in := keys.NewIntrospector(cfg)
	in.Start()
	t.Cleanup(in.Close)
	return in
}

// corp is the issuer as the policy knows it; change what the case is about.
func corp(in *keys.Introspector, change ...func(*pipeline.Issuer)) *pipeline.Issuer {
	iss := &pipeline.Issuer{
		Name: "corp", URL: "https://login.example.com/", Audience: []string{"orders-api"}, TokenType: "access",
		ClockSkew: 30 * time.Second, Consumer: []string{"azp", "client_id", "cid", "appid"}, Introspector: in,
	}
	for _, c := range change {
		c(iss)
	}
	return iss
}

func build(t testing.TB, dir pipeline.Directory, iss *pipeline.Issuer) pipeline.Authenticator {
	t.Helper()
	parts, err := introspect.New("corp", pipeline.Env{Directory: dir, Issuer: func(string) (*pipeline.Issuer, error) { return iss, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return parts.Authenticate
}

// consumers is a directory of named consumers by "issuer/client".
type consumers map[string]*exchange.Consumer

func (c consumers) Key(exchange.KeyRef, time.Time, bool) (exchange.KeyRecord, fault.Code) {
	return exchange.KeyRecord{}, fault.KeyUnknown
}

func (c consumers) Imported([]byte) (exchange.KeyRef, fault.Code) {
	return exchange.KeyRef{}, fault.KeyMalformed
}
func (c consumers) Client(iss, client string) (*exchange.Consumer, bool) {
	n, ok := c[iss+"/"+client]
	return n, ok
}
func (c consumers) Consumer(string) (*exchange.Consumer, bool) { return nil, false }

func (c consumers) Certificate(*exchange.CertFacts) (record, rival *exchange.CertRecord) {
	return nil, nil
}
func (c consumers) Password([]byte) (*password.Hash, *exchange.Consumer) {
	return &password.Hash{}, nil
}

// request makes an exchange with the Authorization fields given, from an
// address of its own.
func request(authorization ...string) *exchange.Exchange {
	x := &exchange.Exchange{Client: netip.MustParseAddr("192.0.2.1"), Conn: &exchange.Conn{}}
	x.Req.Reset()
	for _, v := range authorization {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: []byte(v), ID: exchange.HeaderAuthorization})
	}
	x.Trail.Begin(0)
	return x
}

// world is one that serves, with counters of its own.
func world() *pipeline.World {
	return &pipeline.World{Now: now, Remote: true, Counters: counters.NewMemory(1 << 12)}
}

// judge asks the policy and returns the identity, or the code of the refusal.
func judge(t testing.TB, a pipeline.Authenticator, w *pipeline.World, x *exchange.Exchange) (*exchange.Identity, fault.Code) {
	t.Helper()
	id, v := a.Authenticate(x, w)
	if v == pipeline.NotMine {
		return nil, fault.CredentialMissing
	}
	if v.Passed() != (id != nil) {
		t.Fatalf("verdict %v with identity %v", v, id)
	}
	return id, v.Code()
}

// seen is what the trail's last step holds, as text.
func seen(x *exchange.Exchange) (all string) {
	steps := x.Trail.Steps()
	ops := steps[len(steps)-1].Operands()
	for i := range ops {
		all += fmt.Sprintf("%s %s · ", ops[i].Name, ops[i].String())
	}
	return all
}
