package binding

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// generation is how long one nonce is given out. It holds for as long again.
const generation = time.Minute

// Nonces gives out nonces for proofs (RFC 9449 section 9) and knows them again
// without remembering any: a nonce is a MAC over the time. The key is the
// process's own, until it is Shared. A nil Nonces gives out none and knows
// none. Safe for concurrent use.
type Nonces struct {
	ring atomic.Pointer[ring]
	data atomic.Pointer[keys.DataKeys] // nil: nothing can be shared
}

// ring is the keys that nonces are known by. Immutable.
type ring []macKey

// macKey is one of them.
type macKey struct {
	Key  []byte `json:"key"`
	From int64  `json:"from"` // when nonces are first made with it, Unix seconds
}

const keySize = 32

// NewNonces makes Nonces with a key of their own: those of another process are
// others.
func NewNonces() *Nonces {
	n := &Nonces{}
	n.ring.Store(&ring{freshKey(0)})
	return n
}

func freshKey(from int64) macKey {
	k := macKey{Key: make([]byte, keySize), From: from}
	rand.Read(k.Key) // never fails
	return k
}

// maker returns the key that nonces are made with at a time: the newest whose
// time has come.
func (r ring) maker(now time.Time) *macKey {
	for i := range r {
		if r[i].From <= now.Unix() {
			return &r[i]
		}
	}
	return &r[len(r)-1]
}

// at returns the nonce of a generation.
func (k *macKey) at(g int64) string {
	mac := hmac.New(sha256.New, k.Key)
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
	g, r := generationOf(now), *n.ring.Load()
	for _, back := range [...]int64{0, 1} {
		for i := range r {
			if hmac.Equal([]byte(nonce), []byte(r[i].at(g-back))) {
				return time.Unix((g-back+2)*int64(generation/time.Second), 0), back == 0 && &r[i] == r.maker(now)
			}
		}
	}
	return time.Time{}, false
}

// offer writes the nonce to use from now on into the response.
func (n *Nonces) offer(x *exchange.Exchange, now time.Time) {
	x.RespEdit.Set("DPoP-Nonce", []byte(n.ring.Load().maker(now).at(generationOf(now))))
}

// demand offers a nonce and returns the code of a refusal for want of one.
func (n *Nonces) demand(x *exchange.Exchange, now time.Time) fault.Code {
	if n == nil {
		return fault.DPoPProofInvalid
	}
	n.offer(x, now)
	return fault.DPoPNonceRequired
}
