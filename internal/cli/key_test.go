package cli

import (
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
)

// What is not known yet does not look like never, and no key was used before
// it was made.
func TestTheLastUseIsNeverBeforeTheKeyWasMade(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 7, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		created, used time.Time
		want          string
	}{
		"used, told by the beginning of ten minutes": {now.Add(-3 * time.Minute), now.Add(-7 * time.Minute), "2026-07-01 12:04Z"},
		"used later":             {now.Add(-time.Hour), now.Add(-7 * time.Minute), "2026-07-01 12:00Z"},
		"new, nothing told yet":  {now.Add(-time.Minute), time.Time{}, "?"},
		"old, nothing told ever": {now.Add(-time.Hour), time.Time{}, "-"},
	} {
		info := infoOf(directory.StoredKey{Consumer: "acme", Created: c.created, Used: c.used})
		if got := keyRows([]keyInfo{info}, now)[1][4]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
