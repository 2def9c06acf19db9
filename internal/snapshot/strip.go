package snapshot

import (
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// spoofable are the names that say who the client is or what it asked for.
// Backends believe them, so a client may never send them; a trailing "*"
// stands for any rest. Names are folded: lower case, "-" for "_" and ".".
var spoofable = []string{
	"x-forwarded-*", "forwarded", "x-real-ip", "true-client-ip", "x-client-cert", "client-cert*",
	"x-original-*", "x-rewrite-url", "x-envoy-*", "x-http-method*", "x-method-override",
	// Set by us. Spelled like ours it is replaced, and kept for the record.
	"x-request-id",
}

// pass is the set of fields that a route lets through in spite of the strip
// set, folded.
type pass []string

// stripSpoofable removes from every request the fields of the strip set. It
// takes them out, so that no policy can see them: what is only marked can
// still be read.
func stripSpoofable(h *exchange.Head, p pass) {
	h.Fields = slices.DeleteFunc(h.Fields, func(f exchange.Field) bool {
		if len(f.Name) < len("forwarded") || f.ID == exchange.HeaderRequestID {
			return false
		}
		// The set's names begin with these letters only.
		switch f.Name[0] | 0x20 {
		case 'x', 'f', 't', 'c':
			return inStripSet(f.Name) && !p.has(f.Name)
		}
		return false
	})
}

func inStripSet(name []byte) bool {
	for _, s := range spoofable {
		prefix, open := strings.CutSuffix(s, "*")
		if len(name) < len(prefix) || !open && len(name) != len(prefix) {
			continue
		}
		if foldedEqual(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

func (p pass) has(name []byte) bool {
	for _, passed := range p {
		if len(name) == len(passed) && foldedEqual(name, passed) {
			return true
		}
	}
	return false
}

// neverPasses says why a field cannot be let through, whatever a route says.
func neverPasses(name string) string {
	id := exchange.IdentifyString(name)
	switch {
	case strings.Contains(name, "_"):
		return "fields with an underscore never go on: many backends cannot tell them from the name with a dash"
	case id.HopByHop() || id == exchange.HeaderContentLength || id == exchange.HeaderHost || id == exchange.HeaderExpect:
		return "this field concerns one connection or message and is written anew"
	}
	switch id {
	case exchange.HeaderXForwardedFor, exchange.HeaderXForwardedProto, exchange.HeaderXForwardedHost, exchange.HeaderVia,
		exchange.HeaderRequestID, exchange.HeaderTraceparent, exchange.HeaderTracestate:
		return "the gateway sets this field itself"
	case exchange.HeaderForwarded:
		return "it says who the client is: what is believed of it goes on as X-Forwarded-For, -Proto and -Host"
	}
	return ""
}

// fold brings a field name into the form in which names that backends may
// take for each other are equal.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == '_' || r == '.':
			return '-'
		}
		return r
	}, name)
}

func foldedEqual(b []byte, folded string) bool {
	for i := range b {
		c := b[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '_' || c == '.':
			c = '-'
		}
		if c != folded[i] {
			return false
		}
	}
	return true
}
