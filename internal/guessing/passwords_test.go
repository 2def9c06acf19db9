package guessing

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warder-gateway/warder/internal/password"
)

// hashing is what a hash takes in these tests.
const hashing = 40 * time.Millisecond

// newPasswords returns Passwords whose hashes take time and no work: "right"
// matches.
func newPasswords(slots int) *Passwords {
	p := NewGuard().Passwords
	p.gate = newGate(slots)
	p.match = func(_ *password.Hash, given []byte) bool {
		time.Sleep(hashing)
		return string(given) == "right"
	}
	return p
}

type waits struct{ ctx context.Context }

func (w waits) Context() context.Context { return w.ctx }

func ask(t *testing.T, p *Passwords, account string, known bool, given string, from netip.Addr) Answer {
	return p.Check(&Attempt{
		Account: account, Known: known, Stored: &password.Hash{}, Password: []byte(given),
		From: from, Now: time.Now(), Waiting: waits{t.Context()},
	})
}

// addr returns one of 2^24 addresses, each a network.
func addr(i int) netip.Addr { return network(i).Addr() }

// Every answer but one that is remembered costs a hash, and no more than one.
func TestWrongUnknownAndLockedCostTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(4)
		took := func(account string, known bool, given string, from netip.Addr, want Answer) {
			t.Helper()
			before, begin := p.Counts().Hashed, time.Now()
			if got := ask(t, p, account, known, given, from); got != want {
				t.Errorf("%s %s: answer %d, want %d", account, given, got, want)
			}
			if n := p.Counts().Hashed - before; n != 1 || time.Since(begin) != hashing {
				t.Errorf("%s %s: %d hashes, %s", account, given, n, time.Since(begin))
			}
		}
		for range freeGuesses + 1 {
			took("ops", true, "wrong", addr(1), Wrong)
			took("nobody", false, "wrong", addr(2), Wrong)
		}
		took("ops", true, "right", addr(1), Locked)
		took("nobody", false, "right", addr(2), Locked)
		took("nobody", false, "right", addr(3), Wrong)
		took("ops", true, "right", addr(3), Right)
		begin := time.Now()
		if ask(t, p, "ops", true, "right", addr(3)) != Right || time.Since(begin) != 0 {
			t.Error("what was right a moment ago is hashed again")
		}
		took("ops", true, "right", addr(4), Right) // proved elsewhere: not from here
		time.Sleep(provedFor)
		took("ops", true, "right", addr(3), Right)
	})
}

// Who is slowed down must not see from a quick answer that he guessed right.
func TestALockedGuesserIsNotAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(4)
		if ask(t, p, "ops", true, "right", addr(1)) != Right {
			t.Fatal("a right password is refused")
		}
		for range freeGuesses + 1 {
			ask(t, p, "ops", true, "wrong", addr(1))
		}
		begin := time.Now()
		if got := ask(t, p, "ops", true, "right", addr(1)); got != Locked || time.Since(begin) != hashing {
			t.Errorf("answer %d after %s", got, time.Since(begin))
		}
	})
}

func TestAnotherPasswordOrHashIsNotRemembered(t *testing.T) {
	t.Parallel()
	p := newProved()
	h, err := password.Parse(password.New([]byte("password")))
	if err != nil {
		t.Fatal(err)
	}
	base := Attempt{Account: "ops", Stored: &h, Password: []byte("right")}
	seen := map[mac]string{p.mac(&base, home): "itself"}
	for what, a := range map[string]Attempt{
		"another password":     {Account: "ops", Stored: &h, Password: []byte("Right")},
		"another hash":         {Account: "ops", Stored: &password.Hash{}, Password: []byte("right")},
		"the border elsewhere": {Account: "opsr", Stored: &h, Password: []byte("ight")},
	} {
		id := p.mac(&a, home)
		if other, twice := seen[id]; twice {
			t.Errorf("%s is remembered as %s", what, other)
		}
		seen[id] = what
	}
	if _, twice := seen[p.mac(&base, network(1))]; twice {
		t.Error("another network is remembered as this one")
	}
	if newProved().mac(&base, home) == p.mac(&base, home) {
		t.Error("two processes name an attempt alike")
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	p := newProved()
	for i := range 3 * provedShards * provedPerShard {
		a := Attempt{Account: fmt.Sprint(i), Stored: &password.Hash{}}
		p.put(p.mac(&a, home), noon)
	}
	for i := range p.shards {
		if n := len(p.shards[i].until); n > provedPerShard {
			t.Errorf("shard %d remembers %d", i, n)
		}
	}
	s := newSuspects()
	for i := range maxSuspects + 100 {
		s.failed(network(i), noon)
	}
	if len(s.networks) > maxSuspects {
		t.Errorf("%d suspects are remembered", len(s.networks))
	}
}

// A page of a browser asks for six things at once, all with the password that
// was just typed in.
func TestEqualAttemptsShareOneHash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(1)
		var right atomic.Int32
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if ask(t, p, "ops", true, "right", addr(1)) == Right {
					right.Add(1)
				}
			})
		}
		all.Wait()
		if right.Load() != 100 || p.Counts().Hashed != 1 {
			t.Errorf("%d were let in after %d hashes", right.Load(), p.Counts().Hashed)
		}
		// Who goes away does not take along those who wait for the same.
		p.gate.enter(t.Context(), network(9), known, 0)
		ctx, cancel := context.WithCancel(t.Context())
		attempt := Attempt{Account: "ops", Known: true, Stored: &password.Hash{}, Password: []byte("right"), From: addr(2), Now: time.Now(), Waiting: waits{ctx}}
		go p.Check(&attempt)
		synctest.Wait()
		var got Answer
		all.Go(func() { got = ask(t, p, "ops", true, "right", addr(2)) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		p.gate.leave(network(9))
		all.Wait()
		if got != Right {
			t.Errorf("answer %d for who did not go away", got)
		}
		if len(p.flights) != 0 || p.joined != 0 {
			t.Errorf("%d flights and %d who joined are left behind", len(p.flights), p.joined)
		}
	})
}

func TestABugInAHashBlocksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(1)
		match := p.match
		p.match = func(*password.Hash, []byte) bool { panic("a bug") }
		func() {
			defer func() { recover() }()
			ask(t, p, "ops", true, "right", addr(1))
		}()
		p.match = match
		if got := ask(t, p, "ops", true, "right", addr(1)); got != Right {
			t.Errorf("answer %d", got)
		}
		p.gate.empty(t, 1)
	})
}

// The neighbour rule: a thousand networks guess for ten minutes, at the
// account of a real user, at made-up ones and in bursts, and one processor
// does the hashes. Who proved itself before is let in every time, and so is,
// once the first wave has shown who they are, who comes for the first time
// from a network of its own.
func TestAThousandGuessersDoNotDisturbARealUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(1)
		at := netip.MustParseAddr("192.0.2.1")
		if ask(t, p, "ops", true, "right", at) != Right {
			t.Fatal("a right password is refused before anybody guessed")
		}
		const attackers = 1000
		end := time.Now().Add(10 * time.Minute)
		var all sync.WaitGroup
		for i := range attackers {
			all.Go(func() {
				for n := 0; time.Now().Before(end); n++ {
					account, known := "ops", true
					if i%2 == 0 {
						account, known = fmt.Sprint("made up ", i, n), false
					}
					if got := ask(t, p, account, known, fmt.Sprint("guess ", n), addr(i)); got == Right {
						t.Error("a wrong password is let in")
					}
					time.Sleep(30 * time.Second) // more than one processor can do
				}
			})
		}
		good := func(what, account string, from netip.Addr) {
			begin := time.Now()
			if got := ask(t, p, account, true, "right", from); got != Right || time.Since(begin) > 5*hashing {
				t.Errorf("%s was answered with %d after %s", what, got, time.Since(begin))
			}
		}
		newcomers := 0
		for n := 0; time.Now().Before(end); n++ {
			good("the real user", "ops", at)
			if n >= 120 && n%5 == 0 {
				newcomers++
				good("a newcomer", fmt.Sprint("newcomer ", n), addr(100_000+n))
			}
			time.Sleep(time.Second)
		}
		all.Wait()
		if newcomers < 50 {
			t.Errorf("only %d newcomers came", newcomers)
		}
		p.gate.empty(t, 1)
	})
}

// Of signatures: a network that sent many bad tokens still gets its good ones
// verified, and its bad ones wait for each other.
func TestABudgetLocksNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewGuard().Signatures
		b.gate = newGate(2)
		who := waits{t.Context()}
		bad := netip.MustParseAddr("192.0.2.66")
		for range 10 * freeFailures {
			e, ok := b.Enter(who, bad, nil, time.Now())
			if !ok {
				t.Fatal("refused while nobody waits")
			}
			e.Leave(true)
		}
		if e, ok := b.Enter(who, bad, nil, time.Now()); !ok || !e.gated {
			t.Error("a network that failed often is not bounded, or is locked out")
		} else {
			e.Leave(false)
		}
		for i := range 2 { // both slots are taken by it
			if _, ok := b.Enter(who, bad, nil, time.Now()); !ok {
				t.Fatal(i)
			}
		}
		if e, ok := b.Enter(who, netip.MustParseAddr("192.0.2.1"), nil, time.Now()); !ok || e.gated {
			t.Error("a neighbour waits for it")
		}
		if e, ok := b.Enter(who, bad, Spared{netip.PrefixFrom(bad, 32)}, time.Now()); !ok || e.gated {
			t.Error("a spared network waits")
		}
		if _, ok := b.Enter(who, bad, nil, time.Now()); ok {
			t.Error("it has more than its share")
		}
		time.Sleep(mostFailures * regain)
		if e, ok := b.Enter(who, bad, nil, time.Now()); !ok || e.gated {
			t.Error("what it did is never forgotten")
		}
		var none *Budget
		if e, ok := none.Enter(who, bad, nil, time.Now()); !ok {
			t.Error("no budget refuses")
		} else {
			e.Leave(true)
		}
	})
}

func BenchmarkRemembered(b *testing.B) {
	p := newPasswords(1)
	p.match = func(*password.Hash, []byte) bool { return true }
	a := &Attempt{Account: "ops", Known: true, Stored: &password.Hash{}, Password: []byte("correct horse"), From: home.Addr(), Now: noon, Waiting: waits{b.Context()}}
	p.Check(a)
	b.ReportAllocs()
	for b.Loop() {
		if p.Check(a) != Right {
			b.Fatal("not right")
		}
	}
}
