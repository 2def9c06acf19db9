package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
)

// migrations lead from each version of the schema to the next, forward only.
// What stands here is never changed, only added to.
var migrations = [][]string{
	{ // 1
		// seq is the number of the last change; deletions up to forgotten are
		// not known any more.
		`CREATE TABLE warder_head (one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT NOT NULL, seq BIGINT NOT NULL, forgotten BIGINT NOT NULL)`,
		// A record stands at the number of the change that wrote it, so that the
		// records after a number are the changes after it.
		`CREATE TABLE warder_records (kind TEXT NOT NULL, id BLOB NOT NULL, seq BIGINT NOT NULL, alias BLOB, owner BLOB, expires BIGINT, body BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID`,
		`CREATE UNIQUE INDEX warder_records_alias ON warder_records (kind, alias) WHERE alias IS NOT NULL`,
		`CREATE INDEX warder_records_owner ON warder_records (kind, owner, id) WHERE owner IS NOT NULL`,
		`CREATE INDEX warder_records_seq ON warder_records (seq)`,
		`CREATE INDEX warder_records_expires ON warder_records (expires) WHERE expires IS NOT NULL`,
		`CREATE TABLE warder_graves (kind TEXT NOT NULL, id BLOB NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID`,
		`CREATE INDEX warder_graves_seq ON warder_graves (seq)`,
	},
	{ // 2
		// When records were last used, which is no change of them.
		`CREATE TABLE warder_uses (kind TEXT NOT NULL, id BLOB NOT NULL, used BIGINT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID`,
	},
}

// schema is the version that this build writes.
var schema = len(migrations)

// migrate brings the schema up to date in a transaction that no other
// instance overlaps. dialect adapts a statement to the engine.
func migrate(ctx context.Context, tx *sql.Tx, dialect func(string) string) error {
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS warder_schema (version INTEGER NOT NULL)`); err != nil {
		return err
	}
	have, err := schemaOf(ctx, tx)
	if err != nil {
		return err
	}
	if have > schema {
		return newer(have)
	}
	for v := have; v < schema; v++ {
		for _, statement := range migrations[v] {
			if _, err := tx.ExecContext(ctx, dialect(statement)); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO warder_schema (version) VALUES ($1)`, v+1); err != nil {
			return err
		}
	}
	if have == 0 {
		_, err = tx.ExecContext(ctx, `INSERT INTO warder_head (one, store, seq, forgotten) VALUES (1, $1, 0, 0)`, newName())
	}
	return err
}

func newer(have int) error {
	return fmt.Errorf("%w: its schema is %d and this build knows %d; run the version that wrote it, or a later one", ErrNewer, have, schema)
}

// newName returns a name that no other store has.
func newName() string { return rand.Text() }

func schemaOf(ctx context.Context, tx *sql.Tx) (version int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM warder_schema`).Scan(&version)
	return version, err
}

// transact runs f in a transaction: all of it or nothing.
func transact(ctx context.Context, db *sql.DB, o *sql.TxOptions, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
