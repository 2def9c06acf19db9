package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what a record is: a short noun such as consumer, of lower-case
// letters and dashes.
type Kind string

// Bounds of what is stored.
const (
	MaxKind   = 32        // bytes of a kind
	MaxName   = 512       // bytes of an id, an alias, an owner
	MaxBody   = 1 << 20   // bytes of a body
	MaxWrites = 1000      // in one Commit
	MaxCommit = 8 << 20   // bytes of all bodies in one Commit
	maxMoment = 1<<53 - 1 // milliseconds since 1970, of an expiry
)

// Record is one thing that is kept. Ids, aliases and owners are bytes: a raw
// digest is as good as a word.
type Record struct {
	Kind  Kind
	ID    string // unique in its kind
	Alias string // unique in its kind as well; empty: none
	Owner string // whose it is, to list by; empty: nobody's
	// Expires is when the record ends, to the millisecond; zero: never. From
	// then on it is not found and its names are free. That is no change that
	// Follow would tell of: who keeps records looks at the time as well.
	Expires time.Time
	Body    []byte
	// Version is given by the store, and is greater after every change. It
	// serves as an ETag.
	Version uint64
}

func (r Record) clone() Record {
	r.Body = bytes.Clone(r.Body)
	return r
}

// Write is one part of a Commit, made by Put, Create, Update, Delete or
// Unchanged. The zero Write is refused.
type Write struct {
	Record
	act act
}

type act uint8

const (
	actNone act = iota
	actPut
	actCreate
	actUpdate
	actDelete
	actUnchanged
)

// Put writes r, whatever was there.
func Put(r Record) Write { return Write{r, actPut} }

// Create writes r if there is none of its kind and id; otherwise ErrExists.
func Create(r Record) Write { return Write{r, actCreate} }

// Update writes r in the place of its version r.Version; if that is not the
// one in the store, ErrConflict.
func Update(r Record) Write { return Write{r, actUpdate} }

// Delete removes a record at that version, or at any if version is 0. If it
// is not there: ErrNotFound; if it has another version: ErrConflict.
func Delete(kind Kind, id string, version uint64) Write {
	return Write{Record{Kind: kind, ID: id, Version: version}, actDelete}
}

// Unchanged writes nothing, but lets the Commit happen only if the record has
// that version, or does not exist if version is 0; otherwise ErrConflict.
func Unchanged(kind Kind, id string, version uint64) Write {
	return Write{Record{Kind: kind, ID: id, Version: version}, actUnchanged}
}

// Commit makes all the writes, in this order, or none of them. It returns the
// version that all records written have now. An alias that another record has
// is ErrExists.
func (s *Store) Commit(ctx context.Context, writes ...Write) (version uint64, err error) {
	if err := validate(writes); err != nil {
		return 0, err
	}
	err = s.short(ctx, writing, func(ctx context.Context) error {
		return s.engine.write(ctx, func(tx *sql.Tx) error {
			// Taking the next number first holds off all other writers until
			// the end, so that numbers become visible in their order.
			row := tx.QueryRowContext(ctx, `UPDATE warder_head SET seq = seq + 1 RETURNING seq`)
			if err := row.Scan(&version); err != nil {
				return err
			}
			now := s.now().UnixMilli()
			statements := newScript(tx, len(writes) > few)
			defer statements.close()
			for i := range writes {
				if err := writes[i].apply(ctx, statements, version, now); err != nil {
					return err
				}
			}
			return s.engine.announce(ctx, tx)
		})
	})
	if err != nil {
		return 0, err
	}
	s.wake.ring()
	return version, nil
}

func validate(writes []Write) error {
	if len(writes) == 0 || len(writes) > MaxWrites {
		return fmt.Errorf("%w: %d writes in one commit; expected 1 to %d", ErrInvalid, len(writes), MaxWrites)
	}
	total := 0
	for i := range writes {
		w := &writes[i]
		if err := w.validate(); err != nil {
			return fmt.Errorf("%w: %s", ErrInvalid, err)
		}
		if total += len(w.Body); total > MaxCommit {
			return fmt.Errorf("%w: the bodies of one commit are larger than %d bytes", ErrInvalid, MaxCommit)
		}
	}
	return nil
}

func (w *Write) validate() error {
	if w.act == actNone {
		return errors.New("a write that was not made by Put, Create, Update, Delete or Unchanged")
	}
	if w.act == actUpdate && w.Version == 0 {
		return fmt.Errorf("an update of %s without the version it replaces", w.Kind)
	}
	return w.Record.validate()
}

func (r *Record) validate() error {
	switch {
	case len(r.Kind) > MaxKind: // of a backup that strangers wrote: not repeated
		return fmt.Errorf("a kind of %d characters; expected 1 to %d lower-case letters and dashes", len(r.Kind), MaxKind)
	case r.Kind == "" || strings.Trim(string(r.Kind), "abcdefghijklmnopqrstuvwxyz-") != "":
		return fmt.Errorf("kind %q; expected 1 to %d lower-case letters and dashes", r.Kind, MaxKind)
	case r.ID == "" || len(r.ID) > MaxName || len(r.Alias) > MaxName || len(r.Owner) > MaxName:
		return fmt.Errorf("an id, alias or owner of a %s is empty or longer than %d bytes", r.Kind, MaxName)
	case len(r.Body) > MaxBody:
		return fmt.Errorf("the body of a %s is larger than %d bytes", r.Kind, MaxBody)
	case !r.Expires.IsZero() && (r.Expires.UnixMilli() <= 0 || r.Expires.UnixMilli() > maxMoment):
		return fmt.Errorf("a %s that expires at %s", r.Kind, r.Expires)
	}
	return nil
}

// apply makes the write in tx at number seq.
func (w *Write) apply(ctx context.Context, tx *script, seq uint64, now int64) error {
	if w.act != actPut {
		have, err := versionOf(ctx, tx, w.Kind, w.ID, now)
		if err != nil {
			return err
		}
		switch {
		case w.act == actCreate && have != 0:
			return fmt.Errorf("%w: %s", ErrExists, w.Kind)
		case w.act == actDelete && have == 0:
			return fmt.Errorf("%w: %s", ErrNotFound, w.Kind)
		case w.act == actDelete && w.Version == 0:
		case w.act != actCreate && have != w.Version:
			return fmt.Errorf("%w: %s", ErrConflict, w.Kind)
		}
	}
	switch w.act {
	case actUnchanged:
		return nil
	case actDelete:
		return bury(ctx, tx, seq, w.Kind, w.ID)
	}
	if w.Alias != "" {
		if err := w.freeAlias(ctx, tx, seq, now); err != nil {
			return err
		}
	}
	if err := tx.exec(ctx, `DELETE FROM warder_graves WHERE kind = $1 AND id = $2`, string(w.Kind), []byte(w.ID)); err != nil {
		return err
	}
	return tx.exec(ctx, insertRecord, w.values(seq)...)
}

// freeAlias refuses an alias that another record has. One that has expired
// gives it up, and goes: then it must be told of, because whoever keeps
// records would find two by this alias.
func (w *Write) freeAlias(ctx context.Context, tx *script, seq uint64, now int64) error {
	var id []byte
	var expires sql.NullInt64
	row := tx.row(ctx, `SELECT id, expires FROM warder_records WHERE kind = $1 AND alias = $2 AND id <> $3`, string(w.Kind), []byte(w.Alias), []byte(w.ID))
	switch err := row.Scan(&id, &expires); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case !expires.Valid || expires.Int64 > now:
		return fmt.Errorf("%w: another %s has this alias", ErrExists, w.Kind)
	}
	return bury(ctx, tx, seq, w.Kind, string(id))
}

// bury removes a record and leaves a grave, by which followers learn of it.
func bury(ctx context.Context, tx *script, seq uint64, kind Kind, id string) error {
	if err := tx.exec(ctx, `DELETE FROM warder_records WHERE kind = $1 AND id = $2`, string(kind), []byte(id)); err != nil {
		return err
	}
	if err := tx.exec(ctx, `DELETE FROM warder_uses WHERE kind = $1 AND id = $2`, string(kind), []byte(id)); err != nil {
		return err
	}
	return tx.exec(ctx, `INSERT INTO warder_graves (kind, id, seq) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO UPDATE SET seq = excluded.seq`,
		string(kind), []byte(id), seq)
}

// insertRecord takes the values of a Record.
const insertRecord = `INSERT INTO warder_records (kind, id, seq, alias, owner, expires, body) VALUES ($1, $2, $3, $4, $5, $6, $7)
	ON CONFLICT (kind, id) DO UPDATE SET seq = excluded.seq, alias = excluded.alias, owner = excluded.owner, expires = excluded.expires, body = excluded.body`

func (r *Record) values(seq uint64) []any {
	return []any{string(r.Kind), []byte(r.ID), seq, name(r.Alias), name(r.Owner), moment(r.Expires), append([]byte{}, r.Body...)}
}

// name returns what is stored for an alias or an owner.
func name(s string) any {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func milli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// versionOf returns the version of a record, 0 if there is none or it has
// expired.
func versionOf(ctx context.Context, tx *script, kind Kind, id string, now int64) (version uint64, err error) {
	err = tx.row(ctx, `SELECT seq FROM warder_records WHERE kind = $1 AND id = $2 AND (expires IS NULL OR expires > $3)`, string(kind), []byte(id), now).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// few is up to how many writes of a commit it does not pay to prepare their
// statements.
const few = 4

// script runs the statements of one transaction. In a long one each is parsed
// once.
type script struct {
	tx       *sql.Tx
	prepared map[string]*sql.Stmt // nil: nothing is prepared
}

func newScript(tx *sql.Tx, long bool) *script {
	s := &script{tx: tx}
	if long {
		s.prepared = map[string]*sql.Stmt{}
	}
	return s
}

func (s *script) close() {
	for _, p := range s.prepared {
		p.Close()
	}
}

// prepare returns nil if the statement is to be run as it is: preparation is
// no reason to fail, and what is wrong with it shows when it runs.
func (s *script) prepare(ctx context.Context, statement string) *sql.Stmt {
	if s.prepared == nil {
		return nil
	}
	p := s.prepared[statement]
	if p == nil {
		var err error
		if p, err = s.tx.PrepareContext(ctx, statement); err != nil {
			return nil
		}
		s.prepared[statement] = p
	}
	return p
}

func (s *script) exec(ctx context.Context, statement string, args ...any) error {
	var err error
	if p := s.prepare(ctx, statement); p != nil {
		_, err = p.ExecContext(ctx, args...)
	} else {
		_, err = s.tx.ExecContext(ctx, statement, args...)
	}
	return err
}

func (s *script) row(ctx context.Context, statement string, args ...any) *sql.Row {
	if p := s.prepare(ctx, statement); p != nil {
		return p.QueryRowContext(ctx, args...)
	}
	return s.tx.QueryRowContext(ctx, statement, args...)
}

// columns are what scan reads.
const columns = `kind, id, seq, alias, owner, expires, body`

// scan hands out rows of columns and closes them. A Body is valid only until
// each returns.
func scan(rows *sql.Rows, each func(Record) error) error {
	defer rows.Close()
	var kind, id, alias, owner, body sql.RawBytes
	var expires sql.NullInt64
	var last Kind
	for rows.Next() {
		var r Record
		if err := rows.Scan(&kind, &id, &r.Version, &alias, &owner, &expires, &body); err != nil {
			return err
		}
		if string(kind) != string(last) {
			last = Kind(kind)
		}
		r.Kind, r.ID, r.Alias, r.Owner, r.Body = last, string(id), string(alias), string(owner), body
		if len(body) == 0 {
			r.Body = []byte{} // one engine says nil
		}
		if expires.Valid {
			r.Expires = milli(expires.Int64)
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return rows.Err()
}
