package binding

import (
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// external returns the scheme and the authority by which the caller asked for
// us: the listener's publicUrl, else what the trusted proxy says, else what
// the request itself does.
func external(x *exchange.Exchange) (scheme, authority string) {
	if x.Conn != nil && x.Conn.PublicURL != "" {
		scheme, authority, _ = strings.Cut(x.Conn.PublicURL, "://")
		return scheme, normalAuthority(scheme, authority)
	}
	scheme = "http"
	if x.Secure {
		scheme = "https"
	}
	host := x.ForwardedHost
	if host == nil {
		host = x.Req.Authority
	}
	return scheme, normalAuthority(scheme, string(host))
}

// sameTarget reports whether htu is the URI made of scheme, authority and
// path, which are in normal form. Its query and fragment are of no account
// (RFC 9449 section 4.3), differences that mean nothing are overlooked (RFC
// 3986 sections 6.2.2 and 6.2.3).
func sameTarget(htu, scheme, authority string, path []byte) bool {
	have, rest, _ := strings.Cut(htu, "://") // of what has none, no host is left
	if lower(have) != scheme {
		return false
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	host, at := rest, "/"
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		host, at = rest[:slash], rest[slash:]
	}
	if host == "" || normalAuthority(scheme, host) != authority {
		return false
	}
	if at == string(path) {
		return true
	}
	normal, _, bad := exchange.NormalizePath([]byte(at), func(n int) []byte { return make([]byte, n) })
	return bad == nil && string(normal) == string(path)
}

// normalAuthority writes an authority in lower case, without the port that
// its scheme has anyway.
func normalAuthority(scheme, authority string) string {
	authority = strings.TrimSuffix(lower(authority), ":")
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	return strings.TrimSuffix(authority, port)
}

// lower is strings.ToLower of ASCII: no other letter stands for one of these.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
