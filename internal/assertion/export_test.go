package assertion

// Bound sets how many bytes a remembers.
func Bound(a *Authority, bytes int64) { a.most = bytes }

// Remembered returns how many bytes a remembers, counted anew.
func Remembered(a *Authority) (bytes int64) {
	for i := range a.slots {
		if e := a.slots[i].Load(); e != nil {
			bytes += e.size()
		}
	}
	if bytes != a.bytes.Load() {
		return -1
	}
	return bytes
}
