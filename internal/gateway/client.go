package gateway

import (
	"bytes"
	"net/netip"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/http1"
)

// maxHops bounds the proxies that a request is followed through.
const maxHops = 64

// whoAsks sets what is known of the client: the peer of the connection, or
// what the peer says where it is a trusted proxy.
func whoAsks(x *exchange.Exchange) {
	x.Client, x.Secure = x.Conn.Peer.Addr(), x.Conn.TLS != nil
	if x.Conn.Front != nil {
		askProxy(x)
	}
	if x.Conn.CertHeader != nil {
		x.ForwardedCert = forwardedCert(x)
	}
}

// askProxy takes the word of the peer, a trusted proxy. It is apart from
// whoAsks because of the room it needs on the stack.
func askProxy(x *exchange.Exchange) {
	w := walk{front: x.Conn.Front}
	if w.front.RFC7239 {
		w.forwarded(x.Req.Fields)
	} else {
		w.xForwarded(x.Req.Fields)
	}
	switch w.proto {
	case protoHTTP:
		x.Secure = false
	case protoHTTPS:
		x.Secure = true
	}
	if http1.ValidAuthority(w.host) {
		x.ForwardedHost = w.host
	}
	chain := x.Alloc((w.n + 1) * len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, "))[:0]
	for i := w.n - 1; i >= 0; i-- {
		chain = append(w.hops[i].AppendTo(chain), ", "...)
	}
	x.ForwardedFor = x.Client.AppendTo(chain)
	if w.n > 0 {
		x.Client = w.hops[w.n-1]
	}
}

// walk follows a request from a trusted peer back to where it came from. Each
// proxy writes down on the right whom it was asked by, so the list is read
// from the right, as far as the one who wrote is trusted. What stands further
// left was written by somebody else, and means nothing.
type walk struct {
	front *exchange.Front
	hops  [maxHops]netip.Addr // from the peer's own client to the left
	n     int
	proto proto  // of the peer's own client
	host  []byte // asked for by that client, not checked
}

// proto is the protocol that a proxy says it was asked by.
type proto uint8

const (
	protoUnsaid proto = iota
	protoHTTP         // or anything that cannot be read
	protoHTTPS
)

func protoOf(b []byte) proto {
	if exchange.EqualFold(b, "https") {
		return protoHTTPS
	}
	return protoHTTP
}

// hop takes the next address to the left, and reports whether it is that of a
// trusted proxy, so that there is something further left to believe.
func (w *walk) hop(addr netip.Addr, ok bool) bool {
	if !ok || w.n == maxHops {
		return false
	}
	w.hops[w.n] = addr
	w.n++
	return w.front.Trusts(addr)
}

// xForwarded reads X-Forwarded-For, and -Proto and -Host as the peer has
// written them: the rightmost value of each.
func (w *walk) xForwarded(fields []exchange.Field) {
	on := true
	said, hosted := false, false
	for i := len(fields) - 1; i >= 0; i-- {
		value := fields[i].Value
		switch fields[i].ID {
		case exchange.HeaderXForwardedProto:
			if !said {
				said, w.proto = true, protoOf(lastOf(value))
			}
		case exchange.HeaderXForwardedHost:
			if !hosted {
				hosted, w.host = true, lastOf(value)
			}
		case exchange.HeaderXForwardedFor:
			for more := true; on && more; {
				end := bytes.LastIndexByte(value, ',')
				on = w.hop(parseHop(trimSpace(value[end+1:])))
				if more = end >= 0; more {
					value = value[:end]
				}
			}
		}
	}
}

func lastOf(list []byte) []byte { return trimSpace(list[bytes.LastIndexByte(list, ',')+1:]) }

// forwarded reads Forwarded (RFC 7239).
func (w *walk) forwarded(fields []exchange.Field) {
	nearest := true
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].ID != exchange.HeaderForwarded {
			continue
		}
		value := fields[i].Value
		for more := true; more; {
			start, ok := lastElement(value)
			if !ok {
				return
			}
			e, ok := parseElement(value[start:])
			if !ok {
				return
			}
			if nearest {
				nearest = false
				w.host = e.host
				if e.proto != nil {
					w.proto = protoOf(e.proto)
				}
			}
			if !w.hop(parseNode(e.node)) {
				return
			}
			if more = start > 0; more {
				value = value[:start-1]
			}
		}
	}
}

// lastElement returns where the rightmost element of a list begins. Commas
// within quotes part nothing. The list is looked at from the right only: what
// a stranger wrote on the left cannot move the bounds of what a proxy added.
func lastElement(list []byte) (start int, ok bool) {
	for i := len(list) - 1; i >= 0; i-- {
		switch list[i] {
		case ',':
			return i + 1, true
		case '"':
			if i = openingQuote(list[:i]); i < 0 {
				return 0, false
			}
		}
	}
	return 0, true
}

// openingQuote returns the place of the last quote in b that is not escaped,
// -1 if there is none.
func openingQuote(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != '"' {
			continue
		}
		escapes := 0
		for escapes < i && b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
	return -1
}

// element is one element of Forwarded; nil is a parameter that is not there.
type element struct{ node, proto, host []byte }

// parseElement reads parameters, each at most once. Space around a semicolon
// is let pass: some proxies write it.
func parseElement(b []byte) (e element, ok bool) {
	for b = trimSpace(b); ; b = trimSpace(b[1:]) {
		n := 0
		for n < len(b) && isTokenByte(b[n]) {
			n++
		}
		if n == 0 || n == len(b) || b[n] != '=' {
			return e, false
		}
		name := b[:n]
		var value []byte
		if value, b, ok = parameterValue(b[n+1:]); !ok {
			return e, false
		}
		var into *[]byte
		switch {
		case exchange.EqualFold(name, "for"):
			into = &e.node
		case exchange.EqualFold(name, "proto"):
			into = &e.proto
		case exchange.EqualFold(name, "host"):
			into = &e.host
		}
		if into != nil {
			if *into != nil {
				return e, false
			}
			*into = value
		}
		if b = trimSpace(b); len(b) == 0 {
			return e, true
		}
		if b[0] != ';' {
			return e, false
		}
	}
}

// parameterValue reads a token or a quoted string. Escapes are not undone:
// no address, protocol or host has any.
func parameterValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '"' {
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return b[1:i:i], b[i+1:], true
			}
		}
		return nil, nil, false
	}
	n := 0
	for n < len(b) && isTokenByte(b[n]) {
		n++
	}
	return b[:n:n], b[n:], n > 0
}

func isTokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// parseHop reads an address as X-Forwarded-For has it: with or without a port
// or, for IPv6, brackets.
func parseHop(b []byte) (netip.Addr, bool) {
	if len(b) > 0 && b[0] == '[' || bytes.Count(b, []byte(":")) == 1 {
		return parseNode(b)
	}
	return parseAddress(b)
}

// parseNode reads a node of RFC 7239 section 6: an IPv4 address, or an IPv6
// address in brackets, and maybe a port. unknown and obfuscated names are
// none.
func parseNode(b []byte) (addr netip.Addr, ok bool) {
	host, port := b, []byte(nil)
	bracketed := len(b) > 0 && b[0] == '['
	if bracketed {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return addr, false
		}
		host, port = b[1:end], b[end+1:]
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		host, port = b[:i], b[i:]
	}
	if len(port) > 0 && (port[0] != ':' || !isNodePort(port[1:])) {
		return addr, false
	}
	if bracketed != (bytes.IndexByte(host, ':') >= 0) {
		return addr, false
	}
	return parseAddress(host)
}

// isNodePort accepts a port of 1 to 5 digits, or an obfuscated one.
func isNodePort(b []byte) bool {
	digits := len(b) > 0 && len(b) <= 5
	hidden := len(b) > 1 && b[0] == '_'
	for _, c := range b {
		number := c >= '0' && c <= '9'
		digits = digits && number
		hidden = hidden && (number || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '_' || c == '-')
	}
	return digits || hidden
}

// parseAddress reads an address that a packet can come from. An IPv4 address
// in IPv6 clothes is an IPv4 address.
func parseAddress(b []byte) (netip.Addr, bool) {
	addr, ok := parseIPv4(b)
	if !ok {
		if len(b) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") || bytes.IndexByte(b, ':') < 0 {
			return netip.Addr{}, false
		}
		var err error
		if addr, err = netip.ParseAddr(string(b)); err != nil || addr.Zone() != "" {
			return netip.Addr{}, false
		}
		addr = addr.Unmap()
	}
	return addr, !addr.IsUnspecified() && !addr.IsMulticast()
}

// parseIPv4 is netip.ParseAddr for the usual kind, without a string.
func parseIPv4(b []byte) (netip.Addr, bool) {
	var four [4]byte
	field, digits, value := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && (digits == 0 || value > 0):
			digits++
			if value = value*10 + int(c-'0'); value > 255 {
				return netip.Addr{}, false
			}
			four[field] = byte(value)
		case c == '.' && digits > 0 && field < 3:
			field, digits, value = field+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	return netip.AddrFrom4(four), field == 3 && digits > 0
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t") }
