package exchange_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/warder-gateway/warder/internal/exchange"
	"pgregory.net/rapid"
)

func header(name, value string) exchange.Field {
	return exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.IdentifyString(name)}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	seen := 0
	for id := exchange.HeaderOther + 1; id.String() != ""; id++ {
		seen++
		name := id.String()
		if name != strings.ToLower(name) {
			t.Errorf("%s is not in lower case", name)
		}
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := exchange.Identify([]byte(spelling)); got != id {
				t.Errorf("Identify(%q) = %v, want %v", spelling, got, id)
			}
		}
		for _, other := range []string{name + "x", "x" + name, name[1:], strings.ReplaceAll(name, "-", "_") + "_"} {
			if got := exchange.IdentifyString(other); got == id {
				t.Errorf("Identify(%q) = %v", other, got)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d known fields", seen)
	}
	for _, name := range []string{"", "x", "x_api_key", "content\x00length", strings.Repeat("a", 300), "\xff"} {
		if got := exchange.IdentifyString(name); got != exchange.HeaderOther {
			t.Errorf("Identify(%q) = %v", name, got)
		}
	}
}

// No name but a field's own is taken for it, also none that is told apart by
// its end alone.
func TestNamesNearKnownOnesAreOthers(t *testing.T) {
	t.Parallel()
	for id := exchange.HeaderHost; id.String() != ""; id++ {
		name := id.String()
		if exchange.IdentifyString(name) != id || exchange.IdentifyString(id.Usual()) != id || !strings.EqualFold(id.Usual(), name) {
			t.Errorf("%s, usually %s, is %d, want %d", name, id.Usual(), exchange.IdentifyString(name), id)
		}
		for a := byte('a'); a <= 'z'; a++ {
			for b := byte('a'); b <= 'z'; b++ {
				for _, near := range []string{name + string([]byte{a, b}), name[:len(name)-1] + string([]byte{a, b})} {
					if got := exchange.IdentifyString(near); got != exchange.HeaderOther {
						t.Errorf("%s is taken for %s", near, got)
					}
				}
			}
		}
	}
	if exchange.HeaderHost.String() != "host" || exchange.HeaderID(255).String() != "" || exchange.HeaderID(255).Usual() != "" {
		t.Error("a name of no field")
	}
}

func TestFoldingComparesWholeNames(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"x-ab": true, "X-aB": true, "x-a": false, "x-abc": false, "": false, "x-ac": false} {
		if exchange.EqualFold([]byte(name), "x-ab") != same {
			t.Errorf("%q", name)
		}
		var e exchange.Edits
		e.Del("X-Ab")
		if e.Removes(&exchange.Field{Name: []byte(name)}) != same {
			t.Errorf("%q, removed", name)
		}
	}
}

// RFC 9110 section 7.6.1, and the fields older proxies use.
func TestHopByHop(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings"} {
		if !exchange.IdentifyString(name).HopByHop() {
			t.Errorf("%s goes on", name)
		}
	}
	for _, name := range []string{"Authorization", "Cookie", "Content-Length", "Host", "X-Other"} {
		if exchange.IdentifyString(name).HopByHop() {
			t.Errorf("%s does not go on", name)
		}
	}
}

func TestHeadGet(t *testing.T) {
	t.Parallel()
	h := exchange.Head{Fields: []exchange.Field{header("Host", "a"), header("X-A", "1"), header("AUTHORIZATION", "b"), header("x-a", "2"), header("X_A", "3"), header("x-empty", "")}}
	for _, c := range []struct {
		name, value string
		n           int
	}{
		{"host", "a", 1}, {"authorization", "b", 1}, {"x-a", "1", 2}, {"x_a", "3", 1}, {"x-empty", "", 1}, {"x-none", "", 0}, {"cookie", "", 0},
	} {
		value, n := h.GetName(c.name)
		if string(value) != c.value || n != c.n || (value == nil) != (n == 0) {
			t.Errorf("GetName(%q) = %q, %d; want %q, %d", c.name, value, n, c.value, c.n)
		}
	}
	h.Reset()
	if len(h.Fields) != 0 || cap(h.Fields) == 0 || h.Length != -1 {
		t.Errorf("after Reset: %+v", h)
	}
}

// written returns the head as a writer of heads sends it: received fields
// that the edits leave, then what the edits put in.
func written(fields []exchange.Field, e *exchange.Edits) []string {
	out := []string{}
	for i := range fields {
		if !e.Removes(&fields[i]) {
			out = append(out, fmt.Sprintf("%s: %s", fields[i].Name, fields[i].Value))
		}
	}
	e.Each(func(name string, value []byte) { out = append(out, fmt.Sprintf("%s: %s", name, value)) })
	return out
}

func TestEdits(t *testing.T) {
	t.Parallel()
	received := []exchange.Field{header("X-A", "old"), header("x-a", "old too"), header("Server", "nginx"), header("X-Keep", "k")}
	for _, c := range []struct {
		name string
		edit func(e *exchange.Edits)
		want []string
	}{
		{"the zero Edits changes nothing", func(*exchange.Edits) {}, []string{"X-A: old", "x-a: old too", "Server: nginx", "X-Keep: k"}},
		{"Set replaces every spelling", func(e *exchange.Edits) { e.Set("X-a", []byte("new")) }, []string{"Server: nginx", "X-Keep: k", "X-a: new"}},
		{"Set of a known field", func(e *exchange.Edits) { e.Set("SERVER", []byte("w")) }, []string{"X-A: old", "x-a: old too", "X-Keep: k", "SERVER: w"}},
		{"the last Set wins", func(e *exchange.Edits) { e.Set("X-A", []byte("1")); e.Set("x-A", []byte("2")) }, []string{"Server: nginx", "X-Keep: k", "x-A: 2"}},
		{"Add goes beside", func(e *exchange.Edits) { e.Add("X-A", []byte("more")) }, []string{"X-A: old", "x-a: old too", "Server: nginx", "X-Keep: k", "X-A: more"}},
		{"Add twice", func(e *exchange.Edits) { e.Set("X-A", []byte("1")); e.Add("X-A", []byte("2")) }, []string{"Server: nginx", "X-Keep: k", "X-A: 1", "X-A: 2"}},
		{"Del removes what was received and what was put in", func(e *exchange.Edits) { e.Add("X-A", []byte("1")); e.Del("x-a"); e.Del("server") }, []string{"X-Keep: k"}},
		{"Set after Del", func(e *exchange.Edits) { e.Del("X-A"); e.Set("X-A", []byte("1")) }, []string{"Server: nginx", "X-Keep: k", "X-A: 1"}},
		{"an empty value is a value", func(e *exchange.Edits) { e.Set("X-A", []byte{}) }, []string{"Server: nginx", "X-Keep: k", "X-A: "}},
		{"Reset forgets", func(e *exchange.Edits) { e.Del("X-A"); e.Reset() }, []string{"X-A: old", "x-a: old too", "Server: nginx", "X-Keep: k"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var e exchange.Edits
			c.edit(&e)
			if diff := cmp.Diff(c.want, written(received, &e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Edits against a plain list of fields to which each edit is applied at once.
func TestEditsAgreeWithAList(t *testing.T) {
	t.Parallel()
	name := rapid.SampledFrom([]string{"X-A", "x-a", "Server", "SERVER", "X-B", "Via"})
	rapid.Check(t, func(t *rapid.T) {
		var received []exchange.Field
		for _, n := range rapid.SliceOfN(name, 0, 4).Draw(t, "received") {
			received = append(received, header(n, "r"))
		}
		list := written(received, new(exchange.Edits))
		without := func(n string) (out []string) {
			for _, f := range list {
				if !strings.HasPrefix(strings.ToLower(f), strings.ToLower(n)+":") {
					out = append(out, f)
				}
			}
			return out
		}
		var e exchange.Edits
		for i := range rapid.IntRange(0, 6).Draw(t, "edits") {
			n, value := name.Draw(t, "name"), fmt.Sprint(i)
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				e.Set(n, []byte(value))
				list = append(without(n), n+": "+value)
			case 1:
				e.Add(n, []byte(value))
				list = append(list, n+": "+value)
			default:
				e.Del(n)
				list = without(n)
			}
		}
		got := written(received, &e)
		if strings.Join(got, "\n") != strings.Join(list, "\n") {
			t.Errorf("edits write %q, the list holds %q", got, list)
		}
		byIndex := 0
		for i := range e.Len() {
			if _, _, ok := e.At(i); ok {
				byIndex++
			}
		}
		each := 0
		e.Each(func(string, []byte) { each++ })
		if each != byIndex {
			t.Errorf("Each gives %d fields, At %d", each, byIndex)
		}
	})
}
