// Package warder_test holds the rules of the house as tests: which package
// may import which, what every package says of itself, and that the pages of
// the documentation lead somewhere.
package warder_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/warder-gateway/warder"

// layers is the plan of the house, from the ground up. A package imports
// packages of lower layers only: never of its own, never of a higher one. "*"
// stands for one folder. Changing the plan is a decision that is written down
// in docs/adr; it is not changed to make a build pass.
var layers = [][]string{
	{"internal/fault", "internal/secret", "internal/scalar", "internal/telemetry", "internal/password", "internal/dial"},
	{"internal/exchange"},
	{"internal/http1", "internal/route", "internal/config", "internal/keys", "internal/store", "internal/counters", "internal/guessing", "internal/template"},
	{"internal/binding", "internal/assertion"},
	{"internal/pipeline", "internal/upstream", "internal/directory", "internal/login", "internal/audit", "internal/events"},
	{"internal/tokens"},
	{"internal/policy/*"},
	{"internal/policy"},
	{"internal/snapshot"},
	{"internal/control", "internal/alert"},
	{"internal/gateway", "internal/admin", "internal/authserver", "internal/console", "internal/lint", "internal/attack", "internal/importer", "internal/report"},
	{"internal/app"},
	{"internal/cli"},
	{"cmd/*"},
}

// outside is what works on the house or from the street before it: it imports
// nothing of the layers, and only the end-to-end tests import the harness.
var outside = map[string][]string{
	".":                  nil,
	"scripts/testreport": nil,
	"scripts/mutate":     nil,
	"scripts/reference":  {"internal/app", "internal/cli", "internal/config", "internal/fault", "internal/policy"}, // writes down what they say of themselves
	"test/docs":          {"internal/app"},
	"bench":              nil,
	"bench/*":            nil,
	"test/harness":       nil,
	"test/e2e":           {"test/harness"},
	"test/wire":          {"test/harness"},
}

// forbidden are links that the layers would allow.
var forbidden = []struct{ from, to, because string }{
	{"internal/gateway", "internal/store", dataPlane},
	{"internal/gateway", "internal/config", dataPlane},
	{"internal/pipeline", "internal/store", dataPlane},
	{"internal/pipeline", "internal/config", dataPlane},
	{"internal/policy/*", "internal/store", dataPlane},
	{"internal/policy/*", "internal/config", dataPlane},
	{"internal/route", "internal/store", dataPlane},
	{"internal/route", "internal/config", dataPlane},
	{"internal/upstream", "internal/store", dataPlane},
	{"internal/upstream", "internal/config", dataPlane},
	{"internal/exchange", "internal/store", dataPlane},
	{"internal/exchange", "internal/config", dataPlane},
	{"internal/http1", "internal/store", dataPlane},
	{"internal/http1", "internal/config", dataPlane},
}

const dataPlane = "the data plane touches neither the database nor the document; it is handed narrow interfaces"

// pkg is one folder with Go files.
type pkg struct {
	dir     string // from the root, with slashes
	files   []file
	imports map[string][]string // folder in this module -> files that import it, tests apart
	tests   map[string][]string // the same, of test files
}

type file struct {
	name string
	test bool
	ast  *ast.File
}

// load reads every Go file below the root.
func load(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	walk(t, ".go", func(name string) {
		mode := parser.ParseComments | parser.SkipObjectResolution
		f, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(name), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		p := byDir[dir]
		if p == nil {
			p = &pkg{dir: dir, imports: map[string][]string{}, tests: map[string][]string{}}
			byDir[dir] = p
		}
		test := strings.HasSuffix(name, "_test.go")
		p.files = append(p.files, file{path.Base(name), test, f})
		into := p.imports
		if test {
			into = p.tests
		}
		for _, i := range f.Imports {
			to, _ := strconv.Unquote(i.Path.Value)
			if to, ok := strings.CutPrefix(to, module+"/"); ok && to != dir {
				into[to] = append(into[to], name)
			}
		}
	})
	var all []*pkg
	for _, p := range byDir {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	return all
}

// walk visits the files below the root that end in ext, as slash paths.
func walk(t *testing.T, ext string, visit func(name string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "bin", "dist"}, d.Name())):
			return fs.SkipDir
		case !d.IsDir() && path.Ext(name) == ext:
			visit(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// isHelper tells the packages that only tests import, such as a suite for all
// implementations of an interface: internal/counters/counterstest.
func isHelper(dir string) bool {
	return strings.HasPrefix(dir, "internal/") && strings.HasSuffix(dir, "test")
}

// layer returns the height of the folder in the plan, or -1.
func layer(dir string) int {
	return slices.IndexFunc(layers, func(l []string) bool {
		return slices.ContainsFunc(l, func(pattern string) bool { return match(pattern, dir) })
	})
}

func match(pattern, dir string) bool {
	ok, err := path.Match(pattern, dir)
	return ok && err == nil
}

// street returns what a folder outside the layers may import.
func street(dir string) (allowed []string, ok bool) {
	for pattern, allowed := range outside {
		if match(pattern, dir) {
			return allowed, true
		}
	}
	return nil, false
}

func TestEveryPackageHasItsPlace(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		_, out := street(p.dir)
		if !out && !isHelper(p.dir) && layer(p.dir) < 0 {
			t.Errorf("%s is in no layer: see \"which room\" in the architecture page for the room its lines belong to, or add it to the list in arch_test.go together with a record in docs/adr", p.dir)
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		allowed, out := street(p.dir)
		for to, files := range p.imports {
			switch {
			case out:
				if !slices.Contains(allowed, to) {
					t.Errorf("%s imports %s: it stands outside the layers and sees the product from outside only", files[0], to)
				}
			case isHelper(to):
				t.Errorf("%s imports %s: that is for tests only", files[0], to)
			case isHelper(p.dir): // seen by tests only
			case layer(to) < 0 || layer(p.dir) < 0: // no place: another test says so; or the street
				if _, out := street(to); out {
					t.Errorf("%s imports %s, which stands outside the layers", files[0], to)
				}
			case layer(to) == layer(p.dir):
				t.Errorf("%s imports %s: sideways, both are in layer %d", files[0], to, layer(to))
			case layer(to) > layer(p.dir):
				t.Errorf("%s imports %s: upwards, from layer %d to %d", files[0], to, layer(p.dir), layer(to))
			}
		}
		// A test may climb, to try its package in its surroundings, but the
		// street and the house stay apart in tests as well.
		for to, files := range p.tests {
			_, toOut := street(to)
			if (out || toOut) && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: house and street stay apart", files[0], to)
			}
		}
	}
}

func TestForbiddenPairs(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		for _, f := range forbidden {
			if files := p.imports[f.to]; match(f.from, p.dir) && !isHelper(p.dir) && len(files) > 0 {
				t.Errorf("%s imports %s: %s", files[0], f.to, f.because)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		want := path.Base(p.dir) + ".go"
		var said []string
		testsOnly := true
		for _, f := range p.files {
			testsOnly = testsOnly && f.test
			if f.ast.Name.Name == "main" && !f.test {
				want = "main.go"
			}
			if f.ast.Doc != nil {
				said = append(said, f.name)
			}
		}
		if testsOnly {
			want = path.Base(p.dir) + "_test.go"
			if p.dir == "." {
				want = "arch_test.go"
			}
		}
		if !slices.Equal(said, []string{want}) {
			t.Errorf("%s: the package comment stands in %v; it must stand once, in %s", p.dir, said, want)
		}
	}
}

func TestNothingHappensAtImport(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s: has an init function; register by listing", p.dir, f.name)
				}
			}
		}
	}
}

func TestPackagesAreNamedForWhatTheyHold(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		for _, empty := range []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"} {
			if path.Base(p.dir) == empty {
				t.Errorf("%s: the name says nothing; find the noun it is about", p.dir)
			}
		}
	}
}

func TestModuleStandsOnItsOwn(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^\s*replace\b`).Match(mod) {
		t.Error("go.mod replaces a module: what others build would not be what we test")
	}
}
