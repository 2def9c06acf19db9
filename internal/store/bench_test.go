package store_test

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// fill puts n keys like those of a gateway into a store.
func fill(t testing.TB, s *store.Store, n int) {
	t.Helper()
	body := make([]byte, 96)
	for done := 0; done < n; {
		var writes []store.Write
		for len(writes) < min(store.MaxWrites, n-done) {
			d := digest(done + len(writes))
			writes = append(writes, store.Put(store.Record{Kind: "key", ID: string(d[:6]) + "abcdefgh", Alias: string(d[:]), Owner: "consumer" + string('a'+d[0]%16), Body: body}))
		}
		commit(t, s, writes...)
		done += len(writes)
	}
}

func digest(i int) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

var many = flag.Int("keys", 1_000_000, "how many keys BenchmarkStream reads")

// BenchmarkStream reads a million keys, as a gateway does at its start.
func BenchmarkStream(b *testing.B) {
	if testing.Short() {
		b.Skip("fills a store with a million keys first")
	}
	n := *many
	s := storetest.SQLite(b)
	began := time.Now()
	fill(b, s, n)
	b.Logf("%d keys written in %s", n, time.Since(began).Round(time.Millisecond))
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			seen := 0
			if _, err := s.Stream(b.Context(), func(store.Record) error {
				seen++
				return nil
			}, "key"); err != nil || seen != n {
				b.Fatal(seen, err)
			}
		}
	})
	b.Run("ByAlias", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			d := digest(i % n)
			if _, err := s.ByAlias(b.Context(), "key", string(d[:])); err != nil {
				b.Fatal(err)
			}
		}
	})
}
