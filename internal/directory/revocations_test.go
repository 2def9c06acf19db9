package directory_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

const corp, other = "https://corp.example", "https://other.example"

// bearer makes the identity of a token, by its number.
func bearer(n int, issuer, jti, subject, consumer string, issued time.Time) *exchange.Identity {
	at := int64(0)
	if !issued.IsZero() {
		at = issued.Unix()
	}
	t := exchange.NewToken(sha256.Sum256(fmt.Append(nil, n)), issuer, jti, subject, at, 30)
	return &exchange.Identity{Token: &t, Whose: exchange.MarkOf(exchange.RevokedConsumer, consumer)}
}

// claimed is the identity of a token whose client a consumer claims.
func claimed(by, client string, issued time.Time) *exchange.Identity {
	id := bearer(1, corp, "", "", by, issued)
	id.Token.Client = exchange.MarkOf(exchange.RevokedConsumer, client)
	return id
}

func revoke(t testing.TB, s *store.Store, r directory.Revocation) directory.Revocation {
	t.Helper()
	r, err := directory.Revoke(t.Context(), s, r, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// revokes waits until a token is judged so.
func (g *gateway) revokes(t testing.TB, id *exchange.Identity, want fault.Code) {
	t.Helper()
	var got fault.Code
	for over := time.Now().Add(generous); time.Now().Before(over); time.Sleep(5 * time.Millisecond) {
		if got = g.Revoked(id, time.Now()); got == want {
			return
		}
	}
	t.Fatalf("%v, want %v\n%s", got, want, g.log)
}

func TestARevocationIsOfWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	old, fresh := now.Add(-time.Hour), now.Add(time.Minute)
	for _, c := range []struct {
		what string
		r    directory.Revocation
		hit  []*exchange.Identity
		miss []*exchange.Identity
	}{
		{"a token", directory.Revocation{What: exchange.RevokedToken, Name: fmt.Sprintf("%x", sha256.Sum256([]byte("1")))},
			[]*exchange.Identity{bearer(1, corp, "", "", "", time.Time{}), bearer(1, corp, "a", "b", "c", fresh)},
			[]*exchange.Identity{bearer(2, corp, "", "", "", old)}},
		{"a jti", directory.Revocation{What: exchange.RevokedID, Issuer: corp, Name: "j"},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "c", fresh)},
			[]*exchange.Identity{bearer(1, other, "j", "a", "c", old), bearer(1, corp, "k", "j", "j", old), bearer(1, corp, "", "", "", old)}},
		{"a subject", directory.Revocation{What: exchange.RevokedSubject, Issuer: corp, Name: "alice", Before: now},
			[]*exchange.Identity{bearer(1, corp, "j", "alice", "c", old), bearer(1, corp, "", "alice", "c", now),
				bearer(1, corp, "", "alice", "c", now.Add(30*time.Second)), bearer(1, corp, "", "alice", "", time.Time{})},
			[]*exchange.Identity{bearer(1, corp, "", "alice", "", now.Add(31*time.Second)), bearer(1, other, "", "alice", "", old), bearer(1, corp, "alice", "bob", "alice", old)}},
		{"a consumer", directory.Revocation{What: exchange.RevokedConsumer, Name: "acme", Before: now},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "acme", old), bearer(1, other, "", "", "acme", time.Time{})},
			[]*exchange.Identity{bearer(1, corp, "", "", "acme", fresh), bearer(1, corp, "acme", "acme", "corp/acme", old)}},
		{"a consumer that got another name since", directory.Revocation{What: exchange.RevokedConsumer, Name: "corp/batch", Before: now},
			[]*exchange.Identity{claimed("acme", "corp/batch", old)},
			[]*exchange.Identity{claimed("acme", "corp/batch", fresh), claimed("corp", "batch", old)}},
		{"an issuer", directory.Revocation{What: exchange.RevokedIssuer, Issuer: corp, Before: now},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "c", old)},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "c", fresh), bearer(1, other, "j", "a", "c", old)}},
		{"all", directory.Revocation{What: exchange.RevokedAll, Before: now},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "c", old), bearer(2, other, "", "", "", time.Time{})},
			[]*exchange.Identity{bearer(1, corp, "j", "a", "c", fresh), {Key: ref(1)}, exchange.Anonymous}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
			followed, loaded := newGateway(t), newGateway(t)
			followed.follow(t, s)
			followed.revokes(t, c.hit[0], fault.None)
			made := revoke(t, s, c.r)
			followed.revokes(t, c.hit[0], fault.TokenRevoked)
			if err := loaded.memory.Load(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if by, want := followed.RevokedBy(c.hit[0], time.Now()), made.ID()[:12]; !strings.HasPrefix(by, ": "+want) || c.r.Before.IsZero() == strings.Contains(by, "of those issued until 20") {
				t.Errorf("revoked by %q, want %s", by, want)
			}
			if by := followed.RevokedBy(c.miss[0], time.Now()); by != "" {
				t.Errorf("another, by %q", by)
			}
			for _, g := range []*gateway{followed, loaded} {
				for i, id := range c.hit {
					if code := g.Revoked(id, time.Now()); code != fault.TokenRevoked {
						t.Errorf("token %d: %v", i, code)
					}
				}
				for i, id := range c.miss {
					if code := g.Revoked(id, time.Now()); code != fault.None {
						t.Errorf("another, %d: %v", i, code)
					}
				}
			}
			if followed.changed.Load() == 0 {
				t.Error("streams were not judged again")
			}
			if err := directory.Unrevoke(t.Context(), s, made.ID()[:12]); err != nil {
				t.Fatal(err)
			}
			followed.revokes(t, c.hit[0], fault.None)
		})
	}
}

func TestRevocationsNeverLoadedOrTooOldAreOurOutage(t *testing.T) {
	t.Parallel()
	token := bearer(1, corp, "j", "a", "c", time.Now())
	g := newGateway(t)
	if code := g.Revoked(token, time.Now()); code != fault.IdentityUnavailable {
		t.Errorf("never loaded: %v", code)
	}
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if code := g.Revoked(token, time.Now()); code != fault.None {
		t.Error(code)
	}
	if code := g.Revoked(token, time.Now().Add(11*time.Minute)); code != fault.KeysStale {
		t.Errorf("older than freshness.revocations: %v", code)
	}
	without, err := directory.New(nil)
	if err != nil || without.Revoked(token, time.Now()) != fault.None {
		t.Error("without a store nothing is revoked", err)
	}
}

func TestARevocationIsNeverNarrowedByAnother(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
	now := time.Now().Truncate(time.Millisecond)
	of := func(before, expires time.Time) directory.Revocation {
		return directory.Revocation{What: exchange.RevokedConsumer, Name: "acme", Before: before, Expires: expires}
	}
	for i, step := range []struct{ write, want directory.Revocation }{
		{of(now.Add(-time.Hour), now.Add(time.Hour)), of(now.Add(-time.Hour), now.Add(time.Hour))},
		{of(now.Add(-2*time.Hour), now.Add(2*time.Hour)), of(now.Add(-time.Hour), now.Add(2*time.Hour))},
		{of(now, now.Add(time.Hour)), of(now, now.Add(2*time.Hour))},
		{of(now.Add(-time.Hour), time.Time{}), of(now, time.Time{})},
		{of(time.Time{}, now.Add(time.Hour)), of(time.Time{}, time.Time{})},
		{of(now, time.Time{}), of(time.Time{}, time.Time{})},
	} {
		got := revoke(t, s, step.write)
		if !got.Before.Equal(step.want.Before) || !got.Expires.Equal(step.want.Expires) {
			t.Errorf("step %d: before %v expires %v, want %v and %v", i, got.Before, got.Expires, step.want.Before, step.want.Expires)
		}
	}
}

func TestARevocationIsOverWhenItSays(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
	revoke(t, s, directory.Revocation{What: exchange.RevokedID, Issuer: corp, Name: "j", Expires: time.Now().Add(time.Minute)})
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	token := bearer(1, corp, "j", "", "", time.Now())
	if code := g.Revoked(token, time.Now()); code != fault.TokenRevoked {
		t.Error(code)
	}
	if code := g.Revoked(token, time.Now().Add(time.Minute)); code != fault.None {
		t.Error(code)
	}
}

func TestWhatCannotBeReadRevokesAllItNames(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
	g := newGateway(t)
	g.follow(t, s)
	token := bearer(1, corp, "j", "alice", "c", time.Now().Add(time.Hour))
	g.revokes(t, token, fault.None)
	m := exchange.MarkOf(exchange.RevokedSubject, corp, "alice")
	if _, err := s.Commit(t.Context(), store.Put(store.Record{Kind: "revocation", ID: fmt.Sprintf("%x", m[:]), Body: []byte(`{"what":"subject","unless":1}`)})); err != nil {
		t.Fatal(err)
	}
	g.revokes(t, token, fault.TokenRevoked)
	loaded := newGateway(t)
	if err := loaded.memory.Load(t.Context(), s); err != nil || loaded.Revoked(token, time.Now()) != fault.TokenRevoked {
		t.Error("as it is loaded:", err)
	}
	if !strings.Contains(loaded.log.String(), "cannot be read") {
		t.Error("nothing is said of it")
	}
}

func TestRevocationsThatSayNothingAreRefused(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
	now := time.Now()
	for i, r := range []directory.Revocation{
		{}, {What: "session", Name: "x"}, {What: exchange.RevokedToken, Name: "abc"}, {What: exchange.RevokedID, Name: "j"},
		{What: exchange.RevokedID, Issuer: corp}, {What: exchange.RevokedID, Issuer: corp, Name: "j", Before: now},
		{What: exchange.RevokedConsumer, Issuer: corp, Name: "c"}, {What: exchange.RevokedIssuer, Issuer: corp},
		{What: exchange.RevokedAll}, {What: exchange.RevokedAll, Before: now, Name: "x"},
		{What: exchange.RevokedConsumer, Name: strings.Repeat("x", 5000)},
		{What: exchange.RevokedConsumer, Name: "c", Expires: now.Add(-time.Hour)},
	} {
		if _, err := directory.Revoke(t.Context(), s, r, now); err == nil {
			t.Errorf("%d: %+v was taken", i, r)
		}
	}
	if err := directory.Unrevoke(t.Context(), s, "0123456789ab"); !errors.Is(err, directory.ErrUnknown) {
		t.Error(err)
	}
	if err := directory.Unrevoke(t.Context(), s, "0"); err == nil {
		t.Error("one character names a revocation")
	}
}

func BenchmarkRevoked(b *testing.B) {
	s := storetest.Open(b, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: b.TempDir()})
	for from := 0; from < 100_000; from += store.MaxWrites {
		var writes []store.Write
		for i := from; i < from+store.MaxWrites; i++ {
			r := directory.Revocation{What: exchange.RevokedID, Issuer: corp, Name: fmt.Sprint(i)}
			writes = append(writes, store.Put(store.Record{Kind: "revocation", ID: r.ID(), Body: fmt.Appendf(nil, `{"what":"jti","issuer":%q,"name":"%d","created":1}`, corp, i)}))
		}
		if _, err := s.Commit(b.Context(), writes...); err != nil {
			b.Fatal(err)
		}
	}
	g := newGateway(b)
	if err := g.memory.Load(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	var tokens [1 << 14]*exchange.Identity
	for i := range tokens {
		tokens[i] = bearer(i, corp, fmt.Sprint("good ", i), fmt.Sprint("user ", i), "acme", time.Now())
	}
	now := time.Now()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if g.Revoked(tokens[i%len(tokens)], now) != fault.None {
			b.Fatal("revoked")
		}
		i++
	}
}

// browser makes the identity of a session, whose login ended at that moment.
func browser(issuer, subject, consumer string, began time.Time) *exchange.Identity {
	t := exchange.NewSession(issuer, "", subject, began.UnixMilli())
	return &exchange.Identity{Issuer: "corp", Token: &t, Whose: exchange.MarkOf(exchange.RevokedConsumer, consumer), Session: alive{}}
}

type alive struct{}

func (alive) Ends() time.Time { return time.Now().Add(time.Hour) }
func (alive) Ref() string     { return "0123456789abcdef" }

// A session is taken back by all that its tokens would be, and one that began
// more than a second later is not.
func TestARevocationIsOfSessionsToo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for what, r := range map[string]directory.Revocation{
		"subject":  {What: exchange.RevokedSubject, Issuer: corp, Name: "alice"},
		"consumer": {What: exchange.RevokedConsumer, Name: "corp/web"},
		"issuer":   {What: exchange.RevokedIssuer, Issuer: corp},
		"all":      {What: exchange.RevokedAll},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := storetest.SQLite(t)
			g := newGateway(t)
			r.Before = now
			revoke(t, s, r)
			if err := g.memory.Load(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			for began, want := range map[time.Duration]fault.Code{
				-time.Hour: fault.SessionExpired, 0: fault.SessionExpired, time.Second: fault.SessionExpired, 1100 * time.Millisecond: fault.None, time.Hour: fault.None,
			} {
				if got := g.Revoked(browser(corp, "alice", "corp/web", now.Add(began)), time.Now()); got != want {
					t.Errorf("begun %v after: %v, want %v", began, got, want)
				}
			}
			if got := g.Revoked(browser(other, "bob", "other/web", now.Add(-time.Hour)), time.Now()); got != fault.None && what != "all" {
				t.Errorf("of another issuer: %v", got)
			}
		})
	}
	var none *directory.Directory
	if got := none.Revoked(browser(corp, "alice", "corp/web", now), now); got != fault.IdentityUnavailable {
		t.Errorf("by no directory: %v", got)
	}
}

// A key that is good in some places only may have been good in more: streams
// are judged again.
func TestALimitedKeyHasStreamsJudgedAgain(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	g := newGateway(t)
	g.follow(t, s)
	g.revokes(t, bearer(1, corp, "", "", "", time.Time{}), fault.None)
	if err := directory.AddConsumer(t.Context(), s, "acme", time.Now()); err != nil {
		t.Fatal(err)
	}
	before := g.changed.Load()
	if _, err := directory.AddKey(t.Context(), s, "acme", ref(1), &exchange.KeyLimits{Routes: []string{"hello"}}, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for over := time.Now().Add(10 * time.Second); g.changed.Load() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatal("they are not")
		}
	}
}
