package exchange

import (
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/fault"
)

// Outcome is what a check said. The zero Outcome is Refused.
type Outcome uint8

const (
	Refused Outcome = iota // no
	Passed                 // yes
	Skipped                // not responsible: no credential of its kind was presented
	Unknown                // could not be told; refuses when serving
)

func (o Outcome) String() string {
	switch o {
	case Passed:
		return "ok"
	case Skipped:
		return "--"
	case Unknown:
		return "??"
	}
	return "NO"
}

// Trail is the ordered list of the checks of one request. It is a fixed
// array: on the way of a good request it allocates nothing. Its words are
// made when somebody asks, with the Legend of the snapshot that judged.
type Trail struct {
	steps [maxSteps]Step
	n     int
}

const (
	maxSteps    = 16
	maxOperands = 4
	maxOperand  = 128 // bytes of one operand's text
	because     = "because"
)

// Step is one check: which (an index into the Legend), what it said and what
// it saw.
type Step struct {
	Check   uint32
	Outcome Outcome
	Code    fault.Code // why, unless Passed or Skipped
	n       uint8
	ops     [maxOperands]Operand
}

// Operand is something a check saw: a name and a text or a number.
type Operand struct {
	Name   string // one of a fixed vocabulary, such as "kid"; also a word of Mend
	Text   string
	Number int64 // when Text is empty
}

// String returns the operand's text or number.
func (o Operand) String() string {
	if o.Text == "" {
		return strconv.FormatInt(o.Number, 10)
	}
	return o.Text
}

// Reset forgets every step.
func (t *Trail) Reset() {
	clear(t.steps[:t.n])
	t.n = 0
}

// Begin opens the step of check; what is seen until the next Begin belongs to
// it. When the trail is full the last step is overwritten, so that the one
// that refuses is never lost.
func (t *Trail) Begin(check uint32) {
	if t.n < maxSteps {
		t.n++
	}
	t.steps[t.n-1] = Step{Check: check, Outcome: Unknown}
}

// Saw notes an operand on the open step. Text longer than 128 bytes is cut
// with a mark. Name must be a constant. A step holds four; "because", which says
// why it refuses, takes the place of the last if there are.
func (t *Trail) Saw(name, text string) {
	if text == "" {
		text = "(none)" // an empty text stands for a number
	}
	if len(text) > maxOperand {
		text = strings.ToValidUTF8(text[:maxOperand-len("…")], "") + "…"
	}
	t.saw(Operand{Name: name, Text: text})
}

// SawNumber notes a number on the open step.
func (t *Trail) SawNumber(name string, n int64) { t.saw(Operand{Name: name, Number: n}) }

func (t *Trail) saw(o Operand) {
	if t.n == 0 {
		return
	}
	switch s := &t.steps[t.n-1]; {
	case int(s.n) < maxOperands:
		s.ops[s.n] = o
		s.n++
	case o.Name == because:
		s.ops[maxOperands-1] = o
	}
}

// End closes the open step.
func (t *Trail) End(o Outcome, code fault.Code) {
	if t.n == 0 {
		return
	}
	s := &t.steps[t.n-1]
	s.Outcome, s.Code = o, code
}

// Again begins the open step anew, for another check.
func (t *Trail) Again(check uint32) {
	if t.n > 0 {
		t.steps[t.n-1] = Step{Check: check, Outcome: Unknown}
	}
}

// Conclude makes step i, counted from 0, the one that refuses with code, and
// moves it to the end, where the step that refuses is looked for.
func (t *Trail) Conclude(i int, code fault.Code) {
	if i < 0 || i >= t.n {
		return
	}
	s := t.steps[i]
	s.Outcome, s.Code = Refused, code
	copy(t.steps[i:t.n], t.steps[i+1:t.n])
	t.steps[t.n-1] = s
}

// Steps returns the steps so far, as a view.
func (t *Trail) Steps() []Step { return t.steps[:t.n] }

// Operands returns what the step saw, as a view.
func (s *Step) Operands() []Operand { return s.ops[:s.n] }

// Legend tells what the checks of a snapshot are called and what they want.
// It is immutable and holds no resource, so that a trail can be explained
// long after its snapshot is gone.
type Legend struct {
	Config string // hash of the configuration
	Checks []Check
	// Parameters are the names of query parameters that some route reads as
	// credentials.
	Parameters []string
}

// Check is one entry of a Legend.
type Check struct {
	Phase string // authenticate, scopes, …: the word explain prints first
	Name  string // "jwt corp"
	Want  string // "scopes [orders:read]"; empty when the name says it
}

// At returns the entry of index i; an unknown index gives a zero Check.
func (l *Legend) At(i uint32) Check {
	if l == nil || int(i) >= len(l.Checks) {
		return Check{}
	}
	return l.Checks[i]
}
