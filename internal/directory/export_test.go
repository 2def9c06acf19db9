package directory

import "github.com/warder-gateway/warder/internal/exchange"

// Holds reports whether memory has a key, whoever it belongs to.
func Holds(m *Memory, ref exchange.KeyRef) bool {
	return m.held.Load().table.get(ref.ID) != nil
}
