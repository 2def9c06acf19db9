package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/store"
)

// What follows changes the consumers and keys of a store. Every gateway on it
// goes by the change within a second. Errors are one sentence for the
// operator; those of the store come as they are.

// ErrUnknown is the error for a consumer or a key that the store does not have.
var ErrUnknown = errors.New("the store has none")

// AddConsumer adds a consumer.
func AddConsumer(ctx context.Context, s *store.Store, name string, now time.Time) error {
	if err := CheckName(name); err != nil {
		return err
	}
	// Keys of an earlier one of this name would be this one's.
	left, _, err := s.List(ctx, store.Query{Kind: kindKey, Owner: name, Limit: 1})
	if err != nil {
		return err
	}
	if len(left) > 0 {
		if _, err := s.Get(ctx, kindConsumer, name); errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("keys of an earlier consumer %s are left in the store; delete it once more", name)
		}
	}
	_, err = s.Commit(ctx, store.Create(store.Record{Kind: kindConsumer, ID: name, Body: encode(consumerBody{milli(now)})}))
	if errors.Is(err, store.ErrExists) {
		return fmt.Errorf("the store has a consumer %s already", name)
	}
	return err
}

// DeleteConsumer removes a consumer and its keys, and returns how many. The
// keys cease to be good at once, all of them.
func DeleteConsumer(ctx context.Context, s *store.Store, name string) (n int, err error) {
	gone := true
	if _, err := s.Commit(ctx, store.Delete(kindConsumer, name, 0)); errors.Is(err, store.ErrNotFound) {
		gone = false // but keys may be left, if the last attempt was cut short
	} else if err != nil {
		return 0, err
	}
	for {
		page, _, err := s.List(ctx, store.Query{Kind: kindKey, Owner: name, Limit: store.MaxPage})
		if err != nil {
			return n, err
		}
		if len(page) == 0 {
			if n == 0 && !gone {
				return 0, unknownConsumer(name)
			}
			return n, nil
		}
		var writes []store.Write
		for i := range page {
			writes = append(writes, store.Delete(kindKey, page[i].ID, 0))
		}
		if _, err := s.Commit(ctx, writes...); err != nil && !errors.Is(err, store.ErrNotFound) { // which was another's work: look again
			return n, err
		} else if err == nil {
			n += len(writes)
		}
	}
}

func unknownConsumer(name string) error {
	return fmt.Errorf("consumer %q: %w of this name; `warder consumer list` shows those there are", name, ErrUnknown)
}

// GetConsumer returns a consumer of the store.
func GetConsumer(ctx context.Context, s *store.Store, name string) (StoredConsumer, error) {
	c, _, err := getConsumer(ctx, s, name)
	return c, err
}

func getConsumer(ctx context.Context, s *store.Store, name string) (StoredConsumer, uint64, error) {
	r, err := s.Get(ctx, kindConsumer, name)
	if errors.Is(err, store.ErrNotFound) || name == "" {
		return StoredConsumer{}, 0, unknownConsumer(name)
	} else if err != nil {
		return StoredConsumer{}, 0, err
	}
	c, err := readConsumer(&r)
	return c, r.Version, err
}

// AddKey gives a consumer a key that is good until a moment; the zero time is
// for ever. The key's id may be taken: then the error is store.ErrExists, and
// the caller makes another key.
// limits say where it is good.
func AddKey(ctx context.Context, s *store.Store, consumer string, ref exchange.KeyRef, limits *exchange.KeyLimits, expires, now time.Time) (StoredKey, error) {
	if err := CheckLimits(limits); err != nil {
		return StoredKey{}, err
	}
	return addKey(ctx, s, StoredKey{Ref: ref, Consumer: consumer, Created: now, Expires: expires, Limits: limits})
}

// RotateKeys gives a consumer a new key, as AddKey does, and lets those it has
// expire after the overlap, unless they do so before. It returns how many. The
// new key is good where the newest of them is, and no further.
func RotateKeys(ctx context.Context, s *store.Store, consumer string, ref exchange.KeyRef, overlap time.Duration, expires, now time.Time) (StoredKey, int, error) {
	if _, err := GetConsumer(ctx, s, consumer); err != nil {
		return StoredKey{}, 0, err
	}
	var ending []store.Write
	var newest StoredKey
	end := now.Add(overlap)
	err := EachKey(ctx, s, consumer, func(k StoredKey) error {
		if k.State(now) == "active" && !k.Created.Before(newest.Created) {
			newest = k
		}
		if k.State(now) != "active" || !k.Expires.IsZero() && k.Expires.Before(end) {
			return nil
		}
		k.Expires = end
		if ending = append(ending, store.Update(k.record())); len(ending) > store.MaxWrites-2 {
			return fmt.Errorf("consumer %s has more keys than can be rotated at once; revoke some first", consumer)
		}
		return nil
	})
	if err != nil {
		return StoredKey{}, 0, err
	}
	key, err := addKey(ctx, s, StoredKey{Ref: ref, Consumer: consumer, Created: now, Expires: expires, Limits: newest.Limits}, ending...)
	return key, len(ending), err
}

// addKey adds a key and makes more writes, all or nothing, while its consumer
// is there.
func addKey(ctx context.Context, s *store.Store, k StoredKey, more ...store.Write) (StoredKey, error) {
	_, version, err := getConsumer(ctx, s, k.Consumer)
	if err != nil {
		return StoredKey{}, err
	}
	writes := append([]store.Write{store.Unchanged(kindConsumer, k.Consumer, version), store.Create(k.record())}, more...)
	if _, err := s.Commit(ctx, writes...); errors.Is(err, store.ErrConflict) {
		return StoredKey{}, fmt.Errorf("consumer %s or a key of it was changed meanwhile; nothing was done: try again", k.Consumer)
	} else if err != nil {
		return StoredKey{}, err
	}
	return k, nil
}

// RevokeKey ends a key for good. It is named by its id, wk_ and eight
// characters, or as many of these as no other key begins with, four at least;
// never by the key itself. A key that was revoked before is returned as it is.
func RevokeKey(ctx context.Context, s *store.Store, id string, now time.Time) (StoredKey, error) {
	k, err := FindKey(ctx, s, id)
	if err != nil || !k.Revoked.IsZero() {
		return k, err
	}
	k.Revoked = now
	if _, err := s.Commit(ctx, store.Update(k.record())); errors.Is(err, store.ErrConflict) {
		return k, fmt.Errorf("key %s was changed meanwhile; it is not revoked: try again", k.ID())
	} else if err != nil {
		return k, err
	}
	return k, nil
}

// FindKey finds a key by its id, or by a beginning of it as RevokeKey says.
func FindKey(ctx context.Context, s *store.Store, id string) (StoredKey, error) {
	const least, whole = 4, 8
	prefix := strings.TrimPrefix(strings.TrimPrefix(id, "wk_"), "ik_")
	switch {
	case len(prefix) > whole:
		return StoredKey{}, errors.New("name a key by its first eight characters, wk_1a2b3c4d: a whole key does not belong on a command line")
	case len(prefix) < least:
		return StoredKey{}, fmt.Errorf("%q is too short to name a key; give at least %d characters of its id", id, least)
	}
	page, _, err := s.List(ctx, store.Query{Kind: kindKey, Prefix: prefix, Limit: 2})
	switch {
	case err != nil:
		return StoredKey{}, err
	case len(page) == 0:
		return StoredKey{}, fmt.Errorf("key %q: %w; `warder key list` shows those there are", id, ErrUnknown)
	case len(page) > 1:
		return StoredKey{}, fmt.Errorf("more than one key begins with %q; give more of its id", id)
	}
	return readKey(&page[0])
}

// EachConsumer hands out the consumers of the store by their names' order. A
// record that cannot be read ends it.
func EachConsumer(ctx context.Context, s *store.Store, each func(StoredConsumer) error) error {
	return eachRecord(ctx, s, kindConsumer, readConsumer, each)
}

// EachKey hands out the keys of a consumer, or all keys if it is empty, by
// their ids' order. A record that cannot be read ends it.
func EachKey(ctx context.Context, s *store.Store, consumer string, each func(StoredKey) error) error {
	return eachPage(ctx, s, store.Query{Kind: kindKey, Owner: consumer}, func(page []store.Record) error {
		ids := make([]string, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		used, err := s.LastUses(ctx, kindKey, ids...)
		if err != nil {
			return err
		}
		for i := range page {
			k, err := readKey(&page[i])
			if err != nil {
				return err
			}
			k.Used = used[page[i].ID]
			if err := each(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachRecord hands out what the records of a kind say.
func eachRecord[T any](ctx context.Context, s *store.Store, kind store.Kind, read func(*store.Record) (T, error), each func(T) error) error {
	return eachPage(ctx, s, store.Query{Kind: kind}, func(page []store.Record) error {
		for i := range page {
			v, err := read(&page[i])
			if err != nil {
				return err
			}
			if err := each(v); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPage hands out pages, none of them empty.
func eachPage(ctx context.Context, s *store.Store, q store.Query, each func([]store.Record) error) error {
	for {
		page, next, err := s.List(ctx, q)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			if err := each(page); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		q.After = next
	}
}
