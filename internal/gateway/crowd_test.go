package gateway

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// sitter is a connection that says what it is told to.
type sitter struct {
	busy  bool
	idle  time.Duration
	asked int
	ended bool
}

func (s *sitter) Idle() (time.Duration, bool) {
	s.asked++
	return s.idle, !s.busy
}

func (s *sitter) EndIdle() bool {
	s.ended = !s.busy
	return s.ended
}

func (c *crowd) seat(s *sitter, from string) *guest {
	g := c.enter(nil)
	c.move(g, s)
	if from != "" {
		c.claim(g, guessing.Network(netip.MustParseAddr(from)), 1000)
	}
	return g
}

func TestWhoHasToGo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		sitters []sitter
		from    []string
		goes    int // -1: nobody
	}{
		{"the longest idle", []sitter{{idle: grace + 1}, {idle: grace + 3}, {idle: grace + 2}}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, 1},
		{"never one that is served", []sitter{{idle: grace + 1}, {idle: grace + 3, busy: true}}, []string{"192.0.2.1", "192.0.2.2"}, 0},
		{"nobody, if all are served", []sitter{{busy: true}, {busy: true}}, []string{"192.0.2.1", "192.0.2.2"}, -1},
		{"one of the address that holds the most", []sitter{{idle: grace + 9}, {idle: grace + 1}, {idle: grace + 2}}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"}, 2},
		{"also if the rest of it is served", []sitter{{idle: grace + 9}, {idle: grace + 1}, {busy: true}}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"}, 1},
		{"an IPv6 network is one address", []sitter{{idle: grace + 9}, {idle: grace + 1}, {idle: grace + 2}}, []string{"192.0.2.1", "2001:db8::1", "2001:db8::2:3"}, 2},
		{"nobody who came just now", []sitter{{idle: grace - 1}, {busy: true}}, []string{"192.0.2.1", "192.0.2.2"}, -1},
		{"nobody, if those of the address that holds the most just came", []sitter{{idle: grace + 9}, {}, {}}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"}, -1},
		{"a proxy last", []sitter{{idle: grace + 9}, {idle: grace + 9}, {idle: grace + 1}}, []string{"", "", "192.0.2.1"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all crowd
			for i := range c.sitters {
				all.seat(&c.sitters[i], c.from[i])
			}
			if got := all.evict(); got != (c.goes >= 0) {
				t.Errorf("evict: %v", got)
			}
			for i := range c.sitters {
				if got := c.sitters[i].ended; got != (i == c.goes) {
					t.Errorf("%d was ended: %v", i, got)
				}
			}
		})
	}
}

// However many there are, letting one in looks at a few; and in the end at
// everybody.
func TestLettingOneInLooksAtFew(t *testing.T) {
	t.Parallel()
	var all crowd
	sitters := make([]sitter, 10*look)
	for i := range sitters {
		sitters[i].busy, sitters[i].idle = i != 7*look, grace
		all.seat(&sitters[i], "192.0.2.1")
	}
	tries := 1
	for ; !all.evict(); tries++ {
		asked := 0
		for i := range sitters {
			asked += sitters[i].asked
		}
		if asked != tries*look {
			t.Fatalf("%d were asked in %d tries", asked, tries)
		}
		if tries > 10 {
			t.Fatal("the one that is idle is never found")
		}
	}
	if tries != 8 {
		t.Errorf("found at try %d", tries)
	}
}

func TestAShareIsNotExceeded(t *testing.T) {
	t.Parallel()
	var c crowd
	a := netip.MustParsePrefix("192.0.2.1/32")
	claim := func(s *sitter) (ok, evicted bool) {
		g := c.enter(nil)
		c.move(g, s)
		if ok, evicted = c.claim(g, a, 2); !ok {
			c.leave(g)
		}
		return ok, evicted
	}
	one, two := &sitter{busy: true}, &sitter{busy: true}
	claim(one)
	claim(two)
	if ok, _ := claim(&sitter{}); ok {
		t.Error("a third was let in although both are served")
	}
	one.busy = false
	if ok, evicted := claim(&sitter{busy: true}); !ok || !evicted || !one.ended {
		t.Errorf("the idle one has to go: %v, %v, ended: %v", ok, evicted, one.ended)
	}
	if n := len(c.addresses[a].list); n != 2 {
		t.Errorf("%d are counted", n)
	}
}

// Whatever comes and goes in whatever order, everybody is where it is
// believed to be, and nothing is kept of addresses that left.
func TestACrowdKeepsItsBooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c crowd
		in := map[*guest]*sitter{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			var some *guest
			for g := range in {
				some = g
				break
			}
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what <= 2:
				s := &sitter{busy: rapid.Bool().Draw(t, "busy"), idle: grace + time.Duration(rapid.IntRange(-5, 5).Draw(t, "idle"))}
				g := c.enter(nil)
				c.move(g, s)
				in[g] = s
				if what > 0 {
					from := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 3).Draw(t, "from"))})
					if ok, _ := c.claim(g, guessing.Network(from), 3); !ok {
						c.leave(g)
						delete(in, g)
					}
				}
			case what == 3 && some != nil:
				c.leave(some)
				c.leave(some)
				delete(in, some)
			case what == 4:
				c.evict()
			}
			counted := 0
			for g, s := range in {
				if g.left != s.ended {
					t.Fatalf("left: %v, ended: %v", g.left, s.ended)
				}
				if s.ended {
					delete(in, g)
				}
			}
			for _, r := range c.addresses {
				counted += len(r.list)
				if len(r.list) == 0 || len(r.list) > 3 {
					t.Fatalf("an address holds %d", len(r.list))
				}
				for i, g := range r.list {
					if g.place[inAddress] != i || c.addresses[g.from] != r {
						t.Fatal("a guest is not where it is believed to be")
					}
				}
			}
			for i, g := range c.all.list {
				if g.place[inAll] != i || in[g] == nil {
					t.Fatal("a guest is not where it is believed to be")
				}
				if g.from.IsValid() {
					counted--
				}
			}
			if counted != 0 || len(c.all.list) != len(in) {
				t.Fatalf("%d of %d are in the crowd, %d counted too many", len(c.all.list), len(in), counted)
			}
		}
	})
}

func TestClientsAreBoundByOpenFiles(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]int64{1: 1, 64: 1, 128: 32, 256: 96, 1024: 384, 20_000: 9_750, 1 << 20: 524_038} {
		if got := clientsFor(files); got != want {
			t.Errorf("with %d files: %d clients, want %d", files, got, want)
		}
	}
	if clientsFor(0) < 1<<40 {
		t.Error("no limit is a limit")
	}
}

// broken is a socket that lets nobody in, for some reasons in turn.
type broken struct {
	net.Listener
	why []error
}

func (b *broken) Accept() (net.Conn, error) {
	err := b.why[0]
	b.why = b.why[1:]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
}

// Whatever accepting fails with, it waits before it tries again, says so once,
// and goes on.
func TestAcceptingNeitherSpinsNorEndsWhenItFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := &Gateway{Config: Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now}, door: newDoor()}
		ln := &broken{}
		for range 100 {
			ln.why = append(ln.why, syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED)
		}
		ln.why = append(ln.why, net.ErrClosed)
		l := &listener{g: g, ln: ln, stopping: make(chan struct{})}
		l.spec.Store(&snapshot.Listener{Name: "one"})
		idle, busy := &sitter{idle: grace}, &sitter{busy: true}
		l.crowd.seat(idle, "192.0.2.1")
		l.crowd.seat(busy, "192.0.2.1")
		began := time.Now()
		l.accept()
		if took := time.Since(began); took < 300*roomRetry {
			t.Errorf("300 failures took %v", took)
		}
		if d := g.Door(); d.Paused != 300 || d.Evicted != 1 || !idle.ended || busy.ended {
			t.Errorf("%+v", d)
		}
		if n := strings.Count(log.String(), "accepting waits"); n != 1 {
			t.Errorf("%d lines in the log:\n%s", n, &log)
		}
	})
}
