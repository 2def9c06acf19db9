package exchange

import (
	"net/textproto"
	"strings"
)

// Field is one header or trailer field. Name and Value are views; see Head.
type Field struct {
	Name, Value []byte
	ID          HeaderID
	Drop        bool // never goes on: hop-by-hop, named by HeaderConnection, or stripped by rule
	Nominated   bool // named by Connection: whoever relies on the field must know that the sender had it removed
}

// Head is the head of a request or a response, reused from one exchange to
// the next. Its byte slices are views into the connection's buffer or the
// exchange's arena and are dead once the exchange is released: what outlives
// the exchange is copied.
type Head struct {
	Method    []byte // as received; methods are case-sensitive
	Target    []byte // request target as received, for the record
	Authority []byte // Host as received
	Host      []byte // host of Authority: lower case, no port, no trailing dot
	Path      []byte // normal form (see NormalizePath); "*" for OPTIONS *
	Query     []byte // after "?", not decoded
	HasQuery  bool   // a "?" was there, even with nothing after it
	PathUses  PathFeature

	Status int    // responses
	Reason []byte // responses, as received

	Fields []Field // in wire order

	Length    int64 // declared body length, -1 unknown, 0 none
	Chunked   bool  // the body came in chunks (HTTP/1.1)
	Close     bool  // the peer will not reuse the connection
	Expect100 bool
	Upgrade   string // protocol that a request asks to switch to: "websocket", or ""; of others nothing is known
	Minor     int    // HTTP/1 minor version
	Major     int
}

// Reset empties the head and keeps its memory.
func (h *Head) Reset() {
	fields := h.Fields[:0]
	*h = Head{Fields: fields, Length: -1}
}

// Get returns the value of the only field with id. It returns nil when there
// is none, and n tells how many there were.
func (h *Head) Get(id HeaderID) (value []byte, n int) {
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			if n == 0 {
				value = h.Fields[i].Value
			}
			n++
		}
	}
	return value, n
}

// GetName is Get for a name that has no HeaderID; name must be lower case.
func (h *Head) GetName(name string) (value []byte, n int) {
	if id := IdentifyString(name); id != HeaderOther {
		return h.Get(id)
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == HeaderOther && EqualFold(f.Name, name) {
			if n == 0 {
				value = f.Value
			}
			n++
		}
	}
	return value, n
}

// HeaderID names the fields that some part of the gateway treats specially.
type HeaderID uint8

// The known fields. Other is every field not listed.
const (
	HeaderOther HeaderID = iota
	HeaderHost
	HeaderConnection
	HeaderContentLength
	HeaderTransferEncoding
	HeaderKeepAlive
	HeaderProxyConnection
	HeaderProxyAuthenticate
	HeaderProxyAuthorization
	HeaderTE
	HeaderTrailer
	HeaderUpgrade
	HeaderExpect
	HeaderHTTP2Settings
	HeaderAuthorization
	HeaderCookie
	HeaderDPoP
	HeaderAPIKey // x-api-key
	HeaderContentType
	HeaderContentEncoding
	HeaderUserAgent
	HeaderAccept
	HeaderVia
	HeaderDate
	HeaderServer
	HeaderRequestID // x-request-id
	HeaderTraceparent
	HeaderTracestate
	HeaderXForwardedFor
	HeaderXForwardedProto
	HeaderXForwardedHost
	HeaderForwarded
	HeaderSecFetchMode
	HeaderXRequestedWith
	HeaderRetryAfter
	HeaderStrictTransportSecurity
	headerCount
)

var headerNames = [headerCount]string{
	HeaderHost: "host", HeaderConnection: "connection", HeaderContentLength: "content-length", HeaderTransferEncoding: "transfer-encoding",
	HeaderKeepAlive: "keep-alive", HeaderProxyConnection: "proxy-connection", HeaderProxyAuthenticate: "proxy-authenticate",
	HeaderProxyAuthorization: "proxy-authorization", HeaderTE: "te", HeaderTrailer: "trailer", HeaderUpgrade: "upgrade", HeaderExpect: "expect",
	HeaderHTTP2Settings: "http2-settings", HeaderAuthorization: "authorization", HeaderCookie: "cookie", HeaderDPoP: "dpop", HeaderAPIKey: "x-api-key",
	HeaderContentType: "content-type", HeaderContentEncoding: "content-encoding", HeaderUserAgent: "user-agent", HeaderAccept: "accept", HeaderVia: "via",
	HeaderDate: "date", HeaderServer: "server", HeaderRequestID: "x-request-id", HeaderTraceparent: "traceparent", HeaderTracestate: "tracestate",
	HeaderXForwardedFor: "x-forwarded-for", HeaderXForwardedProto: "x-forwarded-proto", HeaderXForwardedHost: "x-forwarded-host",
	HeaderForwarded: "forwarded", HeaderSecFetchMode: "sec-fetch-mode", HeaderXRequestedWith: "x-requested-with", HeaderRetryAfter: "retry-after",
	HeaderStrictTransportSecurity: "strict-transport-security",
}

// known finds a field by a hash of its name that no two known names share, so
// that a name is compared with one other at most.
var known, salt = func() (t [256]HeaderID, salt uint8) {
search:
	for {
		t = [256]HeaderID{}
		for id := HeaderHost; id < headerCount; id++ {
			slot := &t[hashName(headerNames[id], salt)]
			if *slot != HeaderOther {
				if salt++; salt == 0 {
					panic("exchange: hashName cannot tell the known fields apart")
				}
				continue search
			}
			*slot = id
		}
		return t, salt
	}
}()

// hashName hashes a name that is not empty, in any case: by its length, its
// first, its middle and its last letter.
func hashName[T string | []byte](name T, salt uint8) uint8 {
	n := len(name)
	return uint8(n) + (name[0]|0x20)*salt + (name[n/2]|0x20)*29 + (name[n-1] | 0x20)
}

// Identify returns the HeaderID of a field name, in any case.
func Identify(name []byte) HeaderID { return identify(name) }

// IdentifyString is Identify for a string.
func IdentifyString(name string) HeaderID { return identify(name) }

func identify[T string | []byte](name T) HeaderID {
	if len(name) == 0 {
		return HeaderOther
	}
	id := known[hashName(name, salt)]
	want := headerNames[id]
	if id == HeaderOther || len(name) != len(want) {
		return HeaderOther
	}
	for i := range len(name) {
		if lower[name[i]] != want[i] {
			return HeaderOther
		}
	}
	return id
}

// usualNames are the known names as they are mostly written.
var usualNames = func() (t [headerCount]string) {
	for id := HeaderHost; id < headerCount; id++ {
		t[id] = textproto.CanonicalMIMEHeaderKey(headerNames[id])
	}
	return t
}()

// String returns the field's name in lower case.
func (id HeaderID) String() string {
	if id < headerCount {
		return headerNames[id]
	}
	return ""
}

// Usual returns the field's name as it is mostly written, which is also how
// net/http spells it; "" for HeaderOther.
func (id HeaderID) Usual() string {
	if id < headerCount {
		return usualNames[id]
	}
	return ""
}

// HopByHop reports whether fields of this kind concern one connection only
// (RFC 9110 section 7.6.1) and never go on.
func (id HeaderID) HopByHop() bool {
	switch id {
	case HeaderConnection, HeaderKeepAlive, HeaderProxyConnection, HeaderProxyAuthenticate, HeaderProxyAuthorization, HeaderTE, HeaderTrailer, HeaderTransferEncoding, HeaderUpgrade, HeaderHTTP2Settings:
		return true
	}
	return false
}

var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// EqualFold reports whether b equals the lower-case ASCII string s when its
// own ASCII letters are folded. It allocates nothing.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower[b[i]] != s[i] {
			return false
		}
	}
	return true
}

// Edits records changes to a head, to be merged when it is written: the head
// itself stays as received. The zero Edits changes nothing.
type Edits struct {
	list    []edit
	named   idSet // of the fields some edit is about
	removed idSet // of the fields some edit removes
}

// idSet is a set of HeaderIDs.
type idSet uint64

const _ = uint(64 - headerCount) // they fit

func (s idSet) has(id HeaderID) bool { return s>>id&1 != 0 }
func (s *idSet) add(id HeaderID)     { *s |= 1 << id }

type edit struct {
	del   bool // remove fields of this name that were received
	id    HeaderID
	name  string // as written
	value []byte // nil: only remove
}

// Reset forgets every edit and keeps the memory.
func (e *Edits) Reset() {
	clear(e.list)
	*e = Edits{list: e.list[:0]}
}

// Len returns the number of edits.
func (e *Edits) Len() int { return len(e.list) }

// Set replaces every field called name by one with value. The value must stay
// unchanged until the head is written.
func (e *Edits) Set(name string, value []byte) { e.record(true, name, value) }

// Add adds a field beside those there are.
func (e *Edits) Add(name string, value []byte) { e.record(false, name, value) }

// Del removes every field called name, also one set by an earlier edit.
func (e *Edits) Del(name string) { e.record(true, name, nil) }

// SetKnown is Set for a field that has a HeaderID, written in its usual
// spelling; AddKnown and DelKnown are Add and Del. They are quicker.
func (e *Edits) SetKnown(id HeaderID, value []byte) { e.put(true, id, usualNames[id], value) }

// AddKnown is Add for a field that has a HeaderID.
func (e *Edits) AddKnown(id HeaderID, value []byte) { e.put(false, id, usualNames[id], value) }

// DelKnown is Del for a field that has a HeaderID.
func (e *Edits) DelKnown(id HeaderID) { e.put(true, id, usualNames[id], nil) }

func (e *Edits) record(del bool, name string, value []byte) {
	e.put(del, IdentifyString(name), name, value)
}

func (e *Edits) put(del bool, id HeaderID, name string, value []byte) {
	if del && e.named.has(id) {
		for i := range e.list {
			if x := &e.list[i]; x.id == id && (id != HeaderOther || strings.EqualFold(x.name, name)) {
				x.value = nil
			}
		}
	}
	e.list = append(e.list, edit{del, id, name, value})
	e.named.add(id)
	if del {
		e.removed.add(id)
	}
}

// Removes reports whether a received field is removed or replaced.
func (e *Edits) Removes(f *Field) bool {
	return e.removed.has(f.ID) && (f.ID != HeaderOther || e.removesOther(f.Name))
}

// removesOther is Removes for a field that has no HeaderID.
func (e *Edits) removesOther(name []byte) bool {
	for i := range e.list {
		if x := &e.list[i]; x.del && x.id == HeaderOther && foldEqual(name, x.name) {
			return true
		}
	}
	return false
}

// Each calls f for every field the edits put in, in order.
func (e *Edits) Each(f func(name string, value []byte)) {
	for i := range e.list {
		if e.list[i].value != nil {
			f(e.list[i].name, e.list[i].value)
		}
	}
}

// ID returns the HeaderID of the name in edit i.
func (e *Edits) ID(i int) HeaderID { return e.list[i].id }

// At returns the field that edit i puts in; ok is false when it puts in none.
// With Len it is Each without a closure, for the writers of heads.
func (e *Edits) At(i int) (name string, value []byte, ok bool) {
	x := &e.list[i]
	return x.name, x.value, x.value != nil
}

func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower[b[i]] != lower[s[i]] {
			return false
		}
	}
	return true
}
