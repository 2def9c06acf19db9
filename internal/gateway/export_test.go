package gateway

import (
	"context"
	"net/http"

	"github.com/warder-gateway/warder/internal/exchange"
)

// ServeLate has a request of HTTP/2 come to its handler when its connection is
// over.
func (g *Gateway) ServeLate(w http.ResponseWriter, r *http.Request) {
	h := &handed{}
	h.leave()
	g.h2.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), connKey{}, h)))
}

// Look looks at all streams now, and judges them all.
func (g *Gateway) Look() {
	g.streams.all.Store(true)
	g.streams.look()
}

// JudgeByNothing judges a stream by a snapshot that is not there, which panics.
func (g *Gateway) JudgeByNothing(x *exchange.Exchange) {
	g.streams.judged(&stream{x: x}, nil, g.Now())
}

// Streams returns how many answers go on after their head, and how many of
// them have given their snapshot back.
func (g *Gateway) Streams() (open, given int) {
	for i := range g.streams.shards {
		d := &g.streams.shards[i]
		d.mu.Lock()
		open += len(d.list)
		for _, t := range d.list {
			if t.lent.s == nil {
				given++
			}
		}
		d.mu.Unlock()
	}
	return open, given
}

// CrewResting returns how many goroutines wait for streams of HTTP/2.
func (g *Gateway) CrewResting() (n int) {
	for i := range g.h2.crews.crews {
		c := &g.h2.crews.crews[i]
		c.mu.Lock()
		n += len(c.resting)
		c.mu.Unlock()
	}
	return n
}
