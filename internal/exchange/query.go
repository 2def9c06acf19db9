package exchange

import (
	"bytes"

	"github.com/warder-gateway/warder/internal/fault"
)

// maxPairs bounds the parameters of a query that a policy reads.
const maxPairs = 1000

// The reasons for which a query that a policy reads is refused.
var (
	errQueryEscape    = fault.New(fault.QueryMalformed, "% in the query is not followed by two hexadecimal digits")
	errQuerySemicolon = fault.New(fault.QueryMalformed, "the query holds a raw semicolon, which some take for a separator")
	errQueryPairs     = fault.New(fault.QueryMalformed, "the query holds more than 1000 parameters")
)

// TakeParameter takes the parameters of that name out of the query, so that
// nobody behind reads them: what is left is, byte for byte, what was around
// them. n tells how many there were, and value is that of the first, decoded.
// Names are compared decoded, case counts.
//
// This is how a policy reads a query. One that could be read in two ways is
// refused with query_malformed, whatever it holds: a broken escape, a raw
// semicolon, more than 1000 parameters. The query then stays as it is.
//
// The value lives in memory from alloc, or is a view.
func (h *Head) TakeParameter(name string, alloc func(n int) []byte) (value []byte, n int, err *fault.Error) {
	if n, err = countParameters(h.Query, name); n == 0 || err != nil {
		return nil, 0, err
	}
	rest := alloc(len(h.Query))[:0]
	for query, more, first := h.Query, true, true; more; {
		var pair []byte
		pair, query, more = bytes.Cut(query, ampersand)
		key, text, _ := bytes.Cut(pair, equals)
		if isNamed(key, name) {
			if value == nil {
				value = decodeValue(text, alloc)
			}
			continue
		}
		if !first {
			rest = append(rest, '&')
		}
		rest = append(rest, pair...)
		first = false
	}
	h.Query = rest
	h.HasQuery = len(rest) > 0
	return value, n, nil
}

var ampersand, equals = []byte("&"), []byte("=")

// countParameters judges a query and counts the parameters of a name.
func countParameters(query []byte, name string) (n int, err *fault.Error) {
	pairs := 1
	for i := 0; i < len(query); i++ {
		switch query[i] {
		case '%':
			if _, ok := unescape(query[i:]); !ok {
				return 0, errQueryEscape
			}
		case ';':
			return 0, errQuerySemicolon
		case '&':
			pairs++
		}
	}
	if pairs > maxPairs {
		return 0, errQueryPairs
	}
	for more := len(query) > 0; more; {
		var pair []byte
		pair, query, more = bytes.Cut(query, ampersand)
		if key, _, _ := bytes.Cut(pair, equals); isNamed(key, name) {
			n++
		}
	}
	return n, nil
}

// isNamed reports whether a name in a query, whose escapes are sound, is name.
func isNamed(key []byte, name string) bool {
	i := 0
	for n := 0; n < len(name); n++ {
		if i >= len(key) {
			return false
		}
		c := key[i]
		i++
		switch c {
		case '+':
			c = ' '
		case '%':
			c, _ = unescape(key[i-1:])
			i += 2
		}
		if c != name[n] {
			return false
		}
	}
	return i == len(key)
}

// decodeValue returns a value, whose escapes are sound, decoded; never nil.
func decodeValue(text []byte, alloc func(n int) []byte) []byte {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '+') < 0 {
		return text[:len(text):len(text)]
	}
	out := alloc(len(text))[:0]
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			c, _ = unescape(text[i:])
			i += 2
		}
		out = append(out, c)
	}
	return out
}

// MentionsParameter reports whether a URL, such as that of a Referer, has a
// query parameter of that name.
func MentionsParameter(url []byte, name string) bool {
	_, query, more := bytes.Cut(url, question)
	for more {
		var pair []byte
		pair, query, more = bytes.Cut(query, ampersand)
		if key, _, _ := bytes.Cut(pair, equals); isNamed(key, name) {
			return true
		}
	}
	return false
}

var question = []byte("?")
