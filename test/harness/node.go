package harness

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// StartNode runs a script of JavaScript, which listens on the port that it is
// given as its last argument, with the modules that test/idp brings along. The
// test is skipped where the module is missing.
func StartNode(t testing.TB, script, module string, port int, args ...string) *Process {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join(root, "test", "idp"))
	if err != nil {
		t.Fatal(err)
	}
	node := nodeWith(t, modules, module)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "script.mjs"), script)
	if err := os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, node, append(append([]string{"script.mjs"}, args...), strconv.Itoa(port))...)
	listening(t, p, port)
	return p
}
