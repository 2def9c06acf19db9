package upstream

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// loan is a request body in the hands of the transport, which reads it in a
// goroutine of its own and may still do so when the exchange is over. It can
// be taken back: then nobody reads the body any more.
type loan struct {
	c       *call
	body    exchange.Body
	client  interface{ Interrupt() } // ends a pending Read of body; nil: nothing does
	left    int64                    // of a declared length; -1: none was declared
	trailer http.Header              // has a place for each field that may come at the end

	mu      sync.Mutex
	reading bool
	stopped bool          // client was interrupted
	over    bool          // taken back, or nobody wants more of it
	failed  error         // sticky; io.EOF at the end
	still   chan struct{} // closed when nothing more will be read
	rest    *sync.Cond    // reading has ended
}

func newLoan(c *call, body exchange.Body, length int64) *loan {
	l := &loan{c: c, body: body, client: c.x.ReqStop, left: length, still: make(chan struct{})}
	l.rest = sync.NewCond(&l.mu)
	return l
}

// Read implements io.Reader, for the transport.
func (l *loan) Read(p []byte) (int, error) {
	l.mu.Lock()
	switch {
	case l.over || l.reading:
		l.mu.Unlock()
		return 0, errTakenBack
	case l.failed != nil:
		l.mu.Unlock()
		return 0, l.failed
	}
	l.reading = true
	l.mu.Unlock()
	l.c.idle.set(sending, false) // what was given is gone: now the client is waited for
	n, err := l.read(p)
	l.c.idle.set(sending, true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading, l.failed = false, err
	if err != nil {
		l.finish()
	}
	l.rest.Broadcast()
	return n, err
}

// read reads from the client. A body that fails ends the call: the upstream
// must not take what it got for the whole. So does one that panics: here we
// are in a goroutine of the transport.
func (l *loan) read(p []byte) (n int, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			f := errBug("reading the request body", bug)
			l.c.cancel(f)
			n, err = 0, f
		}
	}()
	n, err = l.body.Read(p)
	if l.left >= 0 {
		if l.left -= int64(n); l.left < 0 || l.left > 0 && err == io.EOF {
			err = errBodyEnd
		}
	}
	switch {
	case err == io.EOF:
		l.fillTrailer()
	case err != nil:
		f := faultOf(err, errBodyGone)
		if l.wanted() {
			l.c.cancel(f)
		}
		err = f
	}
	return n, err
}

// wanted reports whether somebody still reads.
func (l *loan) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over
}

func (l *loan) fillTrailer() {
	if l.trailer == nil {
		return
	}
	if t := l.body.Trailers(); t != nil {
		for i := range t.Fields {
			if f := &t.Fields[i]; !f.Drop {
				name := http.CanonicalHeaderKey(string(f.Name))
				if was, announced := l.trailer[name]; announced {
					l.trailer[name] = append(was, string(f.Value))
				}
			}
		}
	}
}

// Close implements io.Closer, for the transport, which wants no more. A Read
// that waits for the client is interrupted: the transport tells nothing before
// it has ended.
func (l *loan) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give()
	return nil
}

// give ends the loan. l.mu is held.
func (l *loan) give() {
	l.over = true
	l.finish()
	if l.reading && !l.stopped && l.client != nil {
		l.stopped = true
		l.client.Interrupt()
	}
}

// finish notes that nothing more will be read. l.mu is held.
func (l *loan) finish() {
	select {
	case <-l.still:
	default:
		close(l.still)
	}
}

// takeBack returns when nobody reads the body any more. A Read that waits for
// the client longer than patience is interrupted.
func (l *loan) takeBack(patience time.Duration) {
	if patience > 0 {
		wait := time.NewTimer(patience)
		defer wait.Stop()
		select {
		case <-l.still:
		case <-wait.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give()
	for l.reading {
		l.rest.Wait()
	}
}
