package events

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// AccessLog writes one line of JSON per record, behind the back of the
// requests. Lines wait in a queue of fixed length and leave it in the order
// in which they entered; when the writer is so slow that the queue is full,
// they are dropped and counted. Safe for concurrent use.
//
// The queue is a ring of slots with a sequence number each: whoever moves the
// tail forward owns a slot and writes its line there, so that requests share
// nothing but the tail. A slot keeps its memory; a line has at most about
// 9 KiB, a usual one 600 bytes.
type AccessLog struct {
	to    atomic.Pointer[[]io.Writer]
	slots []slot
	mask  uint64

	tail    atomic.Uint64 // next slot to be written
	_       [56]byte      // tail alone on its cache line
	head    uint64        // next slot to be read; of the writer
	dropped atomic.Uint64

	asleep atomic.Bool // the writer waits for wake
	wake   chan struct{}
	stop   chan struct{}
	once   sync.Once
	done   chan struct{}
}

type slot struct {
	// seq is the position the slot waits for: n when position n may be
	// written, n+1 when it may be read.
	seq  atomic.Uint64
	line []byte
}

const (
	// linger is how long the writer lets lines gather after it was woken:
	// waking it for every line would cost more than the lines.
	linger    = 5 * time.Millisecond
	batchSize = 64 << 10
)

// NewAccessLog starts an access log that queues at least the given number of
// lines. Redirect says where they go; Close ends the log.
func NewAccessLog(lines int) *AccessLog {
	size := 2 // below that a full slot would look like an empty one
	for size < lines {
		size *= 2
	}
	a := &AccessLog{
		slots: make([]slot, size),
		mask:  uint64(size) - 1,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for i := range a.slots {
		a.slots[i].seq.Store(uint64(i))
	}
	go a.run()
	return a
}

// Log queues the line of a record. It never waits. The record is not kept.
func (a *AccessLog) Log(r *Record) {
	s, at := a.reserve()
	if s == nil {
		a.dropped.Add(1)
		return
	}
	s.line = appendLine(s.line[:0], r)
	s.seq.Store(at + 1)
	if a.asleep.Load() && a.asleep.CompareAndSwap(true, false) {
		a.wake <- struct{}{} // never blocks: one token per sleep
	}
}

// reserve takes the next slot of the queue, nil if it is full.
func (a *AccessLog) reserve() (s *slot, at uint64) {
	for {
		at = a.tail.Load()
		s = &a.slots[at&a.mask]
		switch seq := s.seq.Load(); {
		case seq == at:
			if a.tail.CompareAndSwap(at, at+1) {
				return s, at
			}
		case seq < at:
			return nil, 0
		}
	}
}

// Redirect makes the log write to every writer of to, and to no other,
// several lines in one write. A writer that fails loses the lines of that
// write; the others still get them. A write that has begun may still reach
// the writers before; closing these loses its lines, counted.
func (a *AccessLog) Redirect(to ...io.Writer) { a.to.Store(&to) }

// Lines returns the number of lines that were queued.
func (a *AccessLog) Lines() uint64 { return a.tail.Load() }

// Dropped returns the number of lines that were lost: the queue was full, or
// a writer failed.
func (a *AccessLog) Dropped() uint64 { return a.dropped.Load() }

// Close writes what is queued and ends the log. It is called after the last
// Log. When ctx ends before a writer takes the lines, they are lost and the
// cause of ctx is returned.
func (a *AccessLog) Close(ctx context.Context) error {
	a.once.Do(func() { close(a.stop) })
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *AccessLog) run() {
	defer close(a.done)
	batch := make([]byte, 0, batchSize)
	for {
		for {
			var lines int
			batch, lines = a.take(batch[:0])
			if lines == 0 {
				break
			}
			a.write(batch, lines)
		}
		a.asleep.Store(true)
		if a.ready() && a.asleep.CompareAndSwap(true, false) {
			continue // a line came before anybody could see that we sleep
		}
		select {
		case <-a.wake:
		case <-a.stop:
			for batch, lines := a.take(batch[:0]); lines > 0; batch, lines = a.take(batch[:0]) {
				a.write(batch, lines)
			}
			return
		}
		select {
		case <-time.After(linger):
		case <-a.stop:
		}
	}
}

// ready reports whether a line may be read.
func (a *AccessLog) ready() bool {
	return a.slots[a.head&a.mask].seq.Load() == a.head+1
}

// take moves lines from the queue to batch until it is full.
func (a *AccessLog) take(batch []byte) (_ []byte, lines int) {
	for a.ready() && len(batch) < batchSize {
		s := &a.slots[a.head&a.mask]
		batch = append(batch, s.line...)
		s.seq.Store(a.head + uint64(len(a.slots)))
		a.head++
		lines++
	}
	return batch, lines
}

func (a *AccessLog) write(batch []byte, lines int) {
	to := a.to.Load()
	if to == nil {
		a.dropped.Add(uint64(lines))
		return
	}
	for _, w := range *to {
		if _, err := w.Write(batch); err != nil {
			a.dropped.Add(uint64(lines))
		}
	}
}
