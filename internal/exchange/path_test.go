package exchange_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"pgregory.net/rapid"
)

func alloc(n int) []byte { return make([]byte, n) }

// reporter is what *testing.T and *rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func normalize(t reporter, raw string) (string, exchange.PathFeature, *fault.Error) {
	t.Helper()
	in := []byte(raw)
	path, uses, err := exchange.NormalizePath(in, alloc)
	if string(in) != raw {
		t.Fatalf("NormalizePath changed its input %q to %q", raw, in)
	}
	if err != nil && (err.Code != fault.PathNotNormal || err.Reason == "" || path != nil) {
		t.Errorf("NormalizePath(%q) refuses with %v, %q", raw, err, path)
	}
	return string(path), uses, err
}

func TestPathNormalForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, raw, want string
		uses            exchange.PathFeature
	}{
		{"root", "/", "/", 0},
		{"plain", "/orders/42", "/orders/42", 0},
		{"a slash at the end stays", "/orders/", "/orders/", 0},
		{"case stays", "/Orders/ABC", "/Orders/ABC", 0},
		{"unreserved characters are decoded", "/%41%62%39%2D%2e%5F%7ex", "/Ab9-._~x", 0},
		{"other escapes are kept in upper case", "/a%3ab%c3%bc%20%21", "/a%3Ab%C3%BC%20%21", 0},
		{"sub-delimiters are left alone", "/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b", 0},
		{"more than two dots are a name", "/.../a", "/.../a", 0},
		{"a name may begin with dots", "/..a/.b/a..", "/..a/.b/a..", 0},
		{"a name may begin with dots beside an escape", "/.a/..b%20", "/.a/..b%20", 0},
		{"a name may begin with dots and end at a semicolon", "/..a;%20", "/..a;%20", exchange.Semicolon},
		{"the character that stands for what cannot be read", "/%EF%BF%BD", "/%EF%BF%BD", 0},
		{"a space is kept escaped", "/a%20b", "/a%20b", 0},
		{"a percent sign before other text", "/100%25", "/100%25", 0},
		{"a percent sign before one digit", "/100%25a", "/100%25a", 0},
		{"encoded slash", "/a%2fb", "/a%2Fb", exchange.EncodedSlash},
		{"semicolon", "/a;b=c", "/a;b=c", exchange.Semicolon},
		{"semicolon beside an escape", "/a;b=%41", "/a;b=A", exchange.Semicolon},
		{"empty segment", "/a//b", "/a//b", exchange.EmptySegments},
		{"empty segment at the beginning", "//a", "//a", exchange.EmptySegments},
		{"empty segment at the end", "/a//", "/a//", exchange.EmptySegments},
		{"empty segment beside an escape", "//%41", "//A", exchange.EmptySegments},
		{"encoded question mark", "/a%3fb", "/a%3Fb", exchange.EncodedReserved},
		{"encoded hash", "/a%23b", "/a%23b", exchange.EncodedReserved},
		{"encoded semicolon", "/a%3bb", "/a%3Bb", exchange.EncodedReserved},
		{"encoded opening bracket", "/a%5b", "/a%5B", exchange.EncodedReserved},
		{"encoded closing bracket", "/a%5D", "/a%5D", exchange.EncodedReserved},
		{"encoded percent before two digits", "/a%2541", "/a%2541", exchange.EncodedPercent},
		{"encoded percent before two escaped digits", "/a%25%34%31", "/a%2541", exchange.EncodedPercent},
		{"double encoded slash", "/a%252fb", "/a%252fb", exchange.EncodedPercent},
		{"everything at once", "//a%2f;%3f%2541", "//a%2F;%3F%2541", exchange.EmptySegments | exchange.EncodedSlash | exchange.Semicolon | exchange.EncodedReserved | exchange.EncodedPercent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, uses, err := normalize(t, c.raw)
			if err != nil || got != c.want || uses != c.uses {
				t.Errorf("NormalizePath(%q) = %q, %05b, %v; want %q, %05b", c.raw, got, uses, err, c.want, c.uses)
			}
		})
	}
}

func TestPathRefusedWhateverTheRoute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		raws []string
	}{
		{"no slash at the beginning", []string{"", "a", "*", "%2Fa", "http://a/", "?", "../a"}},
		{"bad escape", []string{"/%", "/%4", "/%zz", "/%4g", "/a%", "/%%41", "/%%34%31", "/% 41"}},
		{"percent u", []string{"/%u0041", "/%U002e", "/%u002e%u002e/"}},
		{"control", []string{"/a\tb", "/a\r\nb", "/\x1b[31m", "/%0d%0a", "/%09", "/%1B", "/\x7f", "/%7F"}},
		{"control beyond ASCII", []string{"/%C2%85", "/%c2%9b31m"}},
		{"NUL", []string{"/a\x00", "/a%00.json", "/..%00/"}},
		{"backslash", []string{`/a\b`, `/..\..\etc`, "/a%5cb", "/a%5C..%5C", `\a`, `/\a`}},
		{"hash, question mark, space", []string{"/a#b", "/a?b", "/a b"}},
		{"raw bytes beyond ASCII", []string{"/ü", "/\xff", "/a\x80"}},
		{"overlong UTF-8", []string{"/%C0%AE%C0%AE/", "/%c0%af", "/%e0%80%ae", "/%f0%80%80%ae"}},
		{"invalid UTF-8", []string{"/%FF", "/%C3", "/%C3a", "/%80", "/%ED%A0%80", "/%F5%80%80%80", "/%c3%", "/%C3%2", "/%E2%82", "/%C3xbc", "/%C3%bz"}},
		{"dot segment", []string{"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/../../etc/passwd", "//..", "/a//../b"}},
		{"encoded dot segment", []string{"/%2e", "/%2E%2e/a", "/.%2e/", "/%2e./", "/a/%2e%2e", "/a/%2E/b"}},
		{"dot segment before a semicolon", []string{"/..;/a", "/.;x/a", "/a/..;jsessionid=1", "/a/..;", "/%2e%2e;/a", "/a/.%2e;a=b/c"}},
		{"dot segment before an encoded semicolon", []string{"/..%3B/a", "/..%3b"}},
		{"dot segment beside an encoded slash", []string{"/..%2Fetc", "/a%2f..", "/a%2F../b", "/a%2f%2e%2e%2fb", "/.%2fa", "/%2F..", "/..%2f"}},
		{"dot segment before an encoded question mark or hash", []string{"/a/..%3F", "/a/..%23x"}},
		{"dot segment behind double encoding", []string{"/%252e%252e/a", "/%252E/", "/..%252fetc", "/a%252f..", "/%25252e%25252e/", "/.%252e/", "/a/%25%32%65%25%32%65/b", "/..%255c", "/a%255c..%255cb", "/..%253b/"}},
		{"dot segment before a control behind double encoding", []string{"/..%2500", "/a/..%250a/b", "/.%257f"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range c.raws {
				if got, _, err := normalize(t, raw); err == nil {
					t.Errorf("NormalizePath(%q) = %q, want a refusal", raw, got)
				}
			}
		})
	}
}

func TestNormalPathIsReturnedItself(t *testing.T) { // not parallel: it counts allocations
	for _, s := range []string{"/", "/orders/42", "/a%20b/%C3%BC", "/a;b//c%2F"} {
		raw := []byte(s)
		n := testing.AllocsPerRun(10, func() {
			path, _, err := exchange.NormalizePath(raw, func(int) []byte { t.Error("memory was asked for"); return nil })
			if err != nil || &path[0] != &raw[0] || len(path) != len(raw) {
				t.Errorf("NormalizePath(%q) = %q, %v", s, path, err)
			}
		})
		if n != 0 {
			t.Errorf("%q: %v allocations", s, n)
		}
	}
}

func TestDecodeSegment(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]string{
		"": "", "42": "42", "a%20b": "a b", "%C3%BC": "ü", "100%25": "100%", "a%252Fb": "a%2Fb", "%3Fx%23": "?x#", "a;b=c": "a;b=c",
	} {
		if got, err := exchange.DecodeSegment([]byte(segment), alloc); err != nil || string(got) != want {
			t.Errorf("DecodeSegment(%q) = %q, %v; want %q", segment, got, err, want)
		}
	}
	if got, err := exchange.DecodeSegment([]byte("42"), func(int) []byte { t.Error("memory was asked for"); return nil }); err != nil || string(got) != "42" {
		t.Errorf("%q, %v", got, err)
	}
	for _, segment := range []string{"a%2Fb", "%2F", "%5C", "a%00", "%0A", "%7F", "%1B", "%", "%2", "%zz"} {
		if got, err := exchange.DecodeSegment([]byte(segment), alloc); err == nil {
			t.Errorf("DecodeSegment(%q) = %q, want a refusal", segment, got)
		}
	}
}

// checkNormal holds everything that is promised of a path that was accepted.
func checkNormal(t reporter, raw string) {
	path, uses, err := normalize(t, raw)
	if err != nil {
		return
	}
	if again, uses2, err := normalize(t, path); err != nil || again != path || uses2 != uses {
		t.Errorf("%q -> %q (%05b) -> %q (%05b), %v: not idempotent", raw, path, uses, again, uses2, err)
	}
	if len(path) > len(raw) {
		t.Errorf("%q -> %q grew", raw, path)
	}
	// A reference reader: decodes with net/url as often as there is something
	// to decode, and takes every delimiter there is for the end of a segment.
	for lenient := path; ; {
		for _, segment := range strings.FieldsFunc(lenient, func(r rune) bool { return strings.ContainsRune(`/\`, r) }) {
			segment, _, _ = strings.Cut(segment, ";")
			segment, _, _ = strings.Cut(segment, "?")
			segment, _, _ = strings.Cut(segment, "#")
			if segment == "." || segment == ".." {
				t.Errorf("%q -> %q is read as %q, with a dot segment", raw, path, lenient)
			}
		}
		next, err := url.PathUnescape(lenient)
		if err != nil || next == lenient {
			break
		}
		lenient = next
	}
	decoded, err2 := url.PathUnescape(path)
	if err2 != nil || !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, func(r rune) bool { return r < 0x20 || r >= 0x7F && r < 0xA0 || r == '\\' }) {
		t.Errorf("%q -> %q decodes to %q, %v", raw, path, decoded, err2)
	}
	if before, err := url.PathUnescape(raw); err != nil || before != decoded {
		t.Errorf("%q means %q (%v), its normal form %q means %q", raw, before, err, path, decoded)
	}
	for _, f := range []struct {
		bit  exchange.PathFeature
		uses bool
	}{
		{exchange.EncodedSlash, strings.Contains(path, "%2F")},
		{exchange.Semicolon, strings.Contains(path, ";")},
		{exchange.EmptySegments, strings.Contains(path, "//")},
		{exchange.EncodedReserved, strings.Contains(path, "%3F") || strings.Contains(path, "%23") || strings.Contains(path, "%3B") || strings.Contains(path, "%5B") || strings.Contains(path, "%5D")},
		{exchange.EncodedPercent, percentBeforeHex(path)},
	} {
		if uses&f.bit != 0 != f.uses {
			t.Errorf("%q -> %q: feature %05b reported %v", raw, path, f.bit, !f.uses)
		}
	}
}

func percentBeforeHex(path string) bool {
	for i := 0; i+5 <= len(path); i++ {
		if path[i:i+3] == "%25" && strings.IndexByte("0123456789abcdefABCDEF", path[i+3]) >= 0 && strings.IndexByte("0123456789abcdefABCDEF", path[i+4]) >= 0 {
			return true
		}
	}
	return false
}

func TestPathProperties(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{
		"/", "a", "Z", ".", "..", "%2e", "%2E", "%2f", "%2F", ";", "%3b", "%25", "%252e", "%25252f", "25", "2e", "2f", "%32", "%65", "%45", "%41", "%c3%bc", "%C3", "%00", "\\", "%5c",
		"%3f", "?", "#", "%23", "%5b", "~", "%7e", "%", "%u002e", "\xff", " ",
	})
	rapid.Check(t, func(t *rapid.T) {
		raw := "/" + strings.Join(rapid.SliceOfN(piece, 0, 10).Draw(t, "pieces"), "")
		checkNormal(t, raw)
	})
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e;/", "/%252e/", "/a%c3%bc//;x", "/%25%32%65"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkNormal(t, string(raw))
		if path, _, err := exchange.NormalizePath(raw, alloc); err == nil {
			for segment := range bytes.SplitSeq(path, []byte("/")) {
				value, err := exchange.DecodeSegment(segment, alloc)
				if err == nil && bytes.ContainsAny(value, "/\\\x00") {
					t.Errorf("segment %q of %q decodes to %q", segment, path, value)
				}
			}
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, s := range []string{"/api/v2/customers/12345/orders", "/api/v2/customers/J%C3%BCrgen/orders"} {
		raw := []byte(s)
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				exchange.NormalizePath(raw, alloc)
			}
		})
	}
}
