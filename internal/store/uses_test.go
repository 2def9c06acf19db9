package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/store"
)

func TestTheLatestUseWinsWhoeverTellsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		one, two := p.open(t), p.open(t)
		ctx := t.Context()
		const kind = store.Kind("key")
		var writes []store.Write
		for i := range 20 {
			writes = append(writes, store.Create(store.Record{Kind: kind, ID: fmt.Sprintf("key-%02d", i)}))
		}
		version, err := one.Commit(ctx, writes...)
		if err != nil {
			t.Fatal(err)
		}
		at := func(minute int) time.Time {
			return p.now().Truncate(time.Second).Add(time.Duration(minute) * time.Minute)
		}
		// Both tell of all, at once, in other orders, some of it twice.
		var both sync.WaitGroup
		for n, s := range []*store.Store{one, two} {
			both.Go(func() {
				for round := range 5 {
					var uses []store.Use
					for i := range 20 {
						k := i
						if n == 1 {
							k = 19 - i
						}
						uses = append(uses, store.Use{ID: fmt.Sprintf("key-%02d", k), At: at(10*n - round + k)})
					}
					if err := s.Used(ctx, kind, append(uses, store.Use{ID: "nobody", At: at(1)}, uses[0])); err != nil {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
		want := map[string]time.Time{}
		for i := range 20 {
			want[fmt.Sprintf("key-%02d", i)] = at(10 + i)
		}
		got, err := one.LastUses(ctx, kind, append(slices.Collect(maps.Keys(want)), "nobody")...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		if got, err := two.LastUses(ctx, kind, "key-03", "key-04", "key"); len(got) != 2 || err != nil {
			t.Errorf("two of them: %v %v", got, err)
		}
		// It changes nothing that anybody follows.
		if r, err := one.Get(ctx, kind, "key-07"); err != nil || r.Version != version {
			t.Errorf("the record has version %d, want %d: %v", r.Version, version, err)
		}
		if report, err := one.Check(ctx); err != nil || report.Changes != version || len(report.Problems) > 0 {
			t.Errorf("%+v %v", report, err)
		}
		// What goes takes its use along.
		if _, err := two.Commit(ctx, store.Delete(kind, "key-00", 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := two.Commit(ctx, store.Create(store.Record{Kind: kind, ID: "key-00"}), store.Put(store.Record{Kind: kind, ID: "key-01", Expires: p.now().Add(time.Hour)})); err != nil {
			t.Fatal(err)
		}
		p.add(48 * time.Hour)
		if err := one.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := one.LastUses(ctx, kind, "key-00", "key-01", "key-02"); len(got) != 1 || err != nil {
			t.Errorf("of a deleted and an expired one: %v %v", got, err)
		}
		for _, n := range []int{0, store.MaxWrites + 1} {
			if err := one.Used(ctx, kind, make([]store.Use, n)); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%d uses: %v", n, err)
			}
		}
		if _, err := one.LastUses(ctx, kind); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("of none: %v", err)
		}
		over, cancel := context.WithCancel(ctx)
		cancel()
		if err := one.Used(over, kind, []store.Use{{ID: "key-02", At: at(0)}}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}
