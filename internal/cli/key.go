package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/store"
)

type keyCmd struct {
	New    keyNewCmd    `cmd:"" help:"Make an API key. It is shown once; what is kept is its hash."`
	List   keyListCmd   `cmd:"" help:"List the API keys of the store."`
	Revoke keyRevokeCmd `cmd:"" help:"End an API key of the store at once, on every gateway, open streams included."`
	Import keyImportCmd `cmd:"" help:"Give a consumer of the store keys that its callers have already: all of them, or none."`
	Hash   keyHashCmd   `cmd:"" help:"Hash an API key read from standard input, for the configuration."`
}

type keyNewCmd struct {
	Consumer string           `arg:"" optional:"" help:"Consumer of the store to give the key to. Without one, the key is not stored: its line for the configuration is printed."`
	Expires  lifetime         `help:"When it ends: after a time such as 90d, or with a day such as 2027-01-31; default: never." placeholder:"TIME"`
	From     []config.Network `help:"Range of addresses from which it is good, such as 203.0.113.0/24; may be repeated. Default: anywhere." placeholder:"CIDR"`
	Route    []string         `help:"Name of a route on which it is good; may be repeated. Default: all." placeholder:"NAME"`
	storeFlags
	outputFlag
}

// limits returns where the key is to be good.
func (c *keyNewCmd) limits() *exchange.KeyLimits {
	if len(c.From)+len(c.Route) == 0 {
		return nil
	}
	return &exchange.KeyLimits{From: config.Prefixes(c.From), Routes: c.Route}
}

// keyOut is a key, and where it is kept: in the store, or nowhere yet.
type keyOut struct {
	Key      string    `json:"key,omitempty"`
	Hash     string    `json:"hash"`
	ID       string    `json:"id,omitempty"`
	Consumer string    `json:"consumer,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
}

func (c *keyNewCmd) Run(e *env) error {
	now := time.Now()
	expires := c.Expires.from(now)
	if !expires.IsZero() && !expires.After(now) {
		return usageError("--expires is in the past")
	}
	if c.Consumer == "" {
		if !expires.IsZero() {
			return usageError("--expires needs a consumer of the store; in the configuration, write expires: beside hash:")
		}
		if c.limits() != nil {
			return usageError("--from and --route need a consumer of the store; in the configuration, write from: and routes: beside hash:")
		}
		key := apikey.Generate()
		return printKey(e, c.Output, keyOut{Key: key, Hash: apikey.Hash(key)})
	}
	if err := c.find(e); err != nil {
		return err
	}
	names, err := c.names(e)
	if err != nil {
		return err
	}
	for _, route := range c.Route {
		if names == nil {
			fmt.Fprintf(e.err, "warning: nobody looked whether there is a route %q, for want of a configuration; -c names one\n", route)
		} else if err := names.Route(route); err != nil {
			return fmt.Errorf("--route: %w; the key would open nothing there", err)
		}
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		var made directory.StoredKey
		key, err := freshKey(func(ref exchange.KeyRef) (err error) {
			made, err = directory.AddKey(ctx, s, c.Consumer, ref, c.limits(), expires, now)
			return err
		})
		if errors.Is(err, directory.ErrUnknown) && names != nil {
			if at, ok := names.Consumer(c.Consumer); ok {
				return fmt.Errorf("consumer %s stands in the file (%v), not in the store: write its key there, as warder key new without a name prints it, or move it with warder consumer new --moving: see docs/OPERATING.md, From the file to the store", c.Consumer, at)
			}
		}
		if err != nil {
			return err
		}
		return printStored(e, c.Output, key, made, "")
	})
}

// freshKey makes a key and adds it; another one if its id is taken.
func freshKey(add func(exchange.KeyRef) error) (key string, err error) {
	for range 5 {
		key = apikey.Generate()
		if err = add(apikey.Ref([]byte(key))); !errors.Is(err, store.ErrExists) {
			break
		}
	}
	return key, err
}

func printStored(e *env, output, key string, k directory.StoredKey, more string) error {
	if output == "json" {
		return e.json(keyOut{Key: key, Hash: apikey.Hash(key), ID: k.ID(), Consumer: k.Consumer, Expires: k.Expires.UTC()})
	}
	fmt.Fprintf(e.out, "key (shown this once; give it to the caller):\n  %s\n", key)
	fmt.Fprintf(e.out, "consumer %s, expires %s%s; it is good on every gateway of this store within a second%s\n", k.Consumer, day(k.Expires), where(k.Limits), more)
	return nil
}

// where says in words where a key is good; nothing if it is everywhere.
func where(l *exchange.KeyLimits) (text string) {
	if l == nil {
		return ""
	}
	if len(l.From) > 0 {
		text += ", from " + strings.Join(prefixes(l.From), " ")
	}
	if len(l.Routes) > 0 {
		text += ", on " + strings.Join(l.Routes, " ")
	}
	return text
}

func prefixes(list []netip.Prefix) (texts []string) {
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}

// lifetime is a length of time or a day.
type lifetime struct {
	length scalar.Duration
	end    time.Time
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *lifetime) UnmarshalText(text []byte) error {
	var d scalar.Date
	if err := d.UnmarshalText(text); err == nil {
		l.end = d.End()
		return nil
	}
	if err := l.length.UnmarshalText(text); err != nil || l.length == 0 {
		return fmt.Errorf("%q is no time such as 90d, and no day such as 2027-01-31", text)
	}
	return nil
}

func (l lifetime) from(now time.Time) time.Time {
	if l.length > 0 {
		return now.Add(l.length.Std())
	}
	return l.end
}

type keyListCmd struct {
	Consumer string `arg:"" optional:"" help:"Only the keys of this consumer."`
	storeFlags
	outputFlag
}

// keyInfo is what is printed of a key.
type keyInfo struct {
	ID       string    `json:"id"`
	Consumer string    `json:"consumer"`
	State    string    `json:"state"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
	From     []string  `json:"from,omitempty"`
	Routes   []string  `json:"routes,omitempty"`
	Weak     bool      `json:"weak,omitempty"`

	where string
}

func infoOf(k directory.StoredKey) keyInfo {
	i := keyInfo{ID: k.ID(), Consumer: k.Consumer, State: k.State(time.Now()), Created: k.Created.UTC(), Expires: k.Expires.UTC(), LastUsed: k.Used.UTC(), Revoked: k.Revoked.UTC(), Weak: k.Weak, where: "everywhere"}
	if !i.LastUsed.IsZero() && i.LastUsed.Before(i.Created) {
		i.LastUsed = i.Created // uses are noted by the beginning of their ten minutes
	}
	if k.Limits != nil {
		i.From, i.Routes, i.where = prefixes(k.Limits.From), k.Limits.Routes, strings.TrimPrefix(where(k.Limits), ", ")
	}
	if k.Weak {
		i.where += ", weak"
	}
	return i
}

func listKeys(ctx context.Context, s *store.Store, consumer string) (all []keyInfo, err error) {
	err = directory.EachKey(ctx, s, consumer, func(k directory.StoredKey) error {
		all = append(all, infoOf(k))
		return nil
	})
	return all, err
}

// usesFoot explains the column LAST USED.
const usesFoot = "LAST USED is known to ten minutes; uses of the last twelve may be missing (- none until then, ? the key is younger)"

func keyRows(keys []keyInfo, now time.Time) [][]string {
	rows := [][]string{{"KEY", "CONSUMER", "CREATED", "EXPIRES", "LAST USED", "GOOD", "STATE"}}
	for _, k := range keys {
		used := "-"
		switch {
		case !k.LastUsed.IsZero():
			used = day(k.LastUsed)
		case now.Sub(k.Created) < directory.UsesWithin:
			used = "?"
		}
		rows = append(rows, []string{k.ID, k.Consumer, day(k.Created), day(k.Expires), used, k.where, k.State})
	}
	return rows
}

func (e *env) keyTable(keys []keyInfo) error {
	if err := e.table(keyRows(keys, time.Now())); err != nil {
		return err
	}
	_, err := fmt.Fprintln(e.out, usesFoot)
	return err
}

func (c *keyListCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		if c.Consumer != "" {
			if _, err := directory.GetConsumer(ctx, s, c.Consumer); err != nil {
				return err
			}
		}
		keys, err := listKeys(ctx, s, c.Consumer)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(append([]keyInfo{}, keys...))
		}
		if len(keys) == 0 {
			fmt.Fprintln(e.out, "no keys in the store; make one: warder key new CONSUMER")
			return nil
		}
		return e.keyTable(keys)
	})
}

type keyRevokeCmd struct {
	ID string `arg:"" help:"The key's id, wk_ and eight characters, as warder key list prints it; four of them are enough if no other key begins so."`
	storeFlags
	outputFlag
}

func (c *keyRevokeCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		k, err := directory.RevokeKey(ctx, s, c.ID, time.Now())
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(infoOf(k))
		}
		fmt.Fprintf(e.out, "key %s of consumer %s is revoked since %s\n", k.ID(), k.Consumer, day(k.Revoked))
		return nil
	})
}

type keyHashCmd struct{ outputFlag }

func (c keyHashCmd) Run(e *env) error {
	line, err := bufio.NewReader(e.in).ReadString('\n')
	key := strings.TrimSpace(line)
	if key == "" {
		return usageError("no key on standard input; pipe one in: printf %s \"$KEY\" | warder key hash")
	}
	if !apikey.WellFormed([]byte(key)) {
		return fmt.Errorf("this is not a Warder key, or it was cut or altered: expected wk_PREFIX_SECRET with a right checksum%s", because(err))
	}
	return printKey(e, c.Output, keyOut{Hash: apikey.Hash(key)})
}

func because(err error) string {
	if err == nil || err.Error() == "EOF" {
		return ""
	}
	return " (" + err.Error() + ")"
}

func printKey(e *env, output string, k keyOut) error {
	if output == "json" {
		return e.json(k)
	}
	if k.Key != "" {
		fmt.Fprintf(e.out, "key (shown this once; give it to the caller):\n  %s\n", k.Key)
	}
	fmt.Fprintf(e.out, "for the configuration, under consumers: NAME: apiKeys:\n  - { hash: \"%s\" }\n", k.Hash)
	return nil
}
