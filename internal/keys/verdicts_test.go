package keys_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

func verdictID(n int) *keys.VerdictID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return &keys.VerdictID{Token: [16]byte(sum[:])}
}

// memo is a value that can be remembered.
type memo struct {
	keys.Place
	text string
}

func said(text string) *memo { return &memo{text: text} }

// recall returns what is remembered under id, "" if nothing is.
func recall(v *keys.Verdicts, id *keys.VerdictID, now time.Time) string {
	if m, _ := v.Get(id, now).(*memo); m != nil {
		return m.text
	}
	return ""
}

func TestVerdictsAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	set := keys.NewStatic(k)
	v := keys.NewVerdicts()
	v.Put(verdictID(1), said("one"), k, now, now.Add(time.Minute), 10)
	if got := recall(v, verdictID(1), now); got != "one" {
		t.Errorf("%v", got)
	}
	other := verdictID(1)
	other.Rules[0] = 1
	if got := recall(v, other, now); got != "" {
		t.Errorf("under other rules: %v", got)
	}
	if got := recall(v, verdictID(1), now.Add(time.Minute)); got != "" {
		t.Errorf("after its end: %v", got)
	}
	v.Put(verdictID(2), said("two"), k, now, now, 10)
	if got := recall(v, verdictID(2), now); got != "" {
		t.Errorf("put when it was over: %v", got)
	}
	v.Put(verdictID(3), said("three"), k, now, now.Add(time.Minute), 10)
	v.Put(verdictID(3), said("again"), k, now, now.Add(time.Minute), 20)
	if c := v.Counts(); c.Entries != 1 || c.Bytes != 20 || c.Hits != 1 || c.Misses != 3 {
		t.Errorf("%+v", c)
	}
	set.Replace()
	if got := recall(v, verdictID(3), now); got != "" {
		t.Errorf("its key is dead: %v", got)
	}
	if c := v.Counts(); c.Entries != 0 || c.Bytes != 0 {
		t.Errorf("%+v", c)
	}
	v.Put(verdictID(4), said("four"), k, now, now.Add(time.Minute), 10)
	if got := recall(v, verdictID(4), now); got != "" {
		t.Errorf("put with a dead key: %v", got)
	}
	var none *keys.Verdicts
	none.Put(verdictID(1), said("one"), key(t, "k", "", edKey()), now, now.Add(time.Minute), 10)
	if none.Get(verdictID(1), now) != nil || none.Counts() != (keys.VerdictCounts{}) {
		t.Error("nil remembers")
	}
}

func TestVerdictsAreBoundedInNumberAndSize(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	for _, c := range []struct {
		n, size, entries, bytes int
	}{{100_000, 100, 65_536, 64 << 20}, {10_000, 40_000, 65_536, 64 << 20}, {10, 2 << 20, 0, 0}} {
		v := keys.NewVerdicts()
		var wg sync.WaitGroup
		for part := range 4 {
			wg.Go(func() {
				for i := part; i < c.n; i += 4 {
					v.Put(verdictID(i), said(strconv.Itoa(i)), k, now, now.Add(time.Duration(1+i%100)*time.Minute), c.size)
					if got := recall(v, verdictID(i/2), now); got != "" && got != strconv.Itoa(i/2) {
						t.Errorf("%d is taken for %s", i/2, got)
					}
				}
			})
		}
		wg.Wait()
		got := v.Counts()
		if got.Entries > c.entries || got.Bytes > c.bytes || got.Bytes != got.Entries*c.size || got.Entries < min(c.entries, c.bytes/c.size)*3/4 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestTokensHaveNames(t *testing.T) {
	t.Parallel()
	v, other := keys.NewVerdicts(), keys.NewVerdicts()
	name := func(v *keys.Verdicts, token string) [keys.NameSize]byte {
		return v.Name([]byte(token), make([]byte, keys.NameSize))
	}
	seen := map[[keys.NameSize]byte]string{}
	long := strings.Repeat("a", 16<<10)
	for n := range 2_000 { // prefixes of one another, among them
		token := long[:n]
		if n > 1_000 {
			token = long[:len(long)-n]
		}
		got := name(v, token)
		if before, there := seen[got]; there && before != token {
			t.Fatalf("two tokens, of %d and %d bytes, have one name", len(before), len(token))
		}
		if seen[got] = token; got != name(v, token) {
			t.Fatal("a token has two names")
		}
		if got == name(other, token) {
			t.Fatal("who makes the same token anew knows its name")
		}
	}
	if none := (*keys.Verdicts)(nil); name(none, "a") != name(none, "b") {
		t.Error("who remembers nothing gives names")
	}
}

func TestNamingATokenAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	v, token, room := keys.NewVerdicts(), make([]byte, 700), make([]byte, keys.NameSize)
	if n := testing.AllocsPerRun(100, func() { v.Name(token, room) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestVerdictsAgreeWithAMap puts and forgets at random, in a few slots that
// all push each other aside.
func TestVerdictsAgreeWithAMap(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	v := keys.NewVerdicts()
	id := func(n int) *keys.VerdictID {
		// One shard; homes at the end of the table, so that it is passed.
		id := &keys.VerdictID{}
		binary.NativeEndian.PutUint32(id.Token[4:], uint32(2040+n%16))
		id.Rules[14], id.Rules[15] = byte(n), byte(n>>8)
		return id
	}
	const ids = 100
	want := map[int]int64{} // when it expires
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 5_000 {
		n := random.IntN(ids)
		if step%3 > 0 {
			ends := now.Add(time.Duration(1+random.IntN(60)) * time.Second)
			v.Put(id(n), said(strconv.Itoa(n)), k, now, ends, 10)
			want[n] = ends.Unix()
		}
		now = now.Add(time.Second / 2)
		n = random.IntN(ids)
		got := recall(v, id(n), now)
		if ends, ok := want[n]; ok && now.Unix() >= ends {
			delete(want, n)
		}
		if _, ok := want[n]; ok != (got != "") || ok && got != strconv.Itoa(n) {
			t.Fatalf("step %d: %d is %q", step, n, got)
		}
		if c := v.Counts(); c.Entries != len(want) || c.Bytes != 10*len(want) {
			t.Fatalf("step %d: %+v, want %d", step, c, len(want))
		}
	}
}

// TestVerdictsAreNeverTakenForOneAnother has readers ask while others put,
// replace and forget around them.
func TestVerdictsAreNeverTakenForOneAnother(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := key(t, "k", "", edKey())
	v := keys.NewVerdicts()
	id := func(n int) *keys.VerdictID {
		id := &keys.VerdictID{}
		id.Rules[15] = byte(n) // all have one home and one tag
		return id
	}
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(part), 2))
			for range 5_000 {
				n := random.IntN(40)
				if part < 2 {
					v.Put(id(n), said(strconv.Itoa(n)), k, now, now.Add(time.Minute), 10)
					v.Get(id(random.IntN(40)), now.Add(time.Hour)) // forgets it
				} else if got := recall(v, id(n), now); got != "" && got != strconv.Itoa(n) {
					t.Errorf("%d is taken for %s", n, got)
				}
			}
		})
	}
	wg.Wait()
}
