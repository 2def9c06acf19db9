package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: only, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: generous}
}

// h2cOrigin is a backend that speaks HTTP/2 without TLS, and HTTP/1.1 if asked
// to.
func h2cOrigin(t *testing.T, http1 bool, handler http.HandlerFunc) (url string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols.SetHTTP1(http1)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// toward is a document with routes /one, /two and /rpc to an origin by each
// protocol.
func toward(listeners, url, more string) string {
	return fmt.Sprintf(`
listeners: [%s]
upstreams:
  one: [%q]
  two: { targets: [%q], protocol: http2 }
  rpc: { targets: [%q], protocol: grpc }
defaults: { auth: none%s }
routes: [{ path: /one, upstream: one }, { path: /two, upstream: two }, { path: /rpc, upstream: rpc }]
`, listeners, url, url, url, more)
}

const plainH2C = `{ name: one, address: "127.0.0.1:0", h2c: true }`

func TestH2CByPriorKnowledge(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %q", r.Proto, r.Header["Upgrade"]) })
	if err := h.load(toward(plainH2C, url, "")); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	for path, want := range map[string]string{"/one": "HTTP/1.1 []", "/two": "HTTP/2.0 []", "/rpc": "HTTP/2.0 []"} {
		resp, err := h2cClient(t).Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || string(got) != want {
			t.Errorf("%s: %s %s", path, resp.Proto, got)
		}
		// The same listener speaks HTTP/1.1, and no Upgrade leads from it to HTTP/2.
		if status, _, got := dial(t, address).ask("GET", path, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"); status != 200 || got != want {
			t.Errorf("%s over HTTP/1.1: %d %s", path, status, got)
		}
	}
	// Which of the two it is may come in pieces.
	for text, want := range map[string]string{
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00": "\x00\x00", // its settings
		"PUT /one HTTP/1.1\r\nHost: h\r\n\r\n":                                 "HTTP/1.1 200",
		"PRX /one HTTP/1.1\r\nHost: h\r\n\r\n":                                 "HTTP/1.1 501",
	} {
		c := dial(t, address)
		for i := range 4 {
			io.WriteString(c, text[i:i+1])
			time.Sleep(time.Millisecond) // so that it comes apart
		}
		io.WriteString(c, text[4:])
		if got, err := c.r.Peek(len(want)); string(got) != want {
			t.Errorf("%.10q: %q %v", text, got, err)
		}
	}
}

func TestWithoutH2CThePrefaceIsNoRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	c := dial(t, h.serve("", closed))
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if status, _, _ := c.receive("GET"); status != 505 && status != 400 {
		t.Error(status)
	}
	c.ended()
}

// A peer that does not say what it speaks is not waited for.
func TestH2CWaitsForTheFirstBytesAsForAHead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0", h2c: true, limits: { headerTimeout: 100ms } }`, closed)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addresses()["one"])
	io.WriteString(c, "PR")
	c.ended()
}

// Early hints go to clients of HTTP/2, and of them only the links.
func TestEarlyHints(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := h2cOrigin(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(103)
		w.Header().Del("Set-Cookie")
		w.Header().Del("Link")
		io.WriteString(w, "body")
	})
	if err := h.load(toward(plainH2C, url, "")); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	for _, path := range []string{"/one", "/two", "/rpc"} {
		var early []string
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				early = append(early, fmt.Sprint(code, header))
				return nil
			},
		}), "GET", "http://"+address+path, nil)
		resp, err := h2cClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if fmt.Sprint(early) != "[103 map[Link:[</style.css>; rel=preload]]]" || string(body) != "body" || resp.Header["Link"] != nil {
			t.Errorf("%s: %v %q %v", path, early, body, resp.Header)
		}
		c := dial(t, address)
		c.send("GET", path)
		if status, err := c.r.Peek(12); string(status) != "HTTP/1.1 200" {
			t.Errorf("%s over HTTP/1.1: %q %v", path, status, err)
		}
	}
}

// Trailers go to who says it takes them, and the upstream is told so.
func TestTrailersGoToWhoTakesThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "te=%q", r.Header["Te"])
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
	})
	if err := h.load(toward(plainH2C, url, "")); err != nil {
		t.Fatal(err)
	}
	address := h.Addresses()["one"]
	for _, path := range []string{"/one", "/two", "/rpc"} {
		for _, te := range []string{"", "trailers"} {
			want, told := "map[]", "[]"
			if te != "" {
				want, told = "map[X-Sum:[1]]", `["trailers"]`
			}
			if path == "/rpc" {
				told = `["trailers"]`
			}
			req, _ := http.NewRequest("GET", "http://"+address+path, nil)
			fields := []string{"A: b"}
			if te != "" {
				req.Header.Set("Te", te)
				fields = []string{"TE: " + te}
			}
			resp, err := h2cClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := strings.TrimSuffix("map"+strings.TrimPrefix(fmt.Sprint(map[string][]string(resp.Trailer)), "map"), ""); got != want || string(body) != "te="+told {
				t.Errorf("HTTP/2 %s te %q: %s %s", path, te, got, body)
			}
			c := dial(t, address)
			c.send("GET", path, fields...)
			resp, err = http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ = io.ReadAll(resp.Body)
			if got := fmt.Sprint(map[string][]string(resp.Trailer)); got != want || string(body) != "te="+told {
				t.Errorf("HTTP/1.1 %s te %q: %s %s", path, te, got, body)
			}
		}
	}
}

// stream opens a gRPC call by hand.
func stream(t *testing.T, client *http.Client, url string, length int64) (*io.PipeWriter, *http.Response) {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	req, _ := http.NewRequestWithContext(t.Context(), "POST", url, r)
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/grpc+proto")
	req.Header.Set("Te", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return w, resp
}

// Either side of a gRPC stream may be silent, not both.
func TestEitherSideOfAGRPCStreamMayBeSilent(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.patience = 50 * time.Millisecond // what a body of other protocols is given
	url := h2cOrigin(t, false, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.Flush()
		for range 4 { // the client is silent
			<-time.After(h.patience)
			io.WriteString(w, "tick")
			control.Flush()
		}
		b, _ := io.ReadAll(r.Body) // now the server
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", fmt.Sprint(len(b)))
	})
	if err := h.load(toward(plainH2C, url, ", timeout: { idle: 5s }")); err != nil {
		t.Fatal(err)
	}
	w, resp := stream(t, h2cClient(t), "http://"+h.Addresses()["one"]+"/rpc", -1)
	if _, err := io.ReadFull(resp.Body, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-time.After(h.patience)
		io.WriteString(w, "tock")
	}
	w.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.Trailer.Get("Grpc-Status") != "16" {
		t.Errorf("%v %v", err, resp.Trailer)
	}
}

// The time a client has to take what is written does not run while nothing is.
func TestAnUpstreamMayPauseLongerThanClientsMayTake(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.patience = 50 * time.Millisecond
	url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 4 {
			io.WriteString(w, "tick")
			http.NewResponseController(w).Flush()
			<-time.After(2 * h.patience)
		}
	})
	if err := h.load(toward(plainH2C, url, "")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/one", "/two"} {
		resp, err := h2cClient(t).Get("http://" + h.Addresses()["one"] + path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); string(got) != "ticktickticktick" || err != nil {
			t.Errorf("%s: %q %v", path, got, err)
		}
		resp.Body.Close()
	}
}

func TestAGRPCStreamInWhichNothingMovesEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := h2cOrigin(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if err := h.load(toward(plainH2C, url, ", timeout: { idle: 100ms }")); err != nil {
		t.Fatal(err)
	}
	for _, length := range []int64{-1, 5} { // of which nothing comes
		_, resp := stream(t, h2cClient(t), "http://"+h.Addresses()["one"]+"/rpc", length)
		if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "4" || !strings.HasPrefix(resp.Header.Get("Grpc-Message"), "upstream_timeout: ") {
			t.Errorf("length %d: %d %v", length, resp.StatusCode, resp.Header)
		}
	}
}

// What HTTP/2 itself forbids never becomes a request; it is counted.
func TestWhatHTTP2ForbidsIsCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	if err := h.load(document(plainH2C, closed)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", h.Addresses()["one"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(generous))
	io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.WriteSettings()
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, field := range []string{":method GET", ":scheme http", ":authority h"} { // no :path
		name, value, _ := strings.Cut(field, " ")
		e.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true})
	for {
		got, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := got.(*http2.RSTStreamFrame); ok {
			break
		}
	}
	eventually(t, "counted", func() bool {
		w := httptest.NewRecorder()
		h.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(w.Body.String(), `warder_http2_errors_total{kind="stream_PROTOCOL_ERROR_bad_path_method"} 1`)
	})
}
