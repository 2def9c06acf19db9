//go:build linux

package main

import "path/filepath"

// scenario is one kind of work, and who does it.
type scenario struct {
	name, about string
	tokens      int         // different ones, sent in turn; 0: requests carry none
	peers       []contender // the first is what the others are compared with
}

// contender is one proxy in one set-up.
type contender struct {
	name    string
	does    string // in words, for the report
	kind    kind
	guarded bool   // it checks tokens
	log     string // file of its access log in its folder; empty: it writes none
	program string // empty: found by kind
}

// kind tells how a contender is started.
type kind struct {
	program string
	config  string // template in cfg, and name in the contender's folder
	args    func(dir string) []string
	metrics bool // it counts requests, and says so on its admin address
}

var (
	nginx = kind{"nginx", "nginx.conf", func(dir string) []string {
		return []string{"-p", dir + "/", "-e", filepath.Join(dir, stderrFile), "-c", filepath.Join(dir, "nginx.conf")}
	}, false}
	haproxy = kind{"haproxy", "haproxy.cfg", func(dir string) []string {
		return []string{"-db", "-f", filepath.Join(dir, "haproxy.cfg")}
	}, false}
	warder = kind{"warder", "warder.yaml", func(dir string) []string {
		return []string{"run", "-c", filepath.Join(dir, "warder.yaml"), "--state", filepath.Join(dir, "state")}
	}, true}
)

var (
	nginxPlain = contender{name: "nginx", does: "proxies, checks nothing, logs nothing", kind: nginx}
	nginxLog   = contender{name: "nginx + log", does: "proxies and logs one JSON line per request", kind: nginx, log: "access.log"}
	haproxyJWT = contender{name: "HAProxy", does: "verifies RS256, claims and scope of every request, limits per client, logs one JSON line per request", kind: haproxy, guarded: true, log: stdoutFile}
	warderJWT  = contender{name: "warder", does: "checks token, audience and scope, limits per consumer, counts metrics, logs one JSON line per request", kind: warder, guarded: true, log: "access.log"}
)

var scenarios = []scenario{
	{"plain", "no checks; Warder logs and counts, because that cannot be switched off", 0, []contender{
		nginxPlain,
		nginxLog,
		{name: "HAProxy", does: "proxies, checks nothing, logs nothing", kind: haproxy},
		{name: "warder", does: "auth: none; counts metrics and logs one JSON line per request", kind: warder, log: "access.log"},
	}},
	{"jwt", "one RS256 token: signature, audience, scope, a limit per consumer, access log, metrics", 1, []contender{
		nginxPlain, haproxyJWT, warderJWT,
	}},
	{"jwt-many", "the same with 10,000 different tokens in turn, each of another client", 10_000, []contender{
		nginxPlain, haproxyJWT, warderJWT,
	}},
}

func find(name string) (scenario, bool) {
	for _, s := range scenarios {
		if s.name == name {
			return s, true
		}
	}
	return scenario{}, false
}
