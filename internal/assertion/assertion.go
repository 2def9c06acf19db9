// Package assertion signs, for backends, who a request was proved to come
// from: JSON Web Tokens that live for a minute, made with one key for all
// gateways that share a store.
//
// A signature costs more than all else that is done for a request. What was
// signed is therefore remembered and used again for whoever the same would be
// signed for: an assertion is found by all that it says and by nothing else,
// so that it cannot be that of another identity.
package assertion

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

// What backends go by.
const (
	Issuer = "warder"       // iss
	Type   = "identity+jwt" // typ of the header (RFC 8725 section 3.11)

	// Path is where the public keys are published, on public listeners.
	Path = "/.warder/jwks.json"
	// Lifetime is the longest an assertion lives. One that lives for less than
	// half of it is used only while another is being made.
	Lifetime = 60 * time.Second
	// MaxContent bounds what an assertion says, in bytes.
	MaxContent = 4 << 10
)

const (
	lifetime = int64(Lifetime / time.Second)
	renewAt  = lifetime / 2 // seconds that are left
	lastUse  = lifetime / 4 // below that, everybody who needs one signs it

	ways     = 4
	sets     = 4096 // 16,384 assertions
	maxBytes = 32 << 20

	keyName  = "identity" // of the signing key in storage
	retry    = time.Second
	patience = 5 * time.Second
)

// ErrNoKey says that nothing can be signed: the key was never read from the
// store, nor made.
var ErrNoKey = errors.New("the key that assertions are signed with was not to be had yet; the application log says why")

// Authority signs assertions and publishes the keys. It outlives
// configurations. New makes one; a nil Authority signs nothing. Safe for
// concurrent use.
type Authority struct {
	log *slog.Logger

	signer  atomic.Pointer[keys.TokenSigner] // nil: there is no key yet
	sealing atomic.Pointer[keys.DataKeys]    // nil: no configuration asks for assertions
	opening sync.Mutex
	wake    chan struct{}

	seed  maphash.Seed
	slots [sets * ways]atomic.Pointer[entry]
	bytes atomic.Int64 // of all entries
	most  int64        // of bytes
	hand  atomic.Uint64
}

// entry is one assertion. Immutable, but for renewing.
type entry struct {
	hash     uint64
	content  []byte
	token    []byte
	exp      int64 // Unix seconds
	capped   bool  // exp is that of the identity: there can be no later one
	renewing atomic.Bool
}

func (e *entry) size() int64 { return int64(len(e.content) + len(e.token) + 128) }

// New returns an Authority that has no key yet.
func New(log *slog.Logger) *Authority {
	return &Authority{log: log, wake: make(chan struct{}, 1), seed: maphash.MakeSeed(), most: maxBytes}
}

// Unlock says that assertions are asked for, and gives what their key is
// sealed with.
func (a *Authority) Unlock(k *keys.DataKeys) {
	if a.sealing.Swap(k) == nil {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// Open reads the key from storage, or makes it there if there is none; of
// several gateways that do so at once, one makes it and all use it. It does
// nothing while no assertions are asked for, or when there is a key.
func (a *Authority) Open(ctx context.Context, s keys.Storage) error {
	a.opening.Lock()
	defer a.opening.Unlock()
	sealing := a.sealing.Load()
	if sealing == nil || a.signer.Load() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key, err := keys.OpenSigner(ctx, sealing, s, keyName)
	if err != nil {
		return err
	}
	return a.Use(key)
}

// Run opens the key as soon as assertions are asked for and it can be had. It
// returns when ctx is over.
func (a *Authority) Run(ctx context.Context, s keys.Storage) {
	said := ""
	for ctx.Err() == nil && a.signer.Load() == nil {
		again := time.NewTimer(retry)
		if a.sealing.Load() == nil {
			again.Stop() // there is nothing to try before there are keys
		} else {
			err := a.Open(ctx, s)
			if err == nil {
				again.Stop()
				return
			}
			if said != err.Error() && ctx.Err() == nil {
				said = err.Error()
				a.log.Error("no key to sign assertions with; routes with identity.jwt answer 503 identity_unavailable until there is one", "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-a.wake:
		}
		again.Stop()
	}
}

// Use makes a ring of keys those of a: the first signs, all are published.
func (a *Authority) Use(ring ...keys.Signer) error {
	signer, err := keys.NewTokenSigner(ring...)
	if err == nil {
		a.signer.Store(signer)
	}
	return err
}

// Sign returns a JWT that says content: members of a JSON object with commas
// between them, aud and all else but iss, iat and exp. It lives for a minute,
// and not beyond until, if that is not zero. What is returned must not be
// changed; x waits for it only if there is none to be used again. The error is
// ErrNoKey, or of the signer.
func (a *Authority) Sign(x *exchange.Exchange, content []byte, until, now time.Time) ([]byte, error) {
	if a == nil {
		return nil, ErrNoKey
	}
	signer := a.signer.Load()
	if signer == nil {
		return nil, ErrNoKey
	}
	at := now.Unix()
	exp, capped := at+lifetime, false
	if !until.IsZero() && until.Unix() <= exp {
		exp, capped = until.Unix(), true
	}
	hash := maphash.Bytes(a.seed, content)
	set := a.slots[hash%sets*ways:][:ways]
	place := -1
	for i := range set {
		e := set[i].Load()
		if e == nil || e.hash != hash || e.capped != capped || capped && e.exp != exp || !bytes.Equal(e.content, content) {
			continue
		}
		left := e.exp - at
		switch {
		case capped || left >= renewAt && left <= lifetime:
			return e.token, nil
		case left >= lastUse && left <= lifetime && !e.renewing.CompareAndSwap(false, true):
			return e.token, nil // somebody is at it
		}
		place = i
		break
	}
	token, err := a.make(x.Context(), signer, content, at, exp)
	if err != nil {
		if place >= 0 {
			if e := set[place].Load(); e != nil {
				e.renewing.Store(false)
			}
		}
		return nil, err
	}
	a.keep(set, place, &entry{hash: hash, content: bytes.Clone(content), token: token, exp: exp, capped: capped})
	return token, nil
}

func (a *Authority) make(ctx context.Context, signer *keys.TokenSigner, content []byte, iat, exp int64) ([]byte, error) {
	payload := append(make([]byte, 0, len(content)+64), `{"iss":"`+Issuer+`",`...)
	payload = append(payload, content...)
	payload = strconv.AppendInt(append(payload, `,"iat":`...), iat, 10)
	payload = strconv.AppendInt(append(payload, `,"exp":`...), exp, 10)
	token, err := signer.Sign(ctx, json.RawMessage(append(payload, '}')), Type)
	return []byte(token), err
}

// keep remembers e, in the place of the one it follows, or else of another of
// the same content, which somebody else signed meanwhile, or else of that which
// ends first, and forgets others while there are too many bytes.
func (a *Authority) keep(set []atomic.Pointer[entry], place int, e *entry) {
	if place < 0 {
		place = 0
		first := int64(1<<63 - 1)
		for i := range set {
			old := set[i].Load()
			if old == nil || old.hash == e.hash && old.capped == e.capped && (!e.capped || old.exp == e.exp) && bytes.Equal(old.content, e.content) {
				place = i
				break
			}
			if old.exp < first {
				place, first = i, old.exp
			}
		}
	}
	size := e.size()
	if old := set[place].Swap(e); old != nil {
		size -= old.size()
	}
	for total := a.bytes.Add(size); total > a.most; {
		if old := a.slots[a.hand.Add(1)%uint64(len(a.slots))].Swap(nil); old != nil {
			total = a.bytes.Add(-old.size())
		}
	}
}

// ServeHTTP publishes the public keys as a JWK Set (RFC 7517).
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var signer *keys.TokenSigner
	if a != nil {
		signer = a.signer.Load()
	}
	if signer == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "there is no key yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(signer.PublicJWKS())
}
