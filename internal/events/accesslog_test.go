package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var out lines
	log := events.NewAccessLog(1 << 14)
	log.Redirect(&out)
	ring := events.NewRing(16)
	var all sync.WaitGroup
	const writers, each = 8, 500
	for w := range writers {
		all.Go(func() {
			x := finished()
			for i := range each {
				x.ID = exchange.RequestID{byte(w), byte(i >> 8), byte(i)}
				x.Req.Path = fmt.Appendf(nil, "/%d/%d", w, i)
				code := fault.None
				if i%3 == 0 {
					code = fault.KeyUnknown
				}
				r := capture(x, code)
				ring.Add(&r)
				log.Log(&r)
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for range 300 {
				if r, ok := ring.Last(); ok {
					if want := fmt.Sprintf("/%d/%d", r.ID[0], int(r.ID[1])<<8|int(r.ID[2])); string(r.Path) != want {
						t.Errorf("a torn record: %s in that of %s", r.Path, want)
					}
					ring.Find(r.ID)
				}
			}
		})
	}
	all.Wait()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log.Dropped() != 0 || log.Lines() != writers*each || len(out.all()) != writers*each {
		t.Fatalf("%d dropped, %d queued, %d written", log.Dropped(), log.Lines(), len(out.all()))
	}
	last := map[string]int{}
	for _, line := range out.all() {
		var r struct{ Path string }
		var w, i int
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		fmt.Sscanf(r.Path, "/%d/%d", &w, &i)
		key := fmt.Sprint(w)
		if n, seen := last[key]; seen && n >= i {
			t.Fatalf("line %d of writer %d came after %d", i, w, n)
		}
		last[key] = i
	}
}

// lines is a writer that keeps what it gets. It can be held up.
type lines struct {
	mu   sync.Mutex
	b    bytes.Buffer
	fail error
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	return l.b.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.Split(l.b.String(), "\n")
	return s[:len(s)-1]
}

func TestSlowWriterNeverHoldsARequestUp(t *testing.T) {
	t.Parallel()
	var out lines
	out.mu.Lock() // every write waits
	log := events.NewAccessLog(8)
	log.Redirect(&out)
	r := capture(finished(), fault.None)
	const sent = 100
	for range sent {
		log.Log(&r)
	}
	if log.Dropped() < sent-16 {
		t.Errorf("%d of %d dropped", log.Dropped(), sent)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("late")
	cancel(late)
	if err := log.Close(ctx); !errors.Is(err, late) {
		t.Errorf("Close did not give up: %v", err)
	}
	out.mu.Unlock()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(out.all())); n+log.Dropped() != sent || n != log.Lines() {
		t.Errorf("%d written, %d dropped, %d queued of %d", n, log.Dropped(), log.Lines(), sent)
	}
}

func TestFailingWriterIsCountedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	var good lines
	log := events.NewAccessLog(16)
	log.Redirect(&lines{fail: io.ErrClosedPipe}, &good)
	r := capture(finished(), fault.None)
	log.Log(&r)
	log.Log(&r)
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(good.all()) != 2 || log.Dropped() != 2 {
		t.Errorf("%d written, %d lost", len(good.all()), log.Dropped())
	}
}

func TestLinesAreWrittenSoonWithoutClose(t *testing.T) {
	t.Parallel()
	var first, second lines
	log := events.NewAccessLog(16)
	defer log.Close(context.Background())
	r := capture(finished(), fault.None)
	for i, out := range []*lines{&first, &second} {
		log.Redirect(out)
		log.Log(&r)
		for deadline := time.Now().Add(time.Minute); len(out.all()) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("line %d was not written", i)
			}
		}
	}
	if len(first.all()) != 1 {
		t.Error("lines still reach the writer before Redirect")
	}
}
