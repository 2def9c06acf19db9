package snapshot

import (
	"crypto/tls"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
)

// countersWithin is what a request waits for a server of counters at most.
const countersWithin = 100 * time.Millisecond

// compileCounters says by what limits are counted. The connections to a server
// outlive the snapshot while its address stays the same; the memory outlives
// all snapshots.
func (b *build) compileCounters() {
	b.s.Counters = b.Counters
	written := string(b.doc.Counters.URL.Reveal())
	address, err := counters.ParseAddress(written)
	if err != nil {
		if len(b.doc.Problems()) == 0 { // else it may have been said already, or could not be resolved
			b.complain(b.doc.CountersPath(), err.Error(), "")
		}
		return
	}
	var ca []byte
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := string(b.doc.Counters.CAFile); file != "" {
		if !address.TLS {
			b.complain("counters.caFile", "has no use without TLS", "write rediss:// or remove it")
			return
		}
		if t.RootCAs, ca, err = b.pool(file); err != nil {
			b.complain("counters.caFile", err.Error(), "")
			return
		}
	}
	if address.InMemory() {
		return
	}
	b.s.Counters = borrow(&b.s.loans, poolKey("counters", written, string(ca)), func() *counters.Remote {
		return counters.NewRemote(counters.RemoteConfig{Address: address, TLS: t, Within: countersWithin, Local: b.Counters, Log: b.Log})
	})
}
