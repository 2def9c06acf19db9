package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/scalar"
)

func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/good/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	files, _ := filepath.Glob("testdata/bad/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ar.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		doc, problems := config.Decode("f", src, vocabulary)
		if doc == nil && len(problems) == 0 {
			t.Fatal("neither a document nor a problem")
		}
		if len(problems) > 1000 || !slices.Equal(problems, slices.Clone(problems).Sort()) {
			t.Fatal("problems are too many or not sorted")
		}
		for _, p := range problems {
			if p.File != "f" || p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Fatalf("a problem without a place or a text: %+v", p)
			}
		}
		if doc == nil {
			return
		}
		config.Resolve(doc, config.Sources{})
		names := map[string]bool{}
		for _, r := range doc.Flatten() {
			if names[r.Name] {
				t.Errorf("two routes are called %q", r.Name)
			}
			names[r.Name] = true
			proofs := 0
			for _, one := range r.Proofs { // of a list each has one, and nothing stands beside it
				inside := 0
				for _, p := range one.Policies {
					if p.Path == "auth.jwt" || p.Path == "auth.apiKey" {
						inside++
					}
					if p.Path == "auth.none" {
						inside = 99
					}
				}
				if inside != 1 || len(r.Proofs) > 8 {
					t.Errorf("a list with an object that is not whole: %+v", r)
				}
				proofs = 1
			}
			for _, p := range r.Policies {
				if p.Path == "auth.none" || p.Path == "auth.jwt" || p.Path == "auth.apiKey" {
					proofs++
				}
				var l scalar.List[limit]
				p.Node.Decode(&l)
			}
			// Public by accident is the worst accident.
			if proofs != 1 || r.Upstream == "" || r.Timeout.Connect <= 0 || r.Timeout.Total <= 0 {
				t.Errorf("a route that is not whole: %+v", r)
			}
		}
	})
}

func FuzzAt(f *testing.F) {
	f.Add(`a["b"][1].c`)
	doc, _ := config.Decode("f", []byte("a: { b: [1, { c: d }] }"), vocabulary)
	f.Fuzz(func(t *testing.T, path string) {
		if p := doc.At(path); p.Line != 1 || p.Column < 1 {
			t.Errorf("%q is at %v", path, p)
		}
	})
}
