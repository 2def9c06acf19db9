package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/policy"
)

// readme is what the page of a policy's folder says of it.
type readme struct {
	names  []string // paths in the catalog
	what   string   // first paragraph of What it does
	config string
}

// readPolicies reads the page of every policy that has one.
func readPolicies() ([]*readme, error) {
	files, err := filepath.Glob("internal/policy/*/README.md")
	if err != nil {
		return nil, err
	}
	var all []*readme
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		parts := map[string]string{}
		for _, part := range strings.Split(string(src), "\n## ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			parts[name] = strings.TrimSpace(text)
		}
		r := &readme{config: parts["Config"]}
		r.what, _, _ = strings.Cut(parts["What it does"], "\n\n")
		for _, m := range inCode.FindAllStringSubmatch(parts["Name"], -1) {
			r.names = append(r.names, strings.ReplaceAll(m[1], ": ", "."))
		}
		if len(r.names) == 0 || r.what == "" || r.config == "" {
			return nil, fmt.Errorf("%s lacks Name, What it does or Config", f)
		}
		all = append(all, r)
	}
	return all, nil
}

var inCode = regexp.MustCompile("`([^`]+)`")

// prefixOf is what the paths of the policies of an object begin with; ok is
// false for objects that hold none.
func prefixOf(t reflect.Type) (prefix string, ok bool) {
	switch t {
	case reflect.TypeFor[config.Settings]():
		return "", true
	case reflect.TypeFor[config.Auth]():
		return "auth.", true
	case reflect.TypeFor[config.Body]():
		return "body.", true
	}
	return "", false
}

// keysOf lists the policies that are keys of an object.
func keysOf(t reflect.Type) (keys []string) {
	prefix, ok := prefixOf(t)
	for _, k := range policy.Catalog() {
		if key, under := strings.CutPrefix(k.Path, prefix); ok && under && !strings.Contains(key, ".") {
			keys = append(keys, key)
		}
	}
	return keys
}

// policyRows are the rows of the policies that are keys of an object.
func policyRows(t reflect.Type, readmes []*readme) (rows []row) {
	prefix, _ := prefixOf(t)
	for _, key := range keysOf(t) {
		r := row{key: key, typ: "policy", def: "none"}
		if page := find(readmes, prefix+key); page != nil {
			r.typ, r.words = "see [below](#"+anchor(prefix+key)+")", page.what
		}
		rows = append(rows, r)
	}
	return rows
}

func find(readmes []*readme, path string) *readme {
	for _, r := range readmes {
		for _, n := range r.names {
			if n == path {
				return r
			}
		}
	}
	return nil
}

// writePolicies writes what may stand at the keys of policies.
func writePolicies(b *strings.Builder, t reflect.Type, readmes []*readme) {
	prefix, _ := prefixOf(t)
	for _, key := range keysOf(t) {
		if page := find(readmes, prefix+key); page != nil {
			fmt.Fprintf(b, "\n### `%s%s`\n\n%s\n\n%s\n", prefix, key, page.what, page.config)
		}
	}
}
