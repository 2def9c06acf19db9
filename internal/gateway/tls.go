package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// handshakeTimeout bounds a TLS handshake.
const handshakeTimeout = 10 * time.Second

// handshake has the client and us agree on TLS, and notes in info what came of
// it. It returns nil if nothing did: the connection is closed then.
func (l *listener) handshake(tcp net.Conn, spec *snapshot.Listener, info *exchange.Conn) *tls.Conn {
	now := time.Now()
	l.mu.Lock()
	engine := l.engine
	l.mu.Unlock()
	c := tls.Server(engine.UnderTLS(tcp), spec.Handshake(now))
	tcp.SetDeadline(now.Add(handshakeTimeout))
	if err := c.Handshake(); err != nil {
		tcp.Close()
		l.doubt(spec, info, err)
		return nil
	}
	tcp.SetDeadline(time.Time{})
	info.SetTLS(c.ConnectionState())
	return c
}

// doubt tells the operator of a listener that requires certificates why a
// client was turned away, once a minute: no request will be there to be seen.
// A client that only tries whether the port is open says nothing, nor does one
// that we ended.
func (l *listener) doubt(spec *snapshot.Listener, info *exchange.Conn, err error) {
	if spec.TLS.ClientAuth < tls.RequireAnyClientCert || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if now, last := l.g.Now().UnixNano(), l.doubted.Load(); now-last > int64(time.Minute) && l.doubted.CompareAndSwap(last, now) {
		l.g.Log.Warn("connection closed: clientAuth requires a good certificate; said once a minute", "listener", spec.Name, "peer", info.Peer, "error", err)
	}
}

// A year, as browsers' lists ask for at least.
var hsts = []byte("max-age=31536000")

// pin says to browsers that this host is to be had over HTTPS (RFC 6797), and
// never says so over plain HTTP, where it would be anybody's word. What an
// upstream or a policy says, such as includeSubDomains, is left as it is.
func pin(x *exchange.Exchange) {
	_, n := x.Resp.Get(exchange.HeaderStrictTransportSecurity)
	said := n > 0
	for i := range x.RespEdit.Len() {
		said = said || x.RespEdit.ID(i) == exchange.HeaderStrictTransportSecurity
	}
	switch {
	case said && !x.Secure:
		x.RespEdit.DelKnown(exchange.HeaderStrictTransportSecurity)
	case !said && x.Secure:
		x.RespEdit.SetKnown(exchange.HeaderStrictTransportSecurity, hsts)
	}
}
