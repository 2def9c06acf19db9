package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/warder-gateway/warder/internal/secret"
)

const canary = "canary-4711"

type holder struct {
	Name  string
	Value secret.Value
	inner secret.Value
	list  []*secret.Value
}

func TestASecretCannotBePrinted(t *testing.T) {
	t.Parallel()
	v := secret.New([]byte(canary))
	h := holder{"h", v, v, []*secret.Value{&v}}
	var out bytes.Buffer
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, flags := range []string{"", "+", "#", "-20", ".3", " ", "0"} {
			for _, what := range []any{v, &v, h, &h, []secret.Value{v}, map[string]secret.Value{"k": v}, struct{ any }{v}} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", what)
			}
		}
	}
	fmt.Fprint(&out, v, h, errors.Join(fmt.Errorf("%v %w", v, fmt.Errorf("%+v", h))))
	for _, what := range []any{v, &v, h, map[string]any{"k": v}} {
		b, err := json.Marshal(what)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "v", v, "h", h, "p", &v, "any", []any{v})
	}
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(v)
	}()
	text := out.String()
	for _, leak := range []string{canary, canary[:4], fmt.Sprintf("%x", canary), fmt.Sprint([]byte(canary)), fmt.Sprintf("%X", canary)} {
		if strings.Contains(text, leak) {
			t.Errorf("the output holds %q", leak)
		}
	}
	if !strings.Contains(text, "[secret]") {
		t.Error("nothing was printed at all")
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	var zero secret.Value
	empty, v := secret.New(nil), secret.New([]byte(canary))
	for _, c := range []struct {
		name  string
		v     secret.Value
		guess string
		want  bool
	}{
		{"the secret", v, canary, true},
		{"another", v, canary + "x", false},
		{"a prefix", v, canary[:3], false},
		{"nothing", v, "", false},
		{"the zero value equals nothing", zero, "", false},
		{"an empty secret equals nothing", empty, "", false},
	} {
		if got := c.v.Equal([]byte(c.guess)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if !zero.IsZero() || !empty.IsZero() || v.IsZero() {
		t.Error("IsZero")
	}
	b := v.Reveal()
	b[0] = 'X'
	if string(v.Reveal()) != canary {
		t.Error("the secret can be changed through what Reveal returned")
	}
}

func TestReadFileReadsRegularFilesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, n int) string {
		if err := os.WriteFile(path(name), bytes.Repeat([]byte("x"), n), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	if b, err := secret.ReadFile(write("full", secret.MaxFile)); err != nil || len(b) != secret.MaxFile {
		t.Errorf("a file of the largest size: %d bytes, %v", len(b), err)
	}
	if err := syscall.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		write("big", secret.MaxFile+1): "larger than",
		path("pipe"):                   "not a regular file", // and does not wait for a writer
		dir:                            "not a regular file",
		path("none"):                   "no such file",
	} {
		if _, err := secret.ReadFile(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
