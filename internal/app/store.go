package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/store"
)

// prepareStore opens the store at the first load.
func (a *app) prepareStore(next *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	if a.store.Load() != nil {
		if !bytes.Equal(a.address.Reveal(), doc.Store.Reveal()) {
			return nil, nil, config.Problems{doc.Complain("store", "it cannot change while the gateway runs", "restart the gateway")}
		}
		if s := a.store.Load(); s.Status().Err == nil {
			a.openAssertions(s)
		}
		reserve, err := a.reserve(next, doc)
		return reserve, func() {}, err
	}
	if err := checkStore(doc); err != nil {
		return nil, nil, err
	}
	s, err := store.Open(context.Background(), store.Config{Address: doc.Store, Folder: a.state.dir, Log: a.log})
	if err != nil {
		return nil, nil, err
	}
	if s.Status().Err == nil {
		// A start waits for what is there, rather than refuse it.
		ctx, cancel := context.WithTimeout(context.Background(), firstLoad)
		defer cancel()
		if err := a.memory.Load(ctx, s); err != nil {
			a.log.Error("the keys of the store could not be loaded; they are refused until they are", "error", err)
		}
		a.openAssertions(s)
	}
	reserve, err := a.reserve(next, doc)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return func() {
		a.store.Store(s)
		a.address = doc.Store
		reserve()
		a.sessions.Use(s) // before a listener is there
		ctx, stop := context.WithCancel(context.Background())
		a.stopFollowing = stop
		a.following.Go(func() {
			a.memory.Run(ctx, s, func() {
				a.gateway.JudgeStreams()
				a.sessions.Judge()
			})
		})
		a.following.Go(func() { a.memory.TellUses(ctx, s) })
		a.following.Go(func() { a.sessions.Run(ctx, s, a.gateway.JudgeStreams) })
		a.following.Go(func() { a.nonces.Run(ctx, sealedIn{s}, a.log) })
		a.following.Go(func() { a.assertions.Run(ctx, sealedIn{s}) })
	}, func() { s.Close() }, nil
}

// openAssertions gets the key that assertions are signed with before the first
// request needs it, if it can be had. If not, Run tries on and says why, and
// requests are refused until then.
func (a *app) openAssertions(s *store.Store) {
	_ = a.assertions.Open(context.Background(), sealedIn{s})
}

// firstLoad is how long a start waits for the keys of the store.
const firstLoad = time.Minute

// reserve refuses a document with consumers of whose name the store has one.
// The function it returns keeps later ones out.
func (a *app) reserve(next *snapshot.Snapshot, doc *config.Document) (func(), error) {
	var problems config.Problems
	names := map[string]bool{}
	for _, name := range doc.Consumers.Names() {
		names[name] = true
		if _, taken := a.memory.Consumer(name); taken {
			problems = append(problems, doc.Complain(fmt.Sprintf("consumers[%q]", name), "the store has a consumer of this name, too",
				"give one of them another name, or remove that of the store with `warder consumer delete`"))
		}
	}
	if err := problems.Sort().Err(); err != nil {
		return nil, err
	}
	return func() {
		a.memory.Reserve(names)
		if !a.memory.Loaded() {
			return
		}
		for _, m := range next.Elsewhere {
			name := m.Name
			if _, known := a.memory.Consumer(name); !known {
				a.log.Warn("a route lets in a consumer that neither the configuration nor the store has", "consumer", name)
			}
		}
	}, nil
}

// checkStore judges the address of the store, and connects to nothing.
func checkStore(doc *config.Document) error {
	if err := store.Validate(doc.Store); err != nil {
		return config.Problems{doc.Complain("store", err.Error(), "")}
	}
	return nil
}

// OpenStore opens the store that a configuration file names, or the default
// one of the state folder if file is empty, as it is or, if create, made and brought up to
// date. Of the secrets of the file only those of the store are read. A store
// that does not answer is an error.
func OpenStore(ctx context.Context, file, state string, create bool) (*store.Store, error) {
	address := secret.New([]byte(store.DefaultAddress))
	if file != "" {
		doc, err := readStore(file)
		if err != nil {
			return nil, err
		}
		address = doc.Store
	}
	folder, err := OpenState(state)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Config{Address: address, Folder: folder.dir, AsIs: !create})
	if err != nil {
		return nil, err
	}
	if err := s.Status().Err; err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// missing returns those of the names that the store of a document does not
// have. ok is false if it cannot be asked: it is opened as it is, or not at all.
func missing(doc *config.Document, state string, names []snapshot.Mention) (none []snapshot.Mention, ok bool) {
	if info, err := os.Stat(state); state == "" || err != nil || !info.IsDir() || len(names) == 0 {
		return nil, false
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Address: doc.Store, Folder: state, AsIs: true})
	if err != nil {
		return nil, false
	}
	defer s.Close()
	for _, m := range names {
		_, err := directory.GetConsumer(ctx, s, m.Name)
		switch {
		case errors.Is(err, directory.ErrUnknown):
			none = append(none, m)
		case err != nil:
			return nil, false
		}
	}
	return none, true
}

// guessable says which keys of the store of a document can be guessed, if it can
// be opened as it is.
func guessable(doc *config.Document, state string) (all config.Problems) {
	if info, err := os.Stat(state); state == "" || err != nil || !info.IsDir() {
		return nil
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Address: doc.Store, Folder: state, AsIs: true})
	if err != nil {
		return nil
	}
	defer s.Close()
	count, last := map[string]int{}, map[string]string{}
	var consumers []string
	if err := directory.EachWeakKey(ctx, s, func(k directory.StoredKey) error {
		if k.State(time.Now()) != "active" {
			return nil
		}
		if count[k.Consumer]++; count[k.Consumer] == 1 {
			consumers = append(consumers, k.Consumer)
		}
		last[k.Consumer] = k.ID()
		return nil
	}); err != nil {
		return nil
	}
	for _, name := range consumers {
		all = append(all, doc.Complain("store", fmt.Sprintf("consumer %s has %s in the store that can be guessed, such as %s", name, plural(count[name], "imported key"), last[name]),
			"give it a key with `warder key new "+name+"`, then end the old one with `warder key revoke`"))
	}
	return all
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
