//go:build race

package http1

// poison overwrites a buffer that was given back, so that a view kept for too
// long is caught by a test.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xDD
	}
}
