package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/warder-gateway/warder/internal/app"
)

// goType finds a type that the page has no words for.
var goType = regexp.MustCompile(`\b(config|scalar|secret)\.[A-Z]`)

// The page and the schema are two walks over the same types: they must see
// the same keys.
func TestTheReferenceHasEveryKeyOfTheSchema(t *testing.T) {
	t.Parallel()
	text, err := app.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	w, err := walkDocument()
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]bool{}
	for _, s := range w.sections {
		if s.typ.Name() == "Settings" {
			for _, r := range append(s.rows, policyRows(s.typ, nil)...) {
				settings[r.key] = true
			}
		}
	}
	for _, s := range w.sections {
		keys := map[string]bool{}
		for _, r := range append(s.rows, policyRows(s.typ, nil)...) {
			if keys[r.key] = true; r.key == "…" {
				delete(keys, r.key)
				maps.Copy(keys, settings)
			}
			if goType.MatchString(r.typ) {
				t.Errorf("%s: %s is shown as %s", s.path, r.key, r.typ)
			}
		}
		got, want := slices.Sorted(maps.Keys(keys)), slices.Sorted(maps.Keys(schema.Defs[s.typ.String()].Properties))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the page has %v, the schema %v", s.path, got, want)
		}
	}
}

func TestTheSameCodeGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	for _, p := range []page{{"configuration.md", configuration}, {"warder.schema.json", schema}} {
		first, err := p.make()
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if again, err := p.make(); err != nil || !bytes.Equal(first, again) {
				t.Fatalf("%s differs the second time: %v", p.name, err)
			}
		}
	}
}

func TestMetricsAreRead(t *testing.T) {
	t.Parallel()
	got := parseMetrics(`# HELP warder_a_total What a does.
# TYPE warder_a_total counter
warder_a_total{code="",route="x"} 1
# HELP warder_b_seconds What b does.
# TYPE warder_b_seconds histogram
warder_b_seconds_bucket{route="x",le="1"} 1
warder_b_seconds_count{route="x"} 1
# HELP go_c Not ours.
`)
	if len(got) != 2 || len(got["warder_a_total"].labels) != 2 || got["warder_b_seconds"].kind != "histogram" || len(got["warder_b_seconds"].labels) != 1 {
		t.Errorf("%+v", got)
	}
}
