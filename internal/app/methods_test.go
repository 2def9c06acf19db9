package app_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
)

// method is one way to say who is calling, and all that can become of it.
type method struct {
	name   string   // of its chapter in the reference
	config string   // how a route asks for it
	proves string   // what proves the caller
	send   string   // an accepted request, in the words of curl
	tries  []try    // the first is let in
	real   []proved // by what others wrote it is tried
}

// proved is a counterpart that is not ours, and the test that has it.
type proved struct{ what, test string }

// try is one thing that callers do.
type try struct {
	when      string
	code      fault.Code // None: let in
	challenge string     // WWW-Authenticate as a whole
	ask       func(s *stage) *reply
	by        string // the test that proves it in place of ask: one with a clock of its own
}

// elsewhere are the codes of the statuses of authentication that no method
// gives, and who gives them.
var elsewhere = map[fault.Code]string{
	fault.TokenInvalid:       "public only",
	fault.KeyInvalid:         "public only",
	fault.CertificateInvalid: "public only",
	fault.PolicyDenied:       "authorize",
	fault.LimitsUnavailable:  "limit",
	fault.UpstreamBusy:       "to the upstream",
	fault.Draining:           "borrow the snapshot",
}

func ours(c fault.Code) bool { return slices.Contains([]int{401, 403, 429, 503}, c.Status()) }

// A caller who is let in reaches the backend; one who is not never does, hears
// the public code and the challenges, and stands in the access log with the
// inner code.
func TestEveryWayToSayWhoIsCalling(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, m := range methods() {
		t.Run(m.name, func(t *testing.T) {
			for _, c := range m.tries {
				if c.ask == nil {
					continue
				}
				t.Run(c.when, func(t *testing.T) {
					s.t = t
					s.row++
					r := c.ask(s)
					s.judge(c, r)
				})
			}
		})
	}
}

// judge holds what became of a try against what should have.
func (s *stage) judge(c try, r *reply) {
	t := s.t
	t.Helper()
	hits := s.backend.hits(s.row)
	if strings.Contains(c.when, "HTTP/2") && r.proto != "HTTP/2.0" {
		t.Errorf("over %s", r.proto)
	}
	if c.code == fault.None {
		if r.status != http.StatusOK || hits == 0 {
			t.Errorf("%d %s; the backend was reached %d times\n%s", r.status, r.body, hits, r.at.errors)
		}
		return
	}
	public := c.code.Public().String()
	if r.status != c.code.Status() || r.code() != public {
		t.Errorf("%d %s, want %d %s\n%s", r.status, r.body, c.code.Status(), public, r.at.errors)
	}
	if got := strings.Join(r.header.Values("WWW-Authenticate"), ", "); got != c.challenge {
		t.Errorf("challenged by\n%s, want\n%s", got, c.challenge)
	}
	if hits != r.letIn {
		t.Errorf("the backend was reached %d times", hits)
	}
	for name, want := range map[string]bool{"Cache-Control": true, "X-Content-Type-Options": true, "Retry-After": r.status == 429 || r.status == 503} {
		if (r.header.Get(name) != "") != want {
			t.Errorf("%s is %q", name, r.header.Get(name))
		}
	}
	if inner := c.code.String(); inner != public && strings.Contains(fmt.Sprint(r.header, r.body), inner) {
		t.Errorf("the caller is shown the inner code: %s", r.body)
	}
	if rec := r.record(t); rec.Code != c.code.String() || rec.PublicCode != public || rec.Status != r.status {
		t.Errorf("the access log has %+v, want %s, %s", rec, c.code, public)
	}
}

// reply is an answer, with the gateway that gave it.
type reply struct {
	at     *running
	proto  string
	status int
	header http.Header
	body   string
	letIn  int // requests that were let in on the way to it
}

// code is the public code, of a problem document or a page.
func (r *reply) code() string {
	var page struct{ Code string }
	if json.Unmarshal([]byte(r.body), &page) == nil {
		return page.Code
	}
	for _, c := range fault.Codes() {
		if strings.Contains(r.body, ">"+c.String()+"<") {
			return c.String()
		}
	}
	return ""
}

type logged struct {
	ID, Code, PublicCode string
	Status               int
}

// record waits for the line of the access log.
func (r *reply) record(t *testing.T) (rec logged) {
	t.Helper()
	id := r.header.Get("X-Request-Id")
	for over := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		for line := range strings.Lines(r.at.log.String()) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, id) && json.Unmarshal([]byte(line), &rec) == nil && rec.ID == id {
				return rec
			}
		}
		if time.Now().After(over) {
			t.Fatalf("the access log has no line for %q", id)
		}
	}
}

// Every code of the statuses of authentication is given by some method, or it
// is said who else gives it.
func TestEveryCodeOfAuthenticationIsReached(t *testing.T) {
	t.Parallel()
	reached := map[fault.Code]bool{}
	for _, m := range methods() {
		if len(m.tries) == 0 || m.tries[0].code != fault.None || m.tries[0].ask == nil || len(m.real) == 0 {
			t.Errorf("%s: there is no try that is let in, or nothing real to try it by", m.name)
		}
		for _, c := range m.tries {
			reached[c.code] = true
			if (c.ask == nil) == (c.by == "") {
				t.Errorf("%s, %s: is tried here or by another test", m.name, c.when)
			}
		}
	}
	for _, c := range fault.Codes() {
		switch who, other := elsewhere[c]; {
		case ours(c) && !other && !reached[c]:
			t.Errorf("no method gives %v, %d: add a try, or say in elsewhere who gives it", c, c.Status())
		case other && (reached[c] || !ours(c)):
			t.Errorf("%v is not given by %s alone", c, who)
		}
	}
}

var write = flag.Bool("write", false, "write the reference of authentication")

const referencePage = "../../docs/reference/authentication.md"

// The reference says what the table above proves.
func TestTheReferenceOfAuthentication(t *testing.T) {
	t.Parallel()
	page := reference()
	if *write {
		if err := os.WriteFile(referencePage, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(referencePage); err != nil || !bytes.Equal(have, page) {
		t.Errorf("the page is not up to date (%v): run make gen and look at the change", err)
	}
	known := tests(t)
	for _, m := range methods() {
		for _, p := range m.real {
			if !known[p.test] {
				t.Errorf("%s: there is no test %s", m.name, p.test)
			}
		}
		for _, c := range m.tries {
			if c.by != "" && !known[c.by] {
				t.Errorf("%s: there is no test %s", m.name, c.by)
			}
		}
	}
}

// tests are the names of all tests of the repository.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, dir := range []string{"../../internal", "../../test"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata"):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, d := range f.Decls {
				if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
					known[d.Name.Name] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return known
}

func reference() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Who is calling\n\n<!-- Made by make gen; do not edit. -->\n\nEvery way to say who is calling, and everything that can be said back. Each line is tried by a test: that the backend is not reached, the answer, the challenge, and the inner code in the access log. What the caller sees is the public code; the inner one stands in the log and in `warder explain`. In the last column a word in braces stands for what the check saw. All codes: [refusals](refusals.md).")
	for _, m := range methods() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", m.name, m.proves)
		fmt.Fprintf(&b, "- A route asks for it: `%s`\n- A caller who is let in: `%s`\n- Tried by:", m.config, m.send)
		for i, p := range m.real {
			fmt.Fprintf(&b, "%s %s (`%s`)", strings.Repeat(",", min(i, 1)), p.what, p.test)
		}
		fmt.Fprint(&b, "\n\n| presented | answer | inner code | what mends it |\n|---|---|---|---|\n")
		for _, c := range m.tries {
			if c.code == fault.None {
				fmt.Fprintf(&b, "| %s | let in | | |\n", c.when)
				continue
			}
			fmt.Fprintf(&b, "| %s | %d `%s` | `%s` | %s |\n", c.when, c.code.Status(), c.code.Public(), c.code, c.code.Mend())
		}
	}
	return b.Bytes()
}
