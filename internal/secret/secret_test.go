package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	texttemplate "text/template"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"

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
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(fmt.Errorf("wrapped: %w", fmt.Errorf("%v %s", v, h)))
	}()
	for _, what := range []any{v, &v, h, &h, map[string]any{"k": v}, []secret.Value{v}} {
		b, err := yaml.Marshal(what)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		// What gob and XML cannot write they must not half write either.
		gob.NewEncoder(&out).Encode(what)
		xml.NewEncoder(&out).Encode(what)
		for _, form := range []string{"{{.}}", "{{printf \"%v %+v %#v %s %q %x %d\" . . . . . . .}}", "{{println .}}", "{{html .}}", "{{js .}}", "{{urlquery .}}"} {
			if err := texttemplate.Must(texttemplate.New("").Parse(form)).Execute(&out, what); err != nil {
				t.Fatal(err)
			}
			if err := htmltemplate.Must(htmltemplate.New("").Parse("<a title=\"{{.}}\">{{.}}</a><script>var x = {{.}}</script>")).Execute(&out, what); err != nil {
				t.Fatal(err)
			}
		}
		walk(&out, reflect.ValueOf(what), 0)
	}
	out.WriteString(cmp.Diff(h, holder{}, cmp.AllowUnexported(holder{}, secret.Value{}), cmpopts.EquateComparable(), cmp.FilterValues(func(a, b func() []byte) bool { return true }, cmp.Ignore())))
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

// walk prints whatever reflection shows, as debuggers and printers of deep
// structures do.
func walk(w io.Writer, v reflect.Value, depth int) {
	if depth > 10 || !v.IsValid() {
		return
	}
	fmt.Fprintln(w, v.Type(), v.String())
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			walk(w, v.Field(i), depth+1)
		}
	case reflect.Pointer, reflect.Interface:
		walk(w, v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(w, v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			walk(w, it.Value(), depth+1)
		}
	case reflect.Func:
		fmt.Fprintf(w, "%v %+v %#v %x\n", v, v, v, v.Pointer())
	case reflect.Uint8:
		fmt.Fprintf(w, "%d %x %c\n", v.Uint(), v.Uint(), rune(v.Uint()))
	}
}

func TestWhereASecretWasIsNotReadAsOne(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(secret.New([]byte(canary)))
	if err != nil {
		t.Fatal(err)
	}
	var v secret.Value
	if err := json.Unmarshal(b, &v); err == nil || !v.IsZero() {
		t.Errorf("%s was read as a secret", b)
	}
	if err := json.Unmarshal([]byte(`"x"`), &v); err != nil || !v.Equal([]byte("x")) {
		t.Errorf("a secret was not read: %v", err)
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
