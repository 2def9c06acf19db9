// Package config is the document: what an operator wrote, decoded strictly and
// with its places.
//
// Decode turns bytes into a Document and reports every problem at once, each
// with file, line, column, path and remedy. Nothing is accepted and ignored: a
// key that is not known, or not enforced by this build, is a problem. What
// belongs to a policy stays a Node, a piece of the document with its place,
// until the policy's own type is known; Node.Decode follows the same rules.
//
// Resolve is the one step that reads anything outside the document.
package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a document. What exceeds them is refused before it is decoded.
const (
	MaxBytes = 4 << 20 // of one file
	MaxDepth = 64      // of nesting
	MaxNodes = 500_000 // keys and values together

	maxProblems = 1000 // that are reported
)

// Pos is a place in a file; lines and columns count from 1.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is one thing that is wrong with a document.
type Problem struct {
	Pos
	Path string // routes[0].auth; empty for the document as a whole
	Text string // what is wrong
	Mend string // what to do about it; may be empty
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	for _, part := range []string{p.Path, p.Text} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	if p.Mend != "" {
		b.WriteString("; ")
		b.WriteString(p.Mend)
	}
	return b.String()
}

// Problems is an error: everything that is wrong with a document, sorted by
// place.
type Problems []Problem

// Error lists the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, nil if there is no problem.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Sort sorts ps by place, and drops what is said twice.
func (ps Problems) Sort() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(ps)
}

// touch reports whether one of ps is at path or below it.
func (ps Problems) touch(path string) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool {
		rest, ok := strings.CutPrefix(p.Path, path)
		return ok && (rest == "" || path == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// Vocabulary is what a build knows beyond the document's own keys.
type Vocabulary struct {
	Policies []string // paths of the policy catalog: "rateLimit", "auth.jwt"
}

// Decode reads one document. A Document is returned also with problems, unless
// src is no YAML mapping at all, so that what compiles it can find more; such a
// document keeps its problems (see Document.Problems) and is never to be served.
func Decode(file string, src []byte, v Vocabulary) (*Document, Problems) {
	d := newDecoder(file, v)
	root := d.parse(src)
	if root == nil {
		return nil, d.problems.Sort()
	}
	doc := &Document{root: Node{file: file, n: root}, digest: sha256.Sum256(src)}
	d.document(root, doc)
	doc.references = d.references
	checkDocument(doc, d)
	doc.problems = d.problems.Sort()
	return doc, doc.problems
}

// Hash returns the SHA-256 of the document's bytes, in hex.
func (d *Document) Hash() string { return hex.EncodeToString(d.digest[:]) }

// Problems returns what is wrong with the document. Only a document without
// problems may be served.
func (d *Document) Problems() Problems { return slices.Clone(d.problems) }

// At returns the place of a path, such as routes[0].auth, or of what is
// nearest above it.
func (d *Document) At(path string) Pos { return d.root.At(path) }

// Complain makes a Problem about a path of the document.
func (d *Document) Complain(path, text, mend string) Problem {
	return d.root.Complain(path, text, mend)
}
