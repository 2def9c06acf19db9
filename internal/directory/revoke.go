package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/store"
)

// kindRevocation is a revocation of tokens. Its id is the mark of what is
// revoked, in hexadecimal.
const kindRevocation store.Kind = "revocation"

// Revocation says which tokens are taken back.
type Revocation struct {
	What    string    // exchange.RevokedToken, RevokedID, …
	Issuer  string    // iss, of a jti, a subject, an issuer
	Name    string    // the jti, the subject or the consumer; of a token its exchange.TokenDigest in hexadecimal
	Before  time.Time // those issued until then; zero: whenever. Of a token or a jti it is zero
	Expires time.Time // when it is forgotten; zero: never
	Created time.Time

	version uint64
}

// Bounds of what a revocation names, in bytes.
const maxRevokedName = 4096

type revocationBody struct {
	What    string `json:"what"`
	Issuer  string `json:"issuer,omitempty"`
	Name    string `json:"name,omitempty"`
	Before  int64  `json:"before,omitempty"`
	Expires int64  `json:"expires,omitempty"`
	Created int64  `json:"created"`
}

// mark returns what the revocation is found by, or what is wrong with it.
func (r *Revocation) mark() (m exchange.Mark, err error) {
	issuer, name, when := false, true, true
	texts := []string{r.What}
	switch r.What {
	case exchange.RevokedToken:
		digest, err := hex.DecodeString(r.Name)
		if err != nil || len(digest) != 32 {
			return m, errors.New("a token is revoked by its digest in hexadecimal")
		}
		when = false
		texts = append(texts, string(digest))
	case exchange.RevokedID:
		issuer, when = true, false
		texts = append(texts, r.Issuer, r.Name)
	case exchange.RevokedSubject:
		issuer = true
		texts = append(texts, r.Issuer, r.Name)
	case exchange.RevokedConsumer:
		texts = append(texts, r.Name)
	case exchange.RevokedIssuer:
		issuer, name = true, false
		texts = append(texts, r.Issuer)
	case exchange.RevokedAll:
		name = false
	default:
		return m, fmt.Errorf("%q cannot be revoked by this build", r.What)
	}
	switch {
	case issuer != (r.Issuer != ""):
		return m, fmt.Errorf("a revocation of a %s: its issuer is missing, or has no meaning", r.What)
	case name != (r.Name != "") || len(r.Name) > maxRevokedName || len(r.Issuer) > maxRevokedName:
		return m, fmt.Errorf("a revocation of a %s: its name is missing, has no meaning or is longer than %d bytes", r.What, maxRevokedName)
	case r.Before.IsZero() && !name, !r.Before.IsZero() && !when:
		return m, fmt.Errorf("a revocation of a %s: the moment is missing, or has no meaning", r.What)
	}
	return exchange.MarkOf(texts...), nil
}

// ID names the revocation in the store.
func (r *Revocation) ID() string {
	m, _ := r.mark()
	return hex.EncodeToString(m[:])
}

func readRevocation(r *store.Record) (v Revocation, err error) {
	var b revocationBody
	if err := decode(r.Body, &b); err != nil {
		return v, fmt.Errorf("revocation %q in the store cannot be read: %w", r.ID, err)
	}
	v = Revocation{b.What, b.Issuer, b.Name, moment(b.Before), moment(b.Expires), moment(b.Created), r.Version}
	if _, err := v.mark(); err != nil {
		return v, fmt.Errorf("revocation %q in the store: %w", r.ID, err)
	}
	if v.ID() != r.ID || b.Before < 0 || b.Expires < 0 {
		return v, fmt.Errorf("revocation %q in the store is not of this build's form", r.ID)
	}
	return v, nil
}

// Revoke takes tokens back, on every gateway of the store within a second. What
// was revoked before stays so: of two revocations of the same the store keeps
// one that is as wide as both. It returns that.
func Revoke(ctx context.Context, s *store.Store, r Revocation, now time.Time) (Revocation, error) {
	if _, err := r.mark(); err != nil {
		return r, err
	}
	if !r.Expires.IsZero() && !r.Expires.After(now) {
		return r, errors.New("the revocation would be over already")
	}
	r.Created = now
	for range 5 {
		write, err := r.write(ctx, s)
		if err != nil {
			return r, err
		}
		switch _, err := s.Commit(ctx, write); {
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNotFound):
		default:
			return r, err
		}
	}
	return r, errors.New("this was changed by others meanwhile; nothing is revoked: try again")
}

// write makes r as wide as what the store has, too.
func (r *Revocation) write(ctx context.Context, s *store.Store) (store.Write, error) {
	have, err := s.Get(ctx, kindRevocation, r.ID())
	if errors.Is(err, store.ErrNotFound) {
		return store.Create(r.record()), nil
	} else if err != nil {
		return store.Write{}, err
	}
	old, err := readRevocation(&have)
	if err != nil {
		return store.Write{}, err
	}
	r.Before, r.Expires = later(r.Before, old.Before), later(r.Expires, old.Expires)
	r.version = old.version
	return store.Update(r.record()), nil
}

// later returns the later of two moments; zero is for ever.
func later(a, b time.Time) time.Time {
	switch {
	case a.IsZero() || b.IsZero():
		return time.Time{}
	case a.Before(b):
		return b
	}
	return a
}

func (r *Revocation) record() store.Record {
	return store.Record{Kind: kindRevocation, ID: r.ID(), Expires: r.Expires, Version: r.version,
		Body: encode(revocationBody{r.What, r.Issuer, r.Name, milli(r.Before), milli(r.Expires), milli(r.Created)})}
}

// EachRevocation hands out the revocations of tokens by their ids' order. A
// record that cannot be read ends it.
func EachRevocation(ctx context.Context, s *store.Store, each func(Revocation) error) error {
	return eachRecord(ctx, s, kindRevocation, readRevocation, each)
}

// Unrevoke takes a revocation back. It is named by its id, or by as much of its
// beginning as no other begins with, eight characters at least.
func Unrevoke(ctx context.Context, s *store.Store, id string) error {
	const least = 8
	if id = strings.ToLower(id); len(id) < least {
		return fmt.Errorf("%q is too short to name a revocation; give at least %d characters of its id", id, least)
	}
	page, _, err := s.List(ctx, store.Query{Kind: kindRevocation, Prefix: id, Limit: 2})
	switch {
	case err != nil:
		return err
	case len(page) == 0:
		return fmt.Errorf("revocation %q: %w; `warder token list-revoked` shows those there are", id, ErrUnknown)
	case len(page) > 1:
		return fmt.Errorf("more than one revocation begins with %q; give more of its id", id)
	}
	_, err = s.Commit(ctx, store.Delete(kindRevocation, page[0].ID, 0))
	return err
}
