// Package docs runs the documentation: its configurations are checked, the
// lines a newcomer pastes are pasted, and the code of its lessons is compiled
// and tested.
//
// A block of YAML in README.md and docs/*.md is a configuration, and is right
// unless the word behind yaml says otherwise:
//
//	yaml            a configuration; sections it leaves out are filled in
//	yaml route      the keys of one route
//	yaml refused    a configuration that is refused; the block of text behind
//	                it is what warder check says, word for word
//	yaml fragment   not checked: it shows what this build does not have
//
// A block of console behind a configuration of docs/TASKS.md is commands, each
// behind a dollar, and what they print when that configuration runs.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the repository.
const root = "../.."

// block is a fenced block of a page.
type block struct {
	page string // from root
	line int    // of its first line
	lang string
	mark string // the word behind lang
	text string
	next *block // the block behind it on the page
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)[ ]?([^\n]*)\n(.*?)^```$")

// blocks returns every fenced block of the pages that patterns match.
func blocks(t *testing.T, patterns ...string) (all []*block) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no pages at %s: %v", pattern, err)
		}
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var last *block
			for _, m := range fence.FindAllStringSubmatchIndex(string(src), -1) {
				b := &block{
					page: strings.TrimPrefix(filepath.ToSlash(f), root+"/"), line: 2 + strings.Count(string(src[:m[0]]), "\n"),
					lang: string(src[m[2]:m[3]]), mark: string(src[m[4]:m[5]]), text: string(src[m[6]:m[7]]),
				}
				if last != nil {
					last.next = b
				}
				all, last = append(all, b), b
			}
		}
	}
	return all
}

// need returns the path of a program, or skips the test.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
