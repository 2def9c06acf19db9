package counters_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
)

// fleet asks with several counters at once and returns how many calls passed.
func fleet(t testing.TB, all []*counters.Remote, callers, calls int, charges func(caller int) []counters.Charge) int64 {
	t.Helper()
	var passed atomic.Int64
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			list := charges(i)
			states := make([]counters.State, len(list))
			for range calls {
				// A clock that is far off, as that of an instance may be.
				refused, err := all[i%len(all)].Take(time.Now().Add(time.Duration(i)*time.Hour), list, states)
				if err != nil {
					t.Error(err)
				}
				if refused < 0 {
					passed.Add(1)
				}
			}
		})
	}
	wait.Wait()
	for _, r := range all {
		if n := r.Local(); n > 0 {
			t.Errorf("%d decisions were not the server's", n)
		}
	}
	return passed.Load()
}

func TestAFleetCountsExactly(t *testing.T) {
	t.Parallel()
	s := redis(t)
	var all []*counters.Remote
	for range 3 {
		r, _ := remote(t, "redis://"+s.address())
		all = append(all, r)
	}
	for _, sliding := range []bool{false, true} {
		shared := charge(fmt.Sprint("shared ", sliding), time.Hour, 500)
		shared.Sliding = sliding
		own := func(i int) counters.Charge { return charge(fmt.Sprint("own ", sliding, i), time.Hour, 10_000) }
		passed := fleet(t, all, 24, 150, func(i int) []counters.Charge {
			if i%2 == 0 {
				return []counters.Charge{own(i), shared}
			}
			return []counters.Charge{shared, own(i)}
		})
		if passed != 500 {
			t.Errorf("sliding %v: %d of 3600 calls passed, the limit is 500", sliding, passed)
		}
		var taken int64
		states := make([]counters.State, 1)
		for i := range 24 {
			if _, err := all[0].Look(time.Now(), []counters.Charge{own(i)}, states); err != nil {
				t.Fatal(err)
			}
			taken += 10_000 - states[0].Remaining
		}
		if taken != 500 {
			t.Errorf("sliding %v: %d calls charged to limits of their own, want 500", sliding, taken)
		}
	}
}

// While the limit fills, the time between the first call and the last bounds
// how many may pass.
func TestAFleetNeverExceedsARate(t *testing.T) {
	t.Parallel()
	s := redis(t)
	var all []*counters.Remote
	for range 3 {
		r, _ := remote(t, "redis://"+s.address())
		all = append(all, r)
	}
	limit := charge("rate", 2*time.Millisecond, 50)
	window := charge("window", 2*time.Millisecond, 50)
	window.Sliding = true
	for _, l := range []counters.Charge{limit, window} {
		began := time.Now()
		passed := fleet(t, all, 12, 200, func(int) []counters.Charge { return []counters.Charge{l} })
		took := time.Since(began)
		most := l.Burst + int64(took/l.Period) + 1
		if l.Sliding { // of every span at most the burst
			most = l.Burst * (int64(took/(l.Period*time.Duration(l.Burst))) + 1)
		}
		if passed > most || passed < l.Burst {
			t.Errorf("%d calls passed in %v, at most %d may", passed, took, most)
		}
	}
}

func TestWhenTheServerDiesMemoryTakesOver(t *testing.T) {
	t.Parallel()
	s := redis(t)
	r, log := remote(t, "redis://"+s.address())
	used := charge("used up", time.Hour, 5)
	window := charge("used up too", time.Hour, 5)
	window.Sliding = true
	for range 5 {
		take(t, r, time.Now(), used)
		take(t, r, time.Now(), window)
	}
	closed := charge("closed", time.Hour, 5)
	closed.Closed = true
	s.kill()

	fresh := charge("fresh", time.Hour, 5)
	for i := range 8 {
		refused, _ := take(t, r, time.Now(), fresh)
		if (refused < 0) != (i < 5) {
			t.Errorf("call %d by memory: refused %d", i, refused)
		}
	}
	if r.Reachable() || r.Local() == 0 {
		t.Errorf("reachable %v, %d decided locally", r.Reachable(), r.Local())
	}
	for _, l := range []counters.Charge{used, window} {
		if refused, _ := take(t, r, time.Now(), l); refused < 0 {
			t.Error("the end of the server freed whoever had used up a limit")
		}
	}
	for _, list := range [][]counters.Charge{{closed}, {charge("beside", time.Hour, 5), closed}} {
		if _, err := r.Take(time.Now(), list, make([]counters.State, len(list))); !errors.Is(err, counters.ErrUnavailable) {
			t.Errorf("a closed limit: %v", err)
		}
	}
	if first, err := r.Once(time.Now(), counters.KeyOf("jti"), time.Hour); first || !errors.Is(err, counters.ErrUnavailable) {
		t.Errorf("a guard against replays: %v %v", first, err)
	}

	s.start(t)
	eventually(t, "the server is found again", r.Reachable)
	if _, states := take(t, r, time.Now(), closed); states[0].Remaining != 4 {
		t.Errorf("%+v", states[0])
	}
	if first, err := r.Once(time.Now(), counters.KeyOf("jti"), time.Hour); !first || err != nil {
		t.Errorf("a guard against replays: %v %v", first, err)
	}
	if n := log.count("does not answer"); n != 1 {
		t.Errorf("the outage is told %d times, want once", n)
	}
	if n := log.count("limits are counted by"); n != 2 {
		t.Errorf("the way back is told %d times, want at first and once more", n)
	}
}

// Killed and revived while it is asked: every call gets an answer, and in time.
func TestAServerThatComesAndGoesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := redis(t)
	r, _ := remote(t, "redis://"+s.address())
	limit := charge("x", time.Microsecond, 1_000_000)
	done := make(chan struct{})
	var calls atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			states := make([]counters.State, 1)
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := r.Take(time.Now(), []counters.Charge{limit}, states); err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for range 3 {
		before := calls.Load()
		s.kill()
		eventually(t, "calls go on without the server", func() bool { return !r.Reachable() && calls.Load() > before+100 })
		s.start(t)
		eventually(t, "the server is found again", r.Reachable)
	}
	close(done)
	wait.Wait()
}

// Stopped, a server accepts connections and never answers: the worst case.
func TestAServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := redis(t)
	r, log := within(t, 100*time.Millisecond, "redis://"+s.address())
	eventually(t, "the server is reached", r.Reachable)
	limit := charge("x", time.Microsecond, 1_000_000)
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// More than wait for an answer, and than a connection can hold.
	var wait sync.WaitGroup
	for range 3000 {
		wait.Go(func() {
			if _, err := r.Take(time.Now(), []counters.Charge{limit}, make([]counters.State, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if r.Reachable() || log.count("no answer within") == 0 {
		t.Error("the server is still asked")
	}
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is found again", r.Reachable)
}

func TestWithoutAServerMemoryDecidesFromTheStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, log := unreached(t, "redis://"+l.Addr().String())
	if refused, _ := take(t, r, time.Now(), charge("x", time.Hour, 1)); refused >= 0 {
		t.Error("refused")
	}
	eventually(t, "the log says so", func() bool { return log.count("does not answer") == 1 })
}

// A server that answers nonsense, or that cannot be written to, decides nothing.
func TestAServerThatCannotDecideIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := redis(t, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
	s.cli("config", "set", "maxmemory", "1")
	r, log := unreached(t, "redis://"+s.address())
	closed := charge("x", time.Hour, 1)
	closed.Closed = true
	if _, err := r.Take(time.Now(), []counters.Charge{closed}, make([]counters.State, 1)); !errors.Is(err, counters.ErrUnavailable) {
		t.Errorf("a server without memory decided: %v", err)
	}
	eventually(t, "the log says why", func() bool { return log.count("OOM") == 1 })
	s.cli("config", "set", "maxmemory", "0")
	eventually(t, "the server is found again", r.Reachable)
}

func TestPasswordsAreUsedAndNeverLogged(t *testing.T) {
	t.Parallel()
	s := redis(t, "--requirepass", "canary-4711")
	r, log := remote(t, fmt.Sprintf("redis://:canary%%2D4711@%s/3", s.address()))
	take(t, r, time.Now(), charge("x", time.Hour, 5))
	if keys := s.cli("-a", "canary-4711", "--no-auth-warning", "-n", "3", "keys", "*"); !strings.Contains(keys, "warder:{limits}:") {
		t.Errorf("database 3 holds %q", keys)
	}
	wrong, wrongLog := unreached(t, "redis://:canary-4712@"+s.address())
	eventually(t, "a wrong password is told", func() bool { return wrongLog.count("WRONGPASS") == 1 })
	if wrong.Reachable() || log.count("canary")+wrongLog.count("canary") > 0 {
		t.Error("a password was logged")
	}
}

// Nothing that was kept stays longer than it says anything.
func TestTheServerForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	s := redis(t)
	r, _ := remote(t, "redis://"+s.address())
	window := charge("w", time.Millisecond, 20)
	window.Sliding = true
	take(t, r, time.Now(), charge("b", time.Millisecond, 20), window)
	if first, err := r.Once(time.Now(), counters.KeyOf("o"), time.Millisecond); !first || err != nil {
		t.Fatal(first, err)
	}
	eventually(t, "no key is left", func() bool { return strings.TrimSpace(s.cli("dbsize")) == "0" })
}

func BenchmarkRemote(b *testing.B) {
	s := redis(b)
	r, _ := remote(b, "redis://"+s.address())
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d at once", callers), func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			var wait sync.WaitGroup
			for i := range callers {
				wait.Go(func() {
					list := []counters.Charge{charge(fmt.Sprint(i), time.Microsecond, 1_000_000)}
					states := make([]counters.State, 1)
					for next.Add(1) <= int64(b.N) {
						if _, err := r.Take(time.Now(), list, states); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wait.Wait()
		})
	}
	if n := r.Local(); n > 0 {
		b.Errorf("%d decisions were not the server's", n)
	}
}
