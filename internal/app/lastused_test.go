package app_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// What each of two gateways let in is known when they have ended; what they
// refused, and what nobody sent, is not.
func TestGatewaysTellWhenKeysWereLastUsed(t *testing.T) {
	t.Parallel()
	for engine, address := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return store.DefaultAddress },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			state, at := filepath.Join(t.TempDir(), "state"), address(t)
			began := time.Now().Add(-10 * time.Minute)
			ids := map[string]bool{} // whether it was used
			var office *store.Store
			t.Run("use", func(t *testing.T) {
				config := fmt.Sprintf(keyed, reflector(t), at)
				one := serveFrom(t, state, "127.0.0.1:0", config, "")
				two := serveFrom(t, state, "127.0.0.1:0", config, "")
				s := storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
				if err := directory.AddConsumer(t.Context(), s, "acme", time.Now()); err != nil {
					t.Fatal(err)
				}
				byOne, byTwo, byNone := newKey(t, s, "acme"), newKey(t, s, "acme"), newKey(t, s, "acme")
				one.answers(t, byOne, 200)
				two.answers(t, byTwo, 200)
				two.answers(t, byOne, 200)
				one.answers(t, byNone[:len(byNone)-1], 401)
				for key, used := range map[string]bool{byOne: true, byTwo: true, byNone: false} {
					ids[key[:11]] = used
				}
			})
			office = storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
			var seen int
			if err := directory.EachKey(t.Context(), office, "acme", func(k directory.StoredKey) error {
				seen++
				if used := ids[k.ID()]; used == k.Used.IsZero() || used && (k.Used.Before(began.Truncate(time.Minute)) || k.Used.After(time.Now())) {
					t.Errorf("%s, used %v: %s", k.ID(), used, k.Used)
				}
				return nil
			}); err != nil || seen != 3 {
				t.Fatal(seen, err)
			}
		})
	}
}

func TestAStoreThatIsDownIsToldNothing(t *testing.T) {
	t.Parallel()
	var log *buffer
	t.Run("run", func(t *testing.T) {
		r := serve(t, fmt.Sprintf(keyed, reflector(t), "postgres://warder@127.0.0.1:1/warder"), "")
		log = r.errors
	})
	if said := log.String(); strings.Contains(said, "uses") {
		t.Errorf("it is not quiet: %s", said)
	}
}
