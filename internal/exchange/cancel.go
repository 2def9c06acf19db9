package exchange

import (
	"context"
	"sync"
)

// Work is something done on behalf of an exchange that can be cut from
// another goroutine, such as waiting for an upstream's answer.
type Work interface {
	// Cut ends the work soon. It neither blocks nor calls the exchange.
	Cut(cause error)
}

// lifeline is the one part of an exchange that other goroutines may touch. It
// is kept from one request to the next.
type lifeline struct {
	mu     sync.Mutex
	cause  error // why the exchange was cancelled; nil: it was not
	ctx    context.Context
	cancel context.CancelCauseFunc
	work   Work
}

// line returns the lifeline of x, made at its first use.
func (x *Exchange) line() *lifeline {
	if l := x.life.Load(); l != nil {
		return l
	}
	x.life.CompareAndSwap(nil, new(lifeline))
	return x.life.Load()
}

// Cancel ends the exchange early: its context is cancelled with cause, and
// the work attached to it is cut. Only the first cause counts. It may be
// called from any goroutine, but whoever does so must see to it that x is not
// reset at the same time.
func (x *Exchange) Cancel(cause error) {
	l := x.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = cause
	if l.cancel != nil {
		l.cancel(cause)
	}
	if l.work != nil {
		l.work.Cut(cause)
	}
}

// Cause returns why the exchange was cancelled, nil if it was not.
func (x *Exchange) Cause() error {
	l := x.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Attach makes Cancel cut w, in place of what was attached before. It returns
// the cause if x is cancelled already; w is then not attached.
func (x *Exchange) Attach(w Work) error {
	l := x.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work = nil
	if l.cause == nil {
		l.work = w
	}
	return l.cause
}

// Detach ends what Attach began. After it returned, nothing is cut any more.
func (x *Exchange) Detach() {
	l := x.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work = nil
}

// Context returns the context of the exchange: cancelled when the client is
// gone, the exchange is over, or the gateway cuts it. It is made when first
// asked for, so that only policies that do I/O pay for it.
func (x *Exchange) Context() context.Context {
	l := x.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancelCause(context.Background())
		if l.cause != nil {
			l.cancel(l.cause)
		}
	}
	return l.ctx
}

// reset ends the context and forgets what happened.
func (l *lifeline) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(context.Canceled)
	}
	l.cause, l.ctx, l.cancel, l.work = nil, nil, nil, nil
}
