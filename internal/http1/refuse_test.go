package http1_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

const h = "Host: h\r\n"

// malformedRequests are refused, each with its code, and the connection ends.
var malformedRequests = []struct {
	name, raw string
	code      fault.Code
}{
	{"length beside coding", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding beside length", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"length twice, the same", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", fault.RequestMalformed},
	{"length twice, different", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", fault.RequestMalformed},
	{"length zero, then another", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc", fault.RequestMalformed},
	{"length as a list", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 2, 2\r\n\r\nab", fault.RequestMalformed},
	{"length with a plus", "POST /a HTTP/1.1\r\n" + h + "Content-Length: +2\r\n\r\nab", fault.RequestMalformed},
	{"length with a minus", "POST /a HTTP/1.1\r\n" + h + "Content-Length: -2\r\n\r\nab", fault.RequestMalformed},
	{"length empty", "POST /a HTTP/1.1\r\n" + h + "Content-Length: \r\n\r\n", fault.RequestMalformed},
	{"length in hexadecimal", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 0x2\r\n\r\nab", fault.RequestMalformed},
	{"length of 2^63", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 9223372036854775808\r\n\r\n", fault.RequestMalformed},
	{"length of 2^64", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 18446744073709551616\r\n\r\n", fault.RequestMalformed},
	{"length of 19 nines", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 9999999999999999999\r\n\r\n", fault.RequestMalformed},
	{"unknown coding", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", fault.TransferCodingUnsupported},
	{"coding and another", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", fault.TransferCodingUnsupported},
	{"gzip before chunked", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", fault.TransferCodingUnsupported},
	{"identity with a length", "POST /a HTTP/1.1\r\n" + h + "Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\nab", fault.TransferCodingUnsupported},
	{"coding with a parameter", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", fault.TransferCodingUnsupported},
	{"coding in quotes", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", fault.TransferCodingUnsupported},
	{"coding after a vertical tab", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding twice in one field", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding twice in two fields", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding empty", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding: \r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding in HTTP/1.0", "POST /a HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},
	{"coding behind a space before the colon", "POST /a HTTP/1.1\r\n" + h + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", fault.RequestMalformed},

	{"space before the colon", "GET /a HTTP/1.1\r\n" + h + "X-A : b\r\n\r\n", fault.RequestMalformed},
	{"space before the name", "GET /a HTTP/1.1\r\n X-A: b\r\n" + h + "\r\n", fault.RequestMalformed},
	{"a folded field", "GET /a HTTP/1.1\r\n" + h + "X-A: b\r\n c\r\n\r\n", fault.RequestMalformed},
	{"a field folded by a tab", "GET /a HTTP/1.1\r\n" + h + "X-A: b\r\n\tc\r\n\r\n", fault.RequestMalformed},
	{"a name with delimiters", "GET /a HTTP/1.1\r\n" + h + "X(A): b\r\n\r\n", fault.RequestMalformed},
	{"a name beyond ASCII", "GET /a HTTP/1.1\r\n" + h + "X-\xc3\xa4: b\r\n\r\n", fault.RequestMalformed},
	{"an empty name", "GET /a HTTP/1.1\r\n" + h + ": b\r\n\r\n", fault.RequestMalformed},
	{"no colon", "GET /a HTTP/1.1\r\n" + h + "X-A\r\n\r\n", fault.RequestMalformed},
	{"bare LF in every line", "GET /a HTTP/1.1\nHost: h\n\n", fault.RequestMalformed},
	{"bare LF after a field", "GET /a HTTP/1.1\r\n" + h + "X-A: b\nX-B: c\r\n\r\n", fault.RequestMalformed},
	{"bare LF at the end", "GET /a HTTP/1.1\r\n" + h + "\n\r\n", fault.RequestMalformed},
	{"bare LF and no more", "GET /a HTTP/1.1\n", fault.RequestMalformed},
	{"bare CR in a value", "GET /a HTTP/1.1\r\n" + h + "X-A: b\rX-B: c\r\n\r\n", fault.RequestMalformed},
	{"bare CR and no more", "GET /a HTTP/1.1\r\n" + h + "X-A: b\rc", fault.RequestMalformed},
	{"two CR", "GET /a HTTP/1.1\r\n" + h + "X-A: b\r\r\n\r\n", fault.RequestMalformed},
	{"NUL in a value", "GET /a HTTP/1.1\r\n" + h + "X-A: b\x00c\r\n\r\n", fault.RequestMalformed},
	{"NUL and no more", "GET /a HTTP/1.1\r\n" + h + "X-A: b\x00", fault.RequestMalformed},
	{"escape in a value", "GET /a HTTP/1.1\r\n" + h + "X-A: b\x1b[31m\r\n\r\n", fault.RequestMalformed},
	{"DEL in a long value", "GET /a HTTP/1.1\r\n" + h + "X-A: 0123456789\x7f0123456789\r\n\r\n", fault.RequestMalformed},

	{"no Host", "GET /a HTTP/1.1\r\n\r\n", fault.RequestMalformed},
	{"two Hosts", "GET /a HTTP/1.1\r\n" + h + "Host: i\r\n\r\n", fault.RequestMalformed},
	{"two equal Hosts", "GET /a HTTP/1.1\r\n" + h + h + "\r\n", fault.RequestMalformed},
	{"an empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", fault.RequestMalformed},
	{"a Host with a path", "GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n", fault.RequestMalformed},
	{"a Host with a user", "GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n", fault.RequestMalformed},
	{"a Host list", "GET /a HTTP/1.1\r\nHost: h,i\r\n\r\n", fault.RequestMalformed},
	{"a Host with a space", "GET /a HTTP/1.1\r\nHost: h i\r\n\r\n", fault.RequestMalformed},
	{"a Host with a bad port", "GET /a HTTP/1.1\r\nHost: h:99999\r\n\r\n", fault.RequestMalformed},
	{"a Host with an empty port", "GET /a HTTP/1.1\r\nHost: h:\r\n\r\n", fault.RequestMalformed},
	{"a Host with two ports", "GET /a HTTP/1.1\r\nHost: h:80:80\r\n\r\n", fault.RequestMalformed},
	{"a Host that is a dot", "GET /a HTTP/1.1\r\nHost: .\r\n\r\n", fault.RequestMalformed},
	{"a Host with two dots", "GET /a HTTP/1.1\r\nHost: a..b\r\n\r\n", fault.RequestMalformed},
	{"a Host with a broken address", "GET /a HTTP/1.1\r\nHost: [::1\r\n\r\n", fault.RequestMalformed},
	{"a Host with a zone", "GET /a HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", fault.RequestMalformed},

	{"a method that is no token", "GE(T /a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"a long method", strings.Repeat("M", 33) + " /a HTTP/1.1\r\n" + h + "\r\n", fault.MethodUnknown},
	{"CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", fault.RequestMalformed},
	{"tabs in the request line", "GET\t/a\tHTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"two spaces", "GET  /a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"a space at the end of the line", "GET /a HTTP/1.1 \r\n" + h + "\r\n", fault.RequestMalformed},
	{"a space in the target", "GET /a b HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"a byte beyond ASCII in the target", "GET /\xc3\xa4 HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"an empty line first", "\r\nGET /a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"a relative target", "GET a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"* with GET", "GET * HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"authority form", "GET h:80 HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"absolute form with another authority", "GET http://i/a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"absolute form with a user", "GET http://u@h/a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"absolute form of another scheme", "GET ftp://h/a HTTP/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"absolute form without Host in HTTP/1.0", "GET http://h/a HTTP/1.0\r\n\r\n", fault.RequestMalformed},
	{"HTTP/1.2", "GET /a HTTP/1.2\r\n" + h + "\r\n", fault.HTTPVersionUnsupported},
	{"HTTP/0.9 by name", "GET /a HTTP/0.9\r\n" + h + "\r\n", fault.HTTPVersionUnsupported},
	{"HTTP/0.9", "GET /a\r\n", fault.HTTPVersionUnsupported},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", fault.HTTPVersionUnsupported},
	{"http in small letters", "GET /a http/1.1\r\n" + h + "\r\n", fault.RequestMalformed},
	{"HTTP/1.10", "GET /a HTTP/1.10\r\n" + h + "\r\n", fault.RequestMalformed},

	{"an unknown expectation", "POST /a HTTP/1.1\r\n" + h + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", fault.ExpectationFailed},
	{"two expectations", "POST /a HTTP/1.1\r\n" + h + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", fault.ExpectationFailed},
	{"a list of expectations", "POST /a HTTP/1.1\r\n" + h + "Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\nx", fault.ExpectationFailed},

	{"Connection names Host", "GET /a HTTP/1.1\r\n" + h + "Connection: Host\r\n\r\n", fault.RequestMalformed},
	{"Connection names Authorization", "GET /a HTTP/1.1\r\n" + h + "Connection: close, authorization\r\n\r\n", fault.RequestMalformed},
	{"Connection names X-Forwarded-For", "GET /a HTTP/1.1\r\n" + h + "Connection: X-Forwarded-For\r\n\r\n", fault.RequestMalformed},
	{"Connection names Content-Length", "POST /a HTTP/1.1\r\n" + h + "Connection: content-length\r\nContent-Length: 1\r\n\r\nx", fault.RequestMalformed},
	{"Connection names too many", "GET /a HTTP/1.1\r\n" + h + "Connection: " + strings.Repeat("x,", 40) + "\r\n\r\n", fault.RequestMalformed},

	{"a target that is too long", "GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\n" + h + "\r\n", fault.URITooLong},
	{"a target without end", "GET /" + strings.Repeat("a", 20<<10), fault.URITooLong},
	{"a head that is too large", "GET /a HTTP/1.1\r\n" + h + "X-A: " + strings.Repeat("a", 17<<10) + "\r\n\r\n", fault.HeadersTooLarge},
	{"a field without end", "GET /a HTTP/1.1\r\n" + h + "X-A: " + strings.Repeat("a", 40<<10), fault.HeadersTooLarge},
	{"too many fields", "GET /a HTTP/1.1\r\n" + h + strings.Repeat("A: b\r\n", 100) + "\r\n", fault.HeadersTooLarge},
}

func TestMalformedRequestsAreRefusedAndReachNobody(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) { reached.Add(1) }), http1.Limits{})
	for _, tt := range malformedRequests {
		for _, follow := range []string{"", "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"} {
			t.Run(tt.name, func(t *testing.T) {
				c := r.dial(t)
				go io.WriteString(c, tt.raw+follow)
				res, body := c.response("GET")
				if res.StatusCode != tt.code.Status() || body != tt.code.String()+"\n" || !res.Close {
					t.Errorf("got %d %q, close %v; want %v", res.StatusCode, body, res.Close, tt.code)
				}
				c.over()
			})
		}
	}
	if n := reached.Load(); n != 0 || r.seen.Load() != 0 {
		t.Errorf("%d requests reached the upstream, %d the handler", n, r.seen.Load())
	}
}

func TestMalformedBodiesNeverEndWell(t *testing.T) {
	t.Parallel()
	var whole atomic.Int64
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			whole.Add(1)
		}
	}), http1.Limits{})
	for _, tt := range []struct{ name, body string }{
		{"a size with 0x", "0x2\r\nab\r\n0\r\n\r\n"},
		{"a signed size", "+2\r\nab\r\n0\r\n\r\n"},
		{"an empty size", "\r\nab\r\n0\r\n\r\n"},
		{"a size before a space", "2 \r\nab\r\n0\r\n\r\n"},
		{"a size behind a space", " 2\r\nab\r\n0\r\n\r\n"},
		{"a size of 2^63", "8000000000000000\r\nab\r\n0\r\n\r\n"},
		{"a size of 17 digits", "00000000000000002\r\nab\r\n0\r\n\r\n"},
		{"a size that wraps to 2", "10000000000000002\r\nab\r\n0\r\n\r\n"},
		{"bare LF after the size", "2\nab\n0\n\n"},
		{"bare LF after the data", "2\r\nab\n0\r\n\r\n"},
		{"bare LF in an extension", "2;a\nb\r\nab\r\n0\r\n\r\n"},
		{"bare CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"},
		{"a bare CR ends the size", "2\rab\r\n0\r\n\r\n"},
		{"no CRLF after the data", "2\r\nabXX0\r\n\r\n"},
		{"an extension with a space", "2; a\r\nab\r\n0\r\n\r\n"},
		{"an extension without a name", "2;\r\nab\r\n0\r\n\r\n"},
		{"an extension without a value", "2;a=\r\nab\r\n0\r\n\r\n"},
		{"an extension that does not end", "2;a=\"b\r\nab\r\n0\r\n\r\n"},
		{"a long extension", "2;" + strings.Repeat("a", 300) + "\r\nab\r\n0\r\n\r\n"},
		{"many extensions", strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 30) + "0\r\n\r\n"},
		{"a long trailer", "0\r\nX-A: " + strings.Repeat("a", 5<<10) + "\r\n\r\n"},
		{"many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 40) + "\r\n"},
		{"a trailer with framing", "0\r\nContent-Length: 3\r\n\r\n"},
		{"a trailer with a credential", "0\r\nAuthorization: x\r\n\r\n"},
		{"a trailer with bare LF", "0\r\nX-A: b\n\r\n"},
		{"a trailer without a colon", "0\r\nGET / HTTP/1.1\r\n\r\n"},
		{"bare LF for the end", "0\r\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial(t)
			go io.WriteString(c, "POST /a HTTP/1.1\r\n"+h+"Transfer-Encoding: chunked\r\n\r\n"+tt.body+"GET /next HTTP/1.1\r\n"+h+"\r\n")
			res, body := c.response("POST")
			if res.StatusCode != 400 || body != "request_malformed\n" || !res.Close {
				t.Errorf("got %d %q, close %v", res.StatusCode, body, res.Close)
			}
			c.over()
		})
	}
	if n := whole.Load(); n != 0 {
		t.Errorf("the upstream took %d malformed bodies for whole ones", n)
	}
}

// malformedResponses never reach a client as what they are.
var malformedResponses = []struct{ name, raw string }{
	{"no HTTP", "hello\r\n\r\n"},
	{"HTTP/0.9", "<html>"},
	{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n"},
	{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"},
	{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
	{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
	{"status 099", "HTTP/1.1 099 OK\r\n\r\n"},
	{"status 600", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"},
	{"a control in the reason", "HTTP/1.1 200 O\x1bK\r\nContent-Length: 0\r\n\r\n"},
	{"length beside coding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
	{"a length list", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"},
	{"an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{"a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a folded field", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
	{"bare CR", "HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n"},
	{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"},
	{"an upgrade nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
	{"nine interim responses", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"},
	{"204 in chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a head that is too large", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 33<<10) + "\r\n\r\n"},
	{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 201) + "\r\n"},
}

func TestMalformedResponsesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range malformedResponses {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, &proxy{}, once(t, tt.raw), http1.Limits{})
			c := r.dial(t)
			c.send("GET /a HTTP/1.1\r\n" + h + "\r\n")
			res, body := c.response("GET")
			want := fault.ResponseMalformed
			if tt.name == "HTTP/0.9" {
				want = fault.UpstreamError // it ended before its head was whole
			}
			if res.StatusCode != 502 || body != want.String()+"\n" || res.Close {
				t.Errorf("got %d %q, close %v", res.StatusCode, body, res.Close)
			}
		})
	}
}

func TestConnectionOptionsDoNotGoOn(t *testing.T) {
	t.Parallel()
	r := start(t, &proxy{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "X-Own")
		w.Header().Set("X-Own", "1")
		w.Header().Set("Keep-Alive", "timeout=5")
		fmt.Fprint(w, r.Header)
	}), http1.Limits{})
	c := r.dial(t)
	c.send("GET /a HTTP/1.1\r\n" + h + "Connection: X-Named, keep-alive, Upgrade\r\nX-Named: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" +
		"Keep-Alive: 3\r\nProxy-Authorization: x\r\nTE: gzip\r\nX_User: evil\r\nX-Kept: yes\r\n\r\n")
	res, body := c.response("GET")
	if body != "map[X-Kept:[yes]]" {
		t.Errorf("the upstream saw %s", body)
	}
	if res.Header.Get("X-Own") != "" || res.Header.Get("Keep-Alive") != "" || res.Header.Get("Connection") != "" {
		t.Errorf("the client saw %v", res.Header)
	}
}

// Whoever reads a field must be able to tell that its sender had it removed
// before the next hop.
func TestFieldsThatConnectionNamesAreMarked(t *testing.T) {
	t.Parallel()
	marked := make(chan string, 1)
	p := &proxy{refuse: func(x *exchange.Exchange) fault.Code {
		var names []string
		for _, f := range x.Req.Fields {
			if f.Nominated {
				names = append(names, fmt.Sprint(string(f.Name), f.Drop))
			}
		}
		marked <- strings.Join(names, " ")
		return fault.ScopeMissing
	}}
	r := start(t, p, "127.0.0.1:1", http1.Limits{})
	c := r.dial(t)
	for _, tt := range []struct{ fields, want string }{
		{"Connection: close-not, X-Tenant\r\nX-Other: 1\r\nx-tenant: a\r\nX-TENANT: b\r\n", "x-tenanttrue X-TENANTtrue"},
		{"X-Tenant: a\r\nConnection: keep-alive\r\nConnection: accept\r\nAccept: */*\r\n", "Accepttrue"},
		{"X-Tenant: a\r\nUpgrade: h2c\r\n", ""},
	} {
		c.send("GET / HTTP/1.1\r\n" + h + tt.fields + "\r\n")
		c.response("GET")
		if got := <-marked; got != tt.want {
			t.Errorf("%q: marked %q; want %q", tt.fields, got, tt.want)
		}
	}
}
