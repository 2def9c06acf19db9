package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// post is a store in PostgreSQL, which several gateways share.
type post struct {
	config   *pgx.ConnConfig
	db       *sql.DB
	patience time.Duration
}

// The lock that migrations hold, and the channel on which writes are told.
const (
	migrating = 0x5772_6472 // "Wrdr"
	channel   = "warder_store"
)

// parsePostgres reads the address. Errors never repeat it: there is a password
// in it.
func parsePostgres(address string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the postgres:// address is no URL; characters such as @ / : # in a password are written as %40 %2F %3A %23")
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the postgres:// address cannot be read; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	query := u.Query()
	mode := query.Get("sslmode")
	switch {
	case !isRemote(&config.Config):
		if mode == "" {
			query.Set("sslmode", "disable")
		}
	case mode == "":
		query.Set("sslmode", "verify-full")
	case !slices.Contains([]string{"verify-full", "verify-ca", "disable"}, mode):
		return nil, errors.New("with this sslmode nobody knows which PostgreSQL answers; use verify-full (the default), verify-ca, or disable for a network that you trust")
	}
	u.RawQuery = query.Encode()
	if config, err = pgx.ParseConfig(u.String()); err != nil {
		return nil, errors.New("the postgres:// address cannot be read; is the file that sslrootcert names there?")
	}
	for key, value := range map[string]string{
		"application_name": "warder",
		// A gateway that vanished lets go of its locks.
		"idle_in_transaction_session_timeout": "60000",
		"tcp_keepalives_idle":                 "30",
	} {
		if config.RuntimeParams[key] == "" {
			config.RuntimeParams[key] = value
		}
	}
	return config, nil
}

// openPostgres connects to nothing yet.
func openPostgres(config *pgx.ConnConfig, patience time.Duration) *post {
	config.ConnectTimeout = patience
	e := &post{config: config, patience: patience, db: stdlib.OpenDB(*config, stdlib.OptionAfterConnect(durable))}
	e.db.SetMaxOpenConns(10)
	e.db.SetMaxIdleConns(4)
	e.db.SetConnMaxIdleTime(5 * time.Minute)
	return e
}

// durable sees to it that an acknowledged write is on disk, whatever the
// server's default is.
func durable(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

func isRemote(c *pgconn.Config) bool {
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	return slices.ContainsFunc(hosts, func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host != "localhost" && !strings.HasPrefix(host, "/") && (err != nil || !ip.IsLoopback())
	})
}

func (e *post) name() string    { return enginePostgres }
func (e *post) reader() *sql.DB { return e.db }
func (e *post) close() error    { return e.db.Close() }

func (e *post) write(ctx context.Context, f func(*sql.Tx) error) error {
	return transact(ctx, e.db, nil, f)
}

func (e *post) view(ctx context.Context, f func(*sql.Tx) error) error {
	return transact(ctx, e.db, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
}

func (e *post) announce(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, channel)
	return err
}

func (e *post) migrate(ctx context.Context) error {
	return e.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, migrating); err != nil {
			return err
		}
		return migrate(ctx, tx, func(s string) string {
			s = strings.ReplaceAll(s, "BLOB", "BYTEA")
			s = strings.ReplaceAll(s, "kind TEXT", `kind TEXT COLLATE "C"`)
			return strings.ReplaceAll(s, "WITHOUT ROWID", "")
		})
	})
}

func (e *post) absent(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Code == "42P01"
}

func (e *post) ping(ctx context.Context) error {
	var seq uint64
	return e.db.QueryRowContext(ctx, `SELECT seq FROM warder_head`).Scan(&seq)
}

// listen keeps one connection on which PostgreSQL tells of writes. Whenever it
// is made anew it rings, for what was missed meanwhile.
func (e *post) listen(ctx context.Context, ring func()) {
	const shortest, longest = 100 * time.Millisecond, 2 * time.Second
	pause := shortest
	for ctx.Err() == nil {
		if e.hear(ctx, func() {
			pause = shortest
			ring()
		}) != nil && wait(ctx, nil, pause) == nil {
			pause = min(2*pause, longest)
		}
	}
}

// hear rings after it has connected and at every write, until the connection
// fails.
func (e *post) hear(ctx context.Context, ring func()) error {
	connecting, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	c, err := pgx.ConnectConfig(connecting, e.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(closing)
	}()
	if _, err := c.Exec(connecting, `LISTEN `+channel); err != nil {
		return err
	}
	for {
		ring()
		if err := e.heard(ctx, c); err != nil {
			return err
		}
	}
}

// heard returns at the next write. A connection on which nothing comes may be
// a dead one, so that it is asked something now and then.
func (e *post) heard(ctx context.Context, c *pgx.Conn) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, pulse)
		_, err := c.WaitForNotification(waiting)
		cancel()
		if err == nil || ctx.Err() != nil || c.IsClosed() {
			return err
		}
		asking, cancel := context.WithTimeout(ctx, e.patience)
		err = c.Ping(asking)
		cancel()
		if err != nil {
			return err
		}
	}
}

func (e *post) explain(err error) (text string, down bool) {
	var said *pgconn.PgError
	var network *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &said):
		return e.explainCode(said)
	case errors.As(err, &dns):
		return "the name of its host cannot be resolved: " + dns.Err, true
	case errors.As(err, &network):
		return fmt.Sprintf("the connection to %s fails: %v", network.Addr, network.Err), true
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", e.patience), true
	}
	text, _, _ = strings.Cut(err.Error(), "\n")
	return text, true
}

func (e *post) explainCode(said *pgconn.PgError) (text string, down bool) {
	switch said.Code {
	case "28P01", "28000":
		return "it refuses the user or the password; correct the address under store", true
	case "3D000":
		return "there is no such database; make it with createdb, or correct the address under store", true
	case "42501":
		return "the user may not do this: " + said.Message + "; grant it on the database", true
	case "25006":
		return "it is read-only, as a standby is; name the primary under store", true
	case "53100":
		return "its disk is full; nothing was changed; make room", true
	case "53300":
		return "it has no connection left for us; raise max_connections", true
	case "57P01", "57P02", "57P03":
		return "it is starting up or shutting down", true
	case "57014":
		return fmt.Sprintf("no answer within %s", e.patience), true
	case "42P01":
		return "the tables are gone: " + said.Message, true
	}
	return said.Message + " (" + said.Code + ")", strings.HasPrefix(said.Code, "08") || strings.HasPrefix(said.Code, "5")
}

// inspect finds nothing of its own: PostgreSQL checks what it reads, and all
// records are read by Check.
func (e *post) inspect(context.Context) ([]string, error) { return nil, nil }
