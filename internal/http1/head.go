package http1

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// A codec refuses with one of these. They are written for requests; a
// response that breaks the same rule is response_malformed with the same
// reason.
var (
	errBareLF        = malformed("a line ends without a carriage return")
	errBareCR        = malformed("a carriage return stands alone")
	errControl       = malformed("a control character")
	errEmptyLine     = malformed("an empty line before the message")
	errRequestLine   = malformed("the request line is not METHOD SP target SP HTTP/1.1")
	errStatusLine    = malformed("the status line is not HTTP/1.1 SP three digits SP reason")
	errStatus        = malformed("the status is not between 100 and 599")
	errFieldFold     = malformed("a field is folded over lines")
	errFieldName     = malformed("a field name is empty or not a token, or is followed by a space")
	errFieldValue    = malformed("a field value holds a control character")
	errLength        = malformed("Content-Length is not one decimal number")
	errFieldSpace    = malformed("a field value begins or ends with a space")
	errLengthBody    = malformed("Content-Length is not the length that the body has")
	errLengthTwice   = malformed("Content-Length occurs more than once")
	errLengthCoding  = malformed("Content-Length beside Transfer-Encoding")
	errCodingTwice   = malformed("Transfer-Encoding names chunked more than once, or nothing")
	errCodingVersion = malformed("Transfer-Encoding in HTTP/1.0")
	errNamed         = malformed("Connection names a field that is not of one connection")
	errNamedMany     = malformed("Connection names more than 32 fields")
	errCoding        = fault.New(fault.TransferCodingUnsupported, "a transfer coding that is not chunked")
	errVersion       = fault.New(fault.HTTPVersionUnsupported, "an HTTP version other than 1.0 and 1.1")
	errExpect        = fault.New(fault.ExpectationFailed, "Expect is not exactly one 100-continue")
	errHeadSize      = fault.New(fault.HeadersTooLarge, "the head is larger than allowed")
	errFieldCount    = fault.New(fault.HeadersTooLarge, "the head has more fields than allowed")
	errTargetSize    = fault.New(fault.URITooLong, "the request target is longer than 8 KiB")
)

func malformed(reason string) *fault.Error { return fault.New(fault.RequestMalformed, reason) }

// maxNamed bounds the fields that Connection may name.
const maxNamed = 32

var (
	crlf    = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// peek looks at the beginning of a head that is not complete yet, and refuses
// at once what no further byte can mend, so that nobody waits for a time-out
// to learn of it. from is how much of b was looked at before.
func peek(b []byte, from int) *fault.Error {
	for i := from; i < len(b); i++ {
		switch c := b[i]; {
		case class[c]&isValue != 0:
			if i > 0 && b[i-1] == '\r' {
				return errBareCR
			}
		case c == '\n':
			switch {
			case i == 0 || b[i-1] != '\r':
				return errBareLF
			case i == 1:
				return errEmptyLine
			}
		case c == '\r':
			if i > 0 && b[i-1] == '\r' {
				return errBareCR
			}
		default:
			return errControl
		}
	}
	return nil
}

// parseRequest reads a whole request head, its last CRLF CRLF included, into
// h. On a fault h holds what was read before it.
func parseRequest(h *exchange.Head, b []byte, maxFields int) *fault.Error {
	n := bytes.Index(b, crlf)
	if n < 0 {
		return errRequestLine
	}
	if f := parseRequestLine(h, b[:n]); f != nil {
		return f
	}
	if f := parseFields(h, b[n+2:], maxFields); f != nil {
		return f
	}
	return checkRequest(h)
}

// Accept checks a request head that came over another protocol by the rules
// of this package. Method, Target, Major, Length and the names and values of
// Fields are given; the authority is among them as Host. Everything else in h
// is set.
func Accept(h *exchange.Head) *fault.Error {
	if f := checkMethod(h.Method); f != nil {
		return f
	}
	if f := checkTarget(h.Target); f != nil {
		return f
	}
	for i := range h.Fields {
		if f := acceptField(&h.Fields[i]); f != nil {
			return f
		}
	}
	if h.Major != 1 {
		if f := checkFrames(h); f != nil {
			return f
		}
	}
	return checkRequest(h)
}

// checkFrames applies what HTTP/2 says of a head beyond its fields (RFC 9113
// sections 8.1.1 and 8.3.1).
func checkFrames(h *exchange.Head) *fault.Error {
	if h.Target[0] != '/' && string(h.Target) != "*" {
		return errTargetForm
	}
	value, n := h.Get(exchange.HeaderContentLength)
	if n > 1 {
		return errLengthTwice
	}
	if length, ok := decimal(value); n == 1 && (!ok || length != h.Length) {
		return errLengthBody
	}
	return nil
}

// checkRequest applies the rules that need the whole head.
func checkRequest(h *exchange.Head) *fault.Error {
	if f := readAuthority(h); f != nil {
		return f
	}
	if h.Major == 1 {
		if f := readFraming(h); f != nil {
			return f
		}
		if !h.Chunked && h.Length < 0 {
			h.Length = 0 // RFC 9112 section 6.3, rule 7
		}
	}
	if f := readConnection(h); f != nil {
		return f
	}
	h.Upgrade = upgradeAsked(h)
	for i := range h.Fields {
		f := &h.Fields[i]
		if bytes.IndexByte(f.Name, '_') >= 0 {
			f.Drop = true // many backends cannot tell it from the name with a dash
		}
	}
	return readExpect(h)
}

// parseResponse reads a whole response head into h. Its faults carry codes of
// requests; see responseFault.
func parseResponse(h *exchange.Head, b []byte, maxFields int) *fault.Error {
	n := bytes.Index(b, crlf)
	if n < 0 {
		return errStatusLine
	}
	line := b[:n]
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return errStatusLine
	}
	if line[7] != '0' && line[7] != '1' {
		return errVersion
	}
	h.Major, h.Minor = 1, int(line[7]-'0')
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return errStatus
	}
	if len(line) > 13 {
		h.Reason = line[13:]
		if !allValue(h.Reason) {
			return errStatusLine
		}
	}
	if f := parseFields(h, b[n+2:], maxFields); f != nil {
		return f
	}
	if f := readFraming(h); f != nil {
		return f
	}
	return readConnection(h)
}

// responseFault says of a response what f says of a request.
func responseFault(f *fault.Error) *fault.Error {
	return fault.New(fault.ResponseMalformed, f.Reason)
}

// parseFields reads field lines up to and including the empty line that is
// the end of b.
func parseFields(h *exchange.Head, b []byte, most int) *fault.Error {
	for {
		if len(b) == 2 && b[0] == '\r' && b[1] == '\n' {
			return nil
		}
		n := 0
		for n < len(b) && class[b[n]]&isToken != 0 {
			n++
		}
		if n == 0 || n == len(b) || b[n] != ':' {
			if len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
				return errFieldFold
			}
			return errFieldName
		}
		name := b[:n:n]
		b = b[n+1:]
		end := bytes.IndexByte(b, '\r')
		if end < 0 || end+1 >= len(b) || b[end+1] != '\n' {
			return errBareCR
		}
		value := trim(b[:end:end])
		b = b[end+2:]
		if !allValue(value) {
			if bytes.IndexByte(value, '\n') >= 0 {
				return errBareLF
			}
			return errFieldValue
		}
		if len(h.Fields) == most {
			return errFieldCount
		}
		h.Fields = append(h.Fields, exchange.Field{Name: name, Value: value})
		identify(&h.Fields[len(h.Fields)-1])
	}
}

// identify gives a field its HeaderID and drops it if it concerns only one
// connection.
func identify(f *exchange.Field) {
	f.ID = exchange.Identify(f.Name)
	f.Drop = f.ID.HopByHop()
}

// readFraming sets Length and Chunked (RFC 9112 section 6).
func readFraming(h *exchange.Head) *fault.Error {
	h.Length, h.Chunked = -1, false
	for i := range h.Fields {
		switch f := &h.Fields[i]; f.ID {
		case exchange.HeaderContentLength:
			if h.Length >= 0 {
				return errLengthTwice
			}
			n, ok := decimal(f.Value)
			if !ok {
				return errLength
			}
			h.Length = n
		case exchange.HeaderTransferEncoding:
			if h.Chunked {
				return errCodingTwice
			}
			if f := onlyChunked(f.Value); f != nil {
				return f
			}
			h.Chunked = true
		}
	}
	switch {
	case h.Chunked && h.Minor == 0:
		return errCodingVersion
	case h.Chunked && h.Length >= 0:
		return errLengthCoding
	}
	return nil
}

// onlyChunked accepts a Transfer-Encoding that is chunked and nothing else.
func onlyChunked(value []byte) *fault.Error {
	if exchange.EqualFold(value, "chunked") {
		return nil
	}
	for rest := value; rest != nil; {
		var item []byte
		if item, rest = nextItem(rest); len(item) > 0 && !exchange.EqualFold(item, "chunked") {
			return errCoding
		}
	}
	return errCodingTwice
}

// readConnection sets Close, and nominates and drops the fields that
// Connection names (RFC 9110 section 7.6.1).
func readConnection(h *exchange.Head) *fault.Error {
	closes, keeps, named := false, false, 0
	for i := range h.Fields {
		if h.Fields[i].ID != exchange.HeaderConnection {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var name []byte
			name, rest = nextItem(rest)
			switch {
			case len(name) == 0:
			case exchange.EqualFold(name, "close"):
				closes = true
			case exchange.EqualFold(name, "keep-alive"):
				keeps = true
			default:
				if named++; named > maxNamed {
					return errNamedMany
				}
				if !all(name, isToken) || endToEnd(name) {
					return errNamed
				}
				for j := range h.Fields {
					if f := &h.Fields[j]; equalFold(f.Name, name) {
						f.Drop, f.Nominated = true, true
					}
				}
			}
		}
	}
	h.Close = closes || h.Minor == 0 && h.Major == 1 && !keeps
	return nil
}

// endToEnd reports whether a field is one on whose arrival somebody behind us
// relies: a client that could name it in Connection would have us remove it.
func endToEnd(name []byte) bool {
	switch exchange.Identify(name) {
	case exchange.HeaderHost, exchange.HeaderContentLength, exchange.HeaderTransferEncoding, exchange.HeaderExpect,
		exchange.HeaderAuthorization, exchange.HeaderCookie, exchange.HeaderDPoP, exchange.HeaderAPIKey,
		exchange.HeaderContentType, exchange.HeaderContentEncoding, exchange.HeaderVia, exchange.HeaderRequestID,
		exchange.HeaderTraceparent, exchange.HeaderTracestate, exchange.HeaderForwarded:
		return true
	}
	return hasPrefixFold(name, "x-forwarded-")
}

// readExpect sets Expect100 (RFC 9110 section 10.1.1).
func readExpect(h *exchange.Head) *fault.Error {
	value, n := h.Get(exchange.HeaderExpect)
	switch {
	case n == 0:
		return nil
	case n > 1 || !exchange.EqualFold(value, "100-continue"):
		return errExpect
	}
	h.Expect100 = h.Major == 1 && h.Minor == 1 && h.Length != 0
	return nil
}
