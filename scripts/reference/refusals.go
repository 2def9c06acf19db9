package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/fault"
)

// refusals lists the catalogue of "no".
func refusals() ([]byte, error) {
	given, err := givenCodes()
	if err != nil {
		return nil, err
	}
	public := map[fault.Code]bool{}
	for _, c := range fault.Codes() {
		if c.Public() != c {
			public[c.Public()] = true
		}
	}
	var rows, reserved [][]string
	for _, c := range fault.Codes() {
		shown := code(c.Public().String())
		if c.Public() == c {
			shown = "the same"
		}
		row := []string{strconv.Itoa(c.Status()), code(c.String()), shown, c.Detail(), c.Mend()}
		switch {
		case given[c.String()]:
			rows = append(rows, row)
		case public[c]:
			row[2], row[4] = "only shown, never logged", ""
			rows = append(rows, row)
		default:
			reserved = append(reserved, row[:2])
		}
	}
	var b strings.Builder
	title(&b, "Refusals", "Every request that is turned away has one *inner* code: it stands in the access log, in metrics and in `warder explain`. The caller is shown the *public* code. It is the same one, unless telling the two apart would help an attacker.\n\n"+
		"The caller reads a problem document (RFC 9457) whose `type` is `urn:warder:refusal:` and the public code, whose `title` is the sentence below, and whose `requestId` is what `warder explain` takes. In *mend*, a word in braces stands for what the check saw.\n\n"+
		"Which code to expect when a caller says \"I get a 401\" is on [the troubleshooting page](../TROUBLESHOOTING.md).")
	table(&b, []string{"status", "inner code", "shown to the caller", "the caller reads", "mend"}, rows)
	if len(reserved) > 0 {
		b.WriteString("\n## Reserved\n\nThese codes have their names already; nothing in this build gives them.\n")
		table(&b, []string{"status", "code"}, reserved)
	}
	return []byte(b.String()), nil
}

var (
	catalogued = regexp.MustCompile(`(?m)^\s+(\w+):\s+\{name: "(\w+)"`)
	// To compare with a code is not to give it.
	mentioned = regexp.MustCompile(`([=!]= )?\bfault\.([A-Z]\w+)`)
)

// givenCodes returns the names of the codes that the source gives somewhere.
func givenCodes() (map[string]bool, error) {
	src, err := os.ReadFile("internal/fault/catalogue.go")
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, m := range catalogued.FindAllStringSubmatch(string(src), -1) {
		names[m[1]] = m[2]
	}
	if len(names) != len(fault.Codes()) {
		return nil, fmt.Errorf("read %d of %d codes of internal/fault/catalogue.go", len(names), len(fault.Codes()))
	}
	given := map[string]bool{}
	err = filepath.WalkDir("internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.ToSlash(path), "internal/fault/") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range mentioned.FindAllSubmatch(src, -1) {
			if name, ok := names[string(m[2])]; ok && len(m[1]) == 0 {
				given[name] = true
			}
		}
		return err
	})
	return given, err
}
