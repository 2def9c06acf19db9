package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What the errors of a store are. Each comes wrapped in words.
var (
	ErrNotFound = errors.New("there is no such record")
	// ErrNone is that of Open with AsIs where nobody has made a store.
	ErrNone     = errors.New("there is no store")
	ErrExists   = errors.New("there is such a record already")
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrInvalid is a mistake of the caller: out of bounds, or no write at all.
	ErrInvalid = errors.New("this cannot be stored")
	// ErrUnavailable means that the database is down, slow, full or read-only:
	// 503 for whoever waits for an answer.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrNewer is a schema that only a later build understands.
	ErrNewer = errors.New("the store was written by a newer version of Warder")
	// ErrGone means that changes were forgotten that a follower has not seen,
	// or that it is another store now: Stream again.
	ErrGone = errors.New("the changes since then are gone")
)

var errNotYet = fmt.Errorf("%w: it has not answered yet", ErrUnavailable)

// Status says how the store is.
type Status struct {
	Engine string    // SQLite or PostgreSQL
	Err    error     // why it is down, in one sentence without secrets; nil: it is up
	Since  time.Time // when it went up or down
}

// Status returns how the store was when it was last asked something, which is
// seconds ago at most. It never waits.
func (s *Store) Status() Status { return *s.status.Load() }

// unavailable is an error of the database: one sentence.
type unavailable struct {
	engine, text string
	cause        error // ErrNewer, or nil
}

func (e *unavailable) Error() string        { return "store (" + e.engine + "): " + e.text }
func (e *unavailable) Unwrap() error        { return e.cause }
func (e *unavailable) Is(target error) bool { return target == ErrUnavailable }

// foreign is an error that is not the database's: of a callback, a reader, a
// writer. It is returned to the caller as it was.
type foreign struct{ error }

// judge turns what a driver says into an error of this package, and takes note
// of whether the database works. ctx is the caller's.
func (s *Store) judge(ctx context.Context, err error, writes bool) error {
	var theirs foreign
	switch {
	case err == nil:
		s.works(writes)
		return nil
	case errors.As(err, &theirs):
		return theirs.error
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrExists), errors.Is(err, ErrConflict), errors.Is(err, ErrInvalid), errors.Is(err, ErrGone):
		s.works(reading)
		return err
	case errors.Is(err, ErrNewer):
		err = &unavailable{s.engine.name(), err.Error(), ErrNewer}
		s.fails(err, writes)
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil: // the caller's patience, not ours: it says nothing of the database
		return &unavailable{s.engine.name(), "no answer in the time the caller gave", nil}
	}
	text, down := s.engine.explain(err)
	err = &unavailable{s.engine.name(), text, nil}
	if down {
		s.fails(err, writes)
	}
	return err
}

func (s *Store) works(writes bool) {
	for {
		old := s.status.Load()
		if old.Err == nil || s.readonly.Load() && !writes {
			return
		}
		now := s.now()
		if !s.status.CompareAndSwap(old, &Status{Engine: old.Engine, Since: now}) {
			continue
		}
		s.readonly.Store(false)
		if old.Err != errNotYet {
			s.log.Info("the store is up again", "engine", old.Engine, "down", now.Sub(old.Since).Round(time.Millisecond))
		}
		return
	}
}

func (s *Store) fails(err error, writes bool) {
	for {
		old := s.status.Load()
		if old.Err != nil && (old.Err.Error() == err.Error() || s.readonly.Load() && !writes) {
			return
		}
		next := &Status{Engine: old.Engine, Since: s.now(), Err: err}
		if old.Err != nil && old.Err != errNotYet {
			next.Since = old.Since // still down, for another reason
		}
		if !s.status.CompareAndSwap(old, next) {
			continue
		}
		s.readonly.Store(writes)
		s.log.Error("the store is down; what is in memory goes on", "error", err)
		return
	}
}

// Times of what the store does by itself.
const (
	pulse    = 5 * time.Second // between two looks at the database
	retry    = time.Second     // the same while it is down
	sweep    = time.Minute     // between two clearings
	batch    = 500             // records cleared in one transaction
	remember = 100_000         // graves kept; older changes are forgotten
	linger   = time.Minute     // expired records stay so long, for clocks that disagree
)

// keep looks after the store until it is closed: whether it answers, what has
// expired, what may be forgotten.
func (s *Store) keep() {
	var swept time.Time
	for {
		pause := pulse
		if s.Status().Err != nil {
			pause = retry
		}
		if wait(s.ended, nil, pause) != nil {
			return
		}
		var err error
		switch {
		case !s.migrated.Load():
			err = s.prepare(s.ended)
		case s.readonly.Load():
			err = s.short(s.ended, writing, func(ctx context.Context) error {
				return s.engine.write(ctx, func(tx *sql.Tx) error { return alone(ctx, tx) })
			})
		default:
			err = s.short(s.ended, reading, s.engine.ping)
		}
		if err == nil && s.now().Sub(swept) >= sweep {
			swept = s.now()
			s.Sweep(s.ended) // a failure is in Status, and in a minute it is tried again
		}
	}
}

// alone holds off all other writers until the end of the transaction.
func alone(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE warder_head SET seq = seq`)
	return err
}

// Sweep removes what has expired and forgets old deletions, in small steps.
// The store does it by itself every minute.
func (s *Store) Sweep(ctx context.Context) error { return s.clear(ctx, remember) }

// clear is Sweep that remembers so many deletions.
func (s *Store) clear(ctx context.Context, graves int) error {
	if idle, err := s.swept(ctx, graves); err != nil || idle {
		return err
	}
	for {
		var gone int64
		err := s.short(ctx, writing, func(ctx context.Context) error {
			return s.engine.write(ctx, func(tx *sql.Tx) error {
				if err := alone(ctx, tx); err != nil {
					return err
				}
				const over = `(kind, id) IN (SELECT kind, id FROM warder_records WHERE expires <= $1 ORDER BY expires, kind, id LIMIT $2)`
				before := s.now().Add(-linger).UnixMilli()
				if _, err := tx.ExecContext(ctx, `DELETE FROM warder_uses WHERE `+over, before, batch); err != nil {
					return err
				}
				r, err := tx.ExecContext(ctx, `DELETE FROM warder_records WHERE `+over, before, batch)
				if err != nil {
					return err
				}
				if gone, err = r.RowsAffected(); err != nil {
					return err
				}
				return s.forget(ctx, tx, graves)
			})
		})
		if err != nil || gone < batch {
			return err
		}
	}
}

// swept reports whether there is nothing to do, without writing.
func (s *Store) swept(ctx context.Context, graves int) (idle bool, err error) {
	var work int
	err = s.short(ctx, reading, func(ctx context.Context) error {
		return s.engine.reader().QueryRowContext(ctx, `SELECT (SELECT count(*) FROM (SELECT 1 FROM warder_records WHERE expires <= $1 LIMIT 1) AS r)
			+ (SELECT count(*) FROM (SELECT 1 FROM warder_graves ORDER BY seq DESC LIMIT 1 OFFSET $2) AS g)`,
			s.now().Add(-linger).UnixMilli(), graves).Scan(&work)
	})
	return work == 0, err
}

// forget drops graves beyond the number that is remembered.
func (s *Store) forget(ctx context.Context, tx *sql.Tx, graves int) error {
	var floor uint64
	err := tx.QueryRowContext(ctx, `SELECT seq FROM warder_graves ORDER BY seq DESC LIMIT 1 OFFSET $1`, graves).Scan(&floor)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE warder_head SET forgotten = $1`, floor); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM warder_graves WHERE seq <= $1`, floor)
	return err
}

// bell wakes everyone who waits for it.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBell() *bell { return &bell{ch: make(chan struct{})} }

// next returns a channel that is closed at the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
