package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/upstream"
)

// fountain is an upstream of streams: /chat is an echo, /events sends what
// say is told, /long the same as a body of no known kind, /sized as one of a
// known length.
type fountain struct {
	*socketServer
	mu    sync.Mutex
	lines map[string]chan string // by X-Line of the request
	gone  chan string            // lines whose peer has closed
}

func newFountain(t *testing.T) *fountain {
	f := &fountain{lines: map[string]chan string{}, gone: make(chan string, 100)}
	f.socketServer = listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
		switch r.URL.Path {
		case "/chat":
			echo(c, in, r)
			return
		case "/x":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			return
		case "/events":
			head += "Content-Type: text/event-stream; charset=utf-8\r\n"
		case "/grpc":
			head += "Content-Type: application/grpc+proto\r\n"
		}
		io.WriteString(c, head+"\r\n")
		gone := make(chan struct{})
		go func() { in.ReadByte(); close(gone) }()
		line := f.line(r.Header.Get("X-Line"))
		for {
			select {
			case text := <-line:
				if text == "" {
					io.WriteString(c, "0\r\n\r\n")
					c.Close()
					<-gone
					return
				}
				fmt.Fprintf(c, "%x\r\n%s\n\r\n", len(text)+1, text)
			case <-gone:
				f.gone <- r.Header.Get("X-Line")
				return
			}
		}
	})
	return f
}

func (f *fountain) line(name string) chan string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines[name] == nil {
		f.lines[name] = make(chan string)
	}
	return f.lines[name]
}

// kind is a way to be streamed to.
type kind struct {
	name, path string
	secure, h2 bool
}

var kinds = []kind{
	{"a WebSocket", "/chat", false, false},
	{"a WebSocket over TLS", "/chat", true, false},
	{"events over HTTP/1.1", "/events", false, false},
	{"events over HTTP/1.1 and TLS", "/events", true, false},
	{"events over HTTP/2", "/events", true, true},
}

// river is a stream that a client has opened.
type river struct {
	kind
	t      testing.TB
	f      *fountain
	id     exchange.RequestID
	name   string
	conn   *conn          // of HTTP/1.1
	resp   *http.Response // of events
	lines  *bufio.Reader
	again  func() (reused bool, err error) // another request over the connection
	cancel func()
}

// opens opens a stream of a kind; words make the listener's certificate.
func (f *fountain) opens(h *house, k kind, client *http.Client, name, key string) *river {
	h.t.Helper()
	address := h.Addresses()["one"]
	r := &river{kind: k, t: h.t, f: f, name: name}
	if k.h2 {
		url := "https://" + address
		req, _ := http.NewRequest("GET", url+k.path, nil)
		req.Header.Set("X-Line", name)
		req.Header.Set("X-Api-Key", key)
		resp, err := client.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		if resp.ProtoMajor != 2 {
			h.t.Fatal(resp.Proto)
		}
		h.t.Cleanup(func() { resp.Body.Close() })
		r.cancel = func() { resp.Body.Close() }
		r.again = func() (reused bool, err error) {
			req, _ := http.NewRequest("GET", url+"/x", nil)
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}))
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			return reused, err
		}
		r.resp = resp
	} else {
		c := dial(h.t, address)
		if k.secure {
			c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			c.r = bufio.NewReader(c.Conn)
		}
		r.conn, r.cancel = c, func() { c.Close() }
		if k.path == "/chat" {
			c.send("GET", k.path, append([]string{"X-Api-Key: " + key}, handshake...)...)
			r.id, _ = exchange.ParseRequestID(c.switched().Get("X-Request-Id"))
			return r
		}
		c.send("GET", k.path, "X-Api-Key: "+key, "X-Line: "+name)
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			h.t.Fatal(err)
		}
		r.resp = resp
	}
	if r.resp.StatusCode != 200 {
		h.t.Fatal(r.resp.Status)
	}
	r.lines = bufio.NewReader(r.resp.Body)
	r.id, _ = exchange.ParseRequestID(r.resp.Header.Get("X-Request-Id"))
	return r
}

// carries sends a text down the stream and wants to see it before anything
// else is sent.
func (r *river) carries(text string) {
	r.t.Helper()
	if r.resp == nil {
		r.conn.says(text)
		return
	}
	r.f.line(r.name) <- text
	if got, err := r.lines.ReadString('\n'); got != text+"\n" || err != nil {
		r.t.Fatalf("%s: %q, %v; want %q", r.kind.name, got, err, text)
	}
}

// ends wants the stream to have been ended by the gateway: WebSockets with a
// close code, bodies so that they are seen not to be whole.
func (r *river) ends(code int) {
	r.t.Helper()
	if r.resp == nil {
		if first, payload, err := readFrame(r.conn.r); err != nil || first != 0x88 || !bytes.Equal(payload, []byte{byte(code >> 8), byte(code)}) {
			r.t.Errorf("%s: %x %v %v, want close code %d", r.kind.name, first, payload, err, code)
		}
		r.conn.ended()
		r.conn.Close()
		return
	}
	rest, err := io.ReadAll(r.lines)
	if len(rest) > 0 || err == nil {
		r.t.Errorf("%s: ended with %q, %v", r.kind.name, rest, err)
	}
	if r.h2 {
		if reused, err := r.again(); err != nil || !reused {
			r.t.Errorf("the connection of the stream is not used any more: %v", err)
		}
	}
}

// all opens one stream of each kind that TLS can carry, and sees them carry.
func (f *fountain) all(h *house, client *http.Client, key string) (all []*river) {
	h.t.Helper()
	for i, k := range []kind{kinds[1], kinds[3], kinds[4]} {
		all = append(all, f.opens(h, k, client, fmt.Sprint(i), key))
		all[i].carries("before")
	}
	return all
}

func (h *house) recorded(id exchange.RequestID) (rec *events.Record) {
	h.t.Helper()
	eventually(h.t, "a record of the stream", func() bool {
		r, ok := h.records.Find(id)
		rec = r
		return ok
	})
	return rec
}

const streamRoutes = `  - { name: chat, path: /chat, upstream: c, auth: { apiKey: true }, upgrade: [websocket] }
  - { name: events, path: /events, upstream: c, auth: { apiKey: true } }
  - { name: x, path: /x, upstream: c, auth: none }
`

// streamed makes a document with the routes, and the key of consumer acme
// that is good until tomorrow.
func streamed(url, words, key string) string {
	return "consumers: { acme: { apiKeys: [{ hash: \"" + apikey.Hash(key) + "\", expires: " + time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly) + " }] }, other: {} }\n" +
		through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, streamRoutes+"X"+url)
}

func TestAReloadEndsAStreamOnlyWhoseRouteUpstreamOrCallerIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		old, new string
		code     fault.Code // None: it goes on
		goodbye  int
	}{
		{"nothing", "", "", fault.None, 0},
		{"another route", "name: x, path: /x", "name: y, path: /y", fault.None, 0},
		{"the upstream the route leads to", "upstream: c, auth: { apiKey", "upstream: b, auth: { apiKey", fault.None, 0},
		{"the conditions of the route", "apiKey: true", "apiKey: true, consumers: [other]", fault.None, 0},
		{"the time the key has", "expires: 20", "expires: 21", fault.None, 0},
		{"the name of the route", "name: ", "name: not-", fault.RouteUnknown, 1001},
		{"the path of the route", "path: /", "path: /v2/", fault.RouteUnknown, 1001},
		{"the host of the route", "path: /", "host: local, path: /", fault.RouteUnknown, 1001},
		{"the name of the upstream", "", "", fault.UpstreamUnreachable, 1001},
		{"whose key it is", "", "", fault.ConsumerNotAllowed, 1008},
		{"the key", "", "", fault.KeyUnknown, 1008},
	} {
		t.Run(c.what+" changes", func(t *testing.T) {
			t.Parallel()
			f, h, key := newFountain(t), newHouse(t, nil), apikey.Generate()
			words, client := certificate(t)
			before := streamed(f.url, words, key)
			if err := h.load(before); err != nil {
				t.Fatal(err)
			}
			legend := h.inForce().Legend()
			rivers := f.all(h, client, key)
			after := strings.ReplaceAll(before, c.old, c.new)
			switch c.code {
			case fault.UpstreamUnreachable:
				after = strings.NewReplacer("c: [", "cc: [", "upstream: c,", "upstream: cc,").Replace(before)
			case fault.ConsumerNotAllowed:
				after = strings.Replace(before, "other: {}", "x: {}", 1)
				after = strings.Replace(after, "acme:", "other:", 1)
			case fault.KeyUnknown:
				after = streamed(f.url, words, apikey.Generate())
			}
			if err := h.load(after); err != nil {
				t.Fatal(err)
			}
			if c.code == fault.None {
				h.Look()
			}
			for _, r := range rivers {
				if c.code == fault.None {
					r.carries("after")
					r.cancel()
				} else {
					r.ends(c.goodbye)
				}
				rec := h.recorded(r.id)
				if rec.Legend != legend || rec.Status != 200 && rec.Status != 101 || rec.Identity.Consumer != "acme" {
					t.Errorf("%s: status %d, judged by %v", r.kind.name, rec.Status, rec.Config())
				}
				switch {
				case c.code == fault.None && (!rec.Refused() || rec.Code == fault.ClientGone):
				case c.code != rec.Code || rec.Reason == "":
					t.Errorf("%s: %v %q", r.kind.name, rec.Code, rec.Reason)
				}
				<-f.over // of the connection to the upstream
			}
		})
	}
}

// who is a policy that lets everybody in as the token of a header says, which
// holds for a minute.
func tokens() pipeline.Kind {
	return pipeline.Policy("auth.apiKey", func(bool, pipeline.Env) (pipeline.Parts, error) {
		return pipeline.Parts{Authenticate: minute{}, Check: exchange.Check{Phase: "authenticate", Name: "minute"}}, nil
	})
}

type minute struct{}

func (minute) Authenticate(_ *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	return &exchange.Identity{Method: "jwt", Subject: "alice", Consumer: "acme", Expires: w.Now.Add(time.Minute)}, pipeline.Pass
}

// Judging streams is nobody's request: a bug there must end the stream that
// met it, and not the process.
func TestABugInJudgingAStreamCostsOneStream(t *testing.T) {
	t.Parallel()
	h, x := newHouse(t, nil), &exchange.Exchange{}
	h.JudgeByNothing(x)
	if f := x.Cause(); fault.Of(f) != fault.InternalError || !strings.Contains(fmt.Sprint(f), "a bug") {
		t.Errorf("the stream ended with %v", f)
	}
	if told := h.log.String(); !strings.Contains(told, "panic while judging a stream") {
		t.Errorf("the log says %q", told)
	}
}

func TestAStreamEndsWithTheIdentityItWasOpenedBy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		by    string
		kind  []pipeline.Kind
		lasts time.Duration
		code  fault.Code
	}{
		{"a token", []pipeline.Kind{tokens()}, time.Minute, fault.TokenExpired},
		{"a key", nil, 48 * time.Hour, fault.KeyExpired},
	} {
		t.Run(c.by, func(t *testing.T) {
			t.Parallel()
			f, h, key := newFountain(t), newHouse(t, nil, c.kind...), apikey.Generate()
			words, client := certificate(t)
			if err := h.load(streamed(f.url, words, key)); err != nil {
				t.Fatal(err)
			}
			rivers := f.all(h, client, key)
			h.ahead.Store(int64(30 * time.Second))
			h.Look()
			for _, r := range rivers {
				r.carries("within its time")
			}
			h.ahead.Store(int64(c.lasts)) // the gateway looks by itself
			for _, r := range rivers {
				r.ends(1008)
				if rec := h.recorded(r.id); rec.Code != c.code || rec.Reason == "" {
					t.Errorf("%v %q", rec.Code, rec.Reason)
				}
				<-f.over
			}
		})
	}
}

// A key that was given more time keeps its streams for that time, one that was
// given less loses them earlier.
func TestAStreamLastsAsLongAsItsKeyDoesNow(t *testing.T) {
	t.Parallel()
	f, h, key := newFountain(t), newHouse(t, nil), apikey.Generate()
	before := streamed(f.url, "", key)
	tomorrow := regexp.MustCompile(`expires: [0-9-]+`)
	if err := h.load(before); err != nil {
		t.Fatal(err)
	}
	r := f.opens(h, kinds[0], nil, "", key)
	if err := h.load(tomorrow.ReplaceAllString(before, "expires: 2999-12-31")); err != nil {
		t.Fatal(err)
	}
	h.Look()
	h.ahead.Store(int64(48 * time.Hour))
	h.Look()
	r.carries("more time")
	if err := h.load(before); err != nil {
		t.Fatal(err)
	}
	r.ends(1008)
}

// A client that takes nothing cannot keep a stream by it, nor by staying, nor
// an upstream by never ending its frame; and nothing of it goes on.
func TestAStreamWhoseTimeIsOverEndsWhateverItsPeersDo(t *testing.T) {
	t.Parallel()
	t.Run("a client that does not read", func(t *testing.T) {
		t.Parallel()
		for _, h2 := range []bool{false, true} {
			words, client := "", (*http.Client)(nil)
			if h2 {
				words, client = certificate(t)
			}
			h := newHouse(t, nil, tokens())
			over := make(chan struct{})
			srv := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
				for {
					if _, err := c.Write(make([]byte, 64<<10)); err != nil {
						close(over)
						return
					}
				}
			})
			if err := h.load(streamed(srv.url, words, apikey.Generate())); err != nil {
				t.Fatal(err)
			}
			if h2 {
				resp, err := client.Get("https://" + h.Addresses()["one"] + "/events")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
			} else {
				dial(t, h.Addresses()["one"]).send("GET", "/events")
			}
			eventually(t, "a stream", func() bool { _, given := h.Streams(); return given == 1 })
			h.ahead.Store(int64(time.Minute))
			<-over
			eventually(t, "a record", func() bool { rec, ok := h.records.Last(); return ok && rec.Code == fault.TokenExpired })
		}
	})
	t.Run("a WebSocket amid a frame, whose client stays and goes on", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		up := listen(t, func(c net.Conn, in *bufio.Reader, r *http.Request) {
			io.WriteString(c, switching(r))
			before := make([]byte, len("before"))
			io.ReadFull(in, before)
			c.Write(frame(0x82, make([]byte, 100))[:50])
			io.Copy(io.Discard, in)
			got <- string(before)
		})
		h := newHouse(t, nil, tokens())
		if err := h.load(streamed(up.url, "", apikey.Generate())); err != nil {
			t.Fatal(err)
		}
		c := dial(t, h.Addresses()["one"])
		c.open()
		io.WriteString(c, "before")
		if _, err := io.ReadFull(c.r, make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
		h.ahead.Store(int64(time.Minute))
		for { // until it is cut
			if _, err := io.WriteString(c, "after"); err != nil {
				break
			}
			<-time.After(time.Millisecond)
		}
		if rec := h.tunnelled(); rec.Code != fault.TokenExpired {
			t.Errorf("%v %q", rec.Code, rec.Reason)
		}
		if before := <-got; before != "before" {
			t.Errorf("%q", before)
		}
	})
	t.Run("a WebSocket whose client stays", func(t *testing.T) {
		t.Parallel()
		f, h, key := newFountain(t), newHouse(t, nil, tokens()), apikey.Generate()
		if err := h.load(streamed(f.url, "", key)); err != nil {
			t.Fatal(err)
		}
		r := f.opens(h, kinds[0], nil, "", key)
		h.ahead.Store(int64(time.Minute))
		if first, _, err := readFrame(r.conn.r); first != 0x88 || err != nil {
			t.Fatalf("%x %v", first, err)
		}
		<-f.over // at once
		h.tunnelled()
		r.conn.ended()
	})
	t.Run("a WebSocket that drain has told to go", func(t *testing.T) {
		t.Parallel()
		f, h, key := newFountain(t), newHouse(t, nil, tokens()), apikey.Generate()
		document := streamed(f.url, "", key)
		if err := h.load(document); err != nil {
			t.Fatal(err)
		}
		r := f.opens(h, kinds[0], nil, "", key)
		// A change of the limits drains what was accepted before.
		if err := h.load(strings.Replace(document, `127.0.0.1:0"`, `127.0.0.1:0", limits: { headers: 50 }`, 1)); err != nil {
			t.Fatal(err)
		}
		if first, payload, err := readFrame(r.conn.r); first != 0x88 || err != nil || !bytes.Equal(payload, []byte{3, 233}) {
			t.Fatalf("%x %v %v", first, payload, err)
		}
		h.ahead.Store(int64(time.Minute))
		if _, err := r.conn.r.ReadByte(); err == nil {
			t.Error("something came behind the close")
		}
		if rec := h.tunnelled(); rec.Code != fault.TokenExpired {
			t.Errorf("%v %q", rec.Code, rec.Reason)
		}
	})
}

// A body is a stream once it has gone on for ten seconds, also one that says
// nothing or is not taken; until then it holds its configuration.
func TestALongBodyBecomesAStream(t *testing.T) {
	t.Parallel()
	f, h := newFountain(t), newHouse(t, nil)
	const long = "  - { name: long, path: /long, upstream: c, auth: none }\n"
	if err := h.load(sockets(f.url, long)); err != nil {
		t.Fatal(err)
	}
	r := f.opens(h, kind{"a long body", "/long", false, false}, nil, "a", "")
	r.carries("one")
	judged := weak.Make(h.inForce())
	if err := h.load(document(`{ name: one, address: "127.0.0.1:0" }`, closed)); err != nil {
		t.Fatal(err)
	}
	h.Look()
	r.carries("two") // its route is gone, but it runs on what it was judged by
	if open, given := h.Streams(); open != 1 || given != 0 || judged.Value() == nil {
		t.Errorf("%d open, %d streams, snapshot %v", open, given, judged.Value())
	}
	if err := h.load(sockets(f.url, long)); err != nil {
		t.Fatal(err)
	}
	h.ahead.Store(int64(11 * time.Second))
	h.Look()
	if open, given := h.Streams(); open != 1 || given != 1 {
		t.Errorf("%d open, %d streams", open, given)
	}
	r.carries("three")
	eventually(t, "the snapshot it began on is gone", func() bool { runtime.GC(); return judged.Value() == nil })
	f.line("a") <- ""
	if rest, err := io.ReadAll(r.lines); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if rec := h.recorded(r.id); rec.Refused() || rec.Route != "long" {
		t.Errorf("%+v", rec)
	}
}

func TestAShortAnswerIsNoStream(t *testing.T) {
	t.Parallel()
	f, h := newFountain(t), newHouse(t, nil)
	if err := h.load(sockets(f.url, "  - { name: x, path: /x, upstream: c, auth: none }\n")); err != nil {
		t.Fatal(err)
	}
	dial(t, h.Addresses()["one"]).ask("GET", "/x")
	if open, _ := h.Streams(); open != 0 {
		t.Error("it is known as one")
	}
}

func (h *house) inForce() *snapshot.Snapshot {
	s := h.live.Acquire()
	defer s.Release()
	return s
}

// Reloads beside open streams leave nothing behind: every snapshot but the
// one in force is closed and forgotten, and the streams still carry.
func TestAThousandReloadsBesideFiftyStreams(t *testing.T) {
	t.Parallel()
	words, client := certificate(t)
	f, h, key := newFountain(t), newHouse(t, nil), apikey.Generate()
	var all []weak.Pointer[snapshot.Snapshot]
	var groups []weak.Pointer[upstream.Group] // which the pool holds as long as a loan is not given back
	load := func(i int) {
		// What the streams need stays; the rest is another one every time.
		document := streamed(f.url, words, key)
		document = strings.Replace(document, "upstreams: {", fmt.Sprintf("upstreams: { u%d: [http://127.0.0.1:1],", i), 1) +
			fmt.Sprintf("  - { name: r%d, path: /r%d, upstream: u%d, auth: none }\n", i, i, i)
		if err := h.load(document); err != nil {
			t.Fatal(err)
		}
		s := h.inForce()
		all, groups = append(all, weak.Make(s)), append(groups, weak.Make(s.Routes()[3].Upstream))
	}
	var streams []*river
	secure := []kind{kinds[1], kinds[3], kinds[4]}
	client.Timeout = generous
	for i := range 50 { // each begins on a snapshot of its own
		load(i)
		streams = append(streams, f.opens(h, secure[i%len(secure)], client, fmt.Sprint(i), key))
		if c := streams[i].conn; c != nil {
			c.SetDeadline(time.Now().Add(generous))
		}
	}
	for i := range reloads {
		load(50 + i)
	}
	h.Look()
	for _, r := range streams {
		r.carries("still here")
	}
	alive := func() (n int) {
		runtime.GC()
		for i := range all {
			if all[i].Value() != nil || groups[i].Value() != nil {
				n++
			}
		}
		return n
	}
	eventually(t, "all but the last snapshot are forgotten", func() bool { return alive() <= 1 })
	gone := strings.NewReplacer("name: chat", "name: talk", "name: events", "name: news").Replace(streamed(f.url, words, key))
	if err := h.load(gone); err != nil {
		t.Fatal(err)
	}
	for _, r := range streams {
		r.ends(1001)
	}
	eventually(t, "no stream is left", func() bool { open, _ := h.Streams(); return open == 0 })
}

func TestAClientThatLeavesAStreamCancelsItsUpstream(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[2:] {
		words, client := "", (*http.Client)(nil)
		if k.secure {
			words, client = certificate(t)
		}
		f, h, key := newFountain(t), newHouse(t, nil), apikey.Generate()
		if err := h.load(streamed(f.url, words, key)); err != nil {
			t.Fatal(err)
		}
		r := f.opens(h, k, client, "a", key)
		r.carries("one")
		r.cancel()
		<-f.gone // without another event being sent
		if rec := h.recorded(r.id); rec.Code != fault.ClientGone {
			t.Errorf("%s: %v %q", k.name, rec.Code, rec.Reason)
		}
	}
}
