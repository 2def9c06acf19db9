// Package store keeps what must outlast the process: consumers, keys, plans,
// revocations, sessions, sealed key material, versions of the configuration.
//
// A Store is one database, SQLite in the state folder or PostgreSQL. It holds
// records: bytes under a kind and an id, with a version, and optionally an
// alias (a second unique name), an owner (to list by) and a time of expiry.
// What the bytes mean is the business of who writes them.
//
// Whoever keeps records in memory calls Stream once and then Follow, which
// tells of every later change, of this instance or another, in order and
// within a second.
//
// A write that was acknowledged is on disk. A write whose error is
// ErrUnavailable may have happened or not. So may one whose ctx was cancelled:
// Commit then returns context.Canceled, even where the database has taken the
// write; who has to know reads again.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warder-gateway/warder/internal/secret"
)

// DefaultAddress is the address of the store unless another is configured.
const DefaultAddress = "sqlite:state.db"

// patience is how long one short operation may take, waiting for locks and
// for the network included, unless Config.Patience says otherwise.
const (
	patience      = 5 * time.Second
	leastPatience = 2 * time.Second
)

// Config says where a store is.
type Config struct {
	// Address is sqlite:FILE, relative to Folder, or postgres://…. The zero
	// value is refused.
	Address secret.Value
	Folder  string // the state folder
	AsIs    bool   // open what is there: make no store, and change no schema

	Patience time.Duration // how long one short operation may take; two seconds at least, or 0: five

	Log *slog.Logger     // nil: silent
	Now func() time.Time // nil: time.Now; what expiry is judged by
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	engine   engine
	asIs     bool
	log      *slog.Logger
	now      func() time.Time
	patience time.Duration

	status   atomic.Pointer[Status]
	readonly atomic.Bool // it is down because a write failed: reading proves nothing
	migrated atomic.Bool
	wake     *bell // rings when something may have changed

	end   context.CancelFunc
	ended context.Context
	tasks sync.WaitGroup
}

// engine is what SQLite and PostgreSQL do differently. Everything else is the
// SQL that both understand.
type engine interface {
	name() string
	reader() *sql.DB
	// write runs f in a transaction that no other writer overlaps.
	write(ctx context.Context, f func(*sql.Tx) error) error
	// view runs f in a transaction that sees one moment.
	view(ctx context.Context, f func(*sql.Tx) error) error
	// migrate brings the schema up to this build's, alone among all instances.
	migrate(ctx context.Context) error
	// absent says whether an error means that the tables are not there.
	absent(err error) bool
	// ping says whether the database answers, and is still the same.
	ping(ctx context.Context) error
	// listen rings the bell whenever another process may have written, until
	// ctx ends.
	listen(ctx context.Context, ring func())
	// announce tells other processes of a write, in its transaction.
	announce(ctx context.Context, tx *sql.Tx) error
	// explain turns an error of the driver into a sentence and says whether
	// the database is to blame, rather than the statement.
	explain(err error) (text string, down bool)
	// inspect returns what is wrong with the database's own structures.
	inspect(ctx context.Context) ([]string, error)
	close() error
}

// Open opens the store, makes it if there is none, and brings its schema up
// to date.
//
// An error is final: the address is wrong, the schema is newer than this
// build, or SQLite's file cannot be used. A PostgreSQL that does not answer
// is no error here: the store is down, says so in Status, refuses with
// ErrUnavailable, and comes up when PostgreSQL does.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Patience == 0 {
		c.Patience = patience
	}
	if c.Patience < leastPatience {
		return nil, fmt.Errorf("store: %v are too short for an operation; expected %v at least", c.Patience, leastPatience)
	}
	e, err := newEngine(c)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{engine: e, log: c.Log, now: c.Now, patience: c.Patience, wake: newBell()}
	s.status.Store(&Status{Engine: e.name(), Since: c.Now(), Err: errNotYet})
	s.ended, s.end = context.WithCancel(context.Background())
	s.asIs = c.AsIs
	if err := s.prepare(ctx); err != nil && (e.name() == engineSQLite || c.AsIs || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNewer)) {
		e.close()
		return nil, err
	}
	s.tasks.Go(s.keep)
	s.tasks.Go(func() { e.listen(s.ended, s.wake.ring) })
	return s, nil
}

// The names of the engines.
const (
	engineSQLite   = "SQLite"
	enginePostgres = "PostgreSQL"
)

// place is a store's address, understood.
type place struct {
	file   string          // of SQLite, below the state folder
	config *pgx.ConnConfig // of PostgreSQL
}

// Validate says what is wrong with an address, without repeating it, as far as
// that can be told without connecting.
func Validate(address secret.Value) error {
	_, err := parse(string(address.Reveal()))
	return err
}

func parse(address string) (p place, err error) {
	file, isFile := strings.CutPrefix(address, "sqlite:")
	switch {
	case isFile && (!filepath.IsLocal(file) || filepath.Clean(file) == "." || strings.HasSuffix(file, "/")):
		return p, errors.New("sqlite: takes a path below the state folder, such as sqlite:state.db; to keep it elsewhere, move the state folder with --state")
	case isFile:
		p.file = file
		return p, nil
	case strings.HasPrefix(address, "postgres://"), strings.HasPrefix(address, "postgresql://"):
		p.config, err = parsePostgres(address)
		return p, err
	}
	return p, errors.New("this is no address of a store; write sqlite:state.db, or postgres://USER:${env:PGPASSWORD}@HOST/DATABASE")
}

func newEngine(c Config) (engine, error) {
	p, err := parse(string(c.Address.Reveal()))
	switch {
	case err != nil:
		return nil, err
	case p.config != nil:
		return openPostgres(p.config, c.Patience), nil
	}
	return openSQLite(filepath.Join(c.Folder, p.file), c.AsIs, c.Patience)
}

// Close ends what the store runs in the background. Nothing is lost by not
// calling it.
func (s *Store) Close() error {
	s.end()
	s.tasks.Wait()
	return s.engine.close()
}

// prepare brings the schema up to date. Until that is done, nothing else is.
func (s *Store) prepare(ctx context.Context) error {
	if s.migrated.Load() {
		return nil
	}
	migrate := s.engine.migrate
	if s.asIs {
		migrate = s.recognise
	}
	err := s.bounded(ctx, writing, migrate)
	if err == nil {
		s.migrated.Store(true)
		s.wake.ring()
	}
	return err
}

// recognise refuses a store whose schema is not this build's.
func (s *Store) recognise(ctx context.Context) error {
	return s.engine.view(ctx, func(tx *sql.Tx) error {
		have, err := schemaOf(ctx, tx)
		switch {
		case err != nil && s.engine.absent(err):
			return foreign{fmt.Errorf("store (%s): there is no store yet; a gateway makes one when it starts", s.engine.name())}
		case err != nil:
			return err
		case have > schema:
			return newer(have)
		case have < schema:
			return foreign{fmt.Errorf("store (%s): its schema is %d and this build's is %d; start a gateway of this build once, or use the build that wrote it", s.engine.name(), have, schema)}
		}
		return nil
	})
}

// Get returns a record, or ErrNotFound if there is none or it has expired.
func (s *Store) Get(ctx context.Context, kind Kind, id string) (Record, error) {
	return s.one(ctx, kind, "id", id)
}

// ByAlias returns the record of that kind and alias, or ErrNotFound.
func (s *Store) ByAlias(ctx context.Context, kind Kind, alias string) (Record, error) {
	return s.one(ctx, kind, "alias", alias)
}

func (s *Store) one(ctx context.Context, kind Kind, column, value string) (r Record, err error) {
	err = s.short(ctx, reading, func(ctx context.Context) error {
		rows, err := s.engine.reader().QueryContext(ctx,
			`SELECT `+columns+` FROM warder_records WHERE kind = $1 AND `+column+` = $2 AND (expires IS NULL OR expires > $3)`,
			string(kind), []byte(value), s.now().UnixMilli())
		if err != nil {
			return err
		}
		found := false
		err = scan(rows, func(got Record) error {
			r, found = got.clone(), true
			return nil
		})
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	return r, err
}

// MaxPage bounds a page of List, in records; its bodies are 16 MiB at most.
const MaxPage = 1000

// Query chooses records of one kind. What is empty does not choose.
type Query struct {
	Kind   Kind
	Prefix string // of ids
	Owner  string
	After  string // an id: where the page before ended
	Limit  int    // 1 to MaxPage; otherwise MaxPage
}

// List returns a page of records in the order of their ids' bytes, and the id
// after which the next one goes on: empty, this was the last. A page is as long
// as the limit, or shorter when its bodies are large.
func (s *Store) List(ctx context.Context, q Query) (page []Record, next string, err error) {
	if q.Limit < 1 || q.Limit > MaxPage {
		q.Limit = MaxPage
	}
	where := []string{"kind = $1", "id > $2", "(expires IS NULL OR expires > $3)"}
	args := []any{string(q.Kind), []byte(q.After), s.now().UnixMilli()}
	add := func(condition string, value string) {
		args = append(args, []byte(value))
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if q.Prefix != "" {
		add("id >= $%d", q.Prefix)
		if end := after(q.Prefix); end != "" {
			add("id < $%d", end)
		}
	}
	if q.Owner != "" {
		add("owner = $%d", q.Owner)
	}
	err = s.short(ctx, reading, func(ctx context.Context) error {
		// A page that is full leaves the rest of the answer on the wire.
		ctx, leave := context.WithCancel(ctx)
		defer leave()
		page, next = nil, ""
		size := 0
		rows, err := s.engine.reader().QueryContext(ctx, fmt.Sprintf(
			`SELECT %s FROM warder_records WHERE %s ORDER BY id LIMIT %d`, columns, strings.Join(where, " AND "), q.Limit), args...)
		if err != nil {
			return err
		}
		err = scan(rows, func(r Record) error {
			if size += len(r.Body); size > pageBytes && len(page) > 0 {
				next = page[len(page)-1].ID
				leave()
				return errFull
			}
			page = append(page, r.clone())
			return nil
		})
		if len(page) == q.Limit {
			next = page[len(page)-1].ID
		}
		if errors.Is(err, errFull) {
			return nil
		}
		return err
	})
	return page, next, err
}

var errFull = errors.New("the page is full")

// after returns the least string that is greater than all that begin with
// prefix; empty if there is none.
func after(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 {
		if b[len(b)-1]++; b[len(b)-1] != 0 {
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return ""
}

// Stream hands every record of these kinds to each, all as of one moment, kind
// after kind in the order given, ids ascending. The Body of a record is valid
// only until each returns. It returns the moment, for Follow; on an error what
// was handed out is not all there is.
//
// There is no limit of time but ctx's. An error of each ends the stream and is
// returned as it is.
func (s *Store) Stream(ctx context.Context, each func(Record) error, kinds ...Kind) (m Mark, err error) {
	err = s.long(ctx, reading, func(ctx context.Context) error {
		return s.engine.view(ctx, func(tx *sql.Tx) (err error) {
			if m, _, err = head(ctx, tx); err != nil {
				return err
			}
			for _, kind := range kinds {
				rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM warder_records WHERE kind = $1 AND (expires IS NULL OR expires > $2) ORDER BY id`,
					string(kind), s.now().UnixMilli())
				if err != nil {
					return err
				}
				if err := scan(rows, func(r Record) error {
					if err := each(r); err != nil {
						return foreign{err}
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return Mark{}, err
	}
	return m, nil
}

// An operation reads or writes.
const (
	reading = false
	writing = true
)

// short runs one operation that should not take long.
func (s *Store) short(ctx context.Context, writes bool, f func(context.Context) error) error {
	if !s.migrated.Load() {
		return s.Status().Err
	}
	return s.bounded(ctx, writes, f)
}

func (s *Store) bounded(ctx context.Context, writes bool, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	return s.judge(ctx, f(limited), writes)
}

// long runs one operation that takes as long as it takes.
func (s *Store) long(ctx context.Context, writes bool, f func(context.Context) error) error {
	if !s.migrated.Load() {
		return s.Status().Err
	}
	return s.judge(ctx, f(ctx), writes)
}
