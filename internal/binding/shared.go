package binding

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

// Keys of shared nonces take turns. The next is stored ahead of its time, so
// that all of a fleet know it before the first makes a nonce with it.
const (
	turn    = 24 * time.Hour
	ahead   = 10 * time.Minute
	look    = time.Minute      // how often they are read
	again   = 10 * time.Second // while they cannot be reached
	orphans = 3 * turn         // after which keys that cannot be read are made anew
)

// storageName is under which Storage keeps them.
const storageName = "dpop-nonces"

// maxShared bounds what is read, in bytes.
const maxShared = 4 << 10

// sharedFile is what Storage keeps. At is not secret, and sealed with the
// rest: it tells whoever cannot read the keys whether anybody still does.
type sharedFile struct {
	At     int64  `json:"at"` // when it was written, Unix seconds
	Sealed []byte `json:"sealed"`
}

func (f *sharedFile) binding() keys.Binding {
	return keys.Binding{Purpose: storageName, Record: fmt.Sprint(f.At)}
}

// Unlock gives the keys that the shared ones are sealed with.
func (n *Nonces) Unlock(k *keys.DataKeys) { n.data.Store(k) }

// Run shares the keys of nonces with all who have the same storage and the
// same data keys, until ctx is over. Until it can, and while it cannot, nonces
// are made with the keys that were there before.
func (n *Nonces) Run(ctx context.Context, s keys.Storage, log *slog.Logger) {
	said := "" // each trouble is told once
	for {
		pause := look
		err := n.share(ctx, s, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case errors.Is(err, keys.ErrUnavailable):
			pause = again // who keeps the storage says so
		default:
			if now := err.Error(); now != said {
				said = now
				log.Warn("the keys of DPoP nonces are not shared now: a client that needs nonces is asked for another by each gateway", "error", err,
					"hint", "gateways of one fleet need one store, and the same key file and data keys")
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// share takes over the keys in storage, and makes or turns them if that is due.
func (n *Nonces) share(ctx context.Context, s keys.Storage, now time.Time) error {
	data := n.data.Load()
	if data == nil {
		return nil
	}
	for range 8 { // others may be at it, too
		old, err := s.Load(ctx, storageName)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		next := ring{freshKey(now.Unix())}
		if err == nil {
			have, err := unseal(ctx, data, old, now)
			if err != nil {
				return err
			}
			if have != nil {
				if now.Unix() < have[0].From+int64(turn/time.Second) {
					n.ring.Store(&have)
					return nil
				}
				next = ring{freshKey(now.Add(ahead).Unix()), have[0]}
			}
		}
		fresh, err := seal(ctx, data, next, now)
		if err != nil {
			return err
		}
		switch err = s.Swap(ctx, storageName, old, fresh); {
		case err == nil:
			n.ring.Store(&next)
			return nil
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return errors.New("others keep changing them")
}

func seal(ctx context.Context, data *keys.DataKeys, r ring, now time.Time) ([]byte, error) {
	plain, _ := json.Marshal(r) // which cannot fail
	f := sharedFile{At: now.Unix()}
	var err error
	if f.Sealed, err = data.Seal(ctx, f.binding(), plain); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// unseal reads what Storage keeps; nil if it is to be replaced: it is of those
// who have left.
func unseal(ctx context.Context, data *keys.DataKeys, stored []byte, now time.Time) (ring, error) {
	var f sharedFile
	if len(stored) > maxShared || json.Unmarshal(stored, &f) != nil {
		return nil, nil
	}
	plain, err := data.Unseal(ctx, f.binding(), f.Sealed)
	if err != nil {
		if now.Unix()-f.At > int64(orphans/time.Second) {
			return nil, nil
		}
		return nil, err
	}
	var r ring
	if json.Unmarshal(plain, &r) != nil || len(r) == 0 || len(r) > 2 || slices.ContainsFunc(r, func(k macKey) bool { return len(k.Key) != keySize }) {
		return nil, keys.ErrAltered
	}
	return r, nil
}
