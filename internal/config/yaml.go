package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parse reads src as exactly one YAML document within the bounds. It returns
// nil, and has complained, if nothing in it can be decoded.
func (d *decoder) parse(src []byte) *yaml.Node {
	if len(src) > MaxBytes {
		d.complain(Pos{d.file, 1, 1}, "", fmt.Sprintf("the file is larger than %d MiB", MaxBytes>>20), "")
		return nil
	}
	if pos, what := d.odd(src); what != "" {
		d.complain(pos, "", what, "save the file as UTF-8 text")
		return nil
	}
	root := d.load(src)
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		d.complain(place(d.file, root), "", "the document is not an object", "begin with a key such as routes:")
		return nil
	}
	s := survey{decoder: d}
	s.visit(root, "")
	if s.nodes > MaxNodes {
		d.problems = nil // of the part that was looked at
		d.complain(place(d.file, root), "", fmt.Sprintf("the document has more than %d keys and values", MaxNodes), "")
		return nil
	}
	return root
}

// odd finds the first byte that is not text.
func (d *decoder) odd(src []byte) (Pos, string) {
	pos := Pos{d.file, 1, 1}
	for len(src) > 0 {
		r, size := utf8.DecodeRune(src)
		switch {
		case r == utf8.RuneError && size == 1:
			return pos, "the file is not UTF-8 here"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0:
			return pos, "control characters are not allowed"
		}
		pos.Column++
		if r == '\n' {
			pos.Line, pos.Column = pos.Line+1, 1
		}
		src = src[size:]
	}
	return pos, ""
}

// load returns the root of the only document in src.
func (d *decoder) load(src []byte) (root *yaml.Node) {
	// The library passes panics on that it did not raise itself. A document may
	// come through the admin API: a slip in the parser must not end the gateway.
	defer func() {
		if r := recover(); r != nil {
			root = nil
			d.complain(Pos{d.file, 1, 1}, "", "the YAML cannot be read", "")
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader(src), yaml.WithPlugin(&limits{}))
	if err != nil {
		d.complainYAML(err, src)
		return nil
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case err == io.EOF:
		d.complain(Pos{d.file, 1, 1}, "", "the document is empty", "")
		return nil
	case err != nil:
		d.complainYAML(err, src)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		d.complain(place(d.file, &second), "", "a second document begins here", "keep one document a file, and remove the line ---")
	case err != io.EOF:
		d.complainYAML(err, src)
		return nil
	}
	if first.Kind != yaml.DocumentNode || len(first.Content) != 1 {
		d.complain(place(d.file, &first), "", "the document is empty", "")
		return nil
	}
	return first.Content[0]
}

// limits stops the parser at what the survey would refuse, before it has built
// a tree of it. It implements yaml.LoaderLimitsPlugin.
type limits struct{ opened int }

// CheckDepth is asked for every list and object.
func (l *limits) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > MaxDepth {
		return fmt.Errorf("lists and objects nest deeper than %d", MaxDepth)
	}
	if l.opened++; l.opened > MaxNodes {
		return fmt.Errorf("there are more than %d lists and objects", MaxNodes)
	}
	return nil
}

// CheckAlias allows what the survey refuses with its place; nothing expands
// aliases before.
func (*limits) CheckAlias(int, int) error { return nil }

func (d *decoder) complainYAML(err error, src []byte) {
	pos := Pos{d.file, 1, 1}
	text := err.Error()
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		if le.Mark.Line > 0 {
			pos.Line, pos.Column = le.Mark.Line, max(le.Mark.Column, 1)
		}
		text = le.Message
		if le.ContextMsg != "" {
			text = le.ContextMsg + ": " + text
		}
	}
	d.complain(pos, "", "this is not YAML: "+text, yamlMend(src, pos.Line, text))
}

// yamlMend says what to do about a line (counted from 1) that the parser
// stopped at.
func yamlMend(src []byte, at int, text string) string {
	lines := bytes.Split(src, []byte("\n"))
	if at > len(lines) {
		return ""
	}
	line := lines[at-1]
	before := lineBefore(lines, at)
	switch {
	case bytes.ContainsRune(line[:len(line)-len(bytes.TrimLeft(line, " \t"))], '\t'):
		return "indent with blanks, not tabs"
	case bytes.Contains(line, []byte("/{")):
		return `inside { } quote a path that holds { or }: path: "/orders/{id}"`
	case strings.Contains(text, "mapping values are not allowed") && before > 0 && indent(line) > indent(lines[before-1]):
		return fmt.Sprintf("this line is indented deeper than line %d, which has a value already: begin both in the same column, or put a value that holds \": \" in quotes", before)
	case strings.Contains(text, "did not find expected '-' indicator"):
		return `begin each entry of the list with "- ", and its other keys in the column of its first`
	case strings.Contains(text, "did not find expected key"):
		return "begin all keys of one object in the same column"
	case strings.Contains(text, "could not find expected ':'") && before > 0:
		return fmt.Sprintf("write KEY: VALUE, with a colon and a blank, in line %d", before)
	}
	return ""
}

// lineBefore returns the last line (counted from 1) before at that says
// anything, 0 if none does.
func lineBefore(lines [][]byte, at int) int {
	for n := at - 1; n > 0; n-- {
		if text := bytes.TrimSpace(lines[n-1]); len(text) > 0 && text[0] != '#' {
			return n
		}
	}
	return 0
}

// indent is the column, from 0, in which the keys of a line begin: that of its
// first word, past the dash of a list.
func indent(line []byte) int {
	return len(line) - len(bytes.TrimLeft(line, " -"))
}

// survey walks the whole tree once, before anything is decoded, and refuses
// what no field could accept.
type survey struct {
	*decoder
	nodes int
}

func (s *survey) visit(n *yaml.Node, path string) {
	if s.nodes++; s.nodes > MaxNodes {
		return
	}
	// Anchors are refused altogether rather than expanded within bounds: what
	// an alias stands for changes with a line elsewhere, and a complaint about
	// it would have two places.
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		s.complain(place(s.file, n), path, "anchors and aliases are not used here", "write the value out, or share it through defaults")
	}
	if n.Style&yaml.TaggedStyle != 0 {
		s.complain(place(s.file, n), path, "tags are not used here", "write the value without "+cut(n.Tag))
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			s.visit(c, item(path, i))
		}
	case yaml.MappingNode:
		first := make(map[string]int, len(n.Content)/2)
		for k, v := range pairs(n) {
			s.visit(k, path)
			at := under(path, k.Value)
			switch line, twice := first[k.Value]; {
			case k.Kind != yaml.ScalarNode:
				s.complain(place(s.file, k), path, "a key is a word, not a list or an object", "")
			case k.Tag == "!!merge" && k.Value == "<<":
				s.complain(place(s.file, k), at, "merge keys are not used here", "write the keys out, or share them through defaults")
			case twice:
				s.complain(place(s.file, k), at, fmt.Sprintf("the key is written twice; the first is in line %d", line), "remove one")
			default:
				first[k.Value] = k.Line
			}
			s.visit(v, at)
		}
	}
}

// pairs yields the keys and values of a mapping.
func pairs(n *yaml.Node) func(func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}
