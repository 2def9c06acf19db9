package store_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/store"
)

var many = flag.Int("keys", 1_000_000, "how many keys the benchmarks read")

// BenchmarkStart reads a million keys, as a gateway does at its start, and
// looks single ones up.
func BenchmarkStart(b *testing.B) {
	p := place{store.DefaultAddress, b.TempDir(), &clock{t: time.Now()}}
	s := p.open(b)
	raw(b, p, fmt.Sprintf(`WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d)
		INSERT INTO warder_records SELECT 'key', randomblob(14), n, randomblob(32), CAST('consumer' || n %% 16 AS BLOB), NULL, randomblob(96) FROM c`, *many))
	raw(b, p, fmt.Sprintf(`UPDATE warder_head SET seq = %d`, *many))
	var aliases []string
	b.Run("stream", func(b *testing.B) {
		for b.Loop() {
			seen := 0
			if _, err := s.Stream(b.Context(), func(r store.Record) error {
				if seen++; seen%1000 == 0 {
					aliases = append(aliases, r.Alias)
				}
				return nil
			}, "key"); err != nil || seen != *many {
				b.Fatal(seen, err)
			}
		}
	})
	b.Run("by alias", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.ByAlias(b.Context(), "key", aliases[i%len(aliases)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
