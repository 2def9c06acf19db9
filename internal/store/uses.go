package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// Use says when a record was last used.
type Use struct {
	ID string
	At time.Time
}

// Used notes when records of a kind were last used. Of several who tell it the
// latest is right, in whatever order they come. A use is no change of its
// record: the record keeps its version, and no follower hears of it. Records
// that are not there are left out, and a backup has none of it. At most
// MaxWrites.
func (s *Store) Used(ctx context.Context, kind Kind, uses []Use) error {
	if len(uses) == 0 || len(uses) > MaxWrites {
		return fmt.Errorf("%w: %d uses at once; expected 1 to %d", ErrInvalid, len(uses), MaxWrites)
	}
	// Whoever writes the same rows at the same time does so in the same order.
	uses = slices.SortedFunc(slices.Values(uses), func(a, b Use) int { return cmp.Compare(a.ID, b.ID) })
	return s.short(ctx, writing, func(ctx context.Context) error {
		return s.engine.write(ctx, func(tx *sql.Tx) error {
			statements := newScript(tx, len(uses) > few)
			defer statements.close()
			for _, u := range uses {
				if err := statements.exec(ctx, `INSERT INTO warder_uses (kind, id, used) SELECT kind, id, CAST($3 AS BIGINT) FROM warder_records WHERE kind = $1 AND id = $2
					ON CONFLICT (kind, id) DO UPDATE SET used = excluded.used WHERE excluded.used > warder_uses.used`, string(kind), []byte(u.ID), u.At.UnixMilli()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// LastUses returns when records of a kind were last used; those that never were
// are not in it. At most MaxPage.
func (s *Store) LastUses(ctx context.Context, kind Kind, ids ...string) (at map[string]time.Time, err error) {
	if len(ids) == 0 || len(ids) > MaxPage {
		return nil, fmt.Errorf("%w: the uses of %d records are asked for; expected 1 to %d", ErrInvalid, len(ids), MaxPage)
	}
	statement := []byte(`SELECT id, used FROM warder_uses WHERE kind = $1 AND id IN (`)
	args := []any{string(kind)}
	for i, id := range ids {
		if i > 0 {
			statement = append(statement, ',')
		}
		args = append(args, []byte(id))
		statement = fmt.Appendf(statement, "$%d", len(args))
	}
	err = s.short(ctx, reading, func(ctx context.Context) error {
		at = map[string]time.Time{}
		rows, err := s.engine.reader().QueryContext(ctx, string(append(statement, ')')), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id []byte
			var used int64
			if err := rows.Scan(&id, &used); err != nil {
				return err
			}
			at[string(id)] = milli(used)
		}
		return rows.Err()
	})
	return at, err
}
