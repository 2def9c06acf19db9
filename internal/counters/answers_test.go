package counters

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// answered gives what a server says to a conn that has asked so often, in
// pieces, and returns what of it came through.
func answered(text string, questions, piece int, pushes bool) (came string, err error) {
	near, far := net.Pipe()
	defer near.Close()
	k := withChecks(near, pushes)
	k.asked.Store(int64(questions))
	go func() {
		defer far.Close()
		for rest := text; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := io.WriteString(far, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	b, err := io.ReadAll(k)
	return string(b), err
}

func TestAnswersAreWellFormedBoundedAndAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		questions  int
		pushes     bool
		want       error
	}{
		{"a decision", "*4\r\n:-1\r\n:5\r\n:0\r\n:100\r\n", 1, false, nil},
		{"two answers, one of them nothing", "$-1\r\n_\r\n", 2, false, nil},
		{"of every kind", "*10\r\n+a\r\n-b\r\n:-3\r\n$2\r\n\r\n\r\n$0\r\n\r\n*0\r\n*-1\r\n#t\r\n,1.5\r\n%1\r\n=4\r\ntxt:\r\n~1\r\n(12\r\n", 1, false, nil},
		{"a push of a sentinel", ">2\r\n+message\r\n$1\r\na\r\n", 0, true, nil},
		{"a push of another", ">2\r\n+message\r\n$1\r\na\r\n", 1, false, errAnswerFirst},
		{"an answer to nothing", ":1\r\n", 0, false, errAnswerFirst},
		{"one answer too many", ":1\r\n:1\r\n", 1, false, errAnswerFirst},
		{"a push within", "*1\r\n>1\r\n+a\r\n", 1, true, errAnswerForm},
		{"a string longer than it said", "$1\r\nab\r\n", 1, false, errAnswerForm},
		{"a bare line feed", "+a\n", 1, false, errAnswerForm},
		{"no length", "$\r\n", 1, false, errAnswerForm},
		{"a negative length", "$-2\r\n", 1, false, errAnswerForm},
		{"a negative map", "%-1\r\n", 1, false, errAnswerForm},
		{"a plus", "$+1\r\na\r\n", 1, false, errAnswerForm},
		{"a streamed string", "$?\r\n", 1, false, errAnswerForm},
		{"an attribute", "|1\r\n+a\r\n+b\r\n:1\r\n", 1, false, errAnswerForm},
		{"a long string", "$1048577\r\n", 1, false, errAnswerSize},
		{"strings that are long together", "*2\r\n$1000000\r\n" + strings.Repeat("a", 1000000) + "\r\n$1000000\r\n", 1, false, errAnswerSize},
		{"many elements", "*131073\r\n", 1, false, errAnswerSize},
		{"many elements together", "*2\r\n*131071\r\n", 1, false, errAnswerSize},
		{"many pairs", "%65537\r\n", 1, false, errAnswerSize},
		{"depth", strings.Repeat("*1\r\n", 9), 1, false, errAnswerSize},
	} {
		for _, piece := range []int{1 << 20, 3, 1} {
			if piece < 1<<20 && len(c.text) > 1000 {
				continue
			}
			came, err := answered(c.text, c.questions, piece, c.pushes)
			if !errors.Is(err, c.want) || c.want == nil && came != c.text {
				t.Errorf("%s, in pieces of %d: %v, %q", c.name, piece, err, came)
			}
		}
	}
}

// However an answer comes in pieces, the same is made of it.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("*2\r\n:1\r\n$3\r\nabc\r\n"), 2)
	f.Add([]byte("%1\r\n+a\r\n*-1\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		begin := func(byte) error { return nil }
		whole, pieces := messages{begin: begin}, messages{begin: begin}
		n, err := whole.scan(b)
		var m int64
		var in error
		for rest := b; len(rest) > 0 && in == nil; {
			k := min(max(1, piece), len(rest))
			var some int64
			some, in = pieces.scan(rest[:k])
			m, rest = m+some, rest[k:]
		}
		if n != m || err != in || err == nil && (whole.depth != pieces.depth || whole.left != pieces.left) {
			t.Fatalf("at once %d %v, in pieces %d %v", n, err, m, in)
		}
	})
}
