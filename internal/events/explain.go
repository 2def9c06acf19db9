package events

import (
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// Explanation is a record in words, for people. Its texts are safe to show in
// a terminal.
type Explanation struct {
	ID     string            `json:"id,omitempty"`
	Time   time.Time         `json:"time"`
	MadeUp bool              `json:"madeUp,omitempty"` // was judged for the explanation only
	Client string            `json:"client,omitempty"`
	Method string            `json:"method"`
	Host   string            `json:"host,omitempty"`
	Path   string            `json:"path"`
	Route  string            `json:"route,omitempty"`
	Status int               `json:"status"`
	Code   string            `json:"code,omitempty"` // inner code of a refusal
	Public string            `json:"publicCode,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Mend   string            `json:"mend,omitempty"` // what the operator can do
	Target string            `json:"target,omitempty"`
	Steps  []ExplanationStep `json:"steps"`
	Config string            `json:"config,omitempty"`
}

// ExplanationStep is one check in words.
type ExplanationStep struct {
	Outcome string `json:"outcome"` // ok, NO, -- (not responsible) or ?? (cannot tell)
	Phase   string `json:"phase"`
	Name    string `json:"name"`
	Saw     string `json:"saw"` // what was wanted and what was seen
}

// Explain puts a record into words.
func Explain(r *Record) *Explanation {
	e := &Explanation{
		ID: r.ID.String(), Time: r.Time, Method: printable(string(r.Method)), Host: printable(string(r.Host)), Path: printable(string(r.Path)),
		Route: printable(r.Route), Status: r.Status, Reason: printable(r.Reason), Target: printable(r.Target), Config: r.Config(), Steps: []ExplanationStep{},
	}
	if r.Client.IsValid() {
		e.Client = r.Client.WithZone("").String()
	}
	var steps []exchange.Step
	if r.Trail != nil {
		steps = r.Trail.Steps()
	}
	for i := range steps {
		e.Steps = append(e.Steps, explainStep(&steps[i], r.Legend))
	}
	if r.Refused() {
		e.Code, e.Public = r.Code.String(), r.Code.Public().String()
		e.Mend = mend(r, steps)
	}
	return e
}

func explainStep(s *exchange.Step, legend *exchange.Legend) ExplanationStep {
	check := legend.At(s.Check)
	var saw []string
	if check.Want != "" && s.Outcome != exchange.Passed {
		saw = append(saw, "want "+check.Want)
	}
	for _, o := range s.Operands() {
		saw = append(saw, operand(o))
	}
	return ExplanationStep{Outcome: s.Outcome.String(), Phase: check.Phase, Name: check.Name, Saw: strings.Join(saw, " · ")}
}

// reason is why a request was refused, in a line: what was noted for it, or
// else what the check that refused had to say.
func reason(r *Record) string {
	if r.Reason != "" || !r.Refused() || r.Trail == nil {
		return r.Reason
	}
	steps := r.Trail.Steps()
	if len(steps) == 0 {
		return ""
	}
	last := &steps[len(steps)-1]
	if last.Outcome == exchange.Passed {
		return ""
	}
	return explainStep(last, r.Legend).Saw
}

// operand puts what a check saw into words.
func operand(o exchange.Operand) string {
	if o.Name == "expiresIn" {
		if seconds, err := strconv.ParseInt(o.String(), 10, 64); err == nil {
			return "expires in " + (time.Duration(seconds) * time.Second).String()
		}
	}
	return o.Name + " " + printable(o.String())
}

// mend fills the words in braces of the code's mend with what the trail saw
// and whom the request was proved to come from; the step that refused is asked
// first. A fact that nobody knows is said to be unknown.
func mend(r *Record, steps []exchange.Step) string {
	facts := map[string]string{"target": r.Target}
	if id := r.Identity; id != nil {
		facts["issuer"], facts["client"], facts["consumer"] = id.Issuer, id.Client, id.Consumer
	}
	for i := range steps {
		for _, o := range steps[i].Operands() {
			facts[o.Name] = o.String()
		}
	}
	text, rest := "", r.Code.Mend()
	for {
		before, after, found := strings.Cut(rest, "{")
		name, tail, closed := strings.Cut(after, "}")
		if !found || !closed {
			return text + rest
		}
		fact := printable(facts[name])
		if fact == "" {
			fact = "(unknown " + name + ")"
		}
		text, rest = text+before+fact, tail
	}
}
