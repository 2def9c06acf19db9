// Package exchange holds the words that every part of a request's life
// speaks: the exchange itself with its heads, bodies and edits, the identity
// that was proved, the trail of checks, and the one normaliser of paths and
// queries. It knows no protocol, no policy and no configuration.
//
// An Exchange is one request and its response. One goroutine owns it from
// the moment its head was parsed until its record is written; nothing in it
// may be kept longer, except what is said to be immutable: Identity, Conn,
// Route, Legend.
package exchange

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
)

// Exchange is one request and its response.
type Exchange struct {
	Req, Resp         Head
	ReqBody           Body         // never nil while the exchange is served
	RespBody          ResponseBody // set by upstream, moved to the client by gateway
	ReqEdit, RespEdit Edits        // towards the upstream; towards the client

	ID     RequestID
	Conn   *Conn      // immutable, per connection
	Client netip.Addr // who asks, after trusted proxies
	Secure bool       // the client's side of the exchange is encrypted
	// What trusted proxies said, for the upstream to hear; nil: nobody did.
	ForwardedFor  []byte // addresses from Client to the peer, ", " between them
	ForwardedHost []byte // the authority that the client asked for

	Start  time.Time // when the head was complete; carries the monotonic clock
	Route  *Route    // nil until a route matched
	Params Params    // what the pattern of the route captured
	Allow  string    // on method_not_allowed: the value of Allow

	Identity  *Identity // nil until proved; immutable, shared
	Verified  HeaderID  // field whose credential was proved and goes on to the upstream; HeaderOther: none does
	CertJudge CertJudge // judges what the client showed; nil: nobody does. See ClientCert
	CertAsked bool      // ClientCert was asked: what becomes of x depends on it
	// ForwardedCert is what the peer says its client showed, where it is a
	// proxy that forwards certificates; nil: nothing.
	ForwardedCert *Shown

	Trail Trail

	// Challenges are the values of WWW-Authenticate of a refusal; constants.
	Challenges []string

	RetryAfter time.Duration // of a refusal; 0: none is said
	LoginAt    []byte        // of a 401: where a browser that navigates is sent instead; nil: nowhere
	Reason     string        // what the operator reads of a fault outside the trail
	Event      string        // what security events tell of it beside a refusal, a constant; "": nothing

	Upgrade  string // protocol that the route lets the upstream switch to; "": none, whatever was asked for
	Switched Switched

	Target   string        // upstream target chosen, for the record
	UpStart  time.Duration // from Start until the upstream was turned to; 0: it was not
	UpFirst  time.Duration // from Start until the first byte of its head; 0: none came
	BytesIn  int64         // body bytes received
	BytesOut int64         // body bytes sent

	// ReqStop ends a pending Read of ReqBody; the body is lost then. The
	// engine sets it before the exchange is served; nil: a Read cannot be ended.
	ReqStop interface{ Interrupt() }

	// Early is told of interim answers (103) of the upstream, in the exchange's
	// goroutine and before the head. The engine sets it where clients can be
	// told; nil: nobody is.
	Early interface{ Interim(h *Head) error }

	idText []byte
	key    keyIdentity
	life   atomic.Pointer[lifeline]
	arena  []byte
}

// Elapsed returns the time since Start, never 0.
func (x *Exchange) Elapsed() time.Duration { return max(1, time.Since(x.Start)) }

// IDText returns the request's id as text, a view.
func (x *Exchange) IDText() []byte {
	if x.idText == nil {
		x.idText = x.ID.Append(x.Alloc(2 * len(x.ID))[:0])
	}
	return x.idText
}

// Reset makes x ready for the next request and keeps its memory. Whoever owns
// x calls it after the record is written.
func (x *Exchange) Reset() {
	if l := x.life.Load(); l != nil {
		l.reset()
	}
	x.Req.Reset()
	x.Resp.Reset()
	x.ReqEdit.Reset()
	x.RespEdit.Reset()
	x.Trail.Reset()
	x.ReqBody, x.RespBody, x.ReqStop, x.Early = nil, nil, nil, nil
	x.ID, x.Client, x.Secure, x.Start = RequestID{}, netip.Addr{}, false, time.Time{}
	x.ForwardedFor, x.ForwardedHost = nil, nil
	x.Route, x.Params, x.Allow = nil, x.Params[:0], ""
	x.Identity, x.CertJudge, x.CertAsked, x.ForwardedCert = nil, nil, false, nil
	x.Verified, x.Challenges = HeaderOther, nil
	x.RetryAfter, x.LoginAt, x.Reason, x.Event = 0, nil, "", ""
	x.Upgrade, x.Switched = "", Switched{}
	x.Target, x.UpStart, x.UpFirst = "", 0, 0
	x.idText = nil
	x.key = keyIdentity{}
	x.BytesIn, x.BytesOut = 0, 0
	x.arena = x.arena[:0]
}

// maxArena is the size up to which an arena grows ahead of what is asked of it,
// in bytes.
const maxArena = 64 << 10

// Alloc returns n bytes that live as long as the exchange.
func (x *Exchange) Alloc(n int) []byte {
	if cap(x.arena)-len(x.arena) < n {
		// What was handed out keeps the old array alive; only the rest of it is lost.
		// It grows, so that the next request like this one finds room.
		x.arena = make([]byte, 0, max(n, min(2*cap(x.arena), maxArena), 1024))
	}
	p := len(x.arena)
	x.arena = x.arena[:p+n]
	return x.arena[p : p+n : p+n]
}

// Switched is the upstream's connection after a 101 that was asked for. The
// zero Switched stands for every other answer. It ends with RespBody.Close.
type Switched struct {
	Conn     net.Conn
	Buffered []byte // what came behind the head; a view
}

// Conn says what is known of the connection an exchange came on. Immutable,
// but for what it remembers.
type Conn struct {
	Listener  string         // name of the listener
	Peer      netip.AddrPort // as the PROXY protocol says, where it is spoken
	Local     netip.AddrPort
	TLS       *tls.ConnectionState // nil on a plain connection; without the client's certificate: see SetTLS
	Proto     string               // "HTTP/1.1", "HTTP/2.0"
	PublicURL string               // scheme and authority by which clients know the listener; "": as they or a proxy say
	Exposed   bool                 // plain, on an address that other machines can reach
	Redirect  bool                 // the listener only sends to HTTPS
	Front     *Front               // the peer is one of these proxies; nil: it speaks for nobody but itself
	AsksCert  bool                 // the listener asks clients for a certificate

	// CertHeader is how the peer, a proxy, forwards what its clients showed;
	// nil: it speaks for itself.
	CertHeader *CertHeader

	shown *Shown // by the peer; nil: nothing
}

// Front is the proxies in front of a listener whose word on the client is
// taken. Immutable.
type Front struct {
	Trusted []netip.Prefix
	RFC7239 bool // they write Forwarded; else X-Forwarded-For, -Proto and -Host
}

// Trusts reports whether addr is one of the proxies. A nil Front trusts nobody.
func (f *Front) Trusts(addr netip.Addr) bool {
	if f == nil {
		return false
	}
	for _, p := range f.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Route holds the labels of a route; what it runs stays in the snapshot.
// Immutable.
type Route struct {
	Index   int
	Name    string
	Pattern string // path pattern as written, with its base path
	Host    string // host pattern, "" for any
}

// Params are the captures of a path pattern, in order.
type Params []Param

// Param is one capture. Value is decoded; of "rest" it is in normal form.
type Param struct {
	Name  string
	Value []byte
}

// Get returns the capture called name.
func (p Params) Get(name string) ([]byte, bool) {
	for i := range p {
		if p[i].Name == name {
			return p[i].Value, true
		}
	}
	return nil, false
}

// Body is a message body being read. It is used by one goroutine at a time.
type Body interface {
	// Read returns io.EOF exactly at the end of a complete body; a body that
	// is cut short or malformed gives another error.
	Read(p []byte) (int, error)
	// Continue sends 100 Continue if the client waits for it.
	Continue() error
	// Trailers returns the trailer fields, after Read returned io.EOF; nil if none.
	Trailers() *Head
	// Replay returns the whole body when it is held in memory (no body
	// counts, with an empty slice), so that it may be sent again.
	Replay() ([]byte, bool)
}

// ResponseBody is the body of an upstream's answer. Whoever moves it closes it
// exactly once.
type ResponseBody interface {
	Body
	// Buffered returns how many bytes have arrived and were not read yet,
	// framing included: 0 means that Read would wait.
	Buffered() int
	// Close gives the upstream's connection back, or ends it when the body
	// was not read to its end.
	Close()
}

// Sink is the client's side of an exchange: the HTTP/1.1 loop or the HTTP/2
// adapter. One of Head or Abort is called once; after Head, Write any number
// of times, then Finish or Abort.
type Sink interface {
	// Head sends the response head, edits merged, and the first body bytes in
	// one write. length is the body's length, -1 if unknown.
	Head(h *Head, e *Edits, length int64, first []byte) error
	// Write sends body bytes; flush says that no more are ready at hand.
	Write(p []byte, flush bool) error
	// Finish ends the message, with trailers where the protocol has them.
	Finish(trailers *Head) error
	// Tunnel answers 101 with the response head and joins both sides until
	// both have ended. buffered are bytes the upstream sent after its head.
	// The error says what broke the tunnel off; it is internal_error only
	// if nothing was sent, so that the caller can still be told.
	Tunnel(h *Head, e *Edits, up net.Conn, buffered []byte) error
	// Abort ends the message so that the client knows it is not whole.
	Abort(err error)
	// Cut makes a pending Write fail and every later one, from any goroutine,
	// between Head and the end of Serve. It does not wait. The exchange's
	// goroutine still calls Abort.
	Cut()
}

// Handler serves exchanges. The protocol engine owns x and resets it after
// the call returned.
type Handler interface {
	// Serve answers a well-formed request.
	Serve(x *Exchange, sink Sink)
	// Reject answers and records a request that the engine could not accept;
	// x.Req holds what was parsed before the fault. The connection (of
	// HTTP/1.1) closes afterwards.
	Reject(x *Exchange, sink Sink, f *fault.Error)
}
