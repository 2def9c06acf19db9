package app

import (
	"errors"
	"testing"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

func TestAStoreKeepsWhatIsSealed(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		keystest.Storage(t, sealedIn{storetest.SQLite(t)})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		at := secret.New([]byte(storetest.Postgres(t)))
		keystest.Storage(t, sealedIn{storetest.Open(t, store.Config{Address: at, Folder: t.TempDir()})})
	})
	t.Run("down", func(t *testing.T) {
		t.Parallel()
		at := secret.New([]byte("postgres://warder@127.0.0.1:1/warder"))
		down := sealedIn{storetest.Open(t, store.Config{Address: at, Folder: t.TempDir()})}
		if _, err := down.Load(t.Context(), "it"); !errors.Is(err, keys.ErrUnavailable) {
			t.Error(err)
		}
	})
}
