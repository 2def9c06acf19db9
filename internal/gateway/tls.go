package gateway

import (
	"crypto/tls"
	"net"
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
	c := tls.Server(tcp, spec.Handshake(now))
	tcp.SetDeadline(now.Add(handshakeTimeout))
	if err := c.Handshake(); err != nil {
		tcp.Close()
		l.g.Log.Debug("TLS handshake failed", "listener", spec.Name, "peer", info.Peer, "error", err)
		return nil
	}
	tcp.SetDeadline(time.Time{})
	info.SetTLS(c.ConnectionState())
	return c
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
		x.RespEdit.Del("Strict-Transport-Security")
	case !said && x.Secure:
		x.RespEdit.Set("Strict-Transport-Security", hsts)
	}
}
