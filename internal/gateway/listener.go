package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// listener accepts on one address. What it serves by may change with a
// reload; the socket stays.
type listener struct {
	g    *Gateway
	ln   net.Listener
	spec atomic.Pointer[snapshot.Listener]
	open atomic.Int64

	crowd crowd // those that are open

	doubted    atomic.Int64 // when the log last heard of a client without a good certificate; Unix nanoseconds
	complained atomic.Int64 // when the log last heard of a bad PROXY header; Unix nanoseconds

	mu      sync.Mutex
	engine  *http1.Server   // for connections accepted from now on
	old     []*http1.Server // with the limits of earlier configurations
	stopped bool
	empty   *sync.Cond // open fell

	stopping chan struct{} // closed with stopped
}

// bind opens the socket of spec.
func bind(g *Gateway, spec *snapshot.Listener) (*listener, error) {
	ln, err := net.Listen("tcp", spec.Address)
	if err != nil {
		var sys syscall.Errno
		if errors.As(err, &sys) && sys == syscall.EADDRINUSE {
			return nil, fmt.Errorf("listener %s: address %s is in use by another program; stop it or choose another address", spec.Name, spec.Address)
		}
		if sys == syscall.EACCES {
			return nil, fmt.Errorf("listener %s: this user may not listen on %s: ports below 1024 need the capability CAP_NET_BIND_SERVICE; give it, or choose a port above 1023", spec.Name, spec.Address)
		}
		return nil, fmt.Errorf("listener %s: cannot listen on %s: %w", spec.Name, spec.Address, err)
	}
	l := &listener{g: g, ln: ln, stopping: make(chan struct{})}
	l.empty = sync.NewCond(&l.mu)
	return l, nil
}

// apply makes connections accepted from now on follow spec.
func (l *listener) apply(spec *snapshot.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.spec.Swap(spec)
	if was != nil && was.Limits == spec.Limits && was.Security == spec.Security {
		return
	}
	if was != nil && was.Security != spec.Security {
		l.g.h2.end(l) // what was agreed on before holds no longer
	}
	l.old = slices.DeleteFunc(l.old, func(e *http1.Server) bool { return e.Active() == 0 })
	if l.engine != nil {
		l.engine.Drain()
		l.old = append(l.old, l.engine)
	}
	l.engine = http1.NewServer(l.g, spec.Limits)
}

// accept runs until the listener is stopped.
func (l *listener) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !l.acceptFailed(err) {
				return
			}
			continue
		}
		if !l.makeRoom() {
			c.Close()
			return
		}
		l.open.Add(1)
		l.g.door.open.Add(1)
		go l.serve(c.(*net.TCPConn))
	}
}

func (l *listener) isStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

func (l *listener) serve(tcp *net.TCPConn) {
	guest := l.crowd.enter(tcp)
	var secure *tls.Conn
	defer func() {
		if secure == nil {
			l.over(tcp, guest, recover())
		}
	}()
	if guest == nil { // stopped meanwhile
		tcp.Close()
		return
	}
	spec := l.spec.Load()
	info := &exchange.Conn{
		Listener: spec.Name, Proto: "HTTP/1.1", Exposed: spec.Exposed, Redirect: spec.Redirect, AsksCert: spec.AsksCert, PublicURL: spec.PublicURL,
		Peer:  tcp.RemoteAddr().(*net.TCPAddr).AddrPort(),
		Local: tcp.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	info.Peer = netip.AddrPortFrom(info.Peer.Addr().Unmap(), info.Peer.Port())
	if !l.introduced(tcp, spec, info) || !l.claim(guest, spec, info) {
		tcp.Close()
		return
	}
	if spec.Front.Trusts(info.Peer.Addr()) {
		info.Front = spec.Front
	}
	if spec.CertHeader.Covers(info.Peer.Addr()) {
		info.CertHeader = spec.CertHeader
	}
	if spec.TLS == nil {
		l.servePlain(tcp, guest, spec, info)
		return
	}
	if secure = l.handshake(tcp, spec, info); secure == nil {
		return
	}
	// A handshake needs a deep stack, which would stay for as long as the
	// connection does.
	go func() {
		defer func() { l.over(tcp, guest, recover()) }()
		l.serveTLS(secure, guest, spec, info)
	}()
}

// over ends what serve began. bug is what it panicked with, if it did: a bug
// outside of an exchange costs its connection, not the others.
func (l *listener) over(tcp *net.TCPConn, guest *guest, bug any) {
	if bug != nil {
		tcp.Close()
		l.g.Log.Error("panic while serving a connection", telemetry.FieldPanic, fmt.Sprint(bug), telemetry.FieldStack, string(debug.Stack()))
	}
	if guest != nil {
		l.crowd.leave(guest)
	}
	l.mu.Lock()
	l.open.Add(-1)
	l.empty.Broadcast()
	l.mu.Unlock()
	l.g.door.gone()
}

// serveTLS serves a connection after its handshake.
func (l *listener) serveTLS(c *tls.Conn, guest *guest, spec *snapshot.Listener, info *exchange.Conn) {
	if info.TLS.NegotiatedProtocol == "h2" {
		info.Proto = "HTTP/2.0"
		l.g.h2.serve(l, c, guest, spec, info)
		return
	}
	l.serveHTTP1(c, guest, spec, info)
}

// introduced reads the PROXY header of a peer that must send one, and reports
// whether the connection can go on.
func (l *listener) introduced(tcp *net.TCPConn, spec *snapshot.Listener, info *exchange.Conn) bool {
	if !introduces(spec, info.Peer.Addr()) {
		return true
	}
	tcp.SetDeadline(time.Now().Add(proxyTimeout))
	client, local, err := readProxy(tcp)
	if err != nil {
		// A proxy that only tries whether the port is open sends nothing.
		trial := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
		now, last := l.g.Now().UnixNano(), l.complained.Load()
		if !trial && now-last > int64(time.Minute) && l.complained.CompareAndSwap(last, now) {
			l.g.Log.Warn("connection closed: proxyProtocol.from lists this peer; said once a minute", "listener", spec.Name, "peer", info.Peer, "error", err)
		}
		return false
	}
	tcp.SetDeadline(time.Time{})
	if !local {
		info.Peer = client
	}
	return true
}

// serveHTTP1 serves a connection that was received under spec. If that no
// longer holds, the connection ends; the engine of then would not take it.
func (l *listener) serveHTTP1(c net.Conn, guest *guest, spec *snapshot.Listener, info *exchange.Conn) {
	l.mu.Lock()
	engine, holds := l.engine, l.spec.Load().Security == spec.Security
	l.mu.Unlock()
	conn := engine.NewConn(c, info)
	if !holds || !l.crowd.move(guest, conn) {
		c.Close()
		return
	}
	conn.Serve()
}

func (l *listener) engines() []*http1.Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(l.old[:len(l.old):len(l.old)], l.engine)
}

// isOver reports whether connections received under spec are to end.
func (l *listener) isOver(spec *snapshot.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped || l.spec.Load().Security != spec.Security
}

// stop ends accepting and lets connections end with their exchange. Those that
// have not said a word of HTTP end at once. It is called once.
func (l *listener) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	close(l.stopping)
	l.ln.Close()
	l.crowd.close()
	for _, e := range l.engines() {
		e.Drain()
	}
}

// idle returns a channel that closes when the last connection has ended.
func (l *listener) idle() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		l.mu.Lock()
		for l.open.Load() > 0 {
			l.empty.Wait()
		}
		l.mu.Unlock()
		close(done)
	}()
	return done
}

// cut ends whatever is left, and waits for it.
func (l *listener) cut(cause error) {
	for _, e := range l.engines() {
		e.Close(cause)
	}
}
