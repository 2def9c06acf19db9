package http1

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var errEdit = fault.New(fault.InternalError, "an edit would write a field name or value that is not well-formed")

// appendFields writes the fields of h that go on, with e merged. Framing,
// Host and what concerns one connection are left out of both: those are
// written by the caller, from facts.
func appendFields(b []byte, h *exchange.Head, e *exchange.Edits) ([]byte, error) {
	edits := 0
	if e != nil {
		edits = e.Len()
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Drop || ours(f.ID) || edits > 0 && e.Removes(f) {
			continue
		}
		b = append(b, f.Name...)
		b = append(b, ':', ' ')
		b = append(b, f.Value...)
		b = append(b, '\r', '\n')
	}
	for i := range edits {
		name, value, ok := e.At(i)
		id := e.ID(i)
		if !ok || ours(id) {
			continue
		}
		if id == exchange.HeaderOther && !tokenString(name) || !allValue(value) {
			return b, errEdit
		}
		b = append(b, name...)
		b = append(b, ':', ' ')
		b = append(b, value...)
		b = append(b, '\r', '\n')
	}
	return b, nil
}

// ours reports whether only this package writes fields of this kind.
func ours(id exchange.HeaderID) bool {
	switch id {
	case exchange.HeaderOther:
		return false
	case exchange.HeaderHost, exchange.HeaderContentLength, exchange.HeaderExpect:
		return true
	}
	return id.HopByHop()
}

func tokenString(s string) bool {
	for i := range len(s) {
		if class[s[i]]&isToken == 0 {
			return false
		}
	}
	return len(s) > 0
}

// appendRequest writes the head of x's request for an upstream. length is the
// length of the body, -1 if it goes in chunks.
func appendRequest(b []byte, x *exchange.Exchange, target Target, address string, length int64) ([]byte, error) {
	h := &x.Req
	b = append(b, h.Method...)
	b = append(b, ' ')
	if len(h.Path) != 1 || h.Path[0] != '*' {
		b = append(b, target.Prefix...)
	}
	b = append(b, h.Path...)
	if h.HasQuery {
		b = append(b, '?')
		b = append(b, h.Query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	switch {
	case target.Host != "":
		b = append(b, target.Host...)
	case len(h.Authority) > 0:
		b = append(b, h.Authority...)
	default:
		b = append(b, address...)
	}
	b = append(b, '\r', '\n')
	b, err := appendFields(b, h, &x.ReqEdit)
	if err != nil {
		return b, err
	}
	switch {
	case x.Upgrade != "":
		b = appendUpgrade(b, x.Upgrade)
	case TakesTrailers(h): // said anew: it was about the client's connection
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	switch {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || expectsContent(h.Method):
		b = appendLength(b, length)
	}
	return append(b, '\r', '\n'), nil
}

// expectsContent reports whether a request with this method says that it has
// no content by Content-Length: 0 (RFC 9110 section 8.6).
func expectsContent(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func appendLength(b []byte, length int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, length, 10)
	return append(b, '\r', '\n')
}

// appendStatusLine writes the status with the text of its registration: what
// an upstream wrote there means nothing.
func appendStatusLine(b []byte, status int) []byte {
	if status == http.StatusOK {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, '\r', '\n')
}

// hasDate reports whether h, with e merged, has a Date.
func hasDate(h *exchange.Head, e *exchange.Edits) bool {
	if e != nil {
		for i := range e.Len() {
			if _, _, ok := e.At(i); ok && e.ID(i) == exchange.HeaderDate {
				return true
			}
		}
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == exchange.HeaderDate {
			return !f.Drop && (e == nil || !e.Removes(f))
		}
	}
	return false
}

// appendChunk writes p as one chunk; p is not empty.
func appendChunk(b, p []byte) []byte {
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, '\r', '\n')
	b = append(b, p...)
	return append(b, '\r', '\n')
}

// appendLastChunk writes the end of a chunked body. Trailers that may be
// given are written too.
func appendLastChunk(b []byte, trailers *exchange.Head) ([]byte, error) {
	b = append(b, '0', '\r', '\n')
	if trailers != nil {
		var err error
		if b, err = appendFields(b, trailers, nil); err != nil {
			return b, err
		}
	}
	return append(b, '\r', '\n'), nil
}

// TakesTrailers reports whether a client said TE: trailers.
func TakesTrailers(h *exchange.Head) bool {
	for i := range h.Fields {
		if h.Fields[i].ID != exchange.HeaderTE {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var item []byte
			item, rest = nextItem(rest)
			coding, _, _ := bytes.Cut(item, []byte(";"))
			if exchange.EqualFold(trim(coding), "trailers") {
				return true
			}
		}
	}
	return false
}
