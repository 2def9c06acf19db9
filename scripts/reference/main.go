// Command reference writes the pages of docs/reference: what can be said of
// this build by asking it. Everything comes from the code that runs (the
// decode types, the catalogue of refusals, the metrics of a running gateway,
// the help of the commands), but for the sentence that says what a key means.
// Those stand in words.go; a key without one, or one without its key, is an
// error.
//
//	go run ./scripts/reference [DIR]
//
// It is run at the top of the repository and writes below DIR, by default
// there. The same code gives the same bytes.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/warder-gateway/warder/internal/app"
)

// page is one file of the reference.
type page struct {
	name string
	make func() ([]byte, error)
}

var pages = []page{
	{"configuration.md", configuration},
	{"warder.schema.json", schema},
	{"refusals.md", refusals},
	{"metrics.md", metrics},
	{"access-log.md", accessLog},
	{"cli.md", commandLine},
}

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(filepath.Join(dir, "docs", "reference")); err != nil {
		fmt.Fprintf(os.Stderr, "reference: %v\n", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("run it at the top of the repository")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pages {
		text, err := p.make()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func schema() ([]byte, error) {
	text, err := app.Schema()
	return append(text, '\n'), err
}

// title begins a page.
func title(b *strings.Builder, name, about string) {
	fmt.Fprintf(b, "<!-- Made by scripts/reference. To change it, change the code it is made from and run make gen. -->\n\n# %s\n\n%s\n", name, about)
}

// table writes rows under a head. Cells may hold what a table takes for its
// own lines.
func table(b *strings.Builder, head []string, rows [][]string) {
	line := func(cells []string) {
		for _, c := range cells {
			if c == "" {
				c = " "
			}
			b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	b.WriteByte('\n')
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
}

func code(s string) string { return "`" + s + "`" }
