package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Mark is a moment of a store: all changes up to a number. Only the store that
// gave it understands it.
type Mark struct {
	Store string // which database; another one after a restore
	Seq   uint64
}

// Change is the last that happened to a record. What happened to it before may
// never be told; so an alias may come to its new record before it is told that
// the old one has another.
type Change struct {
	Record  // if deleted, only Kind, ID and Version
	Deleted bool
}

// Changes is what happened between two moments. All that one Commit wrote is
// in the same Changes, unless a later one wrote it again.
type Changes struct {
	Mark Mark     // where to go on
	List []Change // by number; of one number deletions first
	// More says that the store has later ones already.
	More bool
}

// How much is read at once: so many changes, and so many bytes of bodies. One
// Commit is read whole, which is MaxWrites and MaxCommit more at most.
const (
	page      = 1000
	pageBytes = 16 << 20
)

// Follow hands each the changes to these kinds after a moment, as they happen,
// until ctx ends, each returns an error, or they cannot be told any more
// (ErrGone). It returns that error, never nil.
//
// Each is called at least every five seconds or so while the store answers,
// with an empty List if nothing happened: to have been called is to be up to
// date. While the store is down it is not called; Follow waits, and goes on
// from where it was.
func (s *Store) Follow(ctx context.Context, from Mark, each func(Changes) error, kinds ...Kind) error {
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	pause := shortest
	for {
		woken := s.wake.next() // before reading: what happens after is not missed
		var changes Changes
		err := s.short(ctx, reading, func(ctx context.Context) (err error) {
			changes, err = s.since(ctx, from, kinds)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrUnavailable):
			if err := wait(ctx, nil, pause); err != nil {
				return err
			}
			pause = min(2*pause, longest)
			continue
		case err != nil:
			return err
		}
		pause = shortest
		if err := each(changes); err != nil {
			return err
		}
		from = changes.Mark
		if changes.More {
			continue
		}
		if err := wait(ctx, woken, pulse); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, woken <-chan struct{}, atMost time.Duration) error {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-woken:
	case <-t.C:
	}
	return nil
}

// since reads the changes after a moment: records by their number, and graves
// by theirs.
func (s *Store) since(ctx context.Context, from Mark, kinds []Kind) (c Changes, err error) {
	err = s.engine.view(ctx, func(tx *sql.Tx) error {
		now, forgotten, err := head(ctx, tx)
		switch {
		case err != nil:
			return err
		case from.Store != now.Store:
			return fmt.Errorf("%w: the store was restored or replaced", ErrGone)
		case from.Seq < forgotten || from.Seq > now.Seq:
			return fmt.Errorf("%w: they are at %d and %d is known", ErrGone, from.Seq, now.Seq)
		}
		c = Changes{Mark: now}
		if from.Seq == now.Seq || len(kinds) == 0 {
			return nil
		}
		if c.Mark.Seq, err = pageEnd(ctx, tx, from.Seq, now.Seq, kinds); err != nil {
			return err
		}
		c.More = c.Mark.Seq < now.Seq
		args := append([]any{from.Seq, c.Mark.Seq}, names(kinds)...)
		rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM warder_records WHERE seq > $1 AND seq <= $2 AND `+among(kinds)+` ORDER BY seq`, args...)
		if err != nil {
			return err
		}
		if err := scan(rows, func(r Record) error {
			c.List = append(c.List, Change{Record: r.clone()})
			return nil
		}); err != nil {
			return err
		}
		rows, err = tx.QueryContext(ctx, `SELECT kind, id, seq, NULL, NULL, NULL, NULL FROM warder_graves WHERE seq > $1 AND seq <= $2 AND `+among(kinds)+` ORDER BY seq`, args...)
		if err != nil {
			return err
		}
		if err := scan(rows, func(r Record) error {
			r.Body = nil
			c.List = append(c.List, Change{Record: r, Deleted: true})
			return nil
		}); err != nil {
			return err
		}
		slices.SortStableFunc(c.List, func(a, b Change) int {
			switch {
			case a.Version != b.Version:
				if a.Version < b.Version {
					return -1
				}
				return 1
			case a.Deleted == b.Deleted:
				return 0
			case a.Deleted:
				return -1
			}
			return 1
		})
		return nil
	})
	return c, err
}

// pageEnd returns the number with which a page after a number ends, last if all
// has room in it. A page takes all of its last number, so that a Commit is not
// torn.
func pageEnd(ctx context.Context, tx *sql.Tx, from, last uint64, kinds []Kind) (uint64, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, size FROM (
			SELECT seq, size FROM (SELECT seq, length(body) AS size FROM warder_records WHERE seq > $1 AND `+among(kinds)+` ORDER BY seq LIMIT $2) AS r
			UNION ALL SELECT seq, size FROM (SELECT seq, 0 AS size FROM warder_graves WHERE seq > $1 AND `+among(kinds)+` ORDER BY seq LIMIT $2) AS g
		) AS both_of_them ORDER BY seq LIMIT $2`, append([]any{from, page}, names(kinds)...)...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for n, size := 0, 0; rows.Next(); {
		var seq uint64
		var bytes int
		if err := rows.Scan(&seq, &bytes); err != nil {
			return 0, err
		}
		n++
		size += bytes
		if n == page || size >= pageBytes {
			return seq, nil
		}
	}
	return last, rows.Err()
}

// among is the condition that a row is of one of these kinds, whose names are
// the arguments from the third on.
func among(kinds []Kind) string {
	b := []byte("kind IN (")
	for i := range kinds {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = fmt.Appendf(b, "$%d", 3+i)
	}
	return string(append(b, ')'))
}

func names(kinds []Kind) []any {
	all := make([]any, len(kinds))
	for i, k := range kinds {
		all[i] = string(k)
	}
	return all
}

// head returns the moment of a transaction, and up to which number deletions
// are forgotten.
func head(ctx context.Context, tx *sql.Tx) (m Mark, forgotten uint64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT store, seq, forgotten FROM warder_head`).Scan(&m.Store, &m.Seq, &forgotten)
	return m, forgotten, err
}
