package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Report says what Check saw.
type Report struct {
	Engine   string          `json:"engine"`
	Schema   int             `json:"schema"`  // version of the tables
	Changes  uint64          `json:"changes"` // number of the last change
	Records  map[Kind]uint64 `json:"records"`
	Expired  uint64          `json:"expired"` // of the records: not cleared yet
	Deleted  uint64          `json:"deleted"` // deletions that are remembered
	Problems []string        `json:"problems"`
}

// invariants select what must not be.
var invariants = []struct{ query, problem string }{
	{`SELECT count(*) FROM warder_records WHERE seq > (SELECT seq FROM warder_head) OR seq < 1`, "records with a version that the store has not given"},
	{`SELECT count(*) FROM warder_graves WHERE seq > (SELECT seq FROM warder_head) OR seq <= (SELECT forgotten FROM warder_head)`, "deletions with a version that cannot be"},
	{`SELECT count(*) FROM warder_graves WHERE EXISTS (SELECT 1 FROM warder_records WHERE warder_records.kind = warder_graves.kind AND warder_records.id = warder_graves.id)`, "records that are deleted and there"},
}

// Check reads everything, all as of one moment, and reports what is there and
// what is wrong with it. An error means that it could not be read.
func (s *Store) Check(ctx context.Context) (*Report, error) {
	r := &Report{Engine: s.engine.name(), Records: map[Kind]uint64{}, Problems: []string{}}
	err := s.long(ctx, reading, func(ctx context.Context) error {
		problems, err := s.engine.inspect(ctx)
		if err != nil {
			return err
		}
		r.Problems = append(r.Problems, problems...)
		return s.engine.view(ctx, func(tx *sql.Tx) error { return r.read(ctx, tx, s.now().UnixMilli()) })
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Report) read(ctx context.Context, tx *sql.Tx, now int64) error {
	var err error
	if r.Schema, err = schemaOf(ctx, tx); err != nil {
		return err
	}
	var heads uint64
	if err := tx.QueryRowContext(ctx, `SELECT count(*), max(seq), (SELECT count(*) FROM warder_graves) FROM warder_head`).Scan(&heads, &r.Changes, &r.Deleted); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM warder_records ORDER BY kind, id`)
	if err != nil {
		return err
	}
	bad := map[string]int{}
	if err := scan(rows, func(rec Record) error {
		r.Records[rec.Kind]++
		if !rec.Expires.IsZero() && rec.Expires.UnixMilli() <= now {
			r.Expired++
		}
		if err := rec.validate(); err != nil {
			bad[err.Error()]++
		}
		return nil
	}); err != nil {
		return err
	}
	for text, n := range bad {
		r.Problems = append(r.Problems, fmt.Sprintf("%d times: %s", n, strings.ToValidUTF8(text, "?")))
	}
	for _, i := range invariants {
		var n uint64
		if err := tx.QueryRowContext(ctx, i.query).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			r.Problems = append(r.Problems, fmt.Sprintf("%d %s", n, i.problem))
		}
	}
	return nil
}
