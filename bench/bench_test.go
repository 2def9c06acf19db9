//go:build linux

package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedianAndItsInterval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		values            []float64
		median, low, high float64
	}{
		{"one value is its own interval", []float64{3}, 3, 3, 3},
		{"an even number has its middle between two", []float64{4, 1, 3, 2}, 2.5, 1, 4},
		{"equal values leave no doubt", []float64{2, 2, 2, 2, 2}, 2, 2, 2},
		{"one wild value moves the median little", []float64{1, 1, 1, 1, 1, 1, 1, 1, 900}, 1, 1, 1},
	} {
		low, high := interval(c.values)
		if m := median(c.values); m != c.median || low != c.low || high != c.high {
			t.Errorf("%s: %v (%v–%v), want %v (%v–%v)", c.name, m, low, high, c.median, c.low, c.high)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

func TestRatiosCompareWithinARoundOnly(t *testing.T) {
	t.Parallel()
	r := result{runs: [][]*figures{
		{{cpu: 10}, {cpu: 100}, nil, {cpu: 10}},
		{{cpu: 20}, {cpu: 200}, {cpu: 7}, nil},
	}}
	got := r.ratios(1, 0, cpu)
	if len(got) != 2 || got[0] != 2 || got[1] != 2 {
		t.Errorf("ratios: %v, want 2 and 2, without the rounds in which a run was refused", got)
	}
}

func TestCPUTimeOfAProcess(t *testing.T) {
	t.Parallel()
	const line = "4711 (a ) b) S 17 4711 4711 0 -1 4194304 1 0 0 0 250 50 900 900 20 0 1 0 1 1 1"
	s, err := readStat([]byte(line))
	if err != nil || s.parent != 17 || s.cpu != 3*time.Second {
		t.Errorf("%+v, %v; want parent 17 and 3 s", s, err)
	}
	for _, bad := range []string{"", "4711", "4711 (x) S 1", strings.Replace(line, "250", "x", 1)} {
		if _, err := readStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	own, err := readTree(os.Getpid())
	if err != nil || own.rss() == 0 || !own.same(own) {
		t.Errorf("own tree: %v, %v", own, err)
	}
}

func TestDishonestRunsAreRefused(t *testing.T) {
	t.Parallel()
	honest := func() *measurement {
		return &measurement{
			load:   outcome{Requests: 1000, Micros: 1e6},
			before: sight{proxy: tree{1: 0}},
			after:  sight{at: time.Unix(1, 0), proxy: tree{1: time.Second}, upstream: upstream{connections: 65, requests: 1011}},
			probes: 4, passed: 4,
		}
	}
	if err := honest().judge(64); err != nil {
		t.Fatalf("an honest run: %v", err)
	}
	for name, spoil := range map[string]func(*measurement){
		"an answer was an error":                 func(m *measurement) { m.load.StatusErrors = 1 },
		"a connection broke":                     func(m *measurement) { m.load.SocketErrors = 1 },
		"answers did not come from the backend":  func(m *measurement) { m.after.upstream.requests = 900 },
		"requests were sent twice":               func(m *measurement) { m.after.upstream.requests = 2000 },
		"upstream connections were not kept":     func(m *measurement) { m.after.upstream.connections = 1000 },
		"a process ended and another came":       func(m *measurement) { m.after.proxy = tree{2: time.Second} },
		"the rate was not kept":                  func(m *measurement) { m.tool, m.due = paced, 2000 },
		"nobody asked during the run":            func(m *measurement) { m.probes = 0 },
		"a bad token was let in during the run":  func(m *measurement) { m.wrong = os.ErrInvalid },
		"an answer was an error and went unseen": func(m *measurement) { m.passed = 20 },
	} {
		m := honest()
		spoil(m)
		if m.judge(64) == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestEveryRequestHasItsLogLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.log")
	log := strings.Repeat(`{"status":200,"x":1}`+"\n", 10) + strings.Repeat(`{"status":401,"x":1}`+"\n", 2)
	if err := os.WriteFile(file, []byte(log+`{"status":200,"cut`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                  string
		passed, turned, slack int
		ok                    bool
	}{
		{"all of them", 10, 2, 0, true},
		{"some more, of requests under way at the end", 8, 2, 2, true},
		{"too many", 7, 2, 2, false},
		{"a refusal logged as passed", 9, 3, 0, false},
	} {
		lines, err := logged(t.Context(), file, c.passed, c.turned, c.slack)
		if lines != 12 || (err == nil) != c.ok {
			t.Errorf("%s: %d lines, %v", c.name, lines, err)
		}
	}
}

func TestBackendAnswersOneKiB(t *testing.T) {
	t.Parallel()
	if n := len(body1K()); n != 1024 {
		t.Errorf("%d bytes", n)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	o, chosen, err := parse([]string{"jwt", "-rounds", "3", "plain", "--pinned=false", "-seconds=2"})
	if err != nil || o.rounds != 3 || o.seconds != 2 || len(chosen) != 2 || chosen[0].name != "jwt" || chosen[1].name != "plain" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{nil, {"all", "-rounds", "3"}} {
		if _, all, err := parse(args); err != nil || len(all) != len(scenarios) {
			t.Errorf("%q: %d scenarios, %v", args, len(all), err)
		}
	}
	for _, bad := range [][]string{{"-rounds", "0"}, {"-seconds", "x"}, {"-report", "../x"}, {"swift"}, {"all", "plain"}, {"-connections", "1"}} {
		if _, _, err := parse(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
