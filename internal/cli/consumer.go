package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/store"
)

type consumerCmd struct {
	New    consumerNewCmd    `cmd:"" help:"Add a consumer to the store. Those of the configuration are written there."`
	List   consumerListCmd   `cmd:"" help:"List the consumers of the store."`
	Show   consumerShowCmd   `cmd:"" help:"Show a consumer of the store and its keys."`
	Delete consumerDeleteCmd `cmd:"" help:"Remove a consumer from the store, with its keys, at once."`
}

type consumerNewCmd struct {
	Name   string `arg:"" help:"Name of the consumer."`
	Moving bool   `help:"The configuration has it, too, and soon will not: until it is taken out there, the store's and its keys do not count."`
	storeFlags
}

func (c *consumerNewCmd) Run(e *env) error {
	if err := c.find(e); err != nil {
		return err
	}
	if c.Config != "" {
		names, err := app.ReadNames(c.Config)
		if err != nil {
			return err
		}
		switch at, taken := names.Consumer(c.Name); {
		case taken && !c.Moving:
			return fmt.Errorf("%s has a consumer %s already (%v); give this one another name, or move that one with --moving: see docs/OPERATING.md, From the file to the store", c.Config, c.Name, at)
		case !taken && c.Moving:
			return fmt.Errorf("--moving: %s has no consumer %s", c.Config, c.Name)
		}
	} else if c.Moving {
		return usageError("--moving needs the configuration that the consumer moves out of: -c FILE")
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		if err := directory.AddConsumer(ctx, s, c.Name, time.Now()); err != nil {
			return err
		}
		if c.Moving {
			fmt.Fprintf(e.out, "consumer %s added; that of %s counts until it is taken out there. Until then that file can be reloaded without it only, and no gateway starts with it\nnext: warder key import --consumer %s --file FILE%s, with the keys its callers have, then take it out\n", c.Name, c.Config, c.Name, c.again())
			return nil
		}
		fmt.Fprintf(e.out, "consumer %s added; give it a key: warder key new %s%s\n", c.Name, c.Name, c.again())
		return nil
	})
}

type consumerListCmd struct {
	storeFlags
	outputFlag
}

// consumerOut is a consumer as it is printed.
type consumerOut struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Keys    []keyInfo `json:"keys,omitempty"`
}

func (c *consumerListCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		all := []consumerOut{}
		if err := directory.EachConsumer(ctx, s, func(c directory.StoredConsumer) error {
			all = append(all, consumerOut{Name: c.Name, Created: c.Created.UTC()})
			return nil
		}); err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(all)
		}
		if len(all) == 0 {
			fmt.Fprintf(e.out, "the store has no consumers; add one: warder consumer new NAME%s\n", c.again())
			return nil
		}
		rows := [][]string{{"NAME", "CREATED"}}
		for _, c := range all {
			rows = append(rows, []string{c.Name, day(c.Created)})
		}
		return e.table(rows)
	})
}

type consumerShowCmd struct {
	Name string `arg:"" help:"Name of the consumer."`
	storeFlags
	outputFlag
}

func (c *consumerShowCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		known, err := directory.GetConsumer(ctx, s, c.Name)
		if err != nil {
			return err
		}
		out := consumerOut{Name: known.Name, Created: known.Created.UTC()}
		if out.Keys, err = listKeys(ctx, s, c.Name); err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(out)
		}
		fmt.Fprintf(e.out, "consumer %s, created %s, %s\n", out.Name, day(out.Created), count(len(out.Keys), "key"))
		if len(out.Keys) == 0 {
			return nil
		}
		return e.keyTable(out.Keys)
	})
}

type consumerDeleteCmd struct {
	Name string `arg:"" help:"Name of the consumer."`
	storeFlags
}

func (c *consumerDeleteCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		n, err := directory.DeleteConsumer(ctx, s, c.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "consumer %s deleted, with %s\n", c.Name, count(n, "key"))
		return nil
	})
}

// day prints a moment as operators read it.
func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// table prints rows in columns, the first row as their heads. The last column
// has colours on a terminal.
func (e *env) table(rows [][]string) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	colours := e.colours()
	for i, row := range rows {
		last := len(row) - 1
		if colour := map[string]string{"active": "32", "expired": "33", "revoked": "31"}[row[last]]; colours && i > 0 && colour != "" {
			row[last] = "\x1b[" + colour + "m" + row[last] + "\x1b[0m"
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// colours reports whether the output is a terminal that shows colours.
func (e *env) colours() bool {
	f, ok := e.out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
