package events

import (
	"encoding/binary"
	"strconv"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// A packed trail is its steps, one after the other: check (4 bytes), outcome,
// code, number of operands (1 byte each), then the operands. An operand is
// its name and its text, each after its length (1 byte).
const stepBytes = 7

// lastBytes is the room that is kept for what the last step saw: of a refusal
// it says why.
const lastBytes = 160

// packTrail writes the trail to dst and returns the number of its steps. Room
// for every step is kept; operands that do not fit are cut with a mark, or
// left out.
func packTrail(dst []byte, t *exchange.Trail) int {
	steps := t.Steps()
	at := 0
	for i := range steps {
		s := &steps[i]
		limit := len(dst)
		if after := len(steps) - i - 1; after > 0 {
			limit -= after*stepBytes + lastBytes
		}
		binary.BigEndian.PutUint32(dst[at:], s.Check)
		dst[at+4], dst[at+5] = byte(s.Outcome), byte(s.Code)
		count := at + 6
		at += stepBytes
		dst[count] = 0
		for _, op := range s.Operands() {
			var number [20]byte
			text := op.Text
			if text == "" {
				text = string(strconv.AppendInt(number[:0], op.Number, 10))
			}
			room := limit - at - 2 - len(op.Name)
			if room < min(len(text), len(mark)) || len(op.Name) > 255 {
				break
			}
			dst[at] = byte(len(op.Name))
			at += 1 + copy(dst[at+1:], op.Name)
			n := copyCut(dst[at+1:at+1+min(room, 255)], text)
			dst[at] = byte(n)
			at += 1 + n
			dst[count]++
		}
	}
	return len(steps)
}

// unpackTrail reads what packTrail wrote, into memory of its own.
func unpackTrail(b []byte, steps int) *exchange.Trail {
	t := &exchange.Trail{}
	field := func() string {
		s := string(b[1 : 1+b[0]])
		b = b[1+b[0]:]
		return s
	}
	for range steps {
		t.Begin(binary.BigEndian.Uint32(b))
		outcome, code, n := exchange.Outcome(b[4]), fault.Code(b[5]), b[6]
		b = b[stepBytes:]
		for range n {
			name := field()
			t.Saw(name, field())
		}
		t.End(outcome, code)
	}
	return t
}
