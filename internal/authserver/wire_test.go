package authserver_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files of testdata/wire")

// Each file of testdata/wire holds one request and the answer to it, byte for
// byte but for what differs each time: the key and what is signed with it.
// Clients are written against these bytes; changing one is a decision.
func TestWire(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files (%v)", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(golden.Files) == 0 || golden.Files[0].Name != "request" {
				t.Fatal("a golden file begins with its request")
			}
			got := exchange(t, string(golden.Files[0].Data))
			if *update {
				golden.Files = append(golden.Files[:1], got...)
				if err := os.WriteFile(name, txtar.Format(golden), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := string(txtar.Format(&txtar.Archive{Files: golden.Files[1:]}))
			if have := string(txtar.Format(&txtar.Archive{Files: got})); have != want {
				t.Errorf("the answer is\n%s\nand should be\n%s", have, want)
			}
		})
	}
}

// exchange sends a request written as text and returns the answer as sections
// of a golden file.
func exchange(t *testing.T, text string) []txtar.File {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	raw := strings.ReplaceAll(strings.TrimSuffix(head, "\n"), "\n", "\r\n") +
		fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	s := newServer(t, config(t))
	w := serve(s, r)

	answer := w.Body.String()
	var sections []txtar.File
	if found := jwt.FindString(answer); found != "" {
		verify(t, s, found)
		sections = append(sections, txtar.File{Name: "token", Data: []byte(
			steady(segment(t, found, 0)) + "\n" + steady(segment(t, found, 1)) + "\n")})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d\n", w.Code)
	var names []string
	for name := range w.Header() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range w.Header().Values(name) {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&out, "\n%s\n", steady(jwt.ReplaceAllString(answer, "TOKEN")))
	return append([]txtar.File{{Name: "response", Data: []byte(out.String())}}, sections...)
}

var (
	jwt    = regexp.MustCompile(`[\w-]+\.[\w-]+\.[\w-]{86}`)
	varies = regexp.MustCompile(`"(jti|kid|x|y)":"[\w-]+"`)
)

// steady replaces the values that differ each time.
func steady(s string) string { return varies.ReplaceAllString(s, `"$1":"…"`) }

// segment decodes a segment of a token, and puts the members of the header,
// whose order the library chooses, in alphabetic order.
func segment(t *testing.T, token string, i int) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	if i > 0 {
		return string(b)
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		t.Fatal(err)
	}
	return mustJSON(t, members)
}
