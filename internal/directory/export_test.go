package directory

import "time"

// AskWithin gives the store another time to answer when it is asked for a key
// that memory lacks. To be called before the memory is used.
func (m *Memory) AskWithin(d time.Duration) { m.asks.within = d }
