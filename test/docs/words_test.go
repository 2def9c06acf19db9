package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/app"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	steps  = regexp.MustCompile(`\[\]|[A-Za-z]+`)
)

// The table for those who come from other gateways names keys and commands of
// this build only: each key is one of the schema, each command has its help.
func TestWordsForThoseWhoComeFromElsewhereExist(t *testing.T) {
	t.Parallel()
	text, err := app.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	page := func(name string) string {
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(src)
	}
	_, table, ok := strings.Cut(page("README.md"), "\n## Coming from another gateway\n")
	if !ok {
		t.Fatal("README.md has no such table")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	commands, n := page("docs/reference/cli.md"), 0
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 6 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			n++
			if strings.HasPrefix(m[1], "warder ") {
				if !strings.Contains(commands, "\n## "+m[1]+"\n") {
					t.Errorf("there is no command %s", m[1])
				}
			} else if !inSchema(schema, schema, steps.FindAllString(m[1], -1)) {
				t.Errorf("there is no key %s", m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("the table has %d words only", n)
	}
	if inSchema(schema, schema, []string{"routes", "[]", "auth", "ldap"}) || !inSchema(schema, schema, []string{"routes", "[]", "auth", "jwt"}) {
		t.Error("the test cannot tell what is in the schema")
	}
}

// inSchema reports whether a path leads somewhere in a JSON Schema. A word in
// capitals is any name.
func inSchema(top, at map[string]any, path []string) bool {
	if ref, _ := at["$ref"].(string); ref != "" {
		def := any(top)
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			from, _ := def.(map[string]any)
			def = from[step]
		}
		next, _ := def.(map[string]any)
		if next != nil && inSchema(top, next, path) {
			return true
		}
	}
	if len(path) == 0 {
		return true
	}
	for _, way := range []string{"anyOf", "oneOf", "allOf"} {
		forms, _ := at[way].([]any)
		for _, f := range forms {
			if form, _ := f.(map[string]any); form != nil && inSchema(top, form, path) {
				return true
			}
		}
	}
	var next any
	switch {
	case path[0] == "[]":
		next = at["items"]
	case path[0] == strings.ToUpper(path[0]):
		next = at["additionalProperties"]
	default:
		properties, _ := at["properties"].(map[string]any)
		next = properties[path[0]]
	}
	form, ok := next.(map[string]any)
	return ok && inSchema(top, form, path[1:])
}
