package keys

import (
	"net/http"

	"github.com/warder-gateway/warder/internal/secret"
)

// SetTransport makes the set fetch through rt; dials are then not judged.
func (r *Remote) SetTransport(rt http.RoundTripper) { r.source.secure, r.source.plain = rt, rt }

// A key file that is locked at little cost: Argon2id is slow on purpose.
func CreateCheap(path string, passphrase secret.Value) (*Embedded, error) {
	return createEmbedded(path, passphrase, cost{Memory: 64, Time: 1, Threads: 1})
}

func RotateCheap(path string, old, new secret.Value) (*Embedded, error) {
	return rotateEmbedded(path, old, new, cost{Memory: 64, Time: 1, Threads: 1})
}

// Remembered returns how many tokens are remembered as good, and as bad.
func (i *Introspector) Remembered() (good, bad int) {
	return i.good.Counts().Entries, i.bad.Counts().Entries
}

// Hold has p look as if somebody were asking the issuer, and never ended.
func (p *Provider) Hold() { p.discovery <- struct{}{} }

// LookAgain is what a request does that has just seen no answer.
func (r *Remote) LookAgain() (found bool, err error) {
	a, _, err := r.lookAgain()
	return a != nil, err
}
