package keys

import (
	"net/http"
	"net/netip"
)

// SetTransport makes the set fetch through rt; dials are then not judged.
func (r *Remote) SetTransport(rt http.RoundTripper) { r.source.secure, r.source.plain = rt, rt }

// What is dialled, for tests.
func RefuseInternal(a netip.Addr) error { return refuseInternal(a) }
func OnlyLoopback(a netip.Addr) error   { return onlyLoopback(a) }
