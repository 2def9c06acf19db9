package counters

import "time"

// windows holds the sliding windows of one shard: the time of every call that
// is still in one. They cost memory for each call, so that calls are what is
// bounded.
type windows struct {
	byKey map[Key]*window
	held  int // words that all of them take
	most  int // bound of held
}

// window is a ring of times, oldest first. It never holds more than burst.
type window struct {
	times []int64
	first int
	n     int
	burst int64
	span  int64
}

const (
	windowWords = 12 // that a window takes besides its times, its place in the map included
	newWindow   = 4  // times it has room for at first
)

// newWindows returns windows that take about five words for each of so many
// buckets; the two largest always have room.
func newWindows(buckets int) windows {
	return windows{byKey: map[Key]*window{}, most: max(5*buckets, 2*(MaxWindow+windowWords))}
}

// look tells the state of c's window and whether it has a call left.
func (ws *windows) look(c *Charge, st *State, at int64) bool {
	w := ws.byKey[c.Key]
	if w == nil {
		*st = State{Remaining: c.Burst}
		return true
	}
	w.prune(at)
	*st = State{Remaining: max(w.burst-int64(w.n), 0)}
	if w.n > 0 {
		st.ResetIn = time.Duration(w.at(w.n-1) + w.span - at)
	}
	if st.Remaining == 0 {
		st.RetryIn = time.Duration(w.at(0) + w.span - at)
	}
	return st.Remaining > 0
}

// push adds a call, for which look has found room, and returns how many
// windows in use were forgotten for it.
func (ws *windows) push(c *Charge, at int64) (forgotten uint64) {
	w := ws.byKey[c.Key]
	if w == nil {
		w = &window{burst: c.Burst, span: int64(c.Period) * c.Burst}
		forgotten = ws.room(w, windowWords, at)
		ws.byKey[c.Key] = w
	}
	if w.n == len(w.times) {
		size := int(min(max(2*int64(len(w.times)), newWindow), w.burst))
		forgotten += ws.room(w, size-len(w.times), at)
		times := make([]int64, size)
		for i := range w.n {
			times[i] = w.at(i)
		}
		w.times, w.first = times, 0
	}
	w.times[(w.first+w.n)%len(w.times)] = at
	w.n++
	return forgotten
}

// learn adds calls until the window knows of as many as another counter does.
// When they were made it did not say: they count as made now.
func (ws *windows) learn(c *Charge, st *State, at int64) {
	var own State
	for ws.look(c, &own, at) && own.Remaining > st.Remaining {
		ws.push(c, at)
	}
}

// room makes room for so many words. Of a handful of windows, those that are
// empty are dropped, and at the bound the one that has the smallest part of its
// calls in use; never the one that room is made for.
func (ws *windows) room(keep *window, words int, at int64) (forgotten uint64) {
	ws.held += words
	for ws.held > ws.most || words > 0 {
		var key Key
		var least *window
		seen := 0
		for k, w := range ws.byKey { // from a random one on
			if seen++; seen > sample {
				break
			}
			if w == keep {
				continue
			}
			if w.prune(at); w.n == 0 {
				ws.drop(k, w)
			} else if least == nil || int64(w.n)*least.burst < int64(least.n)*w.burst {
				key, least = k, w
			}
		}
		words = 0 // one look is taken in any case
		if ws.held <= ws.most {
			break
		}
		if least != nil {
			ws.drop(key, least)
			forgotten++
		}
	}
	return forgotten
}

func (ws *windows) drop(k Key, w *window) {
	ws.held -= windowWords + len(w.times)
	delete(ws.byKey, k)
}

// at returns the time of call i.
func (w *window) at(i int) int64 { return w.times[(w.first+i)%len(w.times)] }

// prune drops the calls that have left the window.
func (w *window) prune(at int64) {
	for w.n > 0 && w.at(0) <= at-w.span {
		w.first = (w.first + 1) % len(w.times)
		w.n--
	}
}
