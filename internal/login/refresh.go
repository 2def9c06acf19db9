package login

import (
	"context"
	"errors"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/store"
)

const (
	leaseFor    = 10 * time.Second // how long an instance may take to refresh
	leasePoll   = 50 * time.Millisecond
	leastTokens = time.Second // between two refreshes of a session
)

// refresh gets new tokens for a session, or learns that the issuer has ended
// it. One request does it; the others of this instance wait for it, and other
// instances see its lease in the store.
func (p *Party) refresh(ctx context.Context, s *session, now time.Time) error {
	select {
	case s.refresh <- struct{}{}:
		defer func() { <-s.refresh }()
	case <-ctx.Done():
		return unavailable("nobody waits for the refresh any longer", context.Cause(ctx))
	}
	// Who has waited for a refresh that came to nothing does not wait for one more.
	if s.failed.Load() > now.UnixMilli() {
		return unavailable("a refresh of the session came to nothing just now", nil)
	}
	// What was begun is brought to an end, whoever still waits: a refresh token
	// that was used may be good for nothing else.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseFor)
	defer cancel()
	for {
		st := s.state.Load()
		switch {
		case s.ended.Load():
			return errExpired
		case now.UnixMilli() < st.doc.RefreshAt: // another was faster
			return nil
		case st.doc.Lease <= now.UnixMilli():
			doc := st.doc
			doc.Lease = now.Add(leaseFor).UnixMilli()
			doc.Seen = max(doc.Seen, s.seen.Load())
			err := p.update(ctx, s, st, doc)
			if err == nil {
				return p.renew(ctx, s, now)
			}
			if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				return unavailable("the store could not be told of the refresh", err)
			}
		default:
			t := time.NewTimer(leasePoll)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return unavailable("another instance has not ended its refresh in time", nil)
			}
			now = now.Add(leasePoll)
		}
		if err := p.reread(ctx, s); err != nil {
			return err
		}
	}
}

// reread puts the store's version of a session in force.
func (p *Party) reread(ctx context.Context, s *session) error {
	all := p.cfg.Sessions
	ctx, cancel := context.WithTimeout(ctx, all.writing)
	defer cancel()
	r, err := all.store.Load().Get(ctx, kindSession, string(s.digest[:]))
	switch {
	case errors.Is(err, store.ErrNotFound):
		all.drop(s)
		return errExpired
	case err != nil:
		return unavailable("the store could not be asked for the session", err)
	}
	next, err := p.unseal(all.keys.Load(), s.digest, s.party, &r)
	if err != nil {
		return unavailable("the session cannot be read", err)
	}
	s.stale.Store(false)
	p.adopt(s, next)
	return nil
}

// renew asks the issuer. The lease is ours.
func (p *Party) renew(ctx context.Context, s *session, now time.Time) error {
	st := s.state.Load()
	answer, err := p.cfg.Provider.Token(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {st.doc.Refresh}})
	doc := st.doc
	doc.Lease = 0
	var no *keys.Rejected
	if errors.As(err, &no) && no.Code == "invalid_grant" {
		p.cfg.Log.Info("a session was ended by the issuer", "issuer", p.cfg.Name, "subject", doc.Subject)
		if err := p.cfg.Sessions.end(ctx, s.digest); err != nil {
			p.cfg.Log.Warn("the end of a session could not be stored", "error", err)
		}
		return errExpired
	}
	if err == nil {
		err = p.take(ctx, &doc, answer, now)
	}
	if err != nil {
		p.cfg.Log.Warn("a session was not refreshed", "issuer", p.cfg.Name, "error", err)
		p.settle(ctx, s, doc) // so that the next request may try
		s.failed.Store(p.cfg.Sessions.now().UnixMilli())
		return unavailable("the issuer could not be asked to refresh the session", err)
	}
	return p.settle(ctx, s, doc)
}

// take puts what the issuer answered into the document.
func (p *Party) take(ctx context.Context, doc *document, answer exchange.Claims, now time.Time) error {
	access, ok := top(answer, "access_token")
	if !ok {
		return errors.New("the answer has no access_token")
	}
	// A rotated refresh token is taken whatever else is wrong: the old one may
	// be used up.
	if next, ok := top(answer, "refresh_token"); ok {
		if len(next) > maxToken {
			return errors.New("the refresh token is longer than 16 KiB")
		}
		doc.Refresh = next
	}
	if raw, there := answer.Get("id_token"); there {
		token, _ := raw.Text()
		began := time.UnixMilli(doc.Began).Add(-time.Minute)
		s, err := p.idToken(ctx, token, "", access, began, now)
		if err != nil {
			return err
		}
		if sub, _ := top(s.claims, "sub"); sub != doc.Subject {
			return errors.New("the ID token is of another subject")
		}
		doc.IDToken = token
	}
	if raw, there := answer.Get("scope"); there && raw != "null" {
		doc.Scopes = p.granted(answer)
	}
	doc.RefreshAt = refreshAt(doc.Refresh, answer, now)
	return nil
}

// refreshAt is when the access token of an answer ends and the session is
// refreshed; 0: never.
func refreshAt(refresh string, answer exchange.Claims, now time.Time) int64 {
	raw, _ := answer.Get("expires_in")
	if text, ok := raw.Text(); ok { // some write it so
		raw = exchange.JSON(text)
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if refresh == "" || err != nil || !(seconds > 0) {
		return 0
	}
	d := time.Duration(math.Min(seconds, (30*24*time.Hour).Seconds()) * float64(time.Second))
	return now.Add(max(d, leastTokens)).UnixMilli()
}

// settle writes what a refresh has led to. Others may have written a use
// meanwhile, but nobody else refreshes.
func (p *Party) settle(ctx context.Context, s *session, doc document) error {
	for range 8 {
		st := s.state.Load()
		doc.Seen = max(st.doc.Seen, s.seen.Load())
		err := p.update(ctx, s, st, doc)
		if !errors.Is(err, store.ErrConflict) {
			if errors.Is(err, store.ErrNotFound) {
				p.cfg.Sessions.drop(s)
				return errExpired
			}
			if err != nil {
				// The old refresh token may be good for nothing any more: what is in
				// memory goes on with the new one, and the next use tells the store.
				p.cfg.Log.Warn("a refreshed session could not be stored; this instance goes on with it", "error", err)
				s.state.CompareAndSwap(st, &state{doc: doc, claims: st.claims, version: st.version})
			}
			return nil
		}
		if err := p.reread(ctx, s); err != nil {
			return err
		}
	}
	return fault.New(fault.IdentityUnavailable, "others keep changing the session")
}
