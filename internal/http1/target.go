package http1

import (
	"bytes"
	"net/netip"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errMethod      = malformed("the method is not a token")
	errMethodSize  = fault.New(fault.MethodUnknown, "the method is longer than 32 bytes")
	errConnect     = malformed("CONNECT: this is not a forward proxy")
	errTarget      = malformed("the request target holds a byte outside visible ASCII")
	errTargetForm  = malformed("the request target is no path, no absolute http URI, and not * of OPTIONS")
	errTargetHost  = malformed("the authority of the request target is not the one of Host")
	errHostMissing = malformed("Host is missing")
	errHostTwice   = malformed("Host occurs more than once")
	errHost        = malformed("Host is not a host name or address with an optional port")
)

const (
	maxMethod = 32
	maxTarget = 8 << 10
	maxHost   = 255
)

// parseRequestLine reads METHOD SP target SP version (RFC 9112 section 3).
func parseRequestLine(h *exchange.Head, line []byte) *fault.Error {
	if len(line) == 0 {
		return errEmptyLine
	}
	sp := bytes.IndexByte(line, ' ')
	if sp < 0 {
		return errRequestLine
	}
	if f := checkMethod(line[:sp]); f != nil {
		return f
	}
	h.Method = line[:sp:sp]
	target, version, three := bytes.Cut(line[sp+1:], []byte(" "))
	if !three {
		if len(target) > 0 && target[0] == '/' && all(target, isTarget) {
			return errVersion // HTTP/0.9: GET /path
		}
		return errRequestLine
	}
	if f := checkTarget(target); f != nil {
		return f
	}
	h.Target = target[:len(target):len(target)]
	if len(version) != 8 || string(version[:5]) != "HTTP/" || !digit(version[5]) || version[6] != '.' || !digit(version[7]) {
		return errRequestLine
	}
	if version[5] != '1' || version[7] > '1' {
		return errVersion
	}
	h.Major, h.Minor = 1, int(version[7]-'0')
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func checkMethod(method []byte) *fault.Error {
	switch {
	case len(method) == 0 || !all(method, isToken):
		return errMethod
	case len(method) > maxMethod:
		return errMethodSize
	case string(method) == "CONNECT":
		return errConnect
	}
	return nil
}

func checkTarget(target []byte) *fault.Error {
	switch {
	case len(target) > maxTarget:
		return errTargetSize
	case len(target) == 0 || !all(target, isTarget):
		return errTarget
	}
	return nil
}

// readAuthority sets Authority, Host, Path and Query from the target and the
// Host field (RFC 9112 sections 3.2 and 3.3). Path stays as it came.
func readAuthority(h *exchange.Head) *fault.Error {
	host, n := h.Get(exchange.HeaderHost)
	switch {
	case n > 1:
		return errHostTwice
	case n == 0 && (h.Major != 1 || h.Minor >= 1):
		return errHostMissing
	case n == 1:
		name, ok := readHost(host)
		if !ok {
			return errHost
		}
		h.Authority, h.Host = host, name
	}
	switch target := h.Target; {
	case target[0] == '/':
		splitQuery(h, target)
	case len(target) == 1 && target[0] == '*' && string(h.Method) == "OPTIONS":
		h.Path = target
	case hasPrefixFold(target, "http://"):
		return readAbsolute(h, target[len("http://"):], n == 1)
	case hasPrefixFold(target, "https://"):
		return readAbsolute(h, target[len("https://"):], n == 1)
	default:
		return errTargetForm
	}
	return nil
}

// readAbsolute reads the rest of an absolute-form target, behind its scheme.
// The form is for proxies; it is accepted because servers must (RFC 9112
// section 3.2.2), but only where it says the same as Host.
func readAbsolute(h *exchange.Head, rest []byte, hasHost bool) *fault.Error {
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if !hasHost || !equalFold(rest[:end], h.Authority) {
		return errTargetHost
	}
	splitQuery(h, rest[end:])
	if len(h.Path) == 0 {
		h.Path = []byte("/")
	}
	return nil
}

func splitQuery(h *exchange.Head, target []byte) {
	h.Path = target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		h.Path, h.Query, h.HasQuery = target[:i:i], target[i+1:], true
	}
}

// ValidAuthority reports whether b could stand in Host.
func ValidAuthority(b []byte) bool {
	_, ok := readHost(b)
	return ok
}

// readHost checks host [":" port] and returns the host in lower case without
// its port and final dot. An IPv6 address keeps its brackets. Names are what
// can be registered: no escapes, no delimiters.
func readHost(authority []byte) (host []byte, ok bool) {
	if len(authority) == 0 || len(authority) > maxHost {
		return nil, false
	}
	host = authority
	if host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 || !portOK(host[end+1:]) {
			return nil, false
		}
		ip, err := netip.ParseAddr(string(host[1:end]))
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return nil, false
		}
		return lowerCase(host[:end+1]), true
	}
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		if !portOK(host[i:]) {
			return nil, false
		}
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if n := len(host); n == 0 || host[0] == '.' || host[n-1] == '.' || !all(host, isHost) || bytes.Contains(host, []byte("..")) {
		return nil, false
	}
	return lowerCase(host), true
}

// portOK accepts nothing, or a colon and a port of 1 to 5 digits.
func portOK(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	n, ok := decimal(b[1:])
	return ok && n <= 65535
}

// lowerCase returns b itself if it has no upper-case letter, else a copy.
func lowerCase(b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			return bytes.ToLower(b)
		}
	}
	return b
}
