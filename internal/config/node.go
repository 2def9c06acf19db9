package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Node is a piece of a document with its place, not decoded yet. Nodes can be
// compared: two are equal if they are the same place of the same document. The
// zero Node is no piece of anything.
type Node struct {
	file string
	path string
	n    *yaml.Node
}

// IsZero reports whether n is no piece of a document.
func (n Node) IsZero() bool { return n.n == nil }

// Path returns where n stands: routes[0].rateLimit.
func (n Node) Path() string { return n.path }

// Pos returns the place of n.
func (n Node) Pos() Pos { return place(n.file, n.n) }

// Decode reads n into the value that into points to: plain data with json
// tags. It is as strict as Decode of a document, and reports every problem.
func (n Node) Decode(into any) Problems {
	d := newDecoder(n.file, Vocabulary{})
	d.into(n.n, n.path, into)
	return d.problems.Sort()
}

// At returns the place of a path below n, such as burst or [1].per, or of the
// nearest thing above it that was written.
func (n Node) At(path string) Pos { return place(n.file, walk(n.n, path)) }

// Complain makes a Problem about a path below n; the empty path is n itself.
func (n Node) Complain(path, text, mend string) Problem {
	full := n.path + path
	if n.path != "" && path != "" && path[0] != '[' {
		full = n.path + "." + path
	}
	return Problem{Pos: n.At(path), Path: full, Text: printable(text), Mend: printable(mend)}
}

func place(file string, n *yaml.Node) Pos {
	if n == nil || n.Line == 0 {
		return Pos{File: file, Line: 1, Column: 1}
	}
	return Pos{File: file, Line: n.Line, Column: n.Column}
}

// walk follows path from n as far as it was written.
func walk(n *yaml.Node, path string) *yaml.Node {
	for path != "" {
		key, index, rest := step(path)
		next := child(n, key, index)
		if next == nil && index == 0 {
			next = n // a single value may stand where a list is meant
		}
		if next == nil {
			return n
		}
		n, path = next, rest
	}
	return n
}

// child returns the value of a key (index -1) or of an index; nil if n has none.
func child(n *yaml.Node, key string, index int) *yaml.Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.SequenceNode && index >= 0 && index < len(n.Content):
		return n.Content[index]
	case n.Kind == yaml.MappingNode && index < 0:
		for k, v := range pairs(n) {
			if k.Value == key {
				return v
			}
		}
	}
	return nil
}

// step cuts the first step off a path: a key, or an index (-1 for a key).
func step(path string) (key string, index int, rest string) {
	path = strings.TrimPrefix(path, ".")
	if !strings.HasPrefix(path, "[") {
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		return path[:end], -1, path[end:]
	}
	if quoted, err := strconv.QuotedPrefix(path[1:]); err == nil {
		key, _ = strconv.Unquote(quoted)
		return key, -1, strings.TrimPrefix(path[1+len(quoted):], "]")
	}
	inside, rest, _ := strings.Cut(path[1:], "]")
	index, err := strconv.Atoi(inside)
	if err != nil || index < 0 {
		return inside, -1, rest
	}
	return "", index, rest
}

// under returns the path of a key below path.
func under(path, key string) string {
	plain := key != ""
	for _, r := range key {
		plain = plain && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	}
	switch {
	case !plain:
		return path + "[" + strconv.Quote(cut(key)) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// item returns the path of an index below path.
func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// printable escapes what could act on the terminal or log a problem is shown
// in. Texts may repeat what a document or a library says.
func printable(s string) string {
	bad := func(r rune) bool { return !strconv.IsPrint(r) }
	if !strings.ContainsFunc(s, bad) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cut shortens text from outside before it is printed.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// written reports whether all of path was written below n.
func (n Node) written(path string) bool {
	at := n.n
	for path != "" {
		key, index, rest := step(path)
		next := child(at, key, index)
		if next == nil {
			return false
		}
		at, path = next, rest
	}
	return true
}
