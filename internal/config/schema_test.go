package config_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/scalar"
)

// proof stands for a policy that takes true or an object.
type proof struct {
	In string `json:"in" enum:"header"`
}

func (*proof) UnmarshalText([]byte) error { return nil }

func schema(t *testing.T) map[string]any {
	t.Helper()
	b, err := config.Schema(map[string]reflect.Type{
		"rateLimit":      reflect.TypeFor[scalar.List[limit]](),
		"auth.jwt":       reflect.TypeFor[scalar.List[string]](),
		"auth.apiKey":    reflect.TypeFor[proof](),
		"auth.scopes":    reflect.TypeFor[[]string](),
		"auth.consumers": reflect.TypeFor[[]string](),
	})
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// validator knows the part of JSON Schema that the generator writes, and fails
// on any other.
type validator struct{ root map[string]any }

func (v validator) check(s map[string]any, value any, path string) error {
	for key := range s {
		if !slices.Contains([]string{"$schema", "title", "$ref", "$defs", "anyOf", "const", "enum", "type", "properties",
			"required", "additionalProperties", "propertyNames", "items"}, key) {
			return fmt.Errorf("the schema has %s", key)
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		def, ok := v.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not defined", ref)
		}
		return v.check(def, value, path)
	}
	if forms, ok := s["anyOf"].([]any); ok {
		var last error
		fits := slices.ContainsFunc(forms, func(f any) bool {
			last = v.check(f.(map[string]any), value, path)
			return last == nil
		})
		if !fits {
			return fmt.Errorf("no form fits; %w", last)
		}
	}
	if want, ok := s["const"]; ok && want != value {
		return fmt.Errorf("%s: %v is not %v", path, value, want)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, value) {
		return fmt.Errorf("%s: %v is not one of %v", path, value, enum)
	}
	if err := v.types(s, value, path); err != nil {
		return err
	}
	switch value := value.(type) {
	case map[string]any:
		return v.object(s, value, path)
	case []any:
		items, _ := s["items"].(map[string]any)
		for i, e := range value {
			if err := v.check(items, e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v validator) types(s map[string]any, value any, path string) error {
	var all []any
	switch t := s["type"].(type) {
	case nil:
		return nil
	case string:
		all = []any{t}
	case []any:
		all = t
	}
	is := map[string]bool{}
	switch n := value.(type) {
	case string:
		is["string"] = true
	case bool:
		is["boolean"] = true
	case float64:
		is["number"], is["integer"] = true, n == float64(int64(n))
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	if !slices.ContainsFunc(all, func(t any) bool { return is[t.(string)] }) {
		return fmt.Errorf("%s: %v is not %v", path, value, all)
	}
	return nil
}

func (v validator) object(s, value map[string]any, path string) error {
	properties, _ := s["properties"].(map[string]any)
	for key, e := range value {
		inner, known := properties[key].(map[string]any)
		if !known {
			inner, known = s["additionalProperties"].(map[string]any)
		}
		if !known && s["type"] == nil {
			continue // anything goes
		}
		if !known {
			return fmt.Errorf("%s: unknown key %s", path, key)
		}
		if err := v.check(inner, e, path+"."+key); err != nil {
			return err
		}
	}
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, ok := value[key.(string)]; !ok {
			return fmt.Errorf("%s: %v is missing", path, key)
		}
	}
	return nil
}

// asEditor reads YAML the way an editor does: with guesses.
func asEditor(t *testing.T, src string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(src), &value); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTheSchemaAcceptsWhatDecodeAccepts(t *testing.T) {
	t.Parallel()
	s := schema(t)
	files, _ := filepath.Glob("testdata/good/*.yaml")
	for _, file := range append(files, "testdata/nine.yaml") {
		if err := (validator{s}).check(s, asEditor(t, read(t, file)), ""); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestTheSchemaRefusesWhatDecodeRefuses(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, src := range []string{
		"routs: []", "store: { sqlite: x }", "version: 2", "routes: {}", "routes: [{}]", "routes: [{ path: /x, auth: nobody }]",
		"routes: [{ path: /x, auth: { basic: true } }]", "routes: [{ path: /x, waf: block }]", "issuers: { a: { audience: x } }",
		"issuers: { a: { issuer: x, algorithms: [HS256] } }", "listeners: [{ limits: { headers: many } }]",
		"routes: [{ path: /x, rateLimit: { burst: 5 } }]", "routes: [{ path: /x, forwardToken: 1 }]", "admin: here",
	} {
		if err := (validator{s}).check(s, asEditor(t, src), ""); err == nil {
			t.Errorf("the schema accepts %s", src)
		}
	}
}

func TestTheGoodDocumentUsesEveryKeyOfTheSchema(t *testing.T) {
	t.Parallel()
	text := read(t, "testdata/good/everything.yaml")
	for name, def := range schema(t)["$defs"].(map[string]any) {
		if !strings.HasPrefix(name, "config.") {
			continue
		}
		for key := range def.(map[string]any)["properties"].(map[string]any) {
			if !strings.Contains(text, key+":") {
				t.Errorf("%s of %s is not in everything.yaml", key, name)
			}
		}
	}
}
