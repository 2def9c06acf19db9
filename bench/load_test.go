//go:build linux

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const h2report = `starting benchmark...
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Application protocol: h2

finished in 2.01s, 5469.00 req/s, 6.01MB/s
requests: 10938 total, 11578 started, 10938 done, 10937 succeeded, 1 failed, 2 errored, 3 timeout
status codes: 10936 2xx, 0 3xx, 1 4xx, 1 5xx
`

func TestReportOfH2loadIsRead(t *testing.T) {
	t.Parallel()
	o, err := load{}.readH2load(h2report)
	if want := (outcome{Requests: 10938, Micros: 2_010_000, StatusErrors: 2, SocketErrors: 6}); err != nil || o != want {
		t.Errorf("%+v, %v; want %+v", o, err, want)
	}
	for name, bad := range map[string]string{
		"nothing":          "",
		"another protocol": strings.Replace(h2report, "protocol: h2", "protocol: http/1.1", 1),
		"an older TLS":     strings.Replace(h2report, "TLSv1.3", "TLSv1.2", 1),
		"no status codes":  strings.Replace(h2report, "status codes", "", 1),
		"no duration":      strings.Replace(h2report, "finished", "", 1),
	} {
		if _, err := (load{}).readH2load(bad); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

func TestIdleConnectionsAreLookedAtBeforeTheLoadEnds(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("\n@{\"requests\":3}\n"); err != nil {
		t.Fatal(err)
	}
	called := false
	out, err := readOutcome(r, func() error { called = true; return nil }) // w is still open
	if o, wrong := readJSON(out); !called || err != nil || wrong != nil || o.Requests != 3 {
		t.Errorf("called: %v; %+v, %v, %v", called, o, err, wrong)
	}
}

func TestRequestsAreSentInTurn(t *testing.T) {
	t.Parallel()
	patterns, paths := manyRoutes(1000)
	if len(patterns) != 999 || len(paths) != 1000 {
		t.Errorf("%d patterns and %d paths for 1000 routes, one of which is always there", len(patterns), len(paths))
	}
	if slices.Sort(patterns); len(slices.Compact(patterns)) != 999 {
		t.Error("a route occurs twice")
	}
	for _, c := range []struct {
		name   string
		tokens []string
		paths  []string
		want   string
	}{
		{"one token goes by a header", []string{"a"}, nil, ""},
		{"tokens", []string{"a", "b"}, nil, "/orders/1\ta\n/orders/1\tb\n"},
		{"paths", nil, []string{"/x", "/y"}, "/x\t\n/y\t\n"},
	} {
		name, err := (&work{fields: c.tokens}).requests(t.TempDir(), c.paths)
		if err != nil {
			t.Fatal(err)
		}
		got := []byte{}
		if name != "" {
			got, err = os.ReadFile(name)
		}
		if string(got) != c.want || err != nil {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestATargetIsMetWhenTheIntervalReachesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		values []float64
		bound  float64
		met    string
	}{
		{"under it", []float64{1, 1, 1}, 1.25, "yes"},
		{"the lower end is at it", []float64{1.25, 2, 3}, 1.25, "yes"},
		{"all over it", []float64{1.3, 1.4, 1.5}, 1.25, "**no**"},
		{"every run was refused", nil, 1.25, "not measured"},
		{"no bound", []float64{1}, 0, "–"},
	} {
		if row := (verdict{target{bound: c.bound}, c.values}).row(); row[4] != c.met || len(row) != len(verdictHeader) {
			t.Errorf("%s: %v, want %s", c.name, row, c.met)
		}
	}
}

func TestScenariosAreWhole(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range scenarios {
		if names[s.name] {
			t.Errorf("%s is there twice", s.name)
		}
		names[s.name] = true
		if last := s.peers[len(s.peers)-1]; last.kind.program != "warder" || last.log == "" {
			t.Errorf("%s: the last is not Warder with a log", s.name)
		}
		if len(s.measures) == 0 || s.tool == "" {
			t.Errorf("%s measures nothing", s.name)
		}
		for _, target := range s.targets {
			if target.to != "" && !slices.ContainsFunc(s.peers, func(c contender) bool { return c.name == target.to }) {
				t.Errorf("%s: %q is divided by %q, which is not there", s.name, target.what, target.to)
			}
		}
	}
}
