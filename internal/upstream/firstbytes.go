package upstream

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/fault"
)

var errHTTP1 = fault.New(fault.UpstreamError, "the target speaks HTTP/1.1, not HTTP/2: take protocol out of its upstream")

// http1Begin is how an answer in HTTP/1.1 begins, and none in HTTP/2: as a
// frame it would be longer than any may be.
var http1Begin = []byte("HTTP/1.")

// firstBytes is a connection to a target by prior knowledge. Its first bytes are
// looked at before HTTP/2 sees them, which would take an answer in HTTP/1.1 for
// a frame, or hear of nothing but the broken connection behind it. One
// goroutine may read while another writes.
type firstBytes struct {
	net.Conn
	http1  *atomic.Bool // of the pool: told what the target speaks
	passed atomic.Bool  // nothing is held

	mu   sync.Mutex // held while the first bytes are waited for
	seen bool
	held []byte // read, and not handed on yet
	err  error  // what ended the look; handed on behind held
}

// look reads the first bytes, unless it was done. c.mu is held.
func (c *firstBytes) look() {
	if c.seen {
		return
	}
	var buf [512]byte
	n := 0
	for c.err == nil && n < len(http1Begin) && bytes.HasPrefix(http1Begin, buf[:n]) {
		var more int
		more, c.err = c.Conn.Read(buf[n:])
		n += more
	}
	c.seen, c.held = true, bytes.Clone(buf[:n])
	switch {
	case bytes.HasPrefix(c.held, http1Begin):
		c.http1.Store(true)
		c.held, c.err = nil, errHTTP1
	case n > 0:
		c.http1.Store(false)
	}
}

func (c *firstBytes) Read(p []byte) (int, error) {
	if c.passed.Load() {
		return c.Conn.Read(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	n := copy(p, c.held)
	c.held = c.held[n:]
	if len(c.held) > 0 {
		return n, nil
	}
	c.passed.Store(c.err == nil)
	return n, c.err
}

// lookTime bounds how long the first bytes are waited for of a connection that
// is broken: what has come is there, and nothing more will.
const lookTime = time.Second

// Write sees to it, when the target has broken the connection, that what it
// said before is known when the error is.
func (c *firstBytes) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.passed.Load() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	c.SetReadDeadline(time.Now().Add(lookTime))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return n, err
}
