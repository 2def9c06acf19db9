package docs

import (
	"encoding/json"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var lessonFile = regexp.MustCompile(`^// (internal/policy/hours/(\S+))\n\n?`)

// The lesson of docs/POLICY.md ends with a green test. Its files are laid over
// the tree, nothing is written into it.
func TestTheLessonOnPoliciesEndsGreen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	over := map[string]string{}
	lay := func(name, text string) {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		write(t, file, text)
		over[filepath.Join(top, filepath.FromSlash(name))] = file
	}
	line, scenarios := "", 0
	for _, b := range blocks(t, "docs/POLICY.md") {
		m := lessonFile.FindStringSubmatch(b.text)
		switch {
		case m != nil && b.lang == "go":
			text := strings.TrimPrefix(b.text, m[0])
			if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
				t.Errorf("%s:%d: %s is not as gofmt has it: %v", b.page, b.line, m[1], err)
			}
			lay(m[1], text)
		case m != nil:
			write(t, filepath.Join(dir, m[2]), strings.TrimPrefix(b.text, m[0]))
			scenarios++
		case b.lang == "go":
			line = b.text
		}
	}
	if len(over) != 2 || scenarios != 2 || !strings.Contains(line, "pipeline.Policy(") {
		t.Fatalf("found %d files of code, %d scenarios and the line %q", len(over), scenarios, line)
	}
	const catalog = "internal/policy/policy.go"
	src, err := os.ReadFile(filepath.Join(root, catalog))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(src), "\t\tpipeline.Policy(", "\t\t"+strings.TrimSpace(line)+"\n\t\tpipeline.Policy(", 1)
	lay(catalog, strings.Replace(text, "import (", "import (\n\t\"github.com/warder-gateway/warder/internal/policy/hours\"", 1))
	plan, err := json.Marshal(map[string]any{"Replace": over})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), string(plan))
	// Compiled and run in two steps: its folder is not on the disk to be run in.
	overlay, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "hours.test")
	for _, step := range [][]string{
		{"go", "build", "-overlay", overlay, "./internal/policy"},
		{"go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", program, "./internal/policy/hours"},
		{program, "-test.v"},
	} {
		run := exec.Command(step[0], step[1:]...)
		if run.Dir = root; step[0] == program {
			run.Dir = dir // where testdata is
		}
		out, err := run.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
		if step[0] == program && strings.Count("\n"+string(out), "\n--- PASS: ") != 2 {
			t.Errorf("not every test of the lesson ran:\n%s", out)
		}
	}
}
