package upstream

import (
	"sync"
	"time"
)

// side is a direction in which an exchange may wait for its upstream.
type side uint8

const (
	sending   side = 1 << iota // for it to take what is sent
	receiving                  // for the next bytes of its response
	streaming                  // for anything: of a gRPC stream either side may be silent, not both
)

// watch expires when an exchange waits for its upstream, on either side, and
// nothing has moved on both for a time. It is made so that moving bytes costs
// no timer. Safe for concurrent use.
type watch struct {
	every  time.Duration // 0: it never expires
	expire func()        // called once, in a goroutine of its own

	mu    sync.Mutex
	timer *time.Timer
	armed bool
	waits side
	moved time.Time
	over  bool
}

// set says that a side has moved, and whether it waits now.
func (w *watch) set(s side, waits bool) {
	if w.every <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = time.Now()
	w.waits &^= s
	if waits {
		w.waits |= s
	}
	if w.waits != 0 && !w.over {
		w.arm(w.every)
	}
}

// arm has look called after d. w.mu is held.
func (w *watch) arm(d time.Duration) {
	switch {
	case w.armed:
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(d, w.look)
	default:
		w.timer.Reset(d)
	}
	w.armed = true
}

// look asks whether too much time has passed.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if w.over || w.waits == 0 {
		return
	}
	if left := w.every - time.Since(w.moved); left > 0 {
		w.arm(left)
		return
	}
	w.over = true
	w.expire()
}

// end ends the watch.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
