//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// against returns a loader for a server of this test.
func against(t *testing.T, h http.Handler) (l *loader, opened *atomic.Int64) {
	t.Helper()
	opened = &atomic.Int64{}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnState = stateCounter(opened)
	srv.Start()
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	l = &loader{address: host, host: host, path: "/orders/1", connections: 4, length: 30 * time.Millisecond, size: 1 << 20}
	t.Cleanup(func() {
		for _, c := range l.held {
			_ = c.Close()
		}
	})
	return l, opened
}

func TestLoadCountsWhatItSaw(t *testing.T) {
	t.Parallel()
	sink := newSink([]byte(strings.Repeat("x", 1<<20)))
	for _, c := range []struct {
		name  string
		run   func(*loader, time.Time)
		fresh bool // a connection per request
		bytes bool // counts bodies
	}{
		{"new", (*loader).fresh, true, false},
		{"down", (*loader).down, false, true},
		{"up", (*loader).up, false, true},
		{"paced", (*loader).paced, false, false},
		{"idle", (*loader).idle, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			l, opened := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				sink.ServeHTTP(w, r)
			}))
			l.rate = 1000
			c.run(l, time.Now())
			if l.first != nil || l.out.Requests == 0 || int64(l.out.Requests) != asked.Load() || l.out.StatusErrors+l.out.SocketErrors > 0 {
				t.Errorf("%+v, %v; the server saw %d", l.out, l.first, asked.Load())
			}
			if want := int64(l.connections); !c.fresh && opened.Load() != want || c.fresh && opened.Load() != asked.Load() {
				t.Errorf("%d connections for %d requests", opened.Load(), asked.Load())
			}
			if c.bytes && l.out.Bytes != l.out.Requests*l.size {
				t.Errorf("%d bytes in %d requests", l.out.Bytes, l.out.Requests)
			}
		})
	}
}

func TestLoadSeesWrongAnswers(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a short body, up and down": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // of this test
			fmt.Fprint(w, "7")
		},
		"a broken connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for _, run := range []func(*loader, time.Time){(*loader).down, (*loader).up} {
			l, _ := against(t, wrong)
			run(l, time.Now())
			if l.out.StatusErrors+l.out.SocketErrors == 0 || l.out.Bytes > 0 || l.first == nil {
				t.Errorf("%s: %+v, %v", name, l.out, l.first)
			}
		}
	}
}

func TestPacedLoadKeepsItsRate(t *testing.T) {
	t.Parallel()
	l, _ := against(t, newSink(nil))
	l.rate, l.length = 200, 100*time.Millisecond
	l.paced(time.Now())
	if l.out.Requests != 20 {
		t.Errorf("%d requests in 0.1 s at 200 a second", l.out.Requests)
	}
}

func TestSinkCountsAsNginxDoes(t *testing.T) {
	t.Parallel()
	sink := newSink([]byte("body"))
	var b strings.Builder
	for _, r := range []*http.Request{httptest.NewRequest("GET", "/orders/1", nil), httptest.NewRequest("POST", "/orders/1", strings.NewReader("12345")), httptest.NewRequest("GET", "/stub", nil)} {
		w := httptest.NewRecorder()
		sink.ServeHTTP(w, r)
		b.WriteString(w.Body.String() + "|")
	}
	if want := "body|5|Active connections: 1\nserver accepts handled requests\n 0 0 3\n|"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
