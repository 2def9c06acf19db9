package warder_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
	fenced  = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```")
	inline  = regexp.MustCompile("`[^`\n]*`")
)

// Every relative link of every page leads to a file, and to a heading of it
// where it names one. Links to other hosts are not followed.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	walk(t, ".md", func(page string) {
		for _, l := range link.FindAllStringSubmatch(prose(t, page), -1) {
			target, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(target, ":") {
				continue
			}
			to := page
			if target != "" {
				to = path.Join(path.Dir(page), target)
			}
			if _, err := os.Stat(filepath.FromSlash(to)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, l[1])
			} else if anchor != "" && path.Ext(to) == ".md" && !hasAnchor(t, to, anchor) {
				t.Errorf("%s: the link %s names a heading that is not there", page, l[1])
			}
		}
	})
}

// prose is the text of a page without its code.
func prose(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	return inline.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), "")
}

// hasAnchor tells whether a heading of the page has the anchor that code
// hosts make of it: lower case, spaces to hyphens, other marks dropped.
func hasAnchor(t *testing.T, page, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 0x7f:
				return r
			}
			return -1
		}, strings.ToLower(h[1]))
		if name == anchor {
			return true
		}
	}
	return false
}
