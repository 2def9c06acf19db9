package store

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// lite is a store in one file of SQLite, with a log beside it (WAL). Several
// processes may have it open.
type lite struct {
	path string
	file fs.FileInfo // as it was when opened
	w    *sql.DB     // one connection: one writer
	r    *sql.DB

	patience time.Duration
}

// application is what the file's header says it belongs to: "Wrdr".
const application = 0x57726472

// openSQLite opens the file, and makes it if there is none.
func openSQLite(path string, asIs bool, patience time.Duration) (*lite, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); asIs && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s yet; a gateway makes one when it starts", ErrNone, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the database: %w", err)
	}
	e := &lite{path: path, patience: patience}
	if e.file, err = ownFile(path); err != nil {
		return nil, err
	}
	e.w = sql.OpenDB(liteConnector{e.dsn() + lasting + "&_txlock=immediate&_pragma=cache_size(-16384)"})
	e.w.SetMaxOpenConns(1)
	e.r = sql.OpenDB(liteConnector{e.dsn() + lasting + "&_pragma=query_only(1)"})
	e.r.SetMaxOpenConns(8)
	e.r.SetMaxIdleConns(4)
	return e, nil
}

// ownFile returns the file at path, which must be for its owner alone, and
// makes it if there is none.
func ownFile(path string) (fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err == nil {
		defer f.Close()
		return f.Stat()
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make the database: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; name the database itself", path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 {
		return nil, fmt.Errorf("%s belongs to user %d, not to the one the gateway runs as (%d); use a folder of its own", path, s.Uid, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others may read %s (mode %04o); run chmod 600 on it", path, mode)
	}
	return info, nil
}

// liteConnector opens connections, without a name registered in database/sql.
type liteConnector struct{ dsn string }

func (c liteConnector) Connect(context.Context) (sqldriver.Conn, error) {
	return (&driver.Driver{}).Open(c.dsn)
}

func (c liteConnector) Driver() sqldriver.Driver { return &driver.Driver{} }

// dsn names the file and nothing more: mode=rw, so that a file that is gone is
// not silently made anew, and a wait for locks.
func (e *lite) dsn() string {
	return (&url.URL{Scheme: "file", Path: e.path}).String() +
		fmt.Sprintf("?mode=rw&_pragma=busy_timeout(%d)&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)", (e.patience-time.Second).Milliseconds())
}

// lasting keeps a log beside the file, and a commit returns when that is on
// disk: what was acknowledged survives the loss of power.
const lasting = "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=journal_size_limit(67108864)"

func (e *lite) name() string    { return engineSQLite }
func (e *lite) reader() *sql.DB { return e.r }
func (e *lite) close() error    { return errors.Join(e.r.Close(), e.w.Close()) }

func (e *lite) write(ctx context.Context, f func(*sql.Tx) error) error {
	if err := e.same(); err != nil {
		return err // what is written to a file without a name is lost
	}
	return transact(ctx, e.w, nil, f)
}

func (e *lite) view(ctx context.Context, f func(*sql.Tx) error) error {
	return transact(ctx, e.r, &sql.TxOptions{ReadOnly: true}, f)
}

func (e *lite) announce(context.Context, *sql.Tx) error { return nil } // listeners look for themselves

var errForeign = errors.New("the file is a database of another program")

func (e *lite) migrate(ctx context.Context) error {
	if err := e.recognise(ctx); err != nil {
		return err
	}
	return e.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, application)); err != nil {
			return err
		}
		return migrate(ctx, tx, func(s string) string { return s })
	})
}

// recognise refuses a database that is not ours, before anything in it is
// changed: a connection that turns the log on would.
func (e *lite) recognise(ctx context.Context) error {
	db := sql.OpenDB(liteConnector{e.dsn()})
	defer db.Close()
	return transact(ctx, db, nil, func(tx *sql.Tx) error {
		var id, tables int
		if err := tx.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
			return err
		}
		if id != application && (id != 0 || tables != 0) {
			return errForeign
		}
		return nil
	})
}

func (e *lite) absent(err error) bool {
	var lite *driver.Error
	return errors.As(err, &lite) && strings.Contains(lite.Error(), "no such table")
}

var errReplaced = errors.New("the file was removed or replaced while the gateway runs")

// same says whether the path still leads to the file that is open.
func (e *lite) same() error {
	now, err := os.Lstat(e.path)
	if err != nil || !os.SameFile(now, e.file) {
		return errReplaced
	}
	return nil
}

func (e *lite) ping(ctx context.Context) error {
	if err := e.same(); err != nil {
		return err
	}
	var seq uint64
	return e.r.QueryRowContext(ctx, `SELECT seq FROM warder_head`).Scan(&seq)
}

// glance is how often the file is looked at for what other processes wrote: a
// word in shared memory.
const glance = 250 * time.Millisecond

func (e *lite) listen(ctx context.Context, ring func()) {
	var c *sql.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	last := -1
	for wait(ctx, nil, glance) == nil {
		var err error
		if c == nil {
			if c, err = e.r.Conn(ctx); err != nil {
				c = nil
				continue
			}
		}
		// It changes, as one connection sees it, when another one commits.
		var version int
		if err := c.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
			c.Close()
			c = nil
		} else if version != last {
			last = version
			ring()
		}
	}
}

func (e *lite) explain(err error) (text string, down bool) {
	var lite *driver.Error
	switch {
	case errors.Is(err, errForeign), errors.Is(err, errReplaced):
		return e.path + ": " + err.Error(), true
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("%s: no answer within %s; is the disk slow, or another process busy with it?", e.path, e.patience), true
	case !errors.As(err, &lite):
		return fmt.Sprintf("%s: %v", e.path, err), false
	}
	down = true
	switch lite.Code() & 0xff {
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_PROTOCOL:
		text = "another process has it locked; end that one, or wait for it"
	case codes.SQLITE_FULL:
		text = "the disk is full; nothing was changed; make room"
	case codes.SQLITE_READONLY:
		text = "the file or its folder is read-only; let the gateway's user write to both"
	case codes.SQLITE_CANTOPEN:
		text = "the file cannot be opened; is its folder there?"
		if err := unix.Access(filepath.Dir(e.path), unix.W_OK); err != nil {
			text = "its folder cannot be written to: " + err.Error() + "; let the gateway's user write to it"
		}
	case codes.SQLITE_CORRUPT:
		text = "the file is damaged; keep a copy, and restore a backup in its place with warder store restore"
	case codes.SQLITE_NOTADB:
		text = "the file is no database; move it away, or name another under store"
	case codes.SQLITE_IOERR:
		text = "the disk gives errors: " + lite.Error()
	case codes.SQLITE_INTERRUPT:
		text = fmt.Sprintf("no answer within %s; is the disk slow?", e.patience)
	default:
		text, down = lite.Error(), false
	}
	return e.path + ": " + text, down
}

func (e *lite) inspect(ctx context.Context) (problems []string, err error) {
	rows, err := e.r.QueryContext(ctx, `PRAGMA integrity_check(20)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		if line != "ok" {
			problems = append(problems, line)
		}
	}
	return problems, rows.Err()
}
