package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

const namesFile = "internal/telemetry/names.go"

// accessLog lists the fields of the access log as telemetry declares them.
func accessLog() ([]byte, error) {
	fields, err := logFields()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	known := map[string]bool{}
	for _, f := range fields {
		known[f.name] = true
		words, ok := fieldWords[f.name]
		if !ok {
			return nil, fmt.Errorf("no words for the field %s; add them to scripts/reference/words.go", f.name)
		}
		when := "if there is one"
		if f.always {
			when = "always"
		}
		rows = append(rows, []string{code(f.name), when, words})
	}
	for name := range fieldWords {
		if !known[name] {
			return nil, fmt.Errorf("the words for %s in scripts/reference/words.go are for no field", name)
		}
	}
	var b strings.Builder
	title(&b, "Access log", "One line of JSON for every request, fields in this order. Times are UTC (RFC 3339, milliseconds). Texts are cut where they are too long, and control characters are escaped. No credential is ever written.")
	table(&b, []string{"field", "written", "what it says"}, rows)
	return []byte(b.String()), nil
}

type logField struct {
	name   string
	always bool
}

// logFields reads the constants of the access log's fields, in their order.
func logFields() ([]logField, error) {
	f, err := parser.ParseFile(token.NewFileSet(), namesFile, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST || !strings.HasPrefix(g.Doc.Text(), "The fields of the access log") {
			continue
		}
		var all []logField
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				return nil, err
			}
			all = append(all, logField{name, strings.HasPrefix(v.Comment.Text(), "always")})
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s declares no fields of the access log", namesFile)
}
