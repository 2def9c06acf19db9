package http1

import (
	"net/http"
	"strconv"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// What net/http speaks for us (HTTP/2, either side) goes through the functions
// of this file, so that the rules are those of HTTP/1.1. Accept, for requests,
// is beside the parser.

var errFramesField = malformed("a field of HTTP/1.1 connections in HTTP/2")

// AcceptResponse checks a response head that came over HTTP/2. Status, Length
// and the names and values of Fields are given; Length is -1 if the body is
// still to come and its length was not told. Its faults are
// response_malformed.
func AcceptResponse(h *exchange.Head) *fault.Error {
	if h.Status < 200 || h.Status > 599 {
		return responseFault(errStatus)
	}
	if len(h.Fields) > maxResponseFields {
		return responseFault(errFieldCount)
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if fault := acceptField(f); fault != nil {
			return responseFault(fault)
		}
		switch f.ID {
		case exchange.HeaderConnection, exchange.HeaderKeepAlive, exchange.HeaderProxyConnection, exchange.HeaderTransferEncoding, exchange.HeaderUpgrade:
			return responseFault(errFramesField) // RFC 9113 section 8.2.2
		}
	}
	value, n := h.Get(exchange.HeaderContentLength)
	switch length, ok := decimal(value); {
	case n > 1:
		return responseFault(errLengthTwice)
	case n == 1 && !ok:
		return responseFault(errLength)
	case n == 1 && h.Length >= 0 && h.Length != length:
		return responseFault(errLengthBody)
	case n == 1:
		h.Length = length
	}
	if h.Status == http.StatusNoContent {
		if h.Length > 0 {
			return errNoContent
		}
		h.Length = 0
	}
	return nil
}

// acceptField checks and identifies a field that did not come as a line.
func acceptField(f *exchange.Field) *fault.Error {
	if len(f.Name) == 0 || !all(f.Name, isToken) {
		return errFieldName
	}
	if !allValue(f.Value) {
		return errFieldValue
	}
	if len(trim(f.Value)) != len(f.Value) {
		return errFieldSpace // HTTP/1.1 takes it away: what is judged must be what is read behind us
	}
	identify(f)
	return nil
}

// AcceptTrailers makes a trailer section of what came behind a body over
// HTTP/2; nil if there is nothing in it. Fields that must not go on are
// dropped: all that are not known to be harmless, or, where metadata is true,
// as in gRPC, where applications choose the names, those that mean something
// to HTTP or to us. A section that no HTTP/1.1 body could have is a fault.
func AcceptTrailers(from http.Header, metadata bool) (*exchange.Head, *fault.Error) {
	if len(from) == 0 {
		return nil, nil
	}
	h := &exchange.Head{}
	size := 0
	for name, values := range from {
		for _, value := range values {
			f := exchange.Field{Name: []byte(name), Value: []byte(value)}
			if fault := acceptField(&f); fault != nil {
				return nil, fault
			}
			size += len(name) + len(value) + len(": \r\n")
			f.Drop = f.Drop || !harmlessTrailer(&f) && !(metadata && metadataTrailer(&f))
			h.Fields = append(h.Fields, f)
		}
	}
	most, fields := maxTrailers, maxTrailer
	if metadata { // holds details of errors too
		most, fields = maxResponseHead, maxResponseFields
	}
	if size > most || len(h.Fields) > fields {
		return nil, errTrailerSize
	}
	return h, nil
}

// metadataTrailer reports whether a field may be metadata of an application.
// Everything that a recipient could take for a part of the head is not (RFC
// 9110 section 6.5.1).
func metadataTrailer(f *exchange.Field) bool {
	if f.ID != exchange.HeaderOther || endToEnd(f.Name) {
		return false
	}
	for _, prefix := range [...]string{"access-control-", "content-", "if-", "proxy-", "sec-", "x-forwarded-", ":"} {
		if hasPrefixFold(f.Name, prefix) {
			return false
		}
	}
	for _, name := range [...]string{
		"age", "allow", "cache-control", "clear-site-data", "etag", "expires", "last-modified", "link", "location", "max-forwards", "pragma",
		"range", "refresh", "set-cookie", "strict-transport-security", "vary", "www-authenticate",
	} {
		if exchange.EqualFold(f.Name, name) {
			return false
		}
	}
	return true
}

// CopyFields puts what goes on of a head, e merged, into a header of
// net/http. What the writers of this package leave out or refuse, it does too.
func CopyFields(to http.Header, h *exchange.Head, e *exchange.Edits) error {
	return new(Header).Copy(to, h, e, -1)
}

// Header is the memory of heads that are copied one after the other. What it
// put into a header of net/http is dead after the next Reset, but for the
// texts. Its zero value is empty.
type Header struct {
	text   []byte
	fields []headerField
	values []string
}

type headerField struct {
	name string
	end  int // of the value in text
}

// sharedText is how large a head is whose values share one text. A single
// value may be remembered for as long as the connection, by its table of
// fields, and with it all that it shares a text with.
const sharedText = 512

// Reset forgets what was copied and keeps the memory.
func (c *Header) Reset() {
	clear(c.fields)
	clear(c.values)
	c.text, c.fields, c.values = c.text[:0], c.fields[:0], c.values[:0]
	if cap(c.text) > maxResponseHead {
		c.text = nil
	}
}

// Copy is CopyFields into the memory of c, which is empty, with a
// Content-Length if length is not negative.
func (c *Header) Copy(to http.Header, h *exchange.Head, e *exchange.Edits, length int64) error {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Drop || ours(f.ID) || e != nil && e.Removes(f) {
			continue
		}
		name := f.ID.Usual()
		if name == "" {
			name = http.CanonicalHeaderKey(string(f.Name))
		}
		c.put(name, f.Value)
	}
	if e != nil {
		for i := range e.Len() {
			name, value, ok := e.At(i)
			if !ok || ours(e.ID(i)) {
				continue
			}
			if !tokenString(name) || !allValue(value) {
				return errEdit
			}
			c.put(http.CanonicalHeaderKey(name), value)
		}
	}
	if length >= 0 {
		c.text = strconv.AppendInt(c.text, length, 10)
		c.fields = append(c.fields, headerField{"Content-Length", len(c.text)})
	}
	shared := ""
	if len(c.text) <= sharedText {
		shared = string(c.text)
	}
	from := 0
	for _, f := range c.fields {
		var value string
		if shared != "" {
			value = shared[from:f.end]
		} else {
			value = string(c.text[from:f.end])
		}
		from = f.end
		if old := to[f.name]; len(old) > 0 {
			to[f.name] = append(old, value)
			continue
		}
		n := len(c.values)
		c.values = append(c.values, value)
		to[f.name] = c.values[n : n+1 : n+1]
	}
	return nil
}

func (c *Header) put(name string, value []byte) {
	c.text = append(c.text, value...)
	c.fields = append(c.fields, headerField{name, len(c.text)})
}
