package directory

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

func entryOf(n uint64) (e keyEntry) {
	binary.BigEndian.PutUint64(e.ref.ID[:], n)
	binary.BigEndian.PutUint64(e.ref.Digest[:], n*0x9e3779b97f4a7c15)
	return e
}

// look returns a copy of an entry.
func look(t *table, id [8]byte) (keyEntry, bool) {
	if e := t.get(id); e != nil {
		return e.clone(), true
	}
	return keyEntry{}, false
}

func TestTheTableSaysWhatAMapSays(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	fill, model := newFiller(), map[[8]byte]keyEntry{}
	const names = 3000
	for n := range uint64(names / 2) {
		e := entryOf(n)
		fill.add(e)
		model[e.ref.ID] = e
	}
	table := fill.done()
	for step := range 10_000 {
		e := entryOf(r.Uint64N(names))
		e.consumer, e.revoked = r.Uint32(), r.IntN(2) == 0
		e.expires = 100 + r.Int64N(1000)
		if r.IntN(3) == 0 {
			table.remove(e.ref.ID, 0)
			delete(model, e.ref.ID)
		} else {
			table.put(e, 0)
			model[e.ref.ID] = e
		}
		probe := entryOf(r.Uint64N(names)).ref.ID
		got, ok := look(table, probe)
		if want, has := model[probe]; ok != has || got != want {
			t.Fatalf("step %d: %v %v, want %v %v", step, got, ok, want, has)
		}
	}
	for n := range uint64(names) {
		id := entryOf(n).ref.ID
		got, ok := look(table, id)
		if want, has := model[id]; ok != has || got != want {
			t.Fatalf("%d: %v %v, want %v %v", n, got, ok, want, has)
		}
	}
}

func TestKeysThatEndedLongAgoLeaveTheTable(t *testing.T) {
	t.Parallel()
	table := newTable()
	for n := range uint64(20_000) {
		e := entryOf(n)
		e.expires = int64(n + 1)
		table.put(e, 0)
	}
	for n := range uint64(20_000) {
		table.put(entryOf(n+1_000_000), 10_000)
	}
	for n := uint64(10_000); n < 20_000; n++ {
		if _, ok := look(table, entryOf(n).ref.ID); !ok {
			t.Fatalf("%d is gone before its time", n)
		}
	}
	held := 0
	for i := range table.shards {
		if s := table.shards[i].Load(); s != nil {
			held += len(s.entries)
		}
	}
	if held > 31_000 {
		t.Errorf("%d entries are held, want about 30,000", held)
	}
}

func TestReadersSeeAKeyWholeWhileItChanges(t *testing.T) {
	t.Parallel()
	table := newTable()
	var always exchange.KeyRef
	for n := range uint64(5000) {
		e := entryOf(n)
		e.consumer, e.expires = 7, 7
		always = e.ref
		table.put(e, 0)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				e, ok := look(table, entryOf(n%5000).ref.ID)
				if was := table.get(always.ID); was != nil {
					was.use(time.Unix(int64(n)*60, 0))
				}
				if ok && (e.ref != entryOf(n%5000).ref || int64(e.consumer) != e.expires) {
					t.Errorf("half of a change was seen: %+v", e)
					return
				}
				if e, ok := look(table, always.ID); !ok || e.ref != always {
					t.Error("a key that nobody removed was missing")
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		e := entryOf(r.Uint64N(4999))
		if r.IntN(2) == 0 {
			table.remove(e.ref.ID, 0)
			continue
		}
		e.consumer = r.Uint32()
		e.expires = int64(e.consumer)
		table.put(e, -1)
	}
	close(stop)
	readers.Wait()
}

func BenchmarkChange(b *testing.B) {
	fill := newFiller()
	for n := range uint64(1_000_000) {
		fill.add(entryOf(n))
	}
	table := fill.done()
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		table.put(entryOf(n%1_000_000), 0)
	}
}
