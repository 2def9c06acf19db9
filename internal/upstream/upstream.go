// Package upstream sends exchanges to the services behind the gateway. A
// Group is the targets of one upstream, among which it balances; each target
// keeps its own pool of connections.
package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/dial"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

// Config says what a Group is made of.
type Config struct {
	Targets  []Target // at least one
	Protocol Protocol // that all of them speak
	Own      []uint16 // loopback ports of our own surfaces: never dialled
	Host     string   // Host field for the targets; "" keeps the client's; "upstream" is the target's own
}

// Protocol is what targets speak.
type Protocol uint8

// The protocols. HTTP2 goes by ALPN over TLS, by prior knowledge without; GRPC
// is HTTP2 with trailers.
const (
	HTTP1 Protocol = iota
	HTTP2
	GRPC
)

// Target is one server of a Group.
type Target struct {
	Name    string // as written: http://orders-1:8080
	Address string // host:port to connect to
	Host    string // authority of the URL
	Prefix  string // path put before every request's path; no trailing slash
	TLS     *tls.Config
}

// Group is the running form of an upstream. It is safe for concurrent use.
type Group struct {
	targets  []target
	protocol Protocol
	next     atomic.Uint32
}

type target struct {
	name string
	to   http1.Target
	pool pool
}

// pool is the connections to one target.
type pool interface {
	Do(x *exchange.Exchange, limits http1.Timeouts, to http1.Target) error
	Close()
}

// New makes a Group. It connects to nothing before the first request.
func New(cfg Config) *Group {
	g := &Group{protocol: cfg.Protocol}
	rules := &dial.Rules{Own: cfg.Own}
	for _, t := range cfg.Targets {
		to := http1.Target{Prefix: t.Prefix, Host: cfg.Host}
		if cfg.Host == "upstream" {
			to.Host = t.Host
		}
		g.targets = append(g.targets, target{t.Name, to, newPool(t, rules, cfg.Protocol)})
	}
	return g
}

func newPool(t Target, rules *dial.Rules, protocol Protocol) pool {
	if protocol != HTTP1 {
		return newHTTP2Pool(t, rules, protocol == GRPC)
	}
	if t.TLS != nil {
		t.TLS = t.TLS.Clone()
		t.TLS.NextProtos = []string{"http/1.1"}
	}
	return http1.NewPool(http1.PoolConfig{Address: t.Address, TLS: t.TLS, Dial: func(ctx context.Context, address string) (net.Conn, error) {
		return rules.Context(ctx, "tcp", address)
	}})
}

// Protocol returns what the targets speak.
func (g *Group) Protocol() Protocol { return g.protocol }

// Start does nothing: connections are made when they are needed.
func (g *Group) Start() {}

// Close ends every idle connection; those in use end with their exchange.
func (g *Group) Close() {
	for _, t := range g.targets {
		t.pool.Close()
	}
}

// Do sends the request to the next target in turn and fills x.Resp and
// x.RespBody. Its errors are *fault.Error.
func (g *Group) Do(x *exchange.Exchange, limits http1.Timeouts) error {
	if len(g.targets) == 0 {
		return fault.New(fault.UpstreamUnreachable, "the upstream has no target")
	}
	// In uint32: as an int the count is negative one day where int has 32 bits.
	t := &g.targets[(g.next.Add(1)-1)%uint32(len(g.targets))]
	x.Target = t.name
	return t.pool.Do(x, limits, t.to)
}
