package http1

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/warder-gateway/warder/internal/fault"
)

// Sizes of buffers: what most heads need, a body that is held whole with a
// head before it, the largest head, and what a long body is moved through.
const (
	smallBuffer = 4 << 10
	bodyBuffer  = heldBody + smallBuffer
	largeBuffer = maxHeaderSize + smallBuffer
	bulkBuffer  = 128 << 10

	heldBody = 16 << 10 // a body up to this size is held whole and goes with its head in one write
)

// buffers lends buffers of the four sizes.
type buffers struct{ small, body, large, bulk sync.Pool }

// get returns a buffer of at least n bytes, n at most bulkBuffer.
func (b *buffers) get(n int) []byte {
	switch {
	case n <= smallBuffer:
		if p, _ := b.small.Get().(*[smallBuffer]byte); p != nil {
			return p[:]
		}
		return new([smallBuffer]byte)[:]
	case n <= bodyBuffer:
		if p, _ := b.body.Get().(*[bodyBuffer]byte); p != nil {
			return p[:]
		}
		return new([bodyBuffer]byte)[:]
	case n <= largeBuffer:
		if p, _ := b.large.Get().(*[largeBuffer]byte); p != nil {
			return p[:]
		}
		return new([largeBuffer]byte)[:]
	}
	if p, _ := b.bulk.Get().(*[bulkBuffer]byte); p != nil {
		return p[:]
	}
	return new([bulkBuffer]byte)[:]
}

// put takes a buffer back that get returned. Views into it are dead.
func (b *buffers) put(p []byte) {
	p = p[:cap(p)]
	poison(p)
	switch len(p) {
	case smallBuffer:
		b.small.Put((*[smallBuffer]byte)(p))
	case bodyBuffer:
		b.body.Put((*[bodyBuffer]byte)(p))
	case largeBuffer:
		b.large.Put((*[largeBuffer]byte)(p))
	case bulkBuffer:
		b.bulk.Put((*[bulkBuffer]byte)(p))
	}
}

// errCut is the end of a connection inside a message.
var errCut = errors.New("the connection ended inside a message")

// source reads messages from a connection. Views into its buffer stay valid
// until the message is released.
type source struct {
	bufs *buffers
	buf  []byte // nil while nothing is buffered and nobody reads
	r, w int    // what was read from conn and not taken yet is buf[r:w]
	keep int    // buf[:keep] is in use by views
	old  []byte // a buffer that views are in, put aside when it was full

	// read waits for bytes; it knows the deadlines.
	read func(p []byte) (int, error)
	// first is read for an idle connection, which has no buffer: it lends one
	// when bytes are there. nil: read is used.
	first func() (buf []byte, n int, err error)
}

// buffered returns what was read from the connection and not taken yet.
func (s *source) buffered() []byte { return s.buf[s.r:s.w] }

// release ends the views of the message before, and gives the buffer back if
// nothing of the next message is in it.
func (s *source) release() {
	if s.old != nil {
		s.bufs.put(s.old)
		s.old = nil
	}
	s.keep = 0
	if s.r == s.w && s.buf != nil {
		s.bufs.put(s.buf)
		s.buf, s.r, s.w = nil, 0, 0
	}
}

// fill reads more bytes behind those buffered. It returns an error only if
// none came. need is how long the buffered bytes may become in all.
func (s *source) fill(need int) error {
	var n int
	var err error
	if s.buf == nil && s.first != nil {
		s.buf, n, err = s.first()
	} else {
		s.room(need)
		n, err = s.read(s.buf[s.w:])
	}
	s.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// room makes buf able to hold need bytes from r on; need is more than what is
// buffered.
func (s *source) room(need int) {
	if s.buf == nil {
		s.buf = s.bufs.get(need)
		return
	}
	if s.r == s.w {
		s.r, s.w = s.keep, s.keep
	}
	if s.r+need <= len(s.buf) {
		return
	}
	if s.keep == 0 && need <= len(s.buf) {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
		return
	}
	next := s.bufs.get(need)
	n := copy(next, s.buf[s.r:s.w])
	if s.keep > 0 {
		s.old = s.buf
	} else {
		s.bufs.put(s.buf)
	}
	s.buf, s.r, s.w, s.keep = next, 0, n, 0
}

// head returns the next message head, its final empty line included, as a
// view. size bounds it. early judges what has come when it is not whole yet;
// began is called once after the first byte.
func (s *source) head(size int, early func(b []byte, from int) *fault.Error, began func() error) ([]byte, error) {
	seen := 0
	for {
		b := s.buffered()
		if len(b) > 0 {
			if i := bytes.Index(b[max(0, seen-3):], headEnd); i >= 0 {
				end := max(0, seen-3) + i + len(headEnd)
				if end > size {
					return b[:size], errHeadSize
				}
				s.r += end
				s.keep = s.r
				return b[:end:end], nil
			}
			if f := early(b, seen); f != nil {
				return b, f
			}
			if len(b) >= size {
				return b, errHeadSize
			}
			if seen == 0 {
				if err := began(); err != nil {
					return b, err
				}
			}
			seen = len(b)
		}
		err := s.fill(min(size, max(smallBuffer, 2*len(b))))
		switch {
		case err == nil:
		case len(b) > 0 && err == io.EOF:
			return s.buffered(), errCut
		default:
			return s.buffered(), err
		}
	}
}

// line returns the next line without its CRLF. It holds at most size bytes
// and no other control character.
func (s *source) line(size int, tooLong *fault.Error) ([]byte, error) {
	seen := 0
	for {
		b := s.buffered()
		if f := peekLine(b, seen); f != nil {
			return nil, f
		}
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			n := seen + i
			if n-1 > size {
				return nil, tooLong
			}
			s.r += n + 1
			return b[: n-1 : n-1], nil
		}
		if len(b) > size+1 {
			return nil, tooLong
		}
		seen = len(b)
		if err := s.fill(size + 2); err != nil {
			return nil, cutShort(err)
		}
	}
}

// peekLine is peek for one line, which ends b's interest.
func peekLine(b []byte, from int) *fault.Error {
	for i := from; i < len(b); i++ {
		c := b[i]
		if i > 0 && b[i-1] == '\r' && c != '\n' {
			return errBareCR
		}
		switch {
		case c == '\n':
			if i == 0 || b[i-1] != '\r' {
				return errBareLF
			}
			return nil
		case c != '\r' && class[c]&isValue == 0:
			return errControl
		}
	}
	return nil
}

// take reads body bytes: from the buffer first, then from the connection.
func (s *source) take(p []byte) (int, error) {
	if s.r < s.w {
		n := copy(p, s.buf[s.r:s.w])
		s.r += n
		return n, nil
	}
	return s.read(p)
}

func cutShort(err error) error {
	if err == io.EOF {
		return errCut
	}
	return err
}
