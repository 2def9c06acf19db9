package http1

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errBodyTime        = fault.New(fault.RequestTimeout, "the request body did not arrive in time")
	errBodyGone        = fault.New(fault.ClientGone, "the client closed its connection inside the request body")
	errBodyInterrupted = fault.New(fault.ClientGone, "the rest of the request body was given up")
)

// bodyProgress is how much of a request body must come within BodyTimeout,
// bodyRate how much must come in a second, on average, of a body that takes
// longer in all.
const (
	bodyProgress = 1 << 10
	bodyRate     = 500
)

var continueResponse = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// requestBody is the exchange.Body of a request. After Continue or the first
// Read in the exchange's goroutine, one other goroutine may take it over.
type requestBody struct {
	c      *serverConn
	reader bodyReader
	taken  bool // somebody wants it; set by the exchange's goroutine

	complete    atomic.Bool // read to its clean end
	interrupted atomic.Bool

	whole []byte // the body, once Replay was asked for it
	given int    // how much of whole was read

	pace pace
}

// pace is how fast a body comes. What it measures is the time spent waiting
// for the client, in the sweeper's ticks: a reader that rests charges nobody.
type pace struct {
	waited time.Duration // for all that came
	came   int64         // bytes, framing included
	since  time.Duration // waited for what came of the next KiB
	recent int           // bytes of that KiB
}

// patience returns how long the next bytes may take, nothing if the body is
// too slow already. grace is BodyTimeout.
func (p *pace) patience(grace time.Duration) time.Duration {
	const most = 1 << 40 // bytes that buy time, below the overflow
	all := max(grace, time.Duration(min(p.came, most))*(time.Second/bodyRate))
	return min(grace-p.since, all-p.waited)
}

// add counts n bytes that came after waiting for so long.
func (p *pace) add(n int, waited time.Duration) {
	p.waited += waited
	p.came += int64(n)
	p.since += waited
	if p.recent += n; p.recent >= bodyProgress {
		p.recent, p.since = 0, 0
	}
}

func (b *requestBody) begin(f framing, length int64) {
	b.reader.begin(&b.c.src, f, length)
	b.taken, b.whole, b.given = false, nil, 0
	b.interrupted.Store(false)
	b.complete.Store(f == noBody)
	b.pace = pace{}
}

// Read implements exchange.Body. Its errors are *fault.Error.
func (b *requestBody) Read(p []byte) (int, error) {
	if !b.taken {
		if err := b.Continue(); err != nil {
			return 0, err
		}
	}
	if b.whole != nil {
		n := copy(p, b.whole[b.given:])
		if b.given += n; b.given == len(b.whole) {
			return n, io.EOF
		}
		return n, nil
	}
	if b.interrupted.Load() {
		return 0, errBodyInterrupted
	}
	n, err := b.reader.Read(p)
	b.c.x.BytesIn += int64(n)
	switch {
	case err == io.EOF:
		b.complete.Store(true)
	case err == nil:
	case b.interrupted.Load():
		err = errBodyInterrupted
	case err == errCut:
		err = errBodyGone
	}
	return n, err
}

// Continue implements exchange.Body. It must be called, or the first Read
// done, in the goroutine of the exchange.
func (b *requestBody) Continue() error {
	if b.taken {
		return nil
	}
	b.taken = true
	if !b.c.x.Req.Expect100 || len(b.c.src.buffered()) > 0 || b.c.sink.headed {
		return nil // a client that has begun does not wait
	}
	if err := b.c.write(continueResponse); err != nil {
		return errBodyGone.Because(err)
	}
	return nil
}

// Interrupt ends a Read that is waiting for the client, from any goroutine.
// The rest of the body is lost, and with it the connection.
func (b *requestBody) Interrupt() {
	if b.complete.Load() {
		return
	}
	b.interrupted.Store(true)
	b.c.conn.SetReadDeadline(past)
}

// Trailers implements exchange.Body.
func (b *requestBody) Trailers() *exchange.Head { return b.reader.trailers() }

// Replay implements exchange.Body. The view stays valid until the exchange is
// over: nothing more is read of a body that is held.
func (b *requestBody) Replay() ([]byte, bool) {
	if b.whole == nil && !b.taken {
		view, ok := b.reader.hold()
		if !ok {
			return nil, false
		}
		b.whole, b.taken = view, true
		b.c.x.BytesIn = int64(len(view))
		b.complete.Store(true)
	}
	return b.whole, b.whole != nil
}
