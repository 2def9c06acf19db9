package gateway_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// sink takes what is answered.
type sink struct {
	status   int
	header   http.Header
	length   int64
	body     string
	finished bool
	broken   bool
}

func (s *sink) Head(h *exchange.Head, e *exchange.Edits, length int64, first []byte) error {
	if s.broken {
		return errors.New("broken")
	}
	s.status, s.length, s.body, s.header = h.Status, length, string(first), http.Header{}
	e.Each(func(name string, value []byte) { s.header.Add(name, string(value)) })
	return nil
}

func (s *sink) Write([]byte, bool) error    { return errors.New("a refusal is one piece") }
func (s *sink) Finish(*exchange.Head) error { s.finished = true; return nil }
func (s *sink) Abort(error)                 {}
func (s *sink) Cut()                        {}
func (s *sink) Tunnel(*exchange.Head, *exchange.Edits, net.Conn, []byte) error {
	return errors.New("no")
}

func strange(method, accept string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{Peer: netip.MustParseAddrPort("192.0.2.1:1")}}
	x.Req.Reset()
	x.Req.Method, x.Req.Target = []byte(method), []byte("/canary")
	if accept != "" {
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Accept"), Value: []byte(accept), ID: exchange.HeaderAccept})
	}
	return x
}

func TestEveryRefusalIsAWellFormedPageOfConstants(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for _, code := range fault.Codes() {
		for _, accept := range []string{"", "text/html", "text/plain"} {
			var s sink
			x := strange("GET", accept)
			h.Reject(x, &s, fault.New(code, "canary: only for the operator").Because(errors.New("canary")))
			if s.status != code.Status() || s.length != int64(len(s.body)) || !s.finished || s.length == 0 {
				t.Errorf("%v: status %d, %d bytes of %d, finished %v", code, s.status, len(s.body), s.length, s.finished)
			}
			if strings.Contains(s.body, "canary") || code.Public() != code && strings.Contains(s.body, code.String()) {
				t.Errorf("%v tells the caller too much: %s", code, s.body)
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Request-Id": x.ID.String()} {
				if s.header.Get(name) != want {
					t.Errorf("%v: %s is %q", code, name, s.header.Get(name))
				}
			}
			if wait := s.header.Get("Retry-After"); (wait != "") != (s.status == 429 || s.status == 503) || wait == "0" {
				t.Errorf("%v: Retry-After %q", code, wait)
			}
			if accept != "" {
				if s.header.Get("Content-Type") != accept+"; charset=utf-8" || !strings.HasPrefix(s.header.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(s.body, code.Public().String()) {
					t.Errorf("%v for %s: %v %s", code, accept, s.header, s.body)
				}
				continue
			}
			var page struct {
				Type, Title, Code, RequestID string
				Status                       int
			}
			if err := json.Unmarshal([]byte(s.body), &page); err != nil || s.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v: %v: %s", code, err, s.body)
			}
			if page.Type != "urn:warder:refusal:"+page.Code || page.Code != code.Public().String() || page.Title != code.Detail() || page.Title == "" ||
				page.Status != code.Status() || page.RequestID != x.ID.String() {
				t.Errorf("%v: %s", code, s.body)
			}
		}
		if !regexp.MustCompile(`^[A-Za-z0-9 ,.':-]+$`).MatchString(code.Detail()) {
			t.Errorf("the sentence of %v would need escaping: %s", code, code.Detail())
		}
	}
}

func TestARefusalOfHEADHasNoBodyButItsLength(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	var s sink
	h.Reject(strange("HEAD", ""), &s, fault.New(fault.RequestMalformed, ""))
	if s.body != "" || s.length < 100 || !s.finished {
		t.Errorf("%+v", s)
	}
}

func TestTheFormOfARefusal(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for accept, want := range map[string]string{
		"":                                    "application/problem+json",
		"*/*":                                 "application/problem+json",
		"text/html, */*;q=0.1":                "application/problem+json",
		"application/*":                       "application/problem+json",
		"text/html,application/problem+json":  "application/problem+json",
		"TEXT/HTML;q=0.9 , text/plain":        "text/html; charset=utf-8",
		"text/*":                              "text/plain; charset=utf-8",
		"image/png":                           "application/problem+json",
		"text/html\r\nX: y":                   "application/problem+json",
		strings.Repeat("text/html,", 1000):    "text/html; charset=utf-8",
		"image/png, text/plain;q=0.5, a/b;q=": "text/plain; charset=utf-8",
	} {
		var s sink
		h.Reject(strange("GET", accept), &s, fault.New(fault.RequestMalformed, ""))
		if got := s.header.Get("Content-Type"); got != want {
			t.Errorf("Accept %.40q: %s, want %s", accept, got, want)
		}
	}
}

// A browser accepts everything; what it shows to its user is a page.
func TestABrowserThatNavigatesIsShownAPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for mode, want := range map[string]string{"navigate": "text/html; charset=utf-8", "cors": "application/problem+json", "no-cors": "application/problem+json", "": "application/problem+json"} {
		x := strange("GET", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		if mode != "" {
			x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Sec-Fetch-Mode"), Value: []byte(mode), ID: exchange.HeaderSecFetchMode})
		}
		x.RetryAfter = 90 * time.Second
		var s sink
		h.Reject(x, &s, fault.New(fault.RateLimited, ""))
		if got := s.header.Get("Content-Type"); got != want {
			t.Errorf("%q: %s, want %s", mode, got, want)
		}
		if mode == "navigate" && (!strings.Contains(s.body, "in 90 seconds") || !strings.Contains(s.body, x.ID.String()) || s.header.Get("Retry-After") != "90") {
			t.Errorf("%v %s", s.header, s.body)
		}
	}
}

func TestARefusalThatCannotBeSentIsStillRecorded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	x := strange("GET", "")
	x.RetryAfter = 1500 * time.Millisecond
	h.Reject(x, &sink{broken: true}, fault.New(fault.Overloaded, "why"))
	r, ok := h.records.Find(x.ID)
	if !ok || r.Code != fault.Overloaded || r.Reason != "why" {
		t.Errorf("%v %+v", ok, r)
	}
	var s sink
	h.Reject(x, &s, fault.New(fault.Overloaded, ""))
	if got := s.header.Get("Retry-After"); got != "2" {
		t.Errorf("a wait of 1.5 s is told as %s", got)
	}
}
