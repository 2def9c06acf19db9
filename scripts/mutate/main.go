// Command mutate takes one check after the other out of some Go files and
// demands that a test goes red each time. What survives is printed: a rule
// that no test proves.
//
//	go run ./scripts/mutate FILE.go… -- PACKAGE…   (tests among the files are passed over)
//
// A check is the condition of an if, a case of a switch without a tag, or one
// part of a condition with || or &&. Taken out, it never refuses: it is as if
// it were not there. The tree is not touched: the altered file is laid over it.
// A line that ends in a comment with the word "unprovable" is passed over: it
// says there why no test could see it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// patience is how long the tests may take with a check gone: some then wait
// for ever, and that is red, too.
const patience = 2 * time.Minute

func main() {
	cut := slices.Index(os.Args, "--")
	if cut < 2 || cut == len(os.Args)-1 {
		fmt.Fprintln(os.Stderr, "usage: mutate FILE.go… -- PACKAGE…")
		os.Exit(2)
	}
	survived, total := 0, 0
	for _, file := range os.Args[1:cut] {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		all, err := mutants(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, m := range all {
			total++
			red, err := m.killed(os.Args[cut+1:])
			switch {
			case err != nil:
				fmt.Fprintf(os.Stderr, "%s: %v\n", m, err)
				os.Exit(1)
			case !red:
				survived++
				fmt.Println(m)
			}
		}
	}
	fmt.Printf("%d checks taken out, %d not missed\n", total, survived)
	if survived > 0 {
		os.Exit(1)
	}
}

// mutant is a file with one check taken out.
type mutant struct {
	file string
	line int
	was  string
	text []byte
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d: nobody misses %s", m.file, m.line, m.was) }

// mutants returns the file with each of its checks taken out in turn.
func mutants(file string) ([]mutant, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(src), "\n")
	var all []mutant
	replace := func(e ast.Expr, format string) {
		from, to := set.Position(e.Pos()), set.Position(e.End())
		if strings.Contains(lines[from.Line-1], "unprovable") {
			return
		}
		was := string(src[from.Offset:to.Offset])
		text := slices.Concat(src[:from.Offset], fmt.Appendf(nil, format, was), src[to.Offset:])
		all = append(all, mutant{file, from.Line, was, text})
	}
	var check func(e ast.Expr)
	check = func(e ast.Expr) {
		b, ok := ast.Unparen(e).(*ast.BinaryExpr)
		switch {
		case ok && b.Op == token.LOR:
			check(b.X)
			check(b.Y)
		case ok && b.Op == token.LAND:
			// Without one part of it, more is refused, or less; either is seen.
			replace(b.X, "(true || (%s))")
			replace(b.Y, "(true || (%s))")
		default:
			replace(e, "(false && (%s))")
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			check(n.Cond)
		case *ast.SwitchStmt:
			if n.Tag != nil {
				return true
			}
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					check(e)
				}
			}
		}
		return true
	})
	return all, nil
}

// killed reports whether a test goes red. Code that no longer compiles is an
// error: nothing was proved.
func (m mutant) killed(packages []string) (bool, error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	altered, overlay := filepath.Join(dir, "altered.go"), filepath.Join(dir, "overlay.json")
	whole, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	table, err := json.Marshal(map[string]map[string]string{"Replace": {whole: altered}})
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(altered, m.text, 0o600); err != nil {
		return false, err
	}
	if err := os.WriteFile(overlay, table, 0o600); err != nil {
		return false, err
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	args := append([]string{"test", "-vet=off", "-failfast", "-count=1", "-timeout", "60s", "-overlay", overlay}, packages...)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if strings.Contains(string(out), "[build failed]") {
		return false, fmt.Errorf("it does not compile:\n%s", out)
	}
	return err != nil, nil
}
