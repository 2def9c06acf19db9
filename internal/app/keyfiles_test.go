package app_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/app"
)

var keyFileWord = regexp.MustCompile(`keyFile: "([^"]+)"`)

// A private key that everybody may read is served, with a warning that has the
// command to type: in the check always, in the log once.
func TestAPrivateKeyThatOthersMayReadIsAWarning(t *testing.T) {
	t.Parallel()
	words, _ := certificate(t)
	key := keyFileWord.FindStringSubmatch(words)[1]
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	r := serve(t, "upstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ path: /x, upstream: b, auth: none }]\n", words)
	r.rewrite(t, func(document string) string { return document + "# once more\n" })
	if said := r.errors.String(); strings.Count(said, "every user of this machine may read this private key") != 1 || !strings.Contains(said, `mend="run chmod o-r `+key+`"`) {
		t.Errorf("the log says:\n%s", said)
	}
	report, err := app.Check(r.config, "")
	if err != nil || len(report.Problems) > 0 || len(report.Warnings) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	const at = "listeners[0].tls.certificates[0].keyFile"
	if w := report.Warnings[0]; w.Path != at || w.Line != 1 || w.Mend != "run chmod o-r "+key {
		t.Errorf("%+v", w)
	}
	for mode, problems := range map[os.FileMode]int{0o640: 0, 0o602: 1} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		report, err := app.Check(r.config, "")
		if err != nil || len(report.Problems) != problems || len(report.Warnings) != 0 {
			t.Errorf("mode %o: %+v, %v", mode, report, err)
		} else if problems > 0 && (report.Problems[0].Path != at || report.Problems[0].Mend != "run chmod o-w "+key) {
			t.Errorf("mode %o: %+v", mode, report.Problems[0])
		}
	}
}
