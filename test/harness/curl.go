package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Response is what curl received.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is the body of a refusal (RFC 9457).
type Problem struct {
	Type      string
	Title     string
	Status    int
	Code      string
	RequestID string
}

// Curl runs curl with these arguments and returns the final response. Paths
// are sent as they are written.
func Curl(t testing.TB, args ...string) *Response {
	t.Helper()
	program := need(t, "curl")
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	// -q, first: no configuration of the user's.
	all := append([]string{"-q", "-sS", "--noproxy", "*", "--path-as-is", "--max-time", "20", "-D", head, "-o", body}, args...)
	out, err := exec.Command(program, all...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	r := parseHead(t, text)
	if r.Body, err = os.ReadFile(body); err != nil && !os.IsNotExist(err) { // curl makes no file for an empty body
		t.Fatal(err)
	}
	return r
}

// parseHead reads the last of the response heads that curl wrote.
func parseHead(t testing.TB, text []byte) *Response {
	t.Helper()
	r := &Response{}
	in := textproto.NewReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		line, err := in.ReadLine()
		if err != nil {
			break
		}
		_, rest, _ := strings.Cut(line, " ")
		code, _, _ := strings.Cut(rest, " ")
		if r.Status, err = strconv.Atoi(code); err != nil {
			t.Fatalf("status line %q", line)
		}
		fields, err := in.ReadMIMEHeader()
		if err != nil {
			t.Fatalf("header fields: %v\n%s", err, text)
		}
		r.Header = http.Header(fields)
	}
	if r.Status == 0 {
		t.Fatal("curl received no response")
	}
	return r
}

// Problem reads a refusal.
func (r *Response) Problem(t testing.TB) Problem {
	t.Helper()
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/problem+json") {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	var p Problem
	if err := json.Unmarshal(r.Body, &p); err != nil {
		t.Errorf("the body of the refusal is not JSON: %v\n%s", err, r.Body)
	}
	return p
}

// ID returns the request id of the response.
func (r *Response) ID() string { return r.Header.Get("X-Request-Id") }
