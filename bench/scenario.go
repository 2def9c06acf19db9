//go:build linux

package main

import (
	"fmt"
	"path/filepath"
)

// scenario is one kind of work, who does it, and what is to come of it. A new
// one is an entry in the list of scenarios.
type scenario struct {
	name, about string
	tool        tool
	tls         bool
	connections int         // 0: as the command line says
	streams     int         // 0: one request at a time on a connection
	tokens      int         // different ones, sent in turn; 0: requests carry none
	keys        int         // in the store; tokens are some of them, in turn; 0: tokens are JWTs
	path        string      // empty: /orders/1
	sink        bool        // the backend reads bodies, instead of nginx
	rounds      int         // at most; 0: as the command line says
	warm        int         // seconds of load before a run, at least
	peers       []contender // the first is what the others are compared with, the last is Warder
	measures    []measure   // columns; the first is the one that is compared
	targets     []target
	benchmarks  string // Go benchmarks in internal/route that belong to it; empty: none
}

// contender is one proxy in one set-up.
type contender struct {
	name    string
	does    string // in words, for the report
	kind    kind
	guarded bool   // it checks tokens, or keys
	log     string // file of its access log in its folder; empty: it writes none
	program string // empty: found by kind
	routes  int    // that it has, asked for in turn; 0: one
	buffers bool   // nginx holds answers in its buffers
}

// kind tells how a contender is started.
type kind struct {
	program string
	config  string // template in cfg, and name in the contender's folder; empty: none
	args    func(s site) []string
	metrics bool // it counts requests, and says so on its admin address
}

var (
	nginx = kind{"nginx", "nginx.conf", func(s site) []string {
		return []string{"-p", s.Dir + "/", "-e", filepath.Join(s.Dir, stderrFile), "-c", filepath.Join(s.Dir, "nginx.conf")}
	}, false}
	haproxy = kind{"haproxy", "haproxy.cfg", func(s site) []string {
		return []string{"-db", "-f", filepath.Join(s.Dir, "haproxy.cfg")}
	}, false}
	netHTTP = kind{"kit", "", func(s site) []string {
		return []string{"proxy", "-address", fmt.Sprintf("127.0.0.1:%d", s.Port), "-backend", fmt.Sprintf("http://127.0.0.1:%d", s.Backend), "-cert", s.Cert, "-key", s.Key}
	}, false}
	warder = kind{"warder", "warder.yaml", func(s site) []string {
		return []string{"run", "-c", filepath.Join(s.Dir, "warder.yaml"), "--state", s.State}
	}, true}
)

var (
	nginxPlain  = contender{name: "nginx", does: "proxies, checks nothing, logs nothing", kind: nginx}
	nginxLog    = contender{name: "nginx + log", does: "proxies and logs one JSON line per request", kind: nginx, log: "access.log"}
	haproxyJWT  = contender{name: "HAProxy", does: "verifies RS256, claims and scope of every request, limits per client, logs one JSON line per request", kind: haproxy, guarded: true, log: stdoutFile}
	goProxy     = contender{name: "net/http", does: "httputil.ReverseProxy with kept connections and a buffer pool; checks nothing, logs nothing", kind: netHTTP}
	warderPlain = contender{name: "warder", does: "auth: none; counts metrics and logs one JSON line per request", kind: warder, log: "access.log"}
	warderJWT   = contender{name: "warder", does: "checks token, audience and scope, limits per consumer, counts metrics, logs one JSON line per request", kind: warder, guarded: true, log: "access.log"}
)

// with returns the contender under another name, changed.
func (c contender) with(name, does string, change func(*contender)) contender {
	c.name, c.does = name, does
	change(&c)
	return c
}

// large is the size of a large body.
const large = 100_000_000

// manyIdle is how many connections are held.
const manyIdle = 10_000

var scenarios = []scenario{
	{
		name: "plain", about: "no checks; Warder logs and counts, because that cannot be switched off",
		tool:     wrk,
		measures: usual,
		peers:    []contender{nginxPlain, nginxLog, {name: "HAProxy", does: "proxies, checks nothing, logs nothing", kind: haproxy}, warderPlain},
		targets: []target{
			{what: "no checks: CPU ÷ nginx without a log", of: cpu, to: "nginx", bound: 1.1},
			{what: "allocations per request, no checks (0: less than 0.1, as the probes' own connections allocate)", of: allocations, bound: 0.1},
		},
	},
	{
		name: "jwt", about: "one RS256 token: signature, audience, scope, a limit per consumer, access log, metrics",
		tool: wrk, tokens: 1,
		measures: usual,
		peers:    []contender{nginxPlain, haproxyJWT, warderJWT},
		targets: []target{
			{what: "full chain: CPU ÷ nginx that checks nothing", of: cpu, to: "nginx", bound: 1.25},
			{what: "allocations per request, full chain", of: allocations, bound: 5},
		},
	},
	{
		name: "jwt-many", about: "the same with 10,000 different tokens in turn, each of another client",
		tool: wrk, tokens: 10_000, rounds: 9,
		warm:     3, // so that every token has come once
		measures: usual,
		peers:    []contender{nginxPlain, haproxyJWT, warderJWT},
	},
	{
		name: "keys", about: "an API key, 10,000 of them in turn, among 1,000,000 in the store; a limit per consumer, access log, metrics",
		tool: wrk, tokens: 10_000, keys: 1_000_000, rounds: 9,
		warm:     3, // so that every key has come once
		measures: []measure{cpu, ready, rate, middle, slow, memory, allocations},
		peers:    []contender{nginxPlain, warderJWT.with("warder", "finds the key, limits per consumer, counts metrics, logs one JSON line per request", func(*contender) {})},
		targets:  []target{{what: "API key among 1,000,000 and a limit: CPU ÷ nginx plain", of: cpu, to: "nginx", bound: 1.25}},
	},
	{
		name: "routes", about: "10 routes against 10,000, each asked for in turn",
		tool:     wrk,
		measures: []measure{cpu, ready, rate, middle, slow, memory},
		peers: []contender{
			warderPlain.with("warder, 10", "has 10 routes", func(c *contender) { c.routes = 10 }),
			warderPlain.with("warder, 10,000", "has 10,000 routes", func(c *contender) { c.routes = 10_000 }),
		},
		targets:    []target{{what: "routes: CPU of 10,000 ÷ 10 (no bound set)", of: cpu, to: "warder, 10"}},
		benchmarks: "^Benchmark(Match|Build)$",
	},
	{
		name: "tls", about: "TLS 1.3 on kept connections, HTTP/1.1",
		tool: wrk, tls: true,
		measures: usual,
		peers:    []contender{nginxPlain, warderPlain},
		targets:  []target{{what: "TLS 1.3, kept connections: CPU ÷ nginx", of: cpu, to: "nginx", bound: 1.25}},
	},
	{
		name: "tls-new", about: "a new TLS 1.3 connection for each request, none resumed",
		tool: fresh, tls: true,
		measures: usual,
		peers:    []contender{nginxPlain, warderPlain},
		targets:  []target{{what: "TLS 1.3, a connection per request: CPU ÷ nginx", of: cpu, to: "nginx", bound: 1.2}},
	},
	{
		name: "h2", about: "HTTP/2 over TLS 1.3 from the client, 10 streams on a connection, HTTP/1.1 to the backend",
		tool: h2load, tls: true, streams: 10,
		measures: []measure{cpu, rate, memory, allocations},
		peers:    []contender{goProxy, nginxPlain, warderPlain},
		targets:  []target{{what: "HTTP/2: CPU ÷ net/http", of: cpu, to: "net/http", bound: 0.75}},
	},
	{
		name: "big-down", about: "answers of 100 MB",
		tool: down, path: "/orders/large", connections: 4, rounds: 9,
		measures: ofLarge,
		peers:    []contender{nginxPlain.with("nginx", "proxies in buffers of memory; logs nothing", func(c *contender) { c.buffers = true }), warderPlain},
		targets:  largeTargets("100 MB down"),
	},
	{
		name: "big-up", about: "requests of 100 MB",
		tool: up, connections: 4, sink: true, rounds: 9,
		measures: ofLarge,
		peers:    []contender{nginxPlain.with("nginx", "proxies without buffering requests; logs nothing", func(*contender) {}), warderPlain},
		targets:  largeTargets("100 MB up"),
	},
	{
		name: "idle", about: "10,000 plain connections that are idle after one request each",
		tool: idle, connections: manyIdle, rounds: 3,
		measures: ofIdle,
		peers:    []contender{nginxPlain, warderPlain},
		targets:  []target{{what: "an idle connection, plain: KiB", of: perConnection, bound: 10}},
	},
	{
		name: "idle-tls", about: "the same over TLS 1.3",
		tool: idle, tls: true, connections: manyIdle, rounds: 3,
		measures: ofIdle,
		peers:    []contender{nginxPlain, warderPlain},
		targets:  []target{{what: "an idle connection, TLS: KiB", of: perConnection, bound: 40}},
	},
	{
		name: "p99", about: "requests at half the rate that the same proxy reached just before with all connections busy",
		tool:     paced,
		measures: []measure{slow, middle, rate, cpu, memory},
		peers:    []contender{nginxPlain, warderPlain},
		targets:  []target{{what: "p99 at half of saturation ÷ nginx", of: slow, to: "nginx", bound: 1.5}},
	},
}

// largeTargets are those of large bodies in one direction.
func largeTargets(what string) []target {
	return []target{
		{what: what + ": CPU per GB ÷ nginx", of: perGB, to: "nginx", bound: 1.25},
		{what: what + ": MiB that RSS grew at most during the run (flat: less than a third of a body)", of: growth, bound: 32},
	}
}

func find(name string) (scenario, bool) {
	for _, s := range scenarios {
		if s.name == name {
			return s, true
		}
	}
	return scenario{}, false
}
