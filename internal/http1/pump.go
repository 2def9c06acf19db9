package http1

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// joinTime is how long a pump may go on once the response has ended.
const joinTime = time.Second

// bulkAfter is how many pieces in a row a body has filled when it is moved in
// larger ones.
const bulkAfter = 4

// pump moves a request body that is not held to the upstream. It owns the
// body and the connection's write side until it is joined.
type pump struct {
	u        *upstreamConn
	done     chan struct{} // nil: no pump was needed
	whole    bool          // everything was sent; read after join
	answered atomic.Bool   // the response head is there
}

// start begins moving body. length is its declared length, -1 for chunks.
func (p *pump) start(body exchange.Body, length int64, firstByte time.Duration) {
	p.done = make(chan struct{})
	go p.run(body, length, firstByte)
}

// run moves the body and then begins the wait for the response head.
func (p *pump) run(body exchange.Body, length int64, firstByte time.Duration) {
	defer close(p.done)
	u := p.u
	buf := u.pool.bufs.get(bodyBuffer)
	defer func() { u.pool.bufs.put(buf) }()
	const room = 16 // for a chunk's size before its data, and its CRLF behind
	size, full := heldBody, 0
	for left := length; ; {
		piece := buf[room : room+size]
		n, err := body.Read(piece)
		if length >= 0 {
			if left -= int64(n); left < 0 || left > 0 && err == io.EOF {
				err = errBodyEnd
			}
		}
		if err != nil && err != io.EOF {
			// The upstream must not take what it got for the whole.
			u.end(asBodyFault(err))
			return
		}
		data := piece[:n]
		if length < 0 {
			data = frameChunk(buf, room, n, err == io.EOF)
		}
		if len(data) > 0 {
			if _, werr := u.write(data); werr != nil {
				return // the reader of the response learns why
			}
		}
		if err == io.EOF {
			break
		}
		if full++; n < size {
			full = 0
		}
		if full == bulkAfter && size == heldBody {
			u.pool.bufs.put(buf)
			buf = u.pool.bufs.get(bulkBuffer)
			size = bulkBuffer - 2*room
		}
	}
	p.whole = true
	u.awaiting.arm(u.pool.sweeper.in(firstByte))
	if p.answered.Load() {
		u.awaiting.off()
	}
}

// frameChunk puts a chunk's frame around the n bytes at buf[room:], and the
// last chunk behind it.
func frameChunk(buf []byte, room, n int, last bool) []byte {
	from, to := room, room+n
	if n > 0 {
		const digits = "0123456789abcdef"
		from -= 2
		buf[from], buf[from+1] = '\r', '\n'
		for v := n; v > 0; v >>= 4 {
			from--
			buf[from] = digits[v&15]
		}
		to += copy(buf[to:], "\r\n")
	}
	if last {
		to += copy(buf[to:], "0\r\n\r\n")
	}
	return buf[from:to]
}

// join waits until the pump no longer touches the request body, and reports
// whether the request was sent whole. A pump that still waits for the client
// a second after the response has ended, or when the connection was broken
// off, is ended.
func (p *pump) join() (whole bool) {
	if p.done == nil {
		return p.whole
	}
	patience := joinTime
	if p.u.cause.Load() != nil {
		patience = 0
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-p.done:
	case <-wait.C:
		p.u.end(errShort)
		if stop := p.u.x.ReqStop; stop != nil {
			stop.Interrupt()
		}
		<-p.done
	}
	return p.whole
}

// bodyFault is asBodyFault, but says why x was cancelled if it was.
func bodyFault(x *exchange.Exchange, err error) error {
	if cause := x.Cause(); cause != nil {
		return causeFault(cause)
	}
	return asBodyFault(err)
}

// asBodyFault makes a fault of an error of a request body.
func asBodyFault(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return errBodyGone.Because(err)
}

// readWhole fills p with all of body.
func readWhole(body exchange.Body, p []byte) error {
	for n := 0; ; {
		m, err := body.Read(p[n:])
		n += m
		switch {
		case err == io.EOF && n == len(p):
			return nil
		case err == io.EOF:
			return errBodyEnd
		case err != nil:
			return err
		case n == len(p):
			// Only the end may follow.
			var one [1]byte
			if m, err := body.Read(one[:]); m > 0 || err != io.EOF {
				return errBodyEnd
			}
			return nil
		}
	}
}
