package binding

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// generation is how long one nonce is given out. It holds for as long again.
const generation = time.Minute

// Nonces gives out nonces for proofs (RFC 9449 section 9) and knows them again
// without remembering any: a nonce is a MAC over the time. A nil Nonces gives
// out none and knows none. Safe for concurrent use.
type Nonces struct{ key [32]byte }

// NewNonces makes Nonces with a key of their own: those of another process are
// others.
func NewNonces() *Nonces {
	n := &Nonces{}
	rand.Read(n.key[:])
	return n
}

// at returns the nonce of a generation.
func (n *Nonces) at(g int64) string {
	mac := hmac.New(sha256.New, n.key[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(g))
	mac.Write(b[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

func generationOf(now time.Time) int64 { return now.Unix() / int64(generation/time.Second) }

// holds returns until when a nonce holds, zero if it does not, and whether it
// is the one given out now.
func (n *Nonces) holds(nonce string, now time.Time) (until time.Time, current bool) {
	if n == nil {
		return time.Time{}, false
	}
	g := generationOf(now)
	for _, back := range [...]int64{0, 1} {
		if hmac.Equal([]byte(nonce), []byte(n.at(g-back))) {
			return time.Unix((g-back+2)*int64(generation/time.Second), 0), back == 0
		}
	}
	return time.Time{}, false
}

// offer writes the nonce to use from now on into the response.
func (n *Nonces) offer(x *exchange.Exchange, now time.Time) {
	x.RespEdit.Set("DPoP-Nonce", []byte(n.at(generationOf(now))))
}

// demand offers a nonce and returns the code of a refusal for want of one.
func (n *Nonces) demand(x *exchange.Exchange, now time.Time) fault.Code {
	if n == nil {
		return fault.DPoPProofInvalid
	}
	n.offer(x, now)
	return fault.DPoPNonceRequired
}
