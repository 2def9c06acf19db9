package login

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// refBytes is how much of a session's digest names it to operators: none of
// 131,072 sessions shares it with another.
const refBytes = 8

// ErrNoSession says that there is no such session, or that it has ended.
var ErrNoSession = errors.New("there is no such session, or it has ended")

// End ends the session that the access log and explain call ref, on every
// gateway of the store within a second, with its streams.
func End(ctx context.Context, s *store.Store, ref string) error {
	id, err := hex.DecodeString(ref)
	if err != nil || len(id) != refBytes {
		return fmt.Errorf("%q is no session: expected the %d digits that the access log has as session, and warder explain as proof", ref, 2*refBytes)
	}
	page, _, err := s.List(ctx, store.Query{Kind: kindSession, Prefix: string(id)})
	if err != nil {
		return err
	}
	if len(page) == 0 {
		return fmt.Errorf("session %s: %w", ref, ErrNoSession)
	}
	for i := range page {
		if _, err := s.Commit(ctx, store.Delete(kindSession, page[i].ID, 0)); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// Judge has the sessions in memory that were revoked ended, soon. It is called
// when something was revoked; those not in memory are ended when they are shown.
func (s *Sessions) Judge() {
	select {
	case s.doubted <- struct{}{}:
	default:
	}
}

// revoked returns the sessions in memory that were taken back.
func (s *Sessions) revoked() (list []*session) {
	now := s.now()
	for i := range s.held {
		sh := &s.held[i]
		sh.mu.RLock()
		for _, one := range sh.m {
			if v := one.view.Load(); v != nil && v.party.cfg.Directory != nil && v.party.cfg.Directory.Revoked(v.id, now) == fault.SessionExpired {
				list = append(list, one)
			}
		}
		sh.mu.RUnlock()
	}
	return list
}

// endSoon ends a session that was revoked.
func (s *Sessions) endSoon(one *session) {
	select {
	case s.ends <- one:
	default: // it is refused as long as it is revoked
	}
}

// endRevoked takes sessions out of the store, but for those that another
// instance has ended meanwhile. Until that is done they are refused for being
// revoked, and ended when they are shown.
func (s *Sessions) endRevoked(ctx context.Context, list ...*session) {
	var digests [][32]byte
	for _, one := range list {
		if !one.ended.Load() {
			digests = append(digests, one.digest)
		}
	}
	for chunk := range slices.Chunk(digests, endedPer) {
		if err := s.end(ctx, chunk...); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("revoked sessions are refused, and could not all be ended in the store yet", "error", err)
			}
			return
		}
	}
}

// endedPer is how many sessions end in one commit: others wait to have theirs
// written meanwhile.
const endedPer = 500

// end ends sessions everywhere. An error says that other instances may go on
// with them.
func (s *Sessions) end(ctx context.Context, digests ...[32]byte) error {
	for _, d := range digests {
		if one := s.get(d); one != nil {
			s.drop(one)
		}
	}
	st := s.store.Load()
	if st == nil {
		return errors.New("there is no store")
	}
	ctx, cancel := context.WithTimeout(ctx, s.writing)
	defer cancel()
	writes := make([]store.Write, len(digests))
	for i, d := range digests {
		writes[i] = store.Delete(kindSession, string(d[:]), 0)
	}
	if len(writes) > 1 {
		if _, err := st.Commit(ctx, writes...); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		// One was ended elsewhere meanwhile, and none has ended here.
	}
	for _, w := range writes {
		if _, err := st.Commit(ctx, w); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}
