package directory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// ref makes a reference up.
func ref(n int) (r exchange.KeyRef) {
	copy(r.ID[:], fmt.Sprintf("%08d", n))
	r.Digest = digest(fmt.Sprint("key ", n))
	return r
}

// gateway is the memory of one instance and what is asked of it.
type gateway struct {
	*directory.Directory
	memory  *directory.Memory
	log     *safeBuffer
	changed atomic.Int64
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// generous is how long tests wait for what comes at once: a busy machine makes
// them slow and never red.
const generous = time.Minute

// newGateway makes an instance with these consumers in its configuration. The
// store may take its time to answer.
func newGateway(t testing.TB, consumers ...directory.Consumer) *gateway {
	t.Helper()
	g := &gateway{log: &safeBuffer{}}
	g.memory = directory.NewMemory(slog.New(slog.NewTextHandler(g.log, nil)), time.Now)
	g.memory.AskWithin(generous)
	var err error
	if g.Directory, err = directory.Over(g.memory, 10*time.Minute, consumers); err != nil {
		t.Fatal(err)
	}
	return g
}

// follow keeps the instance in step with the store until the test ends.
func (g *gateway) follow(t testing.TB, s *store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { g.memory.Run(ctx, s, func() { g.changed.Add(1) }) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

func (g *gateway) code(r exchange.KeyRef) fault.Code {
	_, code := g.Key(r, time.Now(), false)
	return code
}

// becomes waits until a key is judged so.
func (g *gateway) becomes(t testing.TB, r exchange.KeyRef, want fault.Code) {
	t.Helper()
	var got fault.Code
	for over := time.Now().Add(generous); time.Now().Before(over); time.Sleep(5 * time.Millisecond) {
		if got = g.code(r); got == want {
			return
		}
	}
	t.Fatalf("key %s: %v, want %v\n%s", r.ID, got, want, g.log)
}

func addConsumer(t testing.TB, s *store.Store, name string) {
	t.Helper()
	if err := directory.AddConsumer(t.Context(), s, name, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func addKey(t testing.TB, s *store.Store, consumer string, r exchange.KeyRef, expires time.Time) {
	t.Helper()
	if _, err := directory.AddKey(t.Context(), s, consumer, r, nil, expires, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestWhatHappensToAKeyReachesEveryInstance(t *testing.T) {
	t.Parallel()
	where := store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()}
	here, there := storetest.Open(t, where), storetest.Open(t, where)
	addConsumer(t, here, "acme")
	addKey(t, here, "acme", ref(1), time.Time{})
	one, two := newGateway(t), newGateway(t)
	one.follow(t, here)
	two.follow(t, there)
	both := func(r exchange.KeyRef, want fault.Code) {
		t.Helper()
		one.becomes(t, r, want)
		two.becomes(t, r, want)
	}
	both(ref(1), fault.None)
	if r, _ := two.Key(ref(1), time.Now(), false); r.Consumer.Name != "acme" || !r.Stored || !r.Expires.IsZero() {
		t.Errorf("%+v", r)
	}

	addConsumer(t, there, "globex")
	addKey(t, there, "globex", ref(2), time.Now().Add(time.Hour))
	both(ref(2), fault.None)
	if r, _ := one.Key(ref(2), time.Now(), false); r.Consumer.Name != "globex" || r.Expires.IsZero() {
		t.Errorf("%+v", r)
	}
	if _, code := one.Key(ref(2), time.Now().Add(2*time.Hour), false); code != fault.KeysStale {
		t.Errorf("two hours without the store: %v", code)
	}
	if one.code(exchange.KeyRef{ID: ref(2).ID, Digest: ref(1).Digest}) != fault.KeyUnknown {
		t.Error("a key is known by its id alone")
	}

	before := two.changed.Load()
	if _, err := directory.RevokeKey(t.Context(), here, "wk_00000001", time.Now()); err != nil {
		t.Fatal(err)
	}
	both(ref(1), fault.KeyRevoked)
	if two.changed.Load() == before {
		t.Error("streams are not judged again after a revocation")
	}
	if n, err := directory.DeleteConsumer(t.Context(), there, "globex"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	both(ref(2), fault.KeyUnknown)
	for _, g := range []*gateway{one, two} {
		if _, known := g.Consumer("globex"); known {
			t.Error("globex is still known")
		}
		if c, known := g.Consumer("acme"); !known || c.Name != "acme" {
			t.Error("acme is not known")
		}
	}
}

func TestAKeyOfTheStoreIsFoundWithoutAllocation(t *testing.T) {
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r := ref(1)
	now := time.Now()
	one, _ := g.Key(r, now, true)
	var x exchange.Exchange
	id := x.KeyIdentity(r, one)
	if id.Method != "apiKey" || id.Proof != "wk_00000001" || id.Consumer != "acme" || id.Named == nil || id.Key != r {
		t.Errorf("%+v", id)
	}
	if n := testing.AllocsPerRun(100, func() {
		again, code := g.Key(r, now, true)
		if code != fault.None || x.KeyIdentity(r, again).Consumer != "acme" {
			t.Error("another identity")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRotatedKeysOverlap(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	now := time.Now()
	addKey(t, s, "acme", ref(1), time.Time{})
	addKey(t, s, "acme", ref(2), now.Add(time.Minute))
	k, n, err := directory.RotateKeys(t.Context(), s, "acme", ref(3), time.Hour, time.Time{}, now)
	if err != nil || n != 1 || k.ID() != "wk_00000003" {
		t.Fatal(k, n, err)
	}
	ends := map[string]time.Time{}
	if err := directory.EachKey(t.Context(), s, "acme", func(k directory.StoredKey) error {
		ends[k.ID()] = k.Expires
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id, after := range map[string]time.Duration{"wk_00000001": time.Hour, "wk_00000002": time.Minute} {
		if d := ends[id].Sub(now) - after; d < -time.Millisecond || d > time.Millisecond {
			t.Errorf("%s ends after %s, want %s", id, ends[id].Sub(now), after)
		}
	}
	if !ends["wk_00000003"].IsZero() {
		t.Error("the new key ends")
	}
}

func TestNeverLoadedAndTooOldAreOurOutage(t *testing.T) {
	t.Parallel()
	inFile := directory.Consumer{Name: "file", Keys: []directory.Key{{Digest: ref(9).Digest}}}
	g := newGateway(t, inFile)
	if code := g.code(ref(1)); code != fault.IdentityUnavailable {
		t.Errorf("never loaded: %v", code)
	}
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]fault.Code{0: fault.None, 9 * time.Minute: fault.None, 11 * time.Minute: fault.KeysStale} {
		if _, code := g.Key(ref(1), time.Now().Add(after), true); code != want {
			t.Errorf("after %s: %v, want %v", after, code, want)
		}
		if _, code := g.Key(ref(9), time.Now().Add(after), true); code != fault.None {
			t.Errorf("a key of the file, after %s: %v", after, code)
		}
	}
}

func TestAMissingKeyIsAskedOfTheStoreOnce(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil { // and nobody follows
		t.Fatal(err)
	}
	if _, code := g.Key(ref(1), time.Now(), true); code != fault.KeyUnknown {
		t.Errorf("a key that there is not: %v", code)
	}
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	addKey(t, s, "acme", ref(2), time.Time{})
	if _, code := g.Key(ref(1), time.Now(), true); code != fault.KeyUnknown {
		t.Errorf("asked again within seconds: %v", code)
	}
	if code := g.code(ref(2)); code != fault.KeyUnknown {
		t.Errorf("asked although it must not be: %v", code)
	}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if r, code := g.Key(ref(2), time.Now(), true); code != fault.None || r.Consumer.Name != "acme" {
				t.Errorf("a key made elsewhere just now: %v", code)
			}
		})
	}
	all.Wait()
	if code := g.code(ref(2)); code != fault.None {
		t.Errorf("it was not taken into memory: %v", code)
	}
}

// watcher is a log that looks at something before every line.
type watcher struct {
	slog.Handler
	look func()
}

func (watcher) Enabled(context.Context, slog.Level) bool { return true }

func (w watcher) Handle(ctx context.Context, r slog.Record) error {
	w.look()
	return w.Handler.Handle(ctx, r)
}

// A key that is asked of the store comes into memory after its consumer: who
// shows it at that moment would be told that it is unknown.
func TestAKeyIsNeverInMemoryBeforeItsConsumer(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	var memory *directory.Memory
	looks := 0
	// That the configuration has the name, too, is said while the consumer is
	// put into memory.
	memory = directory.NewMemory(slog.New(watcher{slog.DiscardHandler, func() {
		looks++
		if directory.Holds(memory, ref(1)) {
			t.Error("the key is there and its consumer is not")
		}
	}}), time.Now)
	memory.AskWithin(generous)
	memory.Reserve(map[string]bool{"acme": true})
	g, err := directory.Over(memory, 10*time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.Load(t.Context(), s); err != nil { // and nobody follows
		t.Fatal(err)
	}
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	if _, code := g.Key(ref(1), time.Now(), true); code != fault.None {
		t.Errorf("a key made elsewhere just now: %v", code)
	}
	if looks != 1 {
		t.Errorf("looked %d times", looks)
	}
}

// Nobody is kept waiting by a store that is slow: who shows the key then hears
// that it is our outage, not that there is no such key.
func TestAStoreThatIsSlowMakesMissingKeysOurOutage(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	addKey(t, s, "acme", ref(1), time.Time{})
	g.memory.AskWithin(0)
	if _, code := g.Key(ref(1), time.Now(), true); code != fault.IdentityUnavailable {
		t.Errorf("a key that the store was not done looking for: %v", code)
	}
}

func TestStrangersDoNotHammerTheStore(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	addConsumer(t, s, "acme")
	now := time.Now()
	for n := range 200 {
		g.Key(ref(n), now, true)
	}
	addKey(t, s, "acme", ref(1001), time.Time{})
	addKey(t, s, "acme", ref(1002), time.Time{})
	if _, code := g.Key(ref(1001), now, true); code != fault.KeyUnknown {
		t.Errorf("the store was asked more often than it may be: %v", code)
	}
	if _, code := g.Key(ref(1002), now.Add(30*time.Second), true); code != fault.None {
		t.Errorf("half a minute later: %v", code)
	}
	// Nothing was heard of the store for long, and a new second brings 50 more.
	later := now.Add(31 * time.Second)
	last := fault.None
	for n := range 80 {
		_, last = g.Key(ref(5000+n), later, true)
	}
	if last != fault.IdentityUnavailable {
		t.Errorf("not asked, and memory may be behind: %v", last)
	}
}

func TestAStoreThatIsGoneMakesMissingKeysOurOutage(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	g := newGateway(t)
	if err := g.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, code := g.Key(ref(2), time.Now(), true); code != fault.IdentityUnavailable {
		t.Errorf("a key that is not in memory: %v", code)
	}
	if _, code := g.Key(ref(1), time.Now(), true); code != fault.None {
		t.Errorf("one that is: %v", code)
	}
}

func TestAConsumerOfTheStoreNeverTakesTheNameOfOneInTheFile(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	g := newGateway(t, directory.Consumer{Name: "acme", Keys: []directory.Key{{Digest: ref(9).Digest}}})
	g.memory.Reserve(map[string]bool{"acme": true})
	g.follow(t, s)
	addConsumer(t, s, "acme")
	addConsumer(t, s, "other")
	addKey(t, s, "acme", ref(1), time.Time{})
	addKey(t, s, "other", ref(2), time.Time{})
	g.becomes(t, ref(2), fault.None)
	if code := g.code(ref(1)); code != fault.KeyUnknown {
		t.Errorf("the key of the one in the store: %v", code)
	}
	if code := g.code(ref(9)); code != fault.None {
		t.Errorf("the key of the one in the file: %v", code)
	}
	if said := g.log.String(); !strings.Contains(said, "has the name of one in the configuration") || !strings.Contains(said, "acme") {
		t.Error(said)
	}
}

func TestWhatCannotBeReadIsTakenBack(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(1), time.Time{})
	addKey(t, s, "acme", ref(2), time.Time{})
	g := newGateway(t)
	g.follow(t, s)
	g.becomes(t, ref(1), fault.None)
	// A later build narrows the key down by a member that this one does not know.
	r := ref(1)
	narrowed := store.Record{Kind: "api-key", ID: string(r.ID[:]), Alias: string(r.Digest[:]), Owner: "acme",
		Body: []byte(`{"created":1,"cidrs":["10.0.0.0/8"]}`)}
	if _, err := s.Commit(t.Context(), store.Put(narrowed)); err != nil {
		t.Fatal(err)
	}
	g.becomes(t, ref(1), fault.KeyUnknown)
	if _, err := s.Commit(t.Context(), store.Put(store.Record{Kind: "consumer", ID: "acme", Body: []byte(`{"suspended":true}`)})); err != nil {
		t.Fatal(err)
	}
	g.becomes(t, ref(2), fault.KeyUnknown)
	fresh := newGateway(t)
	if err := fresh.memory.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if code := fresh.code(ref(2)); code != fault.KeyUnknown || !strings.Contains(fresh.log.String(), "records=2") {
		t.Errorf("after a start: %v\n%s", code, fresh.log)
	}
}

func TestChangesOfTheStoreSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	ctx, now := t.Context(), time.Now()
	addConsumer(t, s, "acme")
	addKey(t, s, "acme", ref(11112222), time.Time{})
	addKey(t, s, "acme", ref(11113333), time.Time{})
	fails := func(_ any, err error) error { return err }
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"a name that is none":     {directory.AddConsumer(ctx, s, "okta/0oa1", now), "cannot be the name"},
		"an empty name":           {directory.AddConsumer(ctx, s, "", now), "cannot be the name"},
		"a name that is taken":    {directory.AddConsumer(ctx, s, "acme", now), "has a consumer acme already"},
		"a key for nobody":        {fails(directory.AddKey(ctx, s, "nobody", ref(3), nil, time.Time{}, now)), `consumer "nobody": the store has none`},
		"a key of an id that is":  {fails(directory.AddKey(ctx, s, "acme", ref(11112222), nil, time.Time{}, now)), store.ErrExists.Error()},
		"nobody to delete":        {fails(directory.DeleteConsumer(ctx, s, "nobody")), `consumer "nobody"`},
		"a whole key to revoke":   {fails(directory.RevokeKey(ctx, s, "wk_11112222_secret", now)), "a whole key does not belong on a command line"},
		"too little of a key":     {fails(directory.RevokeKey(ctx, s, "wk_111", now)), "too short"},
		"two keys at once":        {fails(directory.RevokeKey(ctx, s, "wk_1111", now)), "more than one key"},
		"a key that there is not": {fails(directory.RevokeKey(ctx, s, "99990000", now)), "the store has none"},
		"nobody's keys to rotate": {func() error {
			_, _, err := directory.RotateKeys(ctx, s, "nobody", ref(4), 0, time.Time{}, now)
			return err
		}(), `consumer "nobody"`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", what, c.err, c.want)
		}
	}
	if k, err := directory.RevokeKey(ctx, s, "11112", now); err != nil || k.ID() != "wk_11112222" {
		t.Errorf("by five characters: %v %v", k, err)
	}
	if k, err := directory.RevokeKey(ctx, s, "wk_11112222", now.Add(time.Hour)); err != nil || k.Revoked.Sub(now) > time.Second {
		t.Errorf("revoked twice: %v %v", k, err)
	}
	// A deletion that was cut short leaves keys, which no later consumer inherits.
	if _, err := s.Commit(ctx, store.Delete("consumer", "acme", 0)); err != nil {
		t.Fatal(err)
	}
	if err := directory.AddConsumer(ctx, s, "acme", now); err == nil || !strings.Contains(err.Error(), "are left in the store") {
		t.Errorf("a name with old keys: %v", err)
	}
	if n, err := directory.DeleteConsumer(ctx, s, "acme"); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if err := errors.Join(directory.AddConsumer(ctx, s, "acme", now), fails(directory.AddKey(ctx, s, "acme", ref(11112222), nil, time.Time{}, now))); err != nil {
		t.Error(err)
	}
}

func TestLimitsOfAKeyReachEveryInstanceAndItsSuccessor(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	addConsumer(t, s, "acme")
	limits := &exchange.KeyLimits{From: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Routes: []string{"orders"}}
	ctx, now := t.Context(), time.Now()
	add := func(n int, l *exchange.KeyLimits) {
		t.Helper()
		if _, err := directory.AddKey(ctx, s, "acme", ref(n), l, time.Time{}, now); err != nil {
			t.Fatal(err)
		}
	}
	add(1, nil)
	loaded, followed := newGateway(t), newGateway(t)
	followed.follow(t, s)
	followed.becomes(t, ref(1), fault.None)
	add(2, limits)
	add(3, &exchange.KeyLimits{Routes: []string{"orders"}})
	now = now.Add(time.Minute)
	add(4, limits)
	if _, _, err := directory.RotateKeys(ctx, s, "acme", ref(5), 0, time.Time{}, now); err != nil {
		t.Fatal(err)
	}
	followed.becomes(t, ref(5), fault.None)
	if err := loaded.memory.Load(ctx, s); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*gateway{loaded, followed} {
		for n, want := range map[int]*exchange.KeyLimits{1: nil, 2: limits, 3: {Routes: []string{"orders"}}, 4: limits, 5: limits} {
			if r, _ := g.Key(ref(n), now, false); !reflect.DeepEqual(r.Limits, want) {
				t.Errorf("key %d: %+v, want %+v", n, r.Limits, want)
			}
		}
	}
	for _, bad := range []string{"203.0.113.9/24", "::ffff:1.2.3.4/128"} {
		if _, err := directory.AddKey(ctx, s, "acme", ref(6), &exchange.KeyLimits{From: []netip.Prefix{netip.MustParsePrefix(bad)}}, time.Time{}, now); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
