package http1

import (
	"crypto/sha1"
	"encoding/base64"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// webSocket is the one protocol that a connection can switch to (RFC 6455).
const webSocket = "websocket"

var (
	errHandshakeMethod  = malformed("a WebSocket is opened with GET")
	errHandshakeBody    = malformed("a request that opens a WebSocket has a body")
	errHandshakeVersion = malformed("Sec-WebSocket-Version is not exactly one 13")
	errHandshakeKey     = malformed("Sec-WebSocket-Key is not exactly one 16 bytes in base64")

	errSwitched     = fault.New(fault.ResponseMalformed, "101 without an upgrade being asked for")
	errSwitchedTo   = fault.New(fault.ResponseMalformed, "101 that does not switch to websocket, and nothing else")
	errSwitchedKey  = fault.New(fault.ResponseMalformed, "101 whose Sec-WebSocket-Accept is not the one for the key")
	errSwitchedBody = fault.New(fault.ResponseMalformed, "101 with a body")
)

// upgradeAsked returns the protocol that a request asks to switch to, if it is
// one we know: of any other nothing is said. What a client of HTTP/1.0 asks is
// not heard (RFC 9110 section 7.8).
func upgradeAsked(h *exchange.Head) string {
	if h.Major == 1 && h.Minor == 1 && listed(h, exchange.HeaderUpgrade, webSocket) && listed(h, exchange.HeaderConnection, "upgrade") {
		return webSocket
	}
	return ""
}

// listed reports whether word, in lower case, stands in the fields with id.
func listed(h *exchange.Head, id exchange.HeaderID, word string) bool {
	for i := range h.Fields {
		if h.Fields[i].ID != id {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var item []byte
			if item, rest = nextItem(rest); exchange.EqualFold(item, word) {
				return true
			}
		}
	}
	return false
}

// CheckHandshake judges a request that asks for a WebSocket: what goes
// upstream must be a handshake that no reader can take for anything else (RFC
// 6455 section 4.2.1).
func CheckHandshake(h *exchange.Head) *fault.Error {
	switch version, ok := only(h, "sec-websocket-version"); {
	case string(h.Method) != "GET":
		return errHandshakeMethod
	case h.Length != 0 || h.Chunked:
		return errHandshakeBody
	case !ok || string(version) != "13":
		return errHandshakeVersion
	}
	var nonce [18]byte // room for all that 24 digits may hold
	key, ok := only(h, "sec-websocket-key")
	if !ok || len(key) != base64.StdEncoding.EncodedLen(16) {
		return errHandshakeKey
	}
	if n, err := base64.StdEncoding.Strict().Decode(nonce[:], key); err != nil || n != 16 {
		return errHandshakeKey
	}
	return nil
}

// only returns the value of a field that occurs once and goes on. name has no
// HeaderID.
func only(h *exchange.Head, name string) ([]byte, bool) {
	var found *exchange.Field
	for i := range h.Fields {
		if f := &h.Fields[i]; exchange.EqualFold(f.Name, name) {
			if found != nil || f.Drop {
				return nil, false
			}
			found = f
		}
	}
	if found == nil {
		return nil, false
	}
	return found.Value, true
}

// checkSwitch judges a 101 (RFC 6455 section 4.1).
func checkSwitch(x *exchange.Exchange) *fault.Error {
	h := &x.Resp
	if x.Upgrade == "" {
		return errSwitched
	}
	to, n := h.Get(exchange.HeaderUpgrade)
	if n != 1 || !exchange.EqualFold(to, x.Upgrade) || h.Minor != 1 || !listed(h, exchange.HeaderConnection, "upgrade") {
		return errSwitchedTo
	}
	if h.Chunked || h.Length > 0 {
		return errSwitchedBody
	}
	key, ok := only(&x.Req, "sec-websocket-key")
	accept, right := only(h, "sec-websocket-accept")
	if !ok || !right || string(accept) != string(acceptFor(key)) {
		return errSwitchedKey
	}
	return nil
}

// acceptFor returns the Sec-WebSocket-Accept for a key.
func acceptFor(key []byte) []byte {
	const id = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3
	sum := sha1.Sum(append(key[:len(key):len(key)], id...))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// appendUpgrade writes the fields that ask for a switch, or grant it.
func appendUpgrade(b []byte, protocol string) []byte {
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(b, protocol...)
	return append(b, '\r', '\n')
}
