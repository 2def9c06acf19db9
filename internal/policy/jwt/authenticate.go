package jwt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/tokens"
)

// When a caller may come again after a refusal that is our own fault.
const (
	retryUnavailable = 5 * time.Second
	retryStale       = 30 * time.Second
)

// Authenticate implements pipeline.Authenticator.
func (p *policy) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	c, v := tokens.Presented(x, w)
	if !v.Passed() {
		return nil, v
	}
	var id keys.VerdictID
	var named *keys.Verdicts // by whom id names the token
	for _, iss := range p.issuers {
		if iss.Verdicts != named {
			named = iss.Verdicts
			id.Token = named.Name(c.Token, x.Alloc(keys.NameSize))
		}
		id.Rules = iss.ID
		t, _ := iss.Verdicts.Get(&id, w.Now).(*accepted)
		if t != nil && t.set == iss.Keys {
			return p.admit(x, w, iss, t, c, p.budget(w))
		}
	}
	return p.verify(x, w, c)
}

// budget is what networks that sent bad tokens or proofs may have verified.
// Who only explains is not bounded, nor counted.
func (p *policy) budget(w *pipeline.World) *guessing.Budget {
	if p.guard == nil || !w.Remote {
		return nil
	}
	return p.guard.Signatures
}

// verify judges a token that is not known.
func (p *policy) verify(x *exchange.Exchange, w *pipeline.World, c tokens.Credential) (*exchange.Identity, pipeline.Verdict) {
	f, err := parse(c.Token)
	if err != nil {
		if no := opaque(""); errors.As(err, &no) { // a token that only its issuer can read
			x.Trail.Saw("because", err.Error())
			return nil, pipeline.Unclaimed(fault.CredentialMalformed)
		}
		return nil, tokens.Malformed(x, err.Error())
	}
	iss, ok := p.issuerOf(f)
	if !slices.ContainsFunc(p.issuers, func(iss *issuer) bool { return slices.Contains(iss.Algorithms, f.alg) }) {
		v := p.algorithmRefused(x, f, p.issuers)
		if !ok {
			v = pipeline.Unclaimed(v.Code())
		}
		return nil, v
	}
	if !ok {
		return nil, p.issuerUnknown(x, f)
	}
	if !slices.Contains(iss.Algorithms, f.alg) {
		return nil, p.algorithmRefused(x, f, []*issuer{iss})
	}
	key, v := p.key(x, w, iss, f)
	if key == nil {
		return nil, v
	}
	// What a network has verified and is refused for comes out of its budget.
	entry, ok := p.budget(w).Enter(x, x.Client, p.spared, w.Now)
	if !ok {
		x.Trail.Saw("because", "too many tokens of networks that sent bad ones wait to be verified")
		x.RetryAfter = retryUnavailable
		return nil, pipeline.Refuse(fault.Overloaded)
	}
	wasted := true
	defer func() { entry.Leave(wasted) }()
	err = keys.Verify(key, f.token, f.alg, w.Now, time.Duration(iss.Skew)*time.Second)
	second := fault.Of(err)
	held := err == nil || second == fault.TokenExpired || second == fault.TokenNotYetValid || second == fault.CredentialMalformed
	if !held {
		x.Trail.Saw("issuer", iss.Name)
		x.Trail.Saw("kid", f.kid)
		x.Trail.Saw("alg", f.alg)
		return nil, pipeline.Refuse(fault.TokenSignatureInvalid)
	}

	// The signature held: from here on the token is the issuer's word.
	if reason := iss.wrongTenant(f.claims, key); reason != "" {
		return nil, refuseFor(x, iss, fault.TokenIssuerUnknown, reason)
	}
	aud, audOK := tokens.Audience(f.claims)
	if reason := iss.wrongType(f, aud); reason != "" {
		x.Trail.Saw("issuer", iss.Name)
		x.Trail.Saw("because", reason)
		return nil, pipeline.Refuse(fault.TokenTypeWrong)
	}
	t := &accepted{set: iss.Keys, presents: &presents{aud: aud, audOK: audOK}}
	if cnf, ok := f.claims.Get("cnf"); ok {
		t.cnf = binding.Parse(cnf)
	}
	if reason := t.times.read(f.claims); reason != "" {
		return nil, tokens.Malformed(x, reason)
	}
	if err != nil && t.times.check(w.Now.Unix(), iss.Skew) == inTime {
		// The library refuses what we would not: it has the last word.
		return nil, refuseFor(x, iss, second, err.Error())
	}
	t.presents.clientID, _ = tokens.Text(f.claims, "client_id")
	t.presents.tokenUse, _ = tokens.Text(f.claims, "token_use")
	t.meant = t.presents.meantFor(iss)
	reason := iss.identify(t, f)
	url, _ := tokens.Text(f.claims, "iss") // of its tenant, where one issuer has many
	t.token = exchange.NewToken(exchange.TokenDigest(c.Token), url, t.first.TokenID, t.first.Subject, t.times.iat, iss.Skew)
	t.token.Client = exchange.MarkOf(exchange.RevokedConsumer, t.first.Consumer)
	t.first.Signer = key
	t.first.Token, t.first.Whose = &t.token, t.token.Client
	identity, v := p.admit(x, w, iss, t, c, nil) // what is verified for it is this entry's
	switch {
	case v.Code() == fault.DPoPNonceRequired && t.identity.Load() != nil:
		// The token is as good as any: it will be back with our nonce, and was
		// not sent in vain.
	case !v.Passed():
		wasted = v.Code().Status() != 503 // which is our outage
		return nil, v
	case identity == nil:
		return nil, tokens.Malformed(x, reason)
	}
	wasted = false
	id := keys.VerdictID{Token: iss.Verdicts.Name(c.Token, x.Alloc(keys.NameSize)), Rules: iss.ID}
	iss.Verdicts.Put(&id, t, key, w.Now, time.Unix(t.times.exp, 0), sizeOf(f, t))
	return identity, v
}

// sizeOf is about what an accepted token holds in memory.
func sizeOf(f *form, t *accepted) int {
	size := 2*len(f.token) + 64*len(f.claims) + 1024
	if t.cnf != nil {
		size += binding.MaxSize
	}
	return size
}

// issuerOf finds the issuer that the payload names.
func (p *policy) issuerOf(f *form) (*issuer, bool) {
	name, ok := tokens.Text(f.claims, "iss")
	for _, iss := range p.issuers {
		if ok && iss.Accepts(name) {
			return iss, true
		}
	}
	return nil, false
}

// key finds the key the header names, waiting for a fetch only where that is
// needed and allowed.
func (p *policy) key(x *exchange.Exchange, w *pipeline.World, iss *issuer, f *form) (*keys.Key, pipeline.Verdict) {
	key, err := iss.Keys.Find(context.Background(), f.kid, f.alg, false)
	if err == nil {
		return key, pipeline.Pass
	}
	code := fault.Of(err)
	if code != fault.KeysStale && w.Remote {
		if key, err = iss.Keys.Find(x.Context(), f.kid, f.alg, true); err == nil {
			return key, pipeline.Pass
		}
		code = fault.Of(err)
	}
	x.Trail.Saw("issuer", iss.Name)
	x.Trail.Saw("kid", f.kid)
	x.Trail.Saw("alg", f.alg)
	x.Trail.Saw("because", fault.Reason(err))
	if code != fault.KeysStale && !w.Remote {
		return nil, pipeline.CannotTell(code)
	}
	switch code {
	case fault.IdentityUnavailable:
		x.RetryAfter = retryUnavailable
	case fault.KeysStale:
		x.RetryAfter = retryStale
	}
	return nil, pipeline.Refuse(code)
}

// admit judges what depends on the moment and on how the token was presented,
// and returns the identity the token proves; nil with Pass if it proves none.
func (p *policy) admit(x *exchange.Exchange, w *pipeline.World, iss *issuer, t *accepted, c tokens.Credential, budget *guessing.Budget) (*exchange.Identity, pipeline.Verdict) {
	now := w.Now.Unix()
	if when := t.times.check(now, iss.Skew); when != inTime {
		return nil, untimely(x, iss, &t.times, when, now)
	}
	if !t.meant {
		x.Trail.Saw("want", iss.Want)
		x.Trail.Saw("have", t.presents.audienceText())
		x.Trail.Saw("issuer", iss.Name)
		return nil, pipeline.Refuse(fault.TokenAudienceWrong)
	}
	if t.cnf != nil || c.DPoP || iss.Binding != binding.AsIssued {
		come := binding.Presented{Token: c.Token, DPoP: c.DPoP, Now: w.Now, Nonces: p.nonces, Replays: w.Replays, Look: !w.Remote, Budget: budget, Spared: p.spared}
		if code, reason := t.cnf.Check(x, iss.Binding, &come); code != fault.None {
			return nil, refuseFor(x, iss, code, reason)
		}
	}
	id := t.identity.Load()
	if id == nil {
		return nil, pipeline.Pass
	}
	id = tokens.Named(p.directory, &t.identity, id, t.first.Consumer)
	x.Trail.Saw("proof", id.Proof)
	x.Trail.Saw("subject", id.Subject)
	x.Trail.Saw("consumer", id.Consumer)
	x.Trail.SawNumber("expiresIn", t.times.exp-now)
	return id, pipeline.Pass
}

func refuseFor(x *exchange.Exchange, iss *issuer, code fault.Code, reason string) pipeline.Verdict {
	x.Trail.Saw("issuer", iss.Name)
	x.Trail.Saw("because", reason)
	return pipeline.Refuse(code)
}

func (p *policy) algorithmRefused(x *exchange.Exchange, f *form, of []*issuer) pipeline.Verdict {
	var want []string
	for _, iss := range of {
		want = append(want, iss.Algorithms...)
	}
	slices.Sort(want)
	x.Trail.Saw("alg", f.alg)
	x.Trail.Saw("want", strings.Join(slices.Compact(want), " "))
	return pipeline.Refuse(fault.TokenAlgorithmRefused)
}

func (p *policy) issuerUnknown(x *exchange.Exchange, f *form) pipeline.Verdict {
	var want []string
	for _, iss := range p.issuers {
		want = append(want, iss.URL)
	}
	have, ok := tokens.Text(f.claims, "iss")
	if !ok {
		have = "(no iss)"
	}
	x.Trail.Saw("want", strings.Join(want, " "))
	x.Trail.Saw("have", have)
	return pipeline.Unclaimed(fault.TokenIssuerUnknown)
}
