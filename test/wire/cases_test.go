package wire

import (
	"fmt"
	"strings"
)

// last follows every case over the same connection. If it reaches the origin,
// and as itself, gateway and client agree on where the case ended.
var last = lines("GET /open/last HTTP/1.1", "Host: h", "Connection: close")

const lastArrived = "GET /open/last HTTP/1.1|Host: h||"

// hidden is what attackers put where they hope that it is taken for a request.
var hidden = lines("GET /open/hidden HTTP/1.1", "Host: h")

type rawCase struct {
	name    string
	raw     string
	answers []answer
	arrives []string // at the origin, without last
	ends    bool     // the connection ends with the answers
}

func refused(name, raw string, status int, code string) rawCase {
	return rawCase{name: name, raw: raw, answers: []answer{{status, code}}, ends: true}
}

func malformed(name, raw string) rawCase { return refused(name, raw, 400, "request_malformed") }

// accepted is taken as one request, and as that reaches the origin.
func accepted(name, raw, arrives string) rawCase {
	return rawCase{name: name, raw: raw, answers: []answer{ok}, arrives: []string{arrives}}
}

// turnedAway is refused, but its connection lives on.
func turnedAway(name, raw string, status int, code string) rawCase {
	return rawCase{name: name, raw: raw, answers: []answer{{status, code}}}
}

func post(fields ...string) string {
	return lines(append([]string{"POST /open/a HTTP/1.1", "Host: h"}, fields...)...)
}

func get(fields ...string) string {
	return lines(append([]string{"GET /open/a HTTP/1.1", "Host: h"}, fields...)...)
}

func length(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }

func chunk(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

const chunked, lastChunk = "Transfer-Encoding: chunked", "0\r\n\r\n"

// rawCases is the table that is sent to the gateway, and through others.
func rawCases() []rawCase {
	var all []rawCase
	for _, part := range [][]rawCase{framingCases(), chunkCases(), lineCases(), hostCases(), targetCases(), upgradeCases(), sizeCases(), sequenceCases()} {
		all = append(all, part...)
	}
	return all
}

func framingCases() []rawCase {
	withLength := func(te string) string { return post(length("0\r\n\r\n"+hidden), te) + "0\r\n\r\n" + hidden }
	cases := []rawCase{
		malformed("CL.TE", withLength(chunked)),
		malformed("TE.CL", post(chunked, "Content-Length: 4")+chunk(hidden)+lastChunk),
		malformed("CL.TE in HTTP/1.0", lines("POST /open/a HTTP/1.0", "Host: h", "Content-Length: 5", chunked)+lastChunk+hidden),
		malformed("TE in HTTP/1.0", lines("POST /open/a HTTP/1.0", "Host: h", chunked)+lastChunk+hidden),
		malformed("TE.TE, chunked twice", post(chunked, chunked)+lastChunk+hidden),
		malformed("TE.TE, chunked twice in one field", post("Transfer-Encoding: chunked, chunked")+lastChunk+hidden),
		malformed("TE.TE, another behind", post(chunked, "Transfer-Encoding: cow")+lastChunk+hidden),
		refused("TE.TE, another before", post("Transfer-Encoding: cow", chunked)+lastChunk+hidden, 501, "transfer_coding_unsupported"),
		malformed("length twice, equal", post("Content-Length: 2", "Content-Length: 2")+"ab"),
		malformed("length twice, different", post("Content-Length: 0", length(hidden))+hidden),
		accepted("TE after a tab", post("Transfer-Encoding:\tchunked")+chunk("ab")+lastChunk, "POST /open/a HTTP/1.1|Host: h|Transfer-Encoding: chunked||ab"),
		accepted("TE in capitals", post("TRANSFER-ENCODING: CHUNKED")+chunk(hidden)+lastChunk, "POST /open/a HTTP/1.1|Host: h|Transfer-Encoding: chunked||"+hidden),
		accepted("TE with an underscore is no TE", post(length(hidden), "Transfer_Encoding: chunked")+hidden, "POST /open/a HTTP/1.1|Host: h|"+length(hidden)+"||"+hidden),
		accepted("a request in a body", post(length(hidden))+hidden, "POST /open/a HTTP/1.1|Host: h|"+length(hidden)+"||"+hidden),
		accepted("a request in the body of a GET", get(length(hidden))+hidden, "GET /open/a HTTP/1.1|Host: h|"+length(hidden)+"||"+hidden),
		accepted("a length with zeros before", post("Content-Length: 002")+"ab", "POST /open/a HTTP/1.1|Host: h|Content-Length: 2||ab"),
		accepted("a POST without a length", post(), "POST /open/a HTTP/1.1|Host: h|Content-Length: 0||"),
	}
	for _, te := range []string{"xchunked", "identity", "chunked, identity", "gzip, chunked", "\"chunked\"", "chunked;q=1", "ch unked"} {
		cases = append(cases, refused("TE "+te, withLength("Transfer-Encoding: "+te), 501, "transfer_coding_unsupported"))
	}
	for _, te := range []string{"Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "Transfer-Encoding: \vchunked", "Transfer-Encoding: chunked\x00", "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "Transfer-Encoding\r\n : chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:", "Transfer-Encoding: ,", "Transfer-\x80Encoding: chunked"} {
		cases = append(cases, malformed(fmt.Sprintf("TE %q", te), withLength(te)))
	}
	for _, cl := range []string{"+2", "-2", "0x2", "2,2", "2, 2", "2 2", "", "2;", "1e1", "٢", "9223372036854775808", "18446744073709551618", "99999999999999999999"} {
		cases = append(cases, malformed("length "+cl, post("Content-Length: "+cl)+"ab"+hidden))
	}
	return cases
}

func chunkCases() []rawCase {
	body := func(name, chunks string) rawCase { return malformed("chunks: "+name, post(chunked)+chunks+hidden) }
	good := func(name, chunks, body string) rawCase {
		return accepted("chunks: "+name, post(chunked)+chunks, "POST /open/a HTTP/1.1|Host: h|Transfer-Encoding: chunked||"+body)
	}
	return []rawCase{
		good("none", lastChunk, ""),
		good("capital digits and zeros before", "00A\r\n0123456789\r\n00\r\n\r\n", "0123456789"),
		good("an extension", "2;a=b;c=\"d;e\"\r\nab\r\n0;x\r\n\r\n", "ab"),
		good("a request as an extension's value", "2;a=\"GET /open/hidden HTTP/1.1\"\r\nab\r\n0\r\n\r\n", "ab"),
		good("trailers", "2\r\nab\r\n0\r\nX-A: b\r\n\r\n", "ab"),
		good("a request in a chunk", chunk(hidden)+lastChunk, hidden),
		body("0x", "0x2\r\nab\r\n0\r\n\r\n"),
		body("a plus", "+2\r\nab\r\n0\r\n\r\n"),
		body("a minus", "-2\r\nab\r\n0\r\n\r\n"),
		body("no size", "\r\nab\r\n0\r\n\r\n"),
		body("only an extension", ";a\r\nab\r\n0\r\n\r\n"),
		body("a space behind the size", "2 \r\nab\r\n0\r\n\r\n"),
		body("a space before the size", " 2\r\nab\r\n0\r\n\r\n"),
		body("a tab behind the size", "2\t;a\r\nab\r\n0\r\n\r\n"),
		body("a size of 2^63", "8000000000000000\r\nab\r\n0\r\n\r\n"),
		body("a size that wraps to 2 in 64 bits", "10000000000000002\r\nab\r\n0\r\n\r\n"),
		refused("chunks: a size that wraps to 2 in 32 bits", post(chunked)+"100000002\r\nab\r\n0\r\n\r\n"+hidden+strings.Repeat("x", 2<<20), 413, "body_too_large"),
		body("LF behind the size", "2\nab\r\n0\r\n\r\n"),
		body("CR behind the size", "2\rab\r\n0\r\n\r\n"),
		body("LF behind the data", "2\r\nab\n0\r\n\r\n"),
		body("nothing behind the data", "2\r\nab0\r\n\r\n"),
		body("two other bytes behind the data", "2\r\nabXX0\r\n\r\n"),
		body("LF in an extension", "2;a\nb\r\nab\r\n0\r\n\r\n"),
		body("CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"),
		body("LF in a quoted extension", "2;a=\"\n\"\r\nab\r\n0\r\n\r\n"),
		body("NUL in an extension", "2;a\x00\r\nab\r\n0\r\n\r\n"),
		body("a quoted extension without an end", "2;a=\"b\r\nab\r\n0\r\n\r\n"),
		body("a long extension", "2;"+strings.Repeat("a", 300)+"\r\nab\r\n0\r\n\r\n"),
		body("LF for the end", "2\r\nab\r\n0\n\n"),
		body("LF behind the last size", "2\r\nab\r\n0\n\r\n"),
		body("a trailer with framing", "0\r\nContent-Length: 3\r\n\r\n"),
		body("a trailer with a credential", "0\r\nX-Api-Key: x\r\n\r\n"),
		body("a folded trailer", "0\r\nX-A: b\r\n c\r\n\r\n"),
		body("a request for a trailer", "0\r\nGET /open/hidden HTTP/1.1\r\n\r\n"),
		body("many trailers", "0\r\n"+strings.Repeat("A: b\r\n", 40)+"\r\n"),
	}
}

func lineCases() []rawCase {
	return []rawCase{
		malformed("LF in every line", "GET /open/a HTTP/1.1\nHost: h\n\n"),
		malformed("LF in the request line", "GET /open/a HTTP/1.1\nHost: h\r\n\r\n"),
		malformed("LF in a field", get("X-A: b\nX-B: c")),
		malformed("LF for the empty line", "GET /open/a HTTP/1.1\r\nHost: h\r\n\n"),
		malformed("CR in a field", get("X-A: b\rX-B: c")),
		malformed("CR before CRLF", get("X-A: b\r")),
		malformed("NUL in a field", get("X-A: b\x00c")),
		malformed("escape in a field", get("X-A: b\x1b[2J")),
		malformed("obs-fold by a space", get("X-A: b", " c")),
		malformed("obs-fold by a tab", get("X-A: b", "\tc")),
		malformed("obs-fold of the first field", lines("GET /open/a HTTP/1.1", " Host: h", "Host: h")),
		malformed("obs-fold of Host", lines("GET /open/a HTTP/1.1", "Host: h", " i")),
		malformed("a space before the colon", get("X-A : b")),
		malformed("no colon", get("X-A")),
		malformed("no name", get(": b")),
		malformed("a delimiter in a name", get("X(A): b")),
		malformed("two spaces in the request line", "GET  /open/a HTTP/1.1\r\nHost: h\r\n\r\n"),
		malformed("tabs in the request line", "GET\t/open/a\tHTTP/1.1\r\nHost: h\r\n\r\n"),
		malformed("a space behind the version", "GET /open/a HTTP/1.1 \r\nHost: h\r\n\r\n"),
		malformed("a space in the target", "GET /open/a b HTTP/1.1\r\nHost: h\r\n\r\n"),
		malformed("a space before the method", " GET /open/a HTTP/1.1\r\nHost: h\r\n\r\n"),
		malformed("an empty line first", "\r\n"+get()),
		malformed("LF first", "\n"+get()),
		malformed("Connection names Content-Length", post("Connection: content-length", length(hidden))+hidden),
		malformed("Connection names Transfer-Encoding", post("Connection: transfer-encoding", chunked)+chunk(hidden)+lastChunk),
		malformed("Connection names Host", get("Connection: host")),
		malformed("Connection names X-Forwarded-For", get("Connection: x-forwarded-for")),
		accepted("Connection names a field of its own", get("Connection: X-Mine", "X-Mine: a", "X-Other: b"), "GET /open/a HTTP/1.1|Host: h|X-Other: b||"),
		accepted("bytes beyond ASCII in a value go on as they are", get("X-A: \xff"), "GET /open/a HTTP/1.1|Host: h|X-A: \xff||"),
		refused("an unknown expectation", post("Expect: 200-ok", "Content-Length: 2")+"ab", 417, "expectation_failed"),
		refused("two expectations", post("Expect: 100-continue", "Expect: 100-continue", "Content-Length: 2")+"ab", 417, "expectation_failed"),
		accepted("100-continue, body sent at once", post("Expect: 100-continue", "Content-Length: 2")+"ab", "POST /open/a HTTP/1.1|Host: h|Content-Length: 2||ab"),
		refused("HTTP/0.9", "GET /open/a\r\n", 505, "http_version_unsupported"),
		refused("HTTP/0.9 by name", lines("GET /open/a HTTP/0.9", "Host: h"), 505, "http_version_unsupported"),
		refused("HTTP/1.2", lines("GET /open/a HTTP/1.2", "Host: h"), 505, "http_version_unsupported"),
		refused("HTTP/2.0", lines("GET /open/a HTTP/2.0", "Host: h"), 505, "http_version_unsupported"),
		malformed("HTTP/1.10", lines("GET /open/a HTTP/1.10", "Host: h")),
		malformed("http/1.1", lines("GET /open/a http/1.1", "Host: h")),
		malformed("HTTP/11", lines("GET /open/a HTTP/11", "Host: h")),
	}
}

func hostCases() []rawCase {
	var cases []rawCase
	for _, host := range []string{"", "h/x", "u@h", "h,i", "h i", "h:99999", "h:", "h:8a", "h:80:80", ".", "a..b", "[::1", "[fe80::1%25eth0]", "h\x7f", "h%2e", "ä", "http://h"} {
		cases = append(cases, malformed("Host "+host, lines("GET /open/a HTTP/1.1", "Host: "+host)))
	}
	return append(cases,
		malformed("no Host", lines("GET /open/a HTTP/1.1")),
		malformed("two Hosts", get("Host: i")),
		malformed("two equal Hosts", get("Host: h")),
		malformed("a Host and one with a space before the colon", get("Host : i")),
		malformed("absolute form of another host", lines("GET http://i/open/a HTTP/1.1", "Host: h")),
		malformed("absolute form with a user", lines("GET http://u@h/open/a HTTP/1.1", "Host: h")),
		malformed("absolute form of another scheme", lines("GET ftp://h/open/a HTTP/1.1", "Host: h")),
		malformed("absolute form without Host", lines("GET http://h/open/a HTTP/1.1")),
		malformed("absolute form without Host in HTTP/1.0", lines("GET http://h/open/a HTTP/1.0")),
		accepted("absolute form", lines("GET http://h/open/a?b HTTP/1.1", "Host: h"), "GET /open/a?b HTTP/1.1|Host: h||"),
		malformed("authority form", lines("GET h:80 HTTP/1.1", "Host: h")),
		malformed("a relative target", lines("GET open/a HTTP/1.1", "Host: h")),
	)
}

func targetCases() []rawCase {
	var cases []rawCase
	for _, path := range []string{"/open/../closed/a", "/open/%2e%2e/closed/a", "/open/..%2fclosed/a", "/open/a%00", "/open/a%0d%0aX:%20y", "/open/a%zz", `/open/..\closed`, "/open/a#b", "//open/a", "/open//a", "/open/..;/closed/a"} {
		cases = append(cases, turnedAway("path "+path, lines("GET "+path+" HTTP/1.1", "Host: h"), 400, "path_not_normal"))
	}
	return append(cases,
		turnedAway("no route", lines("GET /none HTTP/1.1", "Host: h"), 404, "route_unknown"),
		turnedAway("* of OPTIONS", lines("OPTIONS * HTTP/1.1", "Host: h"), 404, "route_unknown"),
		malformed("* of GET", lines("GET * HTTP/1.1", "Host: h")),
		malformed("a byte beyond ASCII", lines("GET /open/\xc3\xa4 HTTP/1.1", "Host: h")),
	)
}

func upgradeCases() []rawCase {
	socket := lines("GET /open/a HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	socketArrives := "GET /open/a HTTP/1.1|Host: h|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==||"
	clear := lines("GET /open/a HTTP/1.1", "Host: h", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	return []rawCase{
		{"an upgrade to WebSocket is none on a route without; nothing behind it is served", socket, []answer{ok}, []string{socketArrives}, true},
		{"bytes behind an upgrade that was none are no tunnel", socket + "\x81\x85\x01\x02\x03\x04abcde", []answer{ok}, []string{socketArrives}, true},
		{"a request behind an upgrade that was none", socket + lines("GET /closed/a HTTP/1.1", "Host: h") + hidden, []answer{ok}, []string{socketArrives}, true},
		accepted("an upgrade to h2c", clear, "GET /open/a HTTP/1.1|Host: h||"),
		{"an upgrade to h2c, and its preface", clear + preface, []answer{ok, {505, "http_version_unsupported"}}, []string{"GET /open/a HTTP/1.1|Host: h||"}, true},
		refused("the preface of HTTP/2 at once", preface, 505, "http_version_unsupported"),
		malformed("CONNECT", lines("CONNECT h:443 HTTP/1.1", "Host: h:443")),
		malformed("CONNECT with a body", lines("CONNECT h:443 HTTP/1.1", "Host: h:443", length(hidden))+hidden),
		malformed("CONNECT with a path", lines("CONNECT /open/a HTTP/1.1", "Host: h", chunked)+chunk(hidden)+lastChunk),
		malformed("TLS on the plain listener", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"),
	}
}

func sizeCases() []rawCase {
	return []rawCase{
		refused("a target of 9 KiB", lines("GET /open/"+strings.Repeat("a", 9<<10)+" HTTP/1.1", "Host: h"), 414, "uri_too_long"),
		refused("a target without end", "GET /open/"+strings.Repeat("a", 1<<20), 414, "uri_too_long"),
		refused("a field of 17 KiB", get("X-A: "+strings.Repeat("a", 17<<10)), 431, "headers_too_large"),
		refused("a field without end", "GET /open/a HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("a", 1<<20), 431, "headers_too_large"),
		refused("101 fields", get(strings.TrimSuffix(strings.Repeat("A: b\r\n", 100), "\r\n")), 431, "headers_too_large"),
		refused("a method of 33 letters", lines(strings.Repeat("M", 33)+" /open/a HTTP/1.1", "Host: h"), 501, "method_unknown"),
		malformed("a method without end", strings.Repeat("(", 1<<10)),
		{"a body over body.maxSize", lines("POST /small/a HTTP/1.1", "Host: h", "Content-Length: 2048") + strings.Repeat("x", 2048), []answer{{413, "body_too_large"}}, nil, false},
		refused("chunks over body.maxSize", lines("POST /small/a HTTP/1.1", "Host: h", chunked)+chunk(strings.Repeat("x", 100<<10))+lastChunk, 413, "body_too_large"),
	}
}

func sequenceCases() []rawCase {
	closed := func(fields ...string) string {
		return lines(append([]string{"POST /closed/a HTTP/1.1", "Host: h"}, fields...)...)
	}
	const got, missing = "GET /open/a HTTP/1.1|Host: h||", "credential_missing"
	many := strings.Repeat(hidden, (70<<10)/len(hidden))
	return []rawCase{
		turnedAway("CL.0 at a refusal", closed(length(hidden))+hidden, 401, missing),
		turnedAway("chunks at a refusal", closed(chunked)+chunk(hidden)+lastChunk, 401, missing),
		turnedAway("CL.0 where there is no route", lines("POST /none HTTP/1.1", "Host: h", length(hidden))+hidden, 404, "route_unknown"),
		turnedAway("CL.0 at another method", lines("POST /reads/a HTTP/1.1", "Host: h", length(hidden))+hidden, 405, "method_not_allowed"),
		turnedAway("CL.0 at a bad path", lines("POST /open/%00 HTTP/1.1", "Host: h", length(hidden))+hidden, 400, "path_not_normal"),
		refused("a body over 64 KiB at a refusal", closed(length(many))+many, 401, missing),
		refused("chunks over 64 KiB at a refusal", closed(chunked)+chunk(many)+lastChunk, 401, missing),
		refused("broken chunks at a refusal", closed(chunked)+"2\nab\r\n0\r\n\r\n"+hidden, 401, missing),
		refused("100-continue and chunks at a refusal", closed("Expect: 100-continue", chunked)+chunk(hidden)+lastChunk, 401, missing),
		{"a request behind a length of 0 is one of its own", post("Content-Length: 0") + lines("GET /closed/a HTTP/1.1", "Host: h"), []answer{ok, {401, missing}}, []string{"POST /open/a HTTP/1.1|Host: h|Content-Length: 0||"}, false},
		{"three requests", get() + get() + get(), []answer{ok, ok, ok}, []string{got, got, got}, false},
		{"yes, no, yes", get() + lines("GET /closed/a HTTP/1.1", "Host: h") + get(), []answer{ok, {401, missing}, ok}, []string{got, got}, false},
		{"nothing behind a malformed one", get() + get("X-A : b") + get(), []answer{ok, {400, "request_malformed"}}, []string{got}, true},
		{"nothing behind close", get("Connection: close"), []answer{ok}, []string{got}, true},
		{"nothing behind HTTP/1.0", lines("GET /open/a HTTP/1.0", "Host: h"), []answer{ok}, []string{got}, true},
		accepted("HTTP/1.0 that stays", lines("GET /open/a HTTP/1.0", "Host: h", "Connection: keep-alive"), got),
		{"CRLF behind a body", post("Content-Length: 2") + "ab\r\n", []answer{ok, {400, "request_malformed"}}, []string{"POST /open/a HTTP/1.1|Host: h|Content-Length: 2||ab"}, true},
		{"fifty at once", strings.Repeat(get(), 50), slicesOf(ok, 50), slicesOf(got, 50), false},
	}
}

func slicesOf[T any](v T, n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}
