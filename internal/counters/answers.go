package counters

import (
	"errors"
	"net"
	"sync/atomic"
)

// The client library takes a server's word for every length, count and depth,
// and panics when something comes that nobody asked for. A server that is
// none, or no longer ours, would end the process with it. So what comes is
// looked at before the library sees it.

// Bounds of one answer. The map of a large cluster is the most that is read.
const (
	answerBytes    = 1 << 20 // of strings, in all
	answerElements = 1 << 17
	answerDepth    = 8
)

var (
	errAnswerForm  = errors.New("the server does not answer as Redis does")
	errAnswerSize  = errors.New("the server's answer is larger than any to our questions")
	errAnswerFirst = errors.New("the server says what it was not asked")
)

// checked is a connection whose answers are well-formed, bounded, and no more
// than the questions. pushes lets a server speak unasked, as sentinels do.
type checked struct {
	net.Conn
	pushes    bool
	asked     atomic.Int64 // written by whoever writes
	answered  int64        // the reader's
	questions messages
	answers   messages
}

func withChecks(c net.Conn, pushes bool) *checked {
	k := &checked{Conn: c, pushes: pushes}
	k.questions.begin = func(byte) error { return nil }
	k.answers.begin = func(kind byte) error {
		switch {
		case kind == '>' && k.pushes:
			return nil
		case kind == '>' || k.answered >= k.asked.Load():
			return errAnswerFirst
		}
		k.answered++
		return nil
	}
	return k
}

// Read implements net.Conn.
func (k *checked) Read(p []byte) (int, error) {
	n, err := k.Conn.Read(p)
	if _, bad := k.answers.scan(p[:n]); bad != nil {
		k.Conn.Close()
		return 0, bad
	}
	return n, err
}

// Write implements net.Conn.
func (k *checked) Write(p []byte) (int, error) {
	whole, err := k.questions.scan(p)
	if err != nil {
		return 0, err
	}
	k.asked.Add(whole)
	return k.Conn.Write(p)
}

// messages follows a stream of RESP, versions 2 and 3, in pieces of any size.
// What a server may say and ours never do (streamed strings and aggregates,
// attributes) is refused. The zero value, with begin set, is at the start.
type messages struct {
	begin func(kind byte) error // of a message that is not within another

	at     place
	kind   byte
	line   int // bytes of the line so far, its CRLF apart
	cr     bool
	minus  bool
	number int // that the line says
	left   int // bytes of a string, its CRLF included
	open   [answerDepth]int
	depth  int

	bytes, elements int // of the message
}

type place uint8

const (
	atKind place = iota
	inLine
	inString
)

// scan looks at the next piece, and returns how many messages ended in it.
func (m *messages) scan(p []byte) (whole int64, err error) {
	for i := 0; i < len(p); {
		switch m.at {
		case atKind:
			err = m.start(p[i])
			i++
		case inLine:
			err = m.next(p[i])
			i++
		case inString:
			n := min(m.left, len(p)-i)
			for _, c := range p[i : i+n] {
				if m.left == 2 && c != '\r' || m.left == 1 && c != '\n' {
					return whole, errAnswerForm
				}
				m.left--
			}
			if i += n; m.left == 0 {
				m.end()
			}
		}
		if err != nil {
			return whole, err
		}
		if m.at == atKind && m.depth == 0 {
			m.bytes, m.elements = 0, 0
			whole++
		}
	}
	return whole, nil
}

// start begins a value.
func (m *messages) start(kind byte) error {
	if m.depth == 0 {
		if err := m.begin(kind); err != nil {
			return err
		}
	} else if kind == '>' {
		return errAnswerForm
	}
	m.kind, m.at = kind, inLine
	m.line, m.cr, m.minus, m.number = 0, false, false, 0
	return nil
}

// next takes a byte of a line.
func (m *messages) next(c byte) error {
	switch {
	case m.cr && c == '\n':
		return m.told()
	case m.cr || c == '\n':
		return errAnswerForm
	case c == '\r':
		m.cr = true
		return nil
	}
	m.line++
	if m.bytes++; m.bytes > answerBytes {
		return errAnswerSize
	}
	switch m.kind {
	case '+', '-', ':', ',', '(', '_', '#':
		return nil
	}
	switch {
	case c == '-' && m.line == 1:
		m.minus = true
	case c < '0' || c > '9':
		return errAnswerForm
	default:
		if m.number = 10*m.number + int(c-'0'); m.number > answerBytes {
			return errAnswerSize
		}
	}
	return nil
}

// told is called when a line is whole.
func (m *messages) told() error {
	count := m.number
	switch m.kind {
	case '+', '-', ',', '(':
		m.end()
		return nil
	case ':', '_', '#':
		if m.kind == '_' && m.line > 0 || m.kind == '#' && m.line != 1 || m.kind == ':' && (m.line == 0 || m.line > 20) {
			return errAnswerForm
		}
		m.end()
		return nil
	case '$', '!', '=', '*', '~', '>':
	case '%':
		count *= 2
	default:
		return errAnswerForm
	}
	switch {
	case m.line == 0, m.minus && (m.line != 2 || m.number != 1 || m.kind == '%'):
		return errAnswerForm
	case m.minus: // nothing, as version 2 says it
		m.end()
		return nil
	case m.kind == '$' || m.kind == '!' || m.kind == '=':
		if m.bytes += count; m.bytes > answerBytes {
			return errAnswerSize
		}
		m.at, m.left = inString, count+2
		return nil
	}
	if m.elements += count; m.elements > answerElements || m.depth == answerDepth {
		return errAnswerSize
	}
	if count == 0 {
		m.end()
		return nil
	}
	m.open[m.depth] = count
	m.depth++
	m.at = atKind
	return nil
}

// end is called when a value is whole, and with it may be what it is within.
func (m *messages) end() {
	m.at = atKind
	for m.depth > 0 {
		if m.open[m.depth-1]--; m.open[m.depth-1] > 0 {
			return
		}
		m.depth--
	}
}
