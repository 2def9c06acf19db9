package exchange_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

func steps(t *exchange.Trail) (out []string) {
	for _, s := range t.Steps() {
		line := fmt.Sprintf("%s %d %s", s.Outcome, s.Check, s.Code)
		for _, o := range s.Operands() {
			line += fmt.Sprintf(" %s=%s", o.Name, o)
		}
		out = append(out, line)
	}
	return out
}

func TestTrail(t *testing.T) {
	t.Parallel()
	var trail exchange.Trail
	trail.Saw("nothing is open", "x")
	trail.End(exchange.Passed, fault.None)
	if len(trail.Steps()) != 0 {
		t.Error("the zero Trail has steps")
	}
	trail.Begin(70000)
	trail.Saw("kid", "4f1c")
	trail.SawNumber("left", -3)
	trail.End(exchange.Passed, fault.None)
	trail.Begin(2)
	want := []string{"ok 70000  kid=4f1c left=-3", "?? 2 internal_error"}
	if got := steps(&trail); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q; a step that was not ended is unknown", got)
	}
	trail.End(exchange.Refused, fault.KeyUnknown)
	trail.Begin(3)
	trail.End(exchange.Skipped, fault.None)
	if got := steps(&trail); got[1] != "NO 2 key_unknown" || got[2] != "-- 3 " {
		t.Errorf("%q", got)
	}
	trail.Reset()
	trail.Begin(1)
	if got := steps(&trail); len(got) != 1 || got[0] != "?? 1 internal_error" {
		t.Errorf("after Reset: %q", got)
	}
	if got := exchange.Outcome(0); got != exchange.Refused || got.String() != "NO" {
		t.Errorf("the zero Outcome is %s", got)
	}
}

func TestTrailIsBoundedAndKeepsTheRefusal(t *testing.T) {
	t.Parallel()
	var trail exchange.Trail
	for check := range uint32(100) {
		trail.Begin(check)
		for range 100 {
			trail.Saw("text", strings.Repeat("x", 1000))
		}
		trail.End(exchange.Passed, fault.None)
	}
	trail.Begin(100)
	trail.Saw("why", "because")
	trail.End(exchange.Refused, fault.ScopeMissing)
	all := trail.Steps()
	if len(all) > 32 {
		t.Errorf("%d steps", len(all))
	}
	if got := steps(&trail); got[len(got)-1] != "NO 100 scope_missing why=because" {
		t.Errorf("last: %q", got[len(got)-1])
	}
	ops := all[0].Operands()
	if len(ops) > 8 || len(ops[0].Text) > 128 || !strings.HasSuffix(ops[0].Text, "…") {
		t.Errorf("%d operands, the first of %d bytes: %q", len(ops), len(ops[0].Text), ops[0].Text)
	}
}

func TestLegend(t *testing.T) {
	t.Parallel()
	l := &exchange.Legend{Checks: []exchange.Check{{Phase: "route", Name: "a"}}}
	var none *exchange.Legend
	if l.At(0).Name != "a" || l.At(1) != (exchange.Check{}) || none.At(0) != (exchange.Check{}) {
		t.Error("At")
	}
}

func TestATrailTakesOnlyWhatItHasAStepFor(t *testing.T) {
	t.Parallel()
	var tr exchange.Trail
	tr.Saw("nothing", "is open")
	tr.Again(7)
	tr.Conclude(0, fault.ScopeMissing)
	if len(tr.Steps()) != 0 {
		t.Errorf("%+v", tr.Steps())
	}
	tr.Begin(1)
	tr.Saw("empty", "")
	if got := tr.Steps()[0].Operands()[0].String(); got != "(none)" {
		t.Errorf("an empty text is shown as %q", got)
	}
	for _, i := range []int{-1, 1} {
		if tr.Conclude(i, fault.ScopeMissing); tr.Steps()[0].Outcome == exchange.Refused {
			t.Errorf("step %d of one refuses", i)
		}
	}
	tr.Again(2)
	if s := tr.Steps(); len(s) != 1 || s[0].Check != 2 || len(s[0].Operands()) != 0 {
		t.Errorf("begun anew: %+v", s)
	}
}

// Why a check refuses is told also when the step holds all it can.
func TestWhyAStepRefusesIsNeverLost(t *testing.T) {
	t.Parallel()
	var trail exchange.Trail
	trail.Begin(0)
	for _, name := range []string{"proof", "subject", "consumer", "expiresIn", "issuer"} {
		trail.Saw(name, name)
	}
	trail.Saw("because", "it was revoked")
	step := trail.Steps()[0]
	seen := step.Operands()
	if len(seen) != 4 || seen[3].Name != "because" || seen[3].Text != "it was revoked" || seen[2].Name != "consumer" {
		t.Errorf("%v", seen)
	}
}
