package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/warder-gateway/warder/internal/config"
)

var update = flag.Bool("update", false, "write the complaints that come into testdata/bad")

// vocabulary is the catalog the tests decode with.
var vocabulary = config.Vocabulary{
	Policies: []string{"auth.apiKey", "auth.jwt", "auth.none", "auth.consumers", "auth.scopes", "rateLimit"},
}

// good decodes a document that has no problem.
func good(t *testing.T, src string) *config.Document {
	t.Helper()
	doc, problems := config.Decode("warder.yaml", []byte(src), vocabulary)
	if err := problems.Err(); err != nil {
		t.Fatalf("the document has problems:\n%v", err)
	}
	return doc
}

func TestEveryProblemIsReportedAtItsPlaceWithItsRemedy(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := config.Decode(ar.Files[0].Name, ar.Files[0].Data, vocabulary)
			got := problems.Error() + "\n"
			if *update {
				ar.Files = append(ar.Files[:1], txtar.File{Name: "complaints", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(problems) == 0 {
				t.Fatal("no problem was found")
			}
			if diff := cmp.Diff(string(ar.Files[1].Data), got); diff != "" {
				t.Errorf("complaints (-want +got):\n%s", diff)
			}
		})
	}
}
