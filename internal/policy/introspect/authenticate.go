package introspect

import (
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

// retryUnavailable is when a caller may come again after an outage.
const retryUnavailable = 5 * time.Second

// Authenticate implements pipeline.Authenticator.
func (p *policy) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	c, v := tokens.Presented(x, w)
	switch {
	case !v.Passed():
		return nil, v
	case !tokens.Token68(c.Token):
		return nil, tokens.Malformed(x, "the Authorization field holds no token")
	case !p.IntrospectJWT && structured(c.Token):
		x.Trail.Saw("because", "the token is a JWT, and the issuer is asked about those only with introspection.jwt")
		return nil, pipeline.NotMine
	}
	id := keys.VerdictID{Token: p.Introspector.Name(c.Token, x.Alloc(keys.NameSize)), Rules: p.ID}
	if k, _ := p.Introspector.Known(&id, w.Now).(*known); k != nil {
		return p.admit(x, w, k, c)
	}
	return p.ask(x, w, id, c)
}

// ask judges a token of which nothing is known.
func (p *policy) ask(x *exchange.Exchange, w *pipeline.World, id keys.VerdictID, c tokens.Credential) (*exchange.Identity, pipeline.Verdict) {
	if !w.Remote {
		x.Trail.Saw("issuer", p.Name)
		x.Trail.Saw("because", "the issuer would have to be asked")
		return nil, pipeline.CannotTell(fault.IdentityUnavailable)
	}
	digest := exchange.TokenDigest(c.Token)
	value, err := p.Introspector.Ask(x.Context(), guessing.Network(x.Client), &id, string(c.Token), w.Now, func() error { return p.charge(x, w) }, func(active bool, answer exchange.Claims) keys.Conclusion {
		return p.conclude(digest, active, answer)
	})
	k, _ := value.(*known)
	if err == nil && k != nil {
		return p.admit(x, w, k, c)
	}
	x.Trail.Saw("issuer", p.Name)
	if fault.Of(err) == fault.RateLimited {
		if x.RetryAfter == 0 { // not by the rate
			x.RetryAfter = time.Second
			x.Trail.Saw("because", fault.Reason(err))
		} else {
			x.Trail.Saw("limit", "20/s unknown tokens per ip")
		}
		return nil, pipeline.Refuse(fault.RateLimited)
	}
	if err != nil {
		x.Trail.Saw("because", fault.Reason(err))
	}
	x.RetryAfter = retryUnavailable
	return nil, pipeline.Refuse(fault.IdentityUnavailable)
}

// charge counts an unknown token against the network that sent it, so that
// guessing is neither fast nor a burden on the issuer.
func (p *policy) charge(x *exchange.Exchange, w *pipeline.World) error {
	charge := p.unknown
	charge.Key = charge.Key.WithNetwork(1, guessing.Network(x.Client))
	var state [1]counters.State
	refused, err := w.Counters.Take(w.Now, []counters.Charge{charge}, state[:])
	switch {
	case err != nil:
		return fault.New(fault.IdentityUnavailable, "unknown tokens cannot be counted").Because(err)
	case refused >= 0:
		x.RetryAfter = max(state[0].RetryIn, time.Millisecond)
		return fault.New(fault.RateLimited, "")
	}
	return nil
}

// admit judges what depends on the moment and on how the token was presented,
// and returns the identity the token proves.
func (p *policy) admit(x *exchange.Exchange, w *pipeline.World, k *known, c tokens.Credential) (*exchange.Identity, pipeline.Verdict) {
	now := w.Now.Unix()
	id := k.identity.Load()
	switch {
	case k.refusal == fault.TokenIssuerUnknown:
		x.Trail.Saw("want", p.URL)
		x.Trail.Saw("have", k.have)
		return nil, pipeline.Refuse(k.refusal)
	case k.refusal != fault.None || id == nil:
		return nil, p.refuse(x, k.refusal, k.because)
	case now >= k.exp:
		return nil, p.refuse(x, fault.TokenExpired, "expired "+tokens.Span(now-k.exp)+" ago, and the issuer calls it active")
	case now < k.nbf-p.Skew:
		return nil, p.refuse(x, fault.TokenNotYetValid, "valid (nbf) only "+tokens.Span(k.nbf-now)+" from now")
	case !p.meantFor(k):
		x.Trail.Saw("want", p.Want)
		x.Trail.Saw("have", k.audienceText())
		x.Trail.Saw("issuer", p.Name)
		return nil, pipeline.Refuse(fault.TokenAudienceWrong)
	}
	come := binding.Presented{Token: c.Token, DPoP: c.DPoP, Now: w.Now, Nonces: p.nonces, Replays: w.Replays, Look: !w.Remote, Spared: p.spared}
	if p.guard != nil && w.Remote {
		come.Budget = p.guard.Signatures
	}
	if code, reason := k.cnf.Check(x, p.Binding, &come); code != fault.None {
		return nil, p.refuse(x, code, reason)
	}
	id = tokens.Named(p.directory, &k.identity, id, k.consumer)
	x.Trail.Saw("proof", id.Proof)
	x.Trail.Saw("subject", id.Subject)
	x.Trail.Saw("consumer", id.Consumer)
	x.Trail.SawNumber("expiresIn", k.exp-now)
	return id, pipeline.Pass
}

// meantFor reports whether the token was made for the API behind us. One that
// no audience says that of has to be marked as an access token: issuers call
// refresh tokens active, too.
func (p *policy) meantFor(k *known) bool {
	if !k.audOK {
		return false
	}
	if len(p.ClientIDs) > 0 {
		if !slices.Contains(p.ClientIDs, k.clientID) {
			return false
		}
		if k.aud == nil || len(p.Audience) == 0 {
			return k.marked
		}
	}
	for _, a := range k.aud {
		if slices.Contains(p.Audience, a) {
			return true
		}
	}
	return false
}

// audienceText is what the issuer says, for the operator.
func (k *known) audienceText() string {
	have := text(k.aud, "no aud")
	if !k.audOK {
		have = "an aud that is neither a string nor a list of strings"
	}
	if k.clientID != "" {
		have += ", client " + k.clientID
	}
	if k.aud == nil && !k.marked {
		have += ", and nothing that marks an access token (token_type)"
	}
	return have
}

func (p *policy) refuse(x *exchange.Exchange, code fault.Code, reason string) pipeline.Verdict {
	x.Trail.Saw("issuer", p.Name)
	x.Trail.Saw("because", reason)
	return pipeline.Refuse(code)
}
