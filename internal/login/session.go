package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/store"
)

// maxCookie bounds a cookie of ours, in bytes.
const maxCookie = 3 << 10

// flight is one load and those who wait for it.
type flight struct {
	over chan struct{} // closed when s and err are there
	s    *session
	err  error
}

// session returns the session of a cookie, alive.
func (p *Party) session(ctx context.Context, cookie, host []byte, now time.Time, ask bool) (*session, error) {
	all := p.cfg.Sessions
	if now.IsZero() {
		return nil, fault.New(fault.InternalError, "there is no clock")
	}
	if len(cookie) == 0 || len(cookie) > maxCookie {
		return nil, errExpired
	}
	d := sha256.Sum256(cookie)
	s := all.get(d)
	// After a time without use another instance may know of one.
	if s == nil || s.stale.Load() || s.ended.Load() || now.UnixMilli() >= s.until.Load() {
		if !ask {
			return nil, errUnasked
		}
		var err error
		if s, err = p.load(ctx, d, string(cookie), hostname(string(host)), now); err != nil {
			// What is in memory goes on while the store is away.
			have := all.get(d)
			if fault.Of(err) != fault.IdentityUnavailable || have == nil || have.ended.Load() || now.UnixMilli() >= have.until.Load() {
				return nil, err
			}
			s = have
		}
	}
	if !sameHost(host, s.host) {
		return nil, errForeign
	}
	if v := s.view.Load(); (v == nil || v.party != p) && s.party != p.context(s.host) {
		return nil, errForeign
	}
	if all.silent(p.cfg.MaxSilence) {
		return nil, errSilent
	}
	if err := p.timely(s, now); err != nil {
		return nil, err
	}
	if at := s.state.Load().doc.RefreshAt; at > 0 && now.UnixMilli() >= at {
		if !ask {
			return nil, fault.New(fault.IdentityUnavailable, "a refresh of the session is due")
		}
		if err := p.refresh(ctx, s, now); err != nil {
			return nil, err
		}
	}
	p.touch(s, now)
	return s, nil
}

// sameHost compares an authority with a host name in lower case.
func sameHost(authority []byte, host string) bool {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && !bytes.HasSuffix(authority, []byte("]")) {
		authority = authority[:i]
	}
	return exchange.EqualFold(bytes.TrimSuffix(authority, []byte(".")), host)
}

// timely judges idle time and lifetime by the configuration in force.
func (p *Party) timely(s *session, now time.Time) error {
	began := time.UnixMilli(s.state.Load().doc.Began)
	switch {
	case !now.Before(began.Add(p.cfg.Lifetime)):
		return errOver
	case !now.Before(time.UnixMilli(s.seen.Load()).Add(p.cfg.Idle)):
		return errIdle
	}
	return nil
}

// touch notes a use, and has the store told now and then.
func (p *Party) touch(s *session, now time.Time) {
	ms := now.UnixMilli()
	if ms <= s.seen.Load() {
		return
	}
	s.seen.Store(ms)
	s.until.Store(p.until(s.state.Load().doc.Began, ms))
	told := s.written.Load()
	if ms-told < min(p.cfg.Idle/4, time.Minute).Milliseconds() || !s.written.CompareAndSwap(told, ms) {
		return
	}
	select {
	case p.cfg.Sessions.touches <- touch{p, s}:
	default: // the next use
		s.written.Store(told)
	}
}

func (p *Party) until(began, seen int64) int64 {
	return min(began+p.cfg.Lifetime.Milliseconds(), seen+p.cfg.Idle.Milliseconds())
}

// load reads a session from the store: one call for all who ask for it.
func (p *Party) load(ctx context.Context, d [32]byte, cookie, host string, now time.Time) (*session, error) {
	all := p.cfg.Sessions
	all.mu.Lock()
	f := all.flights[d]
	if f == nil {
		// What stands unless the load comes to its end: a bug in it must not
		// leave others waiting for ever.
		f = &flight{over: make(chan struct{}), err: unavailable("the load of the session was broken off", nil)}
		all.flights[d] = f
		all.mu.Unlock()
		defer func() {
			all.mu.Lock()
			delete(all.flights, d)
			all.mu.Unlock()
			close(f.over)
		}()
		f.s, f.err = p.read(d, cookie, host, now)
		return f.s, f.err
	}
	all.mu.Unlock()
	select {
	case <-f.over:
		return f.s, f.err
	case <-ctx.Done():
		return nil, unavailable("nobody waits for the session any longer", context.Cause(ctx))
	}
}

func (p *Party) read(d [32]byte, cookie, host string, now time.Time) (*session, error) {
	all := p.cfg.Sessions
	k, st := all.keys.Load(), all.store.Load()
	if k == nil || st == nil {
		return nil, unavailable("there are no keys or no store yet", nil)
	}
	party := p.context(host)
	// Cookies that strangers make up never reach the store.
	raw, ok := decode(cookie)
	if !ok {
		return nil, errExpired
	}
	if _, err := k.Unseal(context.Background(), keys.Binding{Purpose: "session-id", Record: party}, raw); err != nil {
		return nil, errForeign
	}
	select {
	case all.loads <- struct{}{}:
		defer func() { <-all.loads }()
	default:
		return nil, unavailable("64 sessions are asked for already", nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), all.loading)
	defer cancel()
	r, err := st.Get(ctx, kindSession, string(d[:]))
	have := all.get(d)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if have != nil {
			all.drop(have)
		}
		return nil, errExpired
	case err != nil:
		return nil, unavailable("the store could not be asked for the session", err)
	}
	next, err := p.unseal(k, d, party, &r)
	if err != nil {
		all.log.Warn("a session of the store cannot be read", "error", err)
		return nil, errExpired
	}
	if have == nil || have.ended.Load() {
		fresh := newSession(d, party, host)
		p.adopt(fresh, next)
		if have != nil {
			all.drop(have)
		}
		return all.put(fresh), nil
	}
	have.stale.Store(false)
	p.adopt(have, next)
	return have, nil
}

// adopt puts a version in force.
func (p *Party) adopt(s *session, next *state) {
	s.state.Store(next)
	seen := max(s.seen.Load(), next.doc.Seen)
	s.seen.Store(seen)
	s.written.Store(next.doc.Seen)
	s.until.Store(p.until(next.doc.Began, seen))
}

func binding(d [32]byte, party string) keys.Binding {
	return keys.Binding{Purpose: "session", Record: hex.EncodeToString(d[:]) + " " + party}
}

func (p *Party) unseal(k *keys.DataKeys, d [32]byte, party string, r *store.Record) (*state, error) {
	plain, err := k.Unseal(context.Background(), binding(d, party), r.Body)
	if err != nil {
		return nil, err
	}
	next := &state{version: r.Version}
	if err := json.Unmarshal(plain, &next.doc); err != nil {
		return nil, err
	}
	next.claims, err = payload(next.doc.IDToken)
	return next, err
}

// payload returns the claims of a token that was verified before.
func payload(token string) (exchange.Claims, error) {
	_, rest, _ := strings.Cut(token, ".")
	middle, _, _ := strings.Cut(rest, ".")
	b, ok := decode(middle)
	if !ok {
		return nil, errors.New("no token")
	}
	return exchange.ParseClaims(b)
}

// record seals a document for the store.
func (p *Party) record(d [32]byte, party string, doc *document) (store.Record, error) {
	k := p.cfg.Sessions.keys.Load()
	if k == nil {
		return store.Record{}, errors.New("there are no keys yet")
	}
	plain, err := json.Marshal(doc)
	if err != nil {
		return store.Record{}, err
	}
	body, err := k.Seal(context.Background(), binding(d, party), plain)
	owner := p.owner(doc.Subject)
	return store.Record{Kind: kindSession, ID: string(d[:]), Owner: string(owner[:]), Expires: time.UnixMilli(p.until(doc.Began, doc.Seen)), Body: body}, err
}

// owner names the sessions of a subject, bySID those of a session of the
// issuer's.
func (p *Party) owner(sub string) [32]byte { return digest("sub", p.cfg.Issuer, p.cfg.ClientID, sub) }
func (p *Party) bySID(sid string) [32]byte { return digest("sid", p.cfg.Issuer, p.cfg.ClientID, sid) }

// begin makes a session and returns its cookie's value, once the store has it.
func (p *Party) begin(ctx context.Context, host string, doc document) (cookie string, err error) {
	all := p.cfg.Sessions
	k, st := all.keys.Load(), all.store.Load()
	if k == nil || st == nil {
		return "", errors.New("there are no keys or no store yet")
	}
	var id [32]byte
	rand.Read(id[:])
	party := p.context(host)
	sealed, err := k.Seal(ctx, keys.Binding{Purpose: "session-id", Record: party}, id[:])
	if err != nil {
		return "", err
	}
	cookie = encode(sealed)
	s := newSession(sha256.Sum256([]byte(cookie)), party, host)
	r, err := p.record(s.digest, party, &doc)
	if err != nil {
		return "", err
	}
	writes := []store.Write{store.Create(r)}
	if doc.SID != "" {
		at := p.bySID(doc.SID)
		writes = append(writes, store.Put(store.Record{
			Kind: kindBySID, ID: string(at[:]) + string(s.digest[:]), Expires: time.UnixMilli(doc.Began).Add(p.cfg.Lifetime),
		}))
	}
	next := &state{doc: doc}
	if next.claims, err = payload(doc.IDToken); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, all.writing)
	defer cancel()
	if next.version, err = st.Commit(ctx, writes...); err != nil {
		return "", err
	}
	p.adopt(s, next)
	all.put(s)
	return cookie, nil
}

// update writes a document in the place of a version, and puts it in force.
func (p *Party) update(ctx context.Context, s *session, from *state, doc document) error {
	st := p.cfg.Sessions.store.Load()
	r, err := p.record(s.digest, s.party, &doc)
	if err != nil || st == nil {
		return errors.Join(err, errors.New("there is no store"))
	}
	r.Version = from.version
	next := &state{doc: doc, claims: from.claims}
	if doc.IDToken != from.doc.IDToken {
		if next.claims, err = payload(doc.IDToken); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Sessions.writing)
	defer cancel()
	if next.version, err = st.Commit(ctx, store.Update(r)); err != nil {
		return err
	}
	if s.state.CompareAndSwap(from, next) {
		s.written.Store(doc.Seen)
	} else {
		s.stale.Store(true)
	}
	return nil
}

// once reports an error if what was used before: store.ErrExists if it was.
func (p *Party) once(ctx context.Context, what, value string, until time.Time) error {
	st := p.cfg.Sessions.store.Load()
	if st == nil {
		return errors.New("there is no store yet")
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Sessions.writing)
	defer cancel()
	_, err := st.Commit(ctx, store.Create(store.Record{Kind: kindUsed, ID: p.used(what, value), Expires: until}))
	return err
}

// again takes back what once has noted.
func (p *Party) again(ctx context.Context, what, value string) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Sessions.writing)
	defer cancel()
	p.cfg.Sessions.store.Load().Commit(ctx, store.Delete(kindUsed, p.used(what, value), 0))
}

func (p *Party) used(what, value string) string {
	id := digest(what, p.cfg.Name, p.cfg.Issuer, value)
	return string(id[:])
}
