package snapshot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestWhatAStreamHoldsOnTo(t *testing.T) {
	t.Parallel()
	digest := func(key string) [32]byte { return sha256.Sum256([]byte(key)) }
	hash := func(key string) string {
		d := digest(key)
		return "sha256:" + hex.EncodeToString(d[:])
	}
	const phc = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	s := compile(t, newCompiler(), fmt.Sprintf(`listeners: [{ address: "127.0.0.1:0" }]
issuers:
  corp: { issuer: https://login.example.com/, audience: a, jwksFile: /none, clockSkew: 30s }
  entra: { preset: entra-id, tenants: [11111111-2222-3333-4444-555555555555, 22222222-2222-3333-4444-555555555555], audience: a, jwksFile: /none, clockSkew: 0s }
consumers:
  acme: { apiKeys: [{ hash: %q, expires: 2026-11-22 }, { hash: %q }], clients: [{ issuer: corp, id: app }] }
  ops: { password: %q }
upstreams: { b: [http://127.0.0.1:9000], c: [http://127.0.0.1:9001] }
routes:
  - { name: chat, host: api.example.com, path: /chat, upstream: b, auth: { jwt: corp } }
`, hash("brief"), hash("good"), phc))
	chat := exchange.Route{Index: 7, Name: "chat", Host: "api.example.com", Pattern: "/chat"}
	with := func(change func(*exchange.Route)) exchange.Route {
		r := chat
		change(&r)
		return r
	}
	stored, err := password.Parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	acme, ops, other := &exchange.Consumer{Name: "acme"}, &exchange.Consumer{Name: "ops"}, &exchange.Consumer{Name: "other"}
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	claims := claimsOf(t, `{"iss":"https://elsewhere.example.com/"}`)
	for _, c := range []struct {
		what     string
		route    exchange.Route
		upstream string
		id       *exchange.Identity
		at       time.Time
		until    time.Time
		code     fault.Code // None: it holds
	}{
		{"anybody", chat, "b", exchange.Anonymous, now, time.Time{}, fault.None},
		{"an upstream the route does not lead to any more", chat, "c", exchange.Anonymous, now, time.Time{}, fault.None},
		{"no upstream", chat, "d", exchange.Anonymous, now, time.Time{}, fault.UpstreamUnreachable},
		{"another name", with(func(r *exchange.Route) { r.Name = "talk" }), "b", exchange.Anonymous, now, time.Time{}, fault.RouteUnknown},
		{"another host", with(func(r *exchange.Route) { r.Host = "" }), "b", exchange.Anonymous, now, time.Time{}, fault.RouteUnknown},
		{"another path", with(func(r *exchange.Route) { r.Pattern = "/chat/**" }), "b", exchange.Anonymous, now, time.Time{}, fault.RouteUnknown},
		{"nobody", chat, "b", nil, now, time.Time{}, fault.ConsumerNotAllowed},

		{"a token", chat, "b", &exchange.Identity{Issuer: "corp", Expires: now}, now.Add(29 * time.Second), now.Add(30 * time.Second), fault.None},
		{"a token, its skew over", chat, "b", &exchange.Identity{Issuer: "corp", Expires: now}, now.Add(30 * time.Second), now.Add(30 * time.Second), fault.TokenExpired},
		{"an introspected token, which has no skew", chat, "b", &exchange.Identity{Method: "introspect", Issuer: "corp", Expires: now}, now, now, fault.TokenExpired},
		{"a token of no issuer", chat, "b", &exchange.Identity{Issuer: "okta", Expires: midnight}, now, time.Time{}, fault.TokenIssuerUnknown},
		{"a token of an issuer that is another one now", chat, "b", &exchange.Identity{Issuer: "corp", Claims: claims, Expires: midnight}, now, time.Time{}, fault.TokenIssuerUnknown},
		{"a token of a tenant", chat, "b", &exchange.Identity{Issuer: "entra", Claims: claimsOf(t, `{"iss":"https://sts.windows.net/22222222-2222-3333-4444-555555555555/"}`), Expires: midnight}, now, midnight, fault.None},
		{"a token of a tenant that is not listed now", chat, "b", &exchange.Identity{Issuer: "entra", Claims: claimsOf(t, `{"iss":"https://sts.windows.net/33333333-2222-3333-4444-555555555555/"}`), Expires: midnight}, now, time.Time{}, fault.TokenIssuerUnknown},
		{"a token of the consumer's", chat, "b", &exchange.Identity{Issuer: "corp", Client: "app", Named: acme, Expires: midnight}, now, midnight.Add(30 * time.Second), fault.None},
		{"a token of a client that was the consumer's", chat, "b", &exchange.Identity{Issuer: "corp", Client: "app2", Named: acme, Expires: midnight}, now, time.Time{}, fault.ConsumerNotAllowed},
		{"a token of a client that is another consumer's", chat, "b", &exchange.Identity{Issuer: "corp", Client: "app", Named: other, Expires: midnight}, now, time.Time{}, fault.ConsumerNotAllowed},

		{"a key", chat, "b", &exchange.Identity{Key: exchange.KeyRef{Digest: digest("good")}, Named: acme}, now, time.Time{}, fault.None},
		{"a key that was given an end", chat, "b", &exchange.Identity{Key: exchange.KeyRef{Digest: digest("brief")}, Named: acme}, now, midnight, fault.None},
		{"a key after its end", chat, "b", &exchange.Identity{Key: exchange.KeyRef{Digest: digest("brief")}, Named: acme, Expires: midnight.Add(time.Hour)}, midnight, midnight, fault.KeyExpired},
		{"a key that is gone", chat, "b", &exchange.Identity{Key: exchange.KeyRef{Digest: digest("gone")}, Named: acme}, now, time.Time{}, fault.KeyUnknown},
		{"a key that is another consumer's", chat, "b", &exchange.Identity{Key: exchange.KeyRef{Digest: digest("good")}, Named: other}, now, time.Time{}, fault.ConsumerNotAllowed},
		{"a password", chat, "b", &exchange.Identity{Password: stored.ID(), Consumer: "ops", Named: ops}, now, time.Time{}, fault.None},
		{"a password that is another one now", chat, "b", &exchange.Identity{Password: digest("old"), Consumer: "ops", Named: ops}, now, time.Time{}, fault.PasswordWrong},
		{"a password of a consumer who has none now", chat, "b", &exchange.Identity{Password: stored.ID(), Consumer: "acme", Named: acme}, now, time.Time{}, fault.PasswordWrong},
		{"several proofs", chat, "b", &exchange.Identity{Named: acme, Proofs: []*exchange.Identity{{Key: exchange.KeyRef{Digest: digest("good")}, Named: acme}, {Issuer: "corp", Expires: now}, {Issuer: "corp", Client: "x", Expires: midnight}}}, now, now.Add(30 * time.Second), fault.None},
		{"several proofs that never end", chat, "b", &exchange.Identity{Named: acme, Proofs: []*exchange.Identity{{Key: exchange.KeyRef{Digest: digest("good")}, Named: acme}, {Named: acme}}}, now, time.Time{}, fault.None},
		{"several proofs, the key of which is gone", chat, "b", &exchange.Identity{Named: acme, Proofs: []*exchange.Identity{{Issuer: "corp", Expires: midnight}, {Key: exchange.KeyRef{Digest: digest("gone")}, Named: acme}}}, now, time.Time{}, fault.KeyUnknown},
		{"several proofs, the token of which is over", chat, "b", &exchange.Identity{Named: acme, Proofs: []*exchange.Identity{{Key: exchange.KeyRef{Digest: digest("good")}, Named: acme}, {Issuer: "corp", Expires: now}}}, now.Add(time.Minute), now.Add(30 * time.Second), fault.TokenExpired},
		{"a consumer that proved it some other way", chat, "b", &exchange.Identity{Named: acme}, now, time.Time{}, fault.None},
		{"one that is gone", chat, "b", &exchange.Identity{Named: other}, now, time.Time{}, fault.ConsumerNotAllowed},
	} {
		until, f := s.Holds(c.route, c.upstream, c.id, exchange.Witness{}, c.at)
		code := fault.None
		if f != nil {
			code = f.Code
		}
		if code != c.code || c.code == fault.None && !until.Equal(c.until) {
			t.Errorf("%s: %v until %v, want %v until %v", c.what, f, until, c.code, c.until)
		}
	}
	var zero snapshot.Snapshot
	if _, f := zero.Holds(chat, "b", exchange.Anonymous, exchange.Witness{}, now); f == nil {
		t.Error("a stream holds under a snapshot of nothing")
	}
}

// What carries a stream stays in the pool as long as the stream does, and is
// found there by the next snapshot that needs it.
func claimsOf(t *testing.T, object string) exchange.Claims {
	t.Helper()
	claims, err := exchange.ParseClaims([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestAStreamKeepsWhatCarriesIt(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	document := func(upstream string) *snapshot.Snapshot {
		s, problems := compileAll(c, fmt.Sprintf("listeners: [{ address: \"127.0.0.1:0\" }]\nupstreams: { %s: [http://127.0.0.1:9000] }\nroutes: [{ path: /x, upstream: %s, auth: none }]\n", upstream, upstream))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return s
	}
	var live snapshot.Live
	first := document("b")
	group := first.Routes()[0].Upstream
	live.Swap(first)
	loan := live.Acquire().Lend(&first.Routes()[0])
	first.Release()
	live.Swap(document("c"))
	if n := c.Pool.Held(); n != 2 {
		t.Errorf("%d resources are held beside the stream's, want 2", n)
	}
	again := document("b")
	if again.Routes()[0].Upstream != group {
		t.Error("the upstream of a stream was made anew")
	}
	again.Release()
	loan.End()
	if n := c.Pool.Held(); n != 1 {
		t.Errorf("%d resources are held, want 1", n)
	}
	live.Swap(nil)
	if n := c.Pool.Held(); n != 0 {
		t.Errorf("%d resources are left", n)
	}
}

// A stream that a key of the store opened is judged again when the store was
// not heard of for too long, and whenever it is asked.
func TestAStreamByAKeyOfTheStoreEndsWithTheKeyAndWithTheStore(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	id := &exchange.Identity{Named: &exchange.Consumer{Name: "acme"}, Key: exchange.KeyRef{ID: [8]byte([]byte("1a2b3c4d")), Digest: sha256.Sum256([]byte("stored"))}}
	if err := directory.AddConsumer(t.Context(), s, "acme", now); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.AddKey(t.Context(), s, "acme", id.Key, nil, time.Time{}, now); err != nil {
		t.Fatal(err)
	}
	c := newCompiler()
	c.Memory = directory.NewMemory(c.Log, func() time.Time { return now })
	snap := compile(t, c, upstreams+"freshness: { revocations: 1h }\nroutes: [{ name: chat, path: /chat, upstream: b, auth: { apiKey: true } }]\n")
	chat := exchange.Route{Name: "chat", Pattern: "/chat"}
	holds := func(at time.Time, want fault.Code) {
		t.Helper()
		until, f := snap.Holds(chat, "b", id, exchange.Witness{}, at)
		code := fault.None
		if f != nil {
			code = f.Code
		}
		if code != want || f == nil && !until.After(now.Add(time.Hour)) {
			t.Errorf("after %s: %v until %s, want %v", at.Sub(now), code, until, want)
		}
	}
	if err := c.Memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	holds(now.Add(time.Hour), fault.None)
	holds(now.Add(time.Hour+time.Nanosecond), fault.KeysStale)
	if _, err := directory.RevokeKey(t.Context(), s, "1a2b3c4d", now); err != nil {
		t.Fatal(err)
	}
	if err := c.Memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	holds(now, fault.KeyRevoked)
}

// A token that is revoked ends its streams, also where it is one proof of
// several.
func TestAStreamEndsWithItsRevokedToken(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	c := newCompiler()
	c.Memory = directory.NewMemory(c.Log, func() time.Time { return now })
	if err := c.Memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	snap := compile(t, c, upstreams+"routes: [{ name: chat, path: /chat, upstream: b, auth: { apiKey: true } }]\n")
	digest := sha256.Sum256([]byte("a token"))
	token := exchange.NewToken(digest, "https://corp.example", "j", "alice", now.Unix(), 0)
	id := &exchange.Identity{Method: "jwt", Token: &token}
	joined := &exchange.Identity{Method: "jwt", Proofs: []*exchange.Identity{{Method: "other"}, id}}
	judge := func(id *exchange.Identity, at time.Time) (time.Time, fault.Code) {
		until, f := snap.Holds(exchange.Route{Name: "chat", Pattern: "/chat"}, "b", id.Keep(), exchange.Witness{}, at)
		if f == nil {
			return until, fault.None
		}
		return until, f.Code
	}
	for _, id := range []*exchange.Identity{id, joined} {
		if until, code := judge(id, now); code != fault.None || until.Sub(now) < 9*time.Minute || until.Sub(now) > 11*time.Minute {
			t.Errorf("before: %v, again in %v", code, until.Sub(now))
		}
		if _, code := judge(id, now.Add(11*time.Minute)); code != fault.KeysStale {
			t.Errorf("too long without the store: %v", code)
		}
	}
	if _, err := directory.Revoke(t.Context(), s, directory.Revocation{What: exchange.RevokedID, Issuer: "https://corp.example", Name: "j"}, now); err != nil {
		t.Fatal(err)
	}
	if err := c.Memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*exchange.Identity{id, joined} {
		if _, code := judge(id, now); code != fault.TokenRevoked {
			t.Errorf("after: %v", code)
		}
	}
}
