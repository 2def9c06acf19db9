package pipeline

import (
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Revocations is what was taken back before its time.
type Revocations interface {
	// Revoked says whether the token or the session of an identity was taken
	// back: None if it was not, or if the identity is by neither; otherwise
	// token_revoked, session_expired, or, where it cannot be told,
	// identity_unavailable or keys_stale. It never takes time.
	Revoked(id *exchange.Identity, now time.Time) fault.Code
	// RevokedBy says in a few words by which revocation, for the operator, as the
	// end of a sentence; empty if there is none any more. It is asked of what was refused only.
	RevokedBy(id *exchange.Identity, now time.Time) string
}

// When a caller may come again after a refusal that is our own fault.
const (
	retryUnavailable = 5 * time.Second
	retryStale       = 30 * time.Second
)

// revoked is Parts.Revoked.
type revoked = func(*exchange.Exchange, *World, *exchange.Identity)

// standing says whether what a method proved still stands. It is asked of
// every proof, here and nowhere else: no method has to think of it, and none
// can forget it. What an issuer or a session vouches for has to say what it may
// be taken back by; without that, or with nobody to ask, it is refused. tell
// is told of what was taken back.
func standing(r Revocations, id *exchange.Identity, tell revoked, x *exchange.Exchange, w *World) Verdict {
	if id.Token == nil {
		if id.Issuer == "" && id.Session == nil {
			return Pass
		}
		x.Trail.Saw("because", "the method does not say what its proof may be revoked by")
		return Refuse(fault.InternalError)
	}
	code := fault.InternalError
	if r != nil && !w.Now.IsZero() {
		code = r.Revoked(id, w.Now)
	}
	why := ""
	switch code {
	case fault.None:
		return Pass
	case fault.TokenRevoked:
		why = "the token was revoked here" + r.RevokedBy(id, w.Now)
	case fault.SessionExpired:
		why = "the session was revoked here" + r.RevokedBy(id, w.Now)
	case fault.IdentityUnavailable:
		x.RetryAfter, why = retryUnavailable, "the store's revocations were never loaded"
	case fault.KeysStale:
		x.RetryAfter, why = retryStale, "the store was not heard of for longer than freshness.revocations"
	default:
		why = "nobody can say whether it was revoked"
	}
	if tell != nil && code.Status() == 401 {
		tell(x, w, id)
	}
	x.Trail.Saw("issuer", id.Issuer)
	x.Trail.Saw("because", why)
	return Refuse(code)
}
