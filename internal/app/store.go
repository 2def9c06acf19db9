package app

import (
	"bytes"
	"context"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/store"
)

// prepareStore opens the store at the first load.
func (a *app) prepareStore(_ *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	nothing := func() {}
	if a.store.Load() != nil {
		if !bytes.Equal(a.address.Reveal(), doc.Store.Reveal()) {
			return nil, nil, config.Problems{doc.Complain("store", "it cannot change while the gateway runs", "restart the gateway")}
		}
		return nothing, nothing, nil
	}
	if err := checkStore(doc); err != nil {
		return nil, nil, err
	}
	s, err := store.Open(context.Background(), store.Config{Address: doc.Store, Folder: a.state.dir, Log: a.log})
	if err != nil {
		return nil, nil, err
	}
	return func() {
		a.store.Store(s)
		a.address = doc.Store
	}, func() { s.Close() }, nil
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
// date. A store that does not answer is an error.
func OpenStore(ctx context.Context, file, state string, create bool) (*store.Store, error) {
	address := secret.New([]byte(store.DefaultAddress))
	if file != "" {
		snap, doc, err := compile(file)
		if err != nil {
			return nil, err
		}
		snap.Release()
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
