package http1_test

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/http1"
)

// Memory that copied other heads before copies as new memory does, and texts
// that net/http remembers stay what they were.
func TestHeadersAreCopiedIntoUsedMemory(t *testing.T) {
	t.Parallel()
	field := func(name, value string) exchange.Field {
		return exchange.Field{ID: exchange.Identify([]byte(name)), Name: []byte(name), Value: []byte(value)}
	}
	heads := []exchange.Head{
		{},
		{Fields: []exchange.Field{field("content-type", "a"), field("x-own", "b"), field("connection", "close"), field("content-length", "7"), field("x-empty", "")}},
		{Fields: []exchange.Field{field("Set-Cookie", "a=1"), field("set-cookie", "b=2"), field("SET-COOKIE", "c=3"), field("date", "today")}},
		{Fields: []exchange.Field{field("x-long", strings.Repeat("l", 600)), field("x-short", "s")}},
	}
	var used http1.Header
	var remembered, meant []string
	for round := range 3 {
		for i := range heads {
			h := &heads[i]
			var e exchange.Edits
			e.SetKnown(exchange.HeaderRequestID, fmt.Appendf(nil, "%d.%d", round, i))
			e.Set("x-own", []byte("edited"))
			want, got := http.Header{}, http.Header{}
			if err := http1.CopyFields(want, h, &e); err != nil {
				t.Fatal(err)
			}
			want.Set("Content-Length", "1234")
			used.Reset()
			if err := used.Copy(got, h, &e, 1234); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v, not %v", got, want)
			}
			for name := range maps.Keys(got) {
				remembered, meant = append(remembered, got[name]...), append(meant, strings.Clone(strings.Join(got[name], "\x00")))
			}
		}
	}
	if strings.Join(remembered, "\x00") != strings.Join(meant, "\x00") {
		t.Error("a text has changed")
	}
}
