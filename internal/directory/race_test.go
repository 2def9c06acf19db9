//go:build race

package directory

// someKeys is how many keys are loaded unless the command line says otherwise:
// the race detector makes SQLite ten times as slow.
const someKeys = 5_000

const raced = true // sync.Pool forgets at random then
