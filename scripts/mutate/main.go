// Command mutate takes one check after the other out of a package and demands
// that a test goes red each time: of that package, or else of the others whose
// folders stand behind its own, with commas. What survives is printed: a rule
// that no test proves.
//
//	go run ./scripts/mutate FOLDER[,FOLDER…]…
//
// A check is the condition of an if, a case of a switch without a tag, or one
// part of a condition with || or &&. Taken out, it is as if it were not there.
// The tree is not touched: altered files are laid over it, in which each check
// can be switched off by number, so that the tests are compiled once.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long the tests may take with a check gone: some then wait
// for ever, and that is red, too.
const patience = time.Minute

// variable of the environment that says which check is off.
const variable = "MUTATE_OFF"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: mutate FOLDER[,FOLDER…]…")
		os.Exit(2)
	}
	survived, total := 0, 0
	for _, dirs := range os.Args[1:] {
		p, err := instrument(strings.Split(dirs, ","))
		if err == nil {
			err = p.build()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if out, red := p.red(-1); red {
			fmt.Fprintf(os.Stderr, "the tests are red with every check in its place:\n%s", out)
			os.Exit(1)
		}
		for n, c := range p.checks {
			total++
			if _, red := p.red(n); !red {
				survived++
				fmt.Println(c)
			}
		}
		os.RemoveAll(p.scratch)
	}
	fmt.Printf("%d checks taken out, %d not missed\n", total, survived)
	if survived > 0 {
		os.Exit(1)
	}
}

// program is a package whose checks can be switched off.
type program struct {
	dirs    []string // its own, and those of others whose tests count
	scratch string
	overlay map[string]string // path in the tree -> what is laid over it
	checks  []string          // for people, by number
}

// instrument writes the altered files of the package in the first of dirs.
func instrument(dirs []string) (*program, error) {
	for i, dir := range dirs {
		whole, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		dirs[i] = whole
	}
	whole := dirs[0]
	scratch, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	p := &program{dirs: dirs, scratch: scratch, overlay: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(whole, "*.go"))
	if err != nil {
		return nil, err
	}
	name := ""
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if name, err = p.file(file); err != nil {
			return nil, err
		}
	}
	return p, p.lay(filepath.Join(whole, "mutate_off.go"), fmt.Appendf(nil, `package %s

import "os"

var mutateNumber = os.Getenv(%q)

func mutateOff(n string) bool { return n == mutateNumber }
`, name, variable))
}

// lay lays text over path in the tree.
func (p *program) lay(path string, text []byte) error {
	altered := filepath.Join(p.scratch, filepath.Base(path))
	p.overlay[path] = altered
	return os.WriteFile(altered, text, 0o600)
}

// edit is text to be put in at an offset.
type edit struct {
	at   int
	text string
}

// file makes every check of one file one that can be switched off. It returns
// the name of the package.
func (p *program) file(path string) (name string, err error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	var edits []edit
	wrap := func(e ast.Expr, format string) {
		from, to := set.Position(e.Pos()), set.Position(e.End())
		edits = append(edits, edit{from.Offset, fmt.Sprintf(format, strconv.Itoa(len(p.checks)))}, edit{to.Offset, "))"})
		p.checks = append(p.checks, fmt.Sprintf("%s:%d: nobody misses %s", filepath.Base(path), from.Line, src[from.Offset:to.Offset]))
	}
	var check func(e ast.Expr)
	check = func(e ast.Expr) {
		b, ok := ast.Unparen(e).(*ast.BinaryExpr)
		switch {
		case ok && b.Op == token.LOR:
			check(b.X)
			check(b.Y)
		case ok && b.Op == token.LAND:
			wrap(b.X, "(mutateOff(%q) || (")
			wrap(b.Y, "(mutateOff(%q) || (")
		default:
			wrap(e, "(!mutateOff(%q) && (")
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
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.at, b.at) })
	var text []byte
	done := 0
	for _, e := range edits {
		text = append(append(text, src[done:e.at]...), e.text...)
		done = e.at
	}
	return tree.Name.Name, p.lay(path, append(text, src[done:]...))
}

// build compiles the tests.
func (p *program) build() error {
	table, err := json.Marshal(map[string]map[string]string{"Replace": p.overlay})
	if err != nil {
		return err
	}
	overlay := filepath.Join(p.scratch, "overlay.json")
	if err := os.WriteFile(overlay, table, 0o600); err != nil {
		return err
	}
	for i, dir := range p.dirs {
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", p.binary(i), ".")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	return nil
}

// binary is where the tests of a folder are.
func (p *program) binary(i int) string { return filepath.Join(p.scratch, fmt.Sprintf("tests%d", i)) }

// red runs the tests with one check off, -1 for none, until some are red.
func (p *program) red(n int) (out []byte, red bool) {
	for i := range p.dirs {
		if out, red = p.run(i, n); red {
			break
		}
	}
	return out, red
}

// run runs the tests of one folder.
func (p *program) run(i, n int) (out []byte, red bool) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, p.binary(i), "-test.failfast", "-test.timeout", patience.String())
	cmd.Dir = p.dirs[i]
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return out, err != nil
}
