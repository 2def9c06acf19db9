//go:build !race

package directory

// someKeys is how many keys are loaded unless the command line says otherwise.
const someKeys = 50_000

const raced = false
