package http1

import (
	"crypto/tls"
	"errors"
	"net"
)

// records is the connection under a tls.Conn. It hands over the bytes of one
// record per call at most, so that between two records tls.Conn holds nothing
// that was not decrypted yet: what follows waits here, where it can be seen,
// and while nothing has come there is no buffer. Only the goroutine that reads
// from the tls.Conn uses it.
type records struct {
	net.Conn // raw, the quickest way
	raw      net.Conn
	bufs     *buffers
	first    func() (buf []byte, n int, err error) // see source
	buf      []byte                                // nil while nothing is buffered and nobody reads
	r, w     int                                   // what came and was not handed over yet is buf[r:w]
	head     int                                   // bytes of the record's header handed over, while it is not whole
	left     int                                   // bytes of the record still to be handed over, behind a whole header
	still    bool                                  // nothing is handed over
	one      [1]byte
}

func newRecords(c net.Conn, bufs *buffers) *records {
	return &records{Conn: fast(c), raw: c, bufs: bufs, first: firstReader(c, bufs, bodyBuffer)}
}

// recordHeader is the size of a record's header; its last two bytes are the
// length of what follows (RFC 8446 section 5.1).
const recordHeader = 5

// Read implements net.Conn.
func (s *records) Read(p []byte) (int, error) {
	if s.still {
		return 0, errStill
	}
	if s.r == s.w {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	var n int
	if s.left > 0 && s.head == 0 {
		n = copy(p[:min(len(p), s.left)], s.buf[s.r:s.w])
		s.left -= n
	} else {
		n = copy(p[:min(len(p), recordHeader-s.head)], s.buf[s.r:s.w])
		for _, c := range p[:n] {
			if s.head++; s.head > recordHeader-2 {
				s.left = s.left<<8 | int(c)
			}
		}
		if s.head == recordHeader {
			s.head = 0
		}
	}
	if s.r += n; s.r == s.w {
		s.release()
	}
	return n, nil
}

// fill waits for what comes, which may be more than one record.
func (s *records) fill() (err error) {
	var n int
	if s.first != nil {
		s.buf, n, err = s.first()
	} else {
		s.buf = s.bufs.get(bodyBuffer)
		n, err = s.Conn.Read(s.buf)
	}
	if s.r, s.w = 0, n; n == 0 {
		s.release()
		return err
	}
	return nil
}

// release gives the buffer back and drops what is in it.
func (s *records) release() {
	if s.buf != nil {
		s.bufs.put(s.buf)
		s.buf, s.r, s.w = nil, 0, 0
	}
}

// await waits until a record, or a part of one, has come from the socket,
// unless c, the tls.Conn over s, has plaintext: then it gives a byte of it.
func (s *records) await(c *tls.Conn) (b byte, ok bool, err error) {
	s.still = true
	n, err := c.Read(s.one[:])
	s.still = false
	switch {
	case n > 0:
		return s.one[0], true, nil
	case !errors.Is(err, errStill):
		return 0, false, err
	case s.r < s.w:
		return 0, false, nil
	}
	return 0, false, s.fill()
}

// drained reports whether nothing that came was left unread by the user of c,
// the TLS client over s: no record, no part of one, and no plaintext. Then
// only the socket can hold something. It waits for nothing.
func (s *records) drained(c *tls.Conn) bool {
	if s.r < s.w || s.head > 0 || s.left > 0 {
		return false
	}
	// A client that holds plaintext gives it; one that does not asks for the
	// next record's header, and is told that there is none yet.
	s.still = true
	n, err := c.Read(s.one[:])
	s.still = false
	return n == 0 && errors.Is(err, errStill)
}

// errStill is the error of a Read that nothing is handed over to. It is
// temporary: a tls.Conn forgets it.
var errStill net.Error = stillError{}

type stillError struct{}

func (stillError) Error() string   { return "nothing is read now" }
func (stillError) Timeout() bool   { return false }
func (stillError) Temporary() bool { return true }
