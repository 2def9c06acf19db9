package snapshot

import (
	"context"
	"net/netip"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// streamRules is what streams are judged by that were let in earlier.
type streamRules struct {
	routes    map[exchange.Route]bool // without their Index
	carriers  map[string]string       // upstream -> its key in the pool
	issuers   map[string]*pipeline.Issuer
	directory *directory.Directory
}

func (b *build) streamRules() streamRules {
	r := streamRules{map[exchange.Route]bool{}, b.carriers, b.issuers, b.directory}
	for i := range b.flat {
		r.routes[exchange.Route{Name: b.flat[i].Name, Pattern: b.flat[i].Path, Host: b.flat[i].Host}] = true
	}
	return r
}

var (
	errRouteGone    = fault.New(fault.RouteUnknown, "the route of this stream is no longer configured")
	errUpstreamGone = fault.New(fault.UpstreamUnreachable, "the upstream of this stream is no longer configured")
	errKeyGone      = fault.New(fault.KeyUnknown, "the key of this stream is no longer configured")
	errKeyOver      = fault.New(fault.KeyExpired, "the key expired while the stream was open")
	errKeyRevoked   = fault.New(fault.KeyRevoked, "the key was revoked while the stream was open")
	errKeysStale    = fault.New(fault.KeysStale, "the store was not heard of for longer than freshness.revocations")
	errPasswordGone = fault.New(fault.PasswordWrong, "the password of this stream's consumer is no longer configured, or is another one now")
	errTokenRevoked = fault.New(fault.TokenRevoked, "the token was revoked while the stream was open")
	errTokenOver    = fault.New(fault.TokenExpired, "the token expired while the stream was open")
	errSessionOver  = fault.New(fault.SessionExpired, "the session of this stream has ended")
	errSignerGone   = fault.New(fault.TokenKeyUnknown, "the issuer no longer has the key that signed this stream's token")
	errSignerStale  = fault.New(fault.KeysStale, "the issuer's keys are older than freshness.jwks")
	errSessionTaken = fault.New(fault.SessionExpired, "the session was revoked while the stream was open")
	errKeyAddress   = fault.New(fault.AddressDenied, "the key of this stream is no longer good from its address")
	errKeyRoute     = fault.New(fault.CredentialNotAllowedHere, "the key of this stream is no longer good on its route")
	errIssuerGone   = fault.New(fault.TokenIssuerUnknown, "the issuer of this stream's token is no longer configured")
	errConsumerGone = fault.New(fault.ConsumerNotAllowed, "the consumer of this stream is no longer configured, or its credential is no longer the consumer's")
)

// errCertOver says why a stream ends whose certificate holds no longer.
var errCertOver = map[exchange.CertState]*fault.Error{
	exchange.CertUnverified: fault.New(fault.CertificateUntrusted, "the listener of this stream no longer asks for certificates"),
	exchange.CertMissing:    fault.New(fault.CertificateMissing, "the stream has no certificate"),
	exchange.CertUntrusted:  fault.New(fault.CertificateUntrusted, "the certificate of this stream no longer holds"),
	exchange.CertRevoked:    fault.New(fault.CertificateRevoked, "the certificate of this stream was revoked"),
	exchange.CertUnknown:    fault.New(fault.IdentityUnavailable, "nobody says whether the certificate of this stream was revoked"),
}

// Lend gives a stream a hold of its own on what carries it, so that it can
// give the snapshot back. The caller has borrowed the snapshot, and ends the
// loan when the stream is over.
func (s *Snapshot) Lend(r *Route) Loan { return s.loans.lend(s.streams.carriers[r.Target]) }

// Holds judges a stream that was let in under this snapshot or an earlier
// one: by the route with its labels, to an upstream, with an identity and
// the certificate it was let in by. It returns nil and when it is to be asked again (zero: not before another
// snapshot is in force), or why the stream has to end.
//
// A route is the same while its name, host and path are; an upstream while
// its name is; an identity while what proved it would still name the same
// consumer, and a key also while it is good from there on that route.
// Conditions of the route are not asked again.
func (s *Snapshot) Holds(route exchange.Route, upstream string, id *exchange.Identity, by exchange.Witness, now time.Time) (until time.Time, f *fault.Error) {
	r := &s.streams
	route.Index = 0
	if !r.routes[route] {
		return until, errRouteGone
	}
	if _, ok := r.carriers[upstream]; !ok {
		return until, errUpstreamGone
	}
	if id == nil {
		return until, errConsumerGone // nobody is let in without one
	}
	var cert exchange.CertVerdict
	if by.Shown != nil {
		if cert = by.Shown.Verdict(impatient, s.judges[by.Listener].judge, now); cert.State != exchange.CertVerified {
			return until, errCertOver[cert.State]
		}
		until = by.Shown.Until()
	}
	proofs := id.Proofs
	if proofs == nil {
		proofs = []*exchange.Identity{id}
	}
	for _, one := range proofs { // each has to hold by itself
		end, f := r.identity(one, cert.Facts, route.Name, by.Client, now)
		if f != nil {
			return end, f
		}
		if until.IsZero() || !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	return until, nil
}

func (r *streamRules) identity(id *exchange.Identity, cert *exchange.CertFacts, route string, client netip.Addr, now time.Time) (until time.Time, f *fault.Error) {
	until = id.Expires
	over := errTokenOver
	var skew time.Duration
	if id.Issuer != "" {
		i := r.issuers[id.Issuer]
		if i == nil {
			return until, errIssuerGone
		}
		if iss, ok := id.Claims.String("iss"); ok && !i.Accepts(iss) {
			return until, errIssuerGone
		}
		if f := stands(i, id.Signer); f != nil {
			return until, f
		}
		if id.Method != "introspect" { // which is not in time for a request after exp, either
			skew = i.ClockSkew
		}
	}
	if id.Session != nil {
		// A stream is no use of its session: it ends with the idle time.
		if until = id.Session.Ends(); !now.Before(until) {
			return until, errSessionOver
		}
		skew, over = 0, errSessionOver
	}
	named := id.Named
	switch {
	case id.Key != exchange.KeyRef{}:
		k, code := r.directory.Key(id.Key, now, false)
		if code == fault.KeyRevoked {
			return until, errKeyRevoked
		}
		if code == fault.KeysStale {
			return until, errKeysStale
		}
		if k.Consumer == nil {
			return until, errKeyGone
		}
		switch {
		case !k.Limits.Admits(client):
			return until, errKeyAddress
		case !k.Limits.Opens(route):
			return until, errKeyRoute
		}
		named, until, over = k.Consumer, k.Expires, errKeyOver
		if fresh := r.directory.FreshUntil(); k.Stored && code == fault.None && (until.IsZero() || fresh.Before(until)) {
			until = fresh.Add(time.Nanosecond) // the first moment at which it is stale
			return until, r.theirs(id, named)
		}
	case id.Password != [32]byte{}:
		stored, c := r.directory.Password([]byte(id.Consumer))
		if c == nil || stored.ID() != id.Password {
			return until, errPasswordGone
		}
		named = c
	case id.Method == "mtls":
		named = nil
		if record, rival := r.directory.Certificate(cert); record != nil && rival == nil {
			named = record.Consumer
		}
	case id.Named != nil && id.Client != "":
		named, _ = r.directory.Client(id.Issuer, id.Client)
	case id.Named != nil:
		named, _ = r.directory.Consumer(id.Named.Name)
	}
	if f := r.theirs(id, named); f != nil {
		return until, f
	}
	if f := r.revoked(id, now); f != nil {
		return until, f
	}
	if !until.IsZero() {
		until = until.Add(skew)
		if !now.Before(until) {
			return until, over
		}
	}
	if fresh := r.directory.FreshUntil(); id.Token != nil && !fresh.IsZero() && (until.IsZero() || fresh.Before(until)) {
		until = fresh.Add(time.Nanosecond)
	}
	return until, nil
}

// stands says whether the key that signed a token would still be found by a
// request: it is the same in the set of the issuer as it is now. While the set
// of a new configuration is not loaded that cannot be told, and the stream goes
// on until it is.
func stands(i *pipeline.Issuer, signer exchange.Signer) *fault.Error {
	if signer == nil || signer.Alive() {
		return nil
	}
	key, _ := signer.(*keys.Key)
	if key == nil || i.Keys == nil {
		return errSignerGone
	}
	for _, algorithm := range i.Algorithms {
		if !key.Fits(algorithm) {
			continue
		}
		switch now, err := i.Keys.Find(context.Background(), key.ID, algorithm, false); {
		case err == nil && now.Same(key):
			return nil
		case fault.Of(err) == fault.IdentityUnavailable:
			return nil
		case fault.Of(err) == fault.KeysStale:
			return errSignerStale
		}
	}
	return errSignerGone
}

// revoked says whether the identity's token or session was taken back.
func (r *streamRules) revoked(id *exchange.Identity, now time.Time) *fault.Error {
	switch r.directory.Revoked(id, now) {
	case fault.None:
		return nil
	case fault.TokenRevoked:
		return errTokenRevoked
	case fault.SessionExpired:
		return errSessionTaken
	}
	return errKeysStale
}

// theirs says whether what proved the identity still names its consumer.
func (r *streamRules) theirs(id *exchange.Identity, named *exchange.Consumer) *fault.Error {
	if id.Named != nil && (named == nil || named.Name != id.Named.Name) {
		return errConsumerGone
	}
	return nil
}
