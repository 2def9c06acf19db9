package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

type storeCmd struct {
	Backup  storeBackupCmd  `cmd:"" help:"Write all that the store has to a new file. The gateway may run meanwhile."`
	Restore storeRestoreCmd `cmd:"" help:"Put a backup into an empty store, on either engine: all of it, or nothing."`
	Check   storeCheckCmd   `cmd:"" help:"Read everything in the store, or in a backup, and say what is there and what is wrong. Nothing is changed."`
}

// storeFlags say which store.
type storeFlags struct {
	Config string `short:"c" help:"Configuration file that names the store; default: ./warder.yaml, else /etc/warder/warder.yaml. Without one, and with --state alone, the store is state.db in the state folder." placeholder:"FILE"`
	State  string `help:"State folder of the gateway; default: ${where}." placeholder:"DIR"`
}

// find fills in what was not given. A state folder alone names the store in
// it, whatever a configuration says that happens to be there.
func (c *storeFlags) find(e *env) error {
	if c.Config != "" || c.State != "" {
		c.State = cmp.Or(c.State, app.DefaultState())
		return nil
	}
	c.State = app.DefaultState()
	path, err := firstConfig(configHere, configSystem)
	if path != "" {
		c.Config = path
		e.using(path)
	}
	return err
}

// names reads who is who in the configuration that was named or found. With a
// state folder alone that is not the one that names the store, so that it is
// read if it can be, and said which. nil: there is none.
func (c *storeFlags) names(e *env) (*app.Names, error) {
	if c.Config != "" {
		return app.ReadNames(c.Config)
	}
	path, err := firstConfig(configHere, configSystem)
	if path == "" && err == nil {
		return nil, nil
	}
	var n *app.Names
	if err == nil {
		n, err = app.ReadNames(path)
	}
	if err != nil {
		fmt.Fprintf(e.err, "warning: names are not looked up: %v\n", err)
		return nil, nil
	}
	fmt.Fprintf(e.err, "names are read from %s; the store is that of --state\n", path)
	return n, nil
}

// again returns the flags that were given, with a blank before each, for the
// next command of a hint.
func (c *storeFlags) again() string {
	s := ""
	if c.Config != "" {
		s += " -c " + quote(c.Config)
	}
	if c.State != app.DefaultState() {
		s += " --state " + quote(c.State)
	}
	return s
}

// with opens the store, made if there is none and create says so, and closes it after f.
func (c *storeFlags) with(e *env, create bool, f func(context.Context, *store.Store) error) error {
	if err := c.find(e); err != nil {
		return err
	}
	ctx := context.Background()
	s, err := app.OpenStore(ctx, c.Config, c.State, create)
	if errors.Is(err, store.ErrNone) {
		return fmt.Errorf("%w; if one runs, name its state folder with --state, and its configuration with -c", err)
	} else if err != nil {
		return err
	}
	return errors.Join(f(ctx, s), s.Close())
}

type storeBackupCmd struct {
	File string `arg:"" help:"File to write; it must not exist."`
	storeFlags
}

func (c *storeBackupCmd) Run(e *env) error {
	return c.with(e, false, func(_ context.Context, s *store.Store) error {
		var n uint64
		// Told before all is read; who comes in between is told afterwards.
		_, err := os.Lstat(c.File)
		if err == nil {
			err = fs.ErrExist
		} else {
			err = interruptible(func(ctx context.Context) error {
				return secret.CreatePrivateFrom(c.File, func(w io.Writer) (err error) {
					n, err = s.Backup(ctx, w)
					return err
				})
			})
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%s exists; a backup overwrites nothing: choose another name", c.File)
		case err != nil:
			return fmt.Errorf("%s: %w", c.File, err)
		}
		fmt.Fprintf(e.out, "%s: %s. It holds what the store holds: keep it as safe.\n", c.File, count(int(n), "record"))
		return nil
	})
}

// interruptible runs f with a context that Ctrl-C and its like end, so that f
// clears up after itself; the second one ends the process.
func interruptible(f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted; nothing was written")
	}
	return err
}

type storeRestoreCmd struct {
	File string `arg:"" help:"File that warder store backup wrote."`
	storeFlags
}

func (c *storeRestoreCmd) Run(e *env) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.with(e, true, func(ctx context.Context, s *store.Store) error {
		n, err := s.Restore(ctx, f)
		if err != nil {
			return fmt.Errorf("nothing was restored: %w", err)
		}
		fmt.Fprintf(e.out, "%s restored into %s.\n", count(int(n), "record"), s.Status().Engine)
		return nil
	})
}

type storeCheckCmd struct {
	File string `arg:"" optional:"" help:"Backup to check in place of the store."`
	storeFlags
	outputFlag
}

func (c *storeCheckCmd) Run(e *env) error {
	if c.File != "" {
		return c.backup(e)
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		r, err := s.Check(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			if err := e.json(r); err != nil {
				return err
			}
		} else {
			printReport(e.out, r)
		}
		if len(r.Problems) > 0 {
			return errNo
		}
		return nil
	})
}

// backup checks a backup, without a store.
func (c *storeCheckCmd) backup(e *env) error {
	if c.Config != "" || c.State != "" {
		return usageError("-c and --state name a store, and " + c.File + " is a backup; leave one of them out")
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	in, now := bufio.NewReader(f), time.Now()
	if begin, _ := in.Peek(len(sqliteFile)); string(begin) == sqliteFile {
		return fmt.Errorf("%s is a database, not a backup; to check it, name the state folder it is in with --state", c.File)
	}
	r, err := store.CheckBackup(in, now)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.Output == "json" {
		return e.json(r)
	}
	made, schema := "", ""
	if !r.Made.IsZero() {
		made = ", made " + day(r.Made)
	}
	if r.Schema != 0 {
		schema = fmt.Sprintf(", schema %d", r.Schema)
	}
	fmt.Fprintf(e.out, "%s: a backup%s%s, %s\n", c.File, made, schema, count(int(r.Changes), "change"))
	printRecords(e.out, r.Records, r.Expired)
	fmt.Fprintln(e.out, "it is whole")
	if read, _ := secret.Exposed(c.File); read {
		fmt.Fprintf(e.out, "warning: every user of this machine may read it; run chmod 600 %s\n", quote(c.File))
	}
	return nil
}

// sqliteFile is how a file of SQLite begins.
const sqliteFile = "SQLite format 3\x00"

func printRecords(w io.Writer, records map[store.Kind]uint64, expired uint64) {
	for _, kind := range slices.Sorted(maps.Keys(records)) {
		fmt.Fprintf(w, "  %-12s %d\n", kind, records[kind])
	}
	if expired > 0 {
		fmt.Fprintf(w, "  of these expired and not cleared yet: %d\n", expired)
	}
}

func printReport(w io.Writer, r *store.Report) {
	fmt.Fprintf(w, "%s, schema %d, %s, %s remembered\n", r.Engine, r.Schema, count(int(r.Changes), "change"), count(int(r.Deleted), "deletion"))
	printRecords(w, r.Records, r.Expired)
	for _, p := range r.Problems {
		fmt.Fprintln(w, "problem:", p)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, "nothing is wrong")
	}
}
