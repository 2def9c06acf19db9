package snapshot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

// spoofable are the names that say who the client is or what it asked for.
// Backends believe them, so a client may never send them; a trailing "*"
// stands for any rest. Names are folded: lower case, "-" for all that is
// neither a letter nor a digit.
var spoofable = []string{
	"x-forwarded-*", "forwarded", "x-real-ip", "true-client-ip", "x-client-cert", "client-cert*",
	"x-original-*", "x-rewrite-url", "x-envoy-*", "x-http-method*", "x-method-override",
	// Set by us. Spelled like ours it is replaced, and kept for the record.
	"x-request-id",
}

// setFields are the fields that policies of any route set towards upstreams,
// folded. Backends go by them on every way they can be reached, so that a
// client may send them on none. The zero setFields is empty.
type setFields struct {
	names map[string]bool
	first [256]bool // what a name that folds to one of them begins with
	most  int       // length of the longest
}

func newSetFields(names []string) (f setFields) {
	f.names = map[string]bool{}
	for _, name := range names {
		f.names[name] = true
		f.most = max(f.most, len(name))
		for c := range f.first {
			f.first[c] = f.first[c] || foldByte(byte(c)) == name[0]
		}
	}
	return f
}

// has reports whether a field name, of any spelling, may be taken for one of
// them. Names have no more than 64 bytes.
func (f *setFields) has(name []byte) bool {
	if len(name) == 0 || len(name) > f.most || !f.first[name[0]] {
		return false
	}
	var folded [maxSetField]byte
	for i, c := range name {
		folded[i] = foldByte(c)
	}
	return f.names[string(folded[:len(name)])]
}

// maxSetField bounds the name of a field that a policy sets, in bytes.
const maxSetField = 64

// neverSet says why a policy cannot set a field towards the upstream.
func neverSet(name string) string {
	switch {
	case name == "" || len(name) > maxSetField:
		return fmt.Sprintf("a field name has from 1 to %d bytes", maxSetField)
	case strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name[0] == '-':
		return "a field name is made of letters, digits and dashes here: of others backends make what they like"
	case exchange.IdentifyString(name) != exchange.HeaderOther:
		return "this field has a meaning of its own in HTTP, or the gateway itself sets or reads it"
	case inStripSet([]byte(name)):
		return "this field says who the client is or what it asked for, and is the gateway's own"
	}
	for _, prefix := range []string{"accept-", "access-control-", "content-", "grpc-", "if-", "proxy-", "repr-", "sec-"} {
		if strings.HasPrefix(strings.ToLower(name), prefix) {
			return "fields that begin with " + prefix + " have a meaning of their own"
		}
	}
	if slices.Contains([]string{"cache-control", "origin", "pragma", "priority", "range", "referer"}, strings.ToLower(name)) {
		return "this field has a meaning of its own in HTTP"
	}
	return ""
}

// pass is the set of fields that a route lets through in spite of the strip
// set, folded.
type pass []string

// strip removes from every request the fields of the strip set, and those that
// policies set. It takes them out, so that no policy can see them: what is
// only marked can still be read.
func strip(h *exchange.Head, p pass, set *setFields) {
	h.Fields = slices.DeleteFunc(h.Fields, func(f exchange.Field) bool {
		if set.has(f.Name) {
			return true
		}
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
// take for each other are equal: lower case, and "-" for all that is neither a
// letter nor a digit. Some make variables of names as CGI has them, and write
// "_" for whatever else they hold (RFC 3875 section 4.1.18).
func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = foldByte(c)
	}
	return string(b)
}

func foldByte(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		return c
	}
	return '-'
}

func foldedEqual(b []byte, folded string) bool {
	for i := range b {
		if foldByte(b[i]) != folded[i] {
			return false
		}
	}
	return true
}
