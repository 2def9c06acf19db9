// Package storetest opens stores for tests, on both engines.
package storetest

import (
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

// SQLite opens a new store in a folder of the test, and closes it at its end.
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
}

// Open opens a store, and closes it at the end of the test. Unless c says
// otherwise it waits for its database however slow the machine is.
func Open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
