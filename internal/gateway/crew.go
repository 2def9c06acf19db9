package gateway

import (
	"sync"
	"sync/atomic"
)

const (
	crews    = 16 // connections are dealt out among them: no lock is common to all
	crewRest = 16 // goroutines of each that wait for work
)

// crew serves streams of HTTP/2 on goroutines that it keeps. net/http gives
// each stream a new one, whose stack would have to grow, by being copied, for
// every request again; those of the crew have grown.
type crew struct {
	serve func(*http2Stream) // does not panic

	mu      sync.Mutex
	resting []chan *http2Stream // the last to rest is the last, and called first
	over    bool                // nobody rests any more
	done    sync.WaitGroup      // guarded by mu when it grows
}

// do returns when t is served.
func (c *crew) do(t *http2Stream) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		c.serve(t)
		return
	}
	if n := len(c.resting); n > 0 {
		call := c.resting[n-1]
		c.resting = c.resting[:n-1]
		c.mu.Unlock()
		call <- t
	} else {
		c.done.Add(1)
		c.mu.Unlock()
		go c.run(t)
	}
	<-t.served
}

func (c *crew) run(t *http2Stream) {
	defer c.done.Done()
	call := make(chan *http2Stream, 1)
	for t != nil {
		c.serve(t)
		t.served <- struct{}{}
		if !c.rest(call) {
			return
		}
		t = <-call
	}
}

// rest has the next call come to whoever asks; false: there is none to come.
func (c *crew) rest(call chan *http2Stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || len(c.resting) >= crewRest {
		return false
	}
	c.resting = append(c.resting, call)
	return true
}

// stop ends the goroutines and waits for them. Streams that still come are
// served on those of net/http.
func (c *crew) stop() {
	c.mu.Lock()
	c.over = true
	resting := c.resting
	c.resting = nil
	c.mu.Unlock()
	for _, call := range resting {
		close(call)
	}
	c.done.Wait()
}

// crewSet deals connections out.
type crewSet struct {
	crews [crews]crew
	next  atomic.Uint32
}

func newCrewSet(serve func(*http2Stream)) *crewSet {
	s := &crewSet{}
	for i := range s.crews {
		s.crews[i].serve = serve
	}
	return s
}

func (s *crewSet) pick() *crew { return &s.crews[s.next.Add(1)%crews] }

func (s *crewSet) stop() {
	for i := range s.crews {
		s.crews[i].stop()
	}
}
