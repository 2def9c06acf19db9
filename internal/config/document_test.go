package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/scalar"
)

// nine and whole read the two documents that the format is explained by.
func nine(t *testing.T) string  { return read(t, "testdata/nine.yaml") }
func whole(t *testing.T) string { return read(t, "testdata/whole.yaml") }

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	// A hash is cut in print; every one becomes a whole one of its own.
	b = bytes.ReplaceAll(b, []byte(`p=1$…"`), []byte(`p=1$c29tZXNhbHRzb21lc2FsdA$`+strings.Repeat("A", 43)+`"`))
	return regexp.MustCompile(`"sha256:[0-9a-f]*…"`).ReplaceAllStringFunc(string(b), func(string) string {
		n++
		return `"sha256:` + strings.Repeat("0", 63) + string(rune('0'+n)) + `"`
	})
}

func TestTheNineLinesHaveNoProblem(t *testing.T) {
	t.Parallel()
	doc := good(t, nine(t))
	flat := doc.Flatten()
	if len(flat) != 1 {
		t.Fatalf("%d routes, want 1", len(flat))
	}
	r := flat[0]
	if r.Name != "GET /orders/**" || r.Path != "/orders/**" || r.Upstream != "orders" || r.Public || !r.ForwardToken {
		t.Errorf("route: %+v", r)
	}
	if r.MaxBody != 1<<20 {
		t.Errorf("the body is bound by %v, want 1MiB", r.MaxBody)
	}
	want := config.Timeout{
		Connect: scalar.Timeout(2 * time.Second), FirstByte: scalar.Timeout(30 * time.Second),
		Idle: scalar.Timeout(time.Minute), Total: scalar.Unlimited,
	}
	if r.Timeout != want {
		t.Errorf("timeouts %+v, want %+v", r.Timeout, want)
	}
	var policies []string
	for _, p := range r.Policies {
		policies = append(policies, p.Path+" from "+p.From+" at "+p.Node.Pos().String())
	}
	if diff := cmp.Diff([]string{
		"auth.jwt from route at warder.yaml:8:18",
		"auth.scopes from route at warder.yaml:8:32",
		"rateLimit from route at warder.yaml:9:16",
	}, policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if len(doc.Listeners) != 1 || doc.Listeners[0].Address != "127.0.0.1:8080" || !doc.Listeners[0].Plain() {
		t.Errorf("listeners: %+v", doc.Listeners)
	}
	i := doc.Issuers.Get("corp")
	if i == nil || time.Duration(i.ClockSkew) != 30*time.Second || i.TokenType != "access" || i.TokenBinding != "asIssued" ||
		!cmp.Equal(i.Algorithms, []string{"RS256", "PS256", "ES256", "EdDSA"}) || !cmp.Equal([]string(i.Audience), []string{"orders-api"}) {
		t.Errorf("issuer: %+v", i)
	}
	if len(doc.Hash()) != 64 {
		t.Errorf("hash %q", doc.Hash())
	}
}

func TestTheWholeFormNamesEachKeyThatIsNotEnforcedOnce(t *testing.T) {
	t.Parallel()
	src := whole(t)
	lines := strings.Split(src, "\n")
	_, problems := config.Decode("whole.yaml", []byte(src), vocabulary)
	var got strings.Builder
	for _, p := range problems {
		key := p.Path[strings.LastIndexByte(p.Path, '.')+1:]
		if p.Text != `"`+key+`" is not in this build` {
			t.Errorf("another problem: %v", p)
			continue
		}
		if at := string([]rune(lines[p.Line-1])[p.Column-1:]); !strings.HasPrefix(at, key+":") {
			t.Errorf("%v: there stands %.20q", p, at)
		}
		got.WriteString(p.Path + "\n")
	}
	const list = "testdata/whole.list"
	if *update {
		if err := os.WriteFile(list, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, list), got.String()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestGoodDocumentsHaveNoProblem(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no documents", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			good(t, read(t, file))
		})
	}
}

// A certificate may be shown to the listener, or to a proxy that forwards it.
func TestTokensMayBeBoundToCertificatesWhereSomebodyAsksForThem(t *testing.T) {
	t.Parallel()
	for asked, listener := range map[string]string{
		"by the listener":   "clientAuth: { caFile: ca.crt, mode: optional } }",
		"by every listener": "clientAuth: { caFile: ca.crt } }",
		"by a proxy":        "clientAuth: { caFile: ca.crt, mode: none } }, clientCertHeader: { form: xfcc, from: [10.0.0.1/32] }",
	} {
		_, problems := config.Decode("warder.yaml", []byte(`listeners:
  - { address: "127.0.0.1:1" }
  - { address: "127.0.0.1:2", tls: { certificates: [{ certFile: a.crt, keyFile: a.key }], `+listener+` }
issuers: { corp: { issuer: https://login.example.com/, audience: orders-api, tokenBinding: mtls } }
upstreams: { orders: [http://127.0.0.1:9000] }
routes: [{ path: /x, upstream: orders, auth: { jwt: corp } }]
`), vocabulary)
		if len(problems) > 0 {
			t.Errorf("%s: %v", asked, problems)
		}
	}
}

func TestScalarsAreWhatTheFieldSaysNotWhatYAMLGuesses(t *testing.T) {
	t.Parallel()
	doc := good(t, `
issuers: { corp: { issuer: https://a.example.com, audience: [010, off, 2027-01-31, 1e3, 0x10, "true", Yes] } }
`)
	want := []string{"010", "off", "2027-01-31", "1e3", "0x10", "true", "Yes"}
	if diff := cmp.Diff(want, []string(doc.Issuers.Get("corp").Audience)); diff != "" {
		t.Errorf("audience (-want +got):\n%s", diff)
	}
}

func TestFilesAreFoundBesideTheDocument(t *testing.T) {
	t.Parallel()
	doc, problems := config.Decode("/etc/warder/warder.yaml", []byte(read(t, "testdata/good/everything.yaml")), vocabulary)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c := doc.Listeners[1].TLS.Certificates[0]
	if c.CertFile != "/etc/warder/tls/api.crt" || c.KeyFile != "/etc/tls/api.key" {
		t.Errorf("certificate files: %+v", c)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	many := func(n int, s string) string { return strings.Repeat(s, n) }
	for _, c := range []struct{ name, src, want string }{
		{"a file of more than 4 MiB", many(config.MaxBytes+1, "#"), "warder.yaml:1:1: the file is larger than 4 MiB"},
		{"nesting in flow style", many(70, "["), "nest deeper than 64"},
		{"nesting in block style", many(70, "- "), "nest deeper than 64"},
		{"too many values", "a: [" + many(config.MaxNodes, "a,") + "]", "more than 500000 keys and values"},
		{"too many lists", "a: [" + many(config.MaxNodes, "[],") + "]", "more than 500000 lists and objects"},
		{"not UTF-8", "a: b\nc: \xff", "warder.yaml:2:4: the file is not UTF-8 here"},
		{"UTF-16", "\xff\xfea\x00", "warder.yaml:1:1: the file is not UTF-8 here"},
		{"a control character", "a: é\x1b[31m", "warder.yaml:1:5: control characters are not allowed"},
		{"a NUL", "\x00", "warder.yaml:1:1: control characters are not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, problems := config.Decode("warder.yaml", []byte(c.src), vocabulary)
			if doc != nil || len(problems) != 1 || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("got %v, want %q", problems, c.want)
			}
		})
	}
	t.Run("problems", func(t *testing.T) {
		t.Parallel()
		_, problems := config.Decode("warder.yaml", []byte("routes: ["+many(5000, "x,")+"]"), vocabulary)
		if len(problems) != 1000 {
			t.Errorf("%d problems are reported, want the first 1000", len(problems))
		}
	})
}

func TestAByteOrderMarkIsNoProblem(t *testing.T) {
	t.Parallel()
	good(t, "\ufeff"+nine(t))
}

func TestADocumentWithProblemsKeepsThem(t *testing.T) {
	t.Parallel()
	doc, problems := config.Decode("warder.yaml", []byte("upstreams: { a: [http://x] }\nroutes:\n- { path: /a, upstream: a, auth: none }\n- { path: /b, upstream: a }\n"), vocabulary)
	if len(problems) != 1 || !cmp.Equal(doc.Problems(), problems) {
		t.Fatalf("problems %v, the document's %v", problems, doc.Problems())
	}
	if flat := doc.Flatten(); len(flat) != 1 || flat[0].Path != "/a" {
		t.Errorf("the sound routes are %+v, want /a alone", flat)
	}
}
