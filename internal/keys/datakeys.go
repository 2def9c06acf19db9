package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// dataKeysName is under which Storage keeps them.
const dataKeysName = "data-keys"

const (
	maxGenerations  = 64
	maxDataKeysFile = 1 << 20 // bytes
)

// dataKeysFile is what Storage keeps: the data keys, each sealed by the
// Wrapper, the newest first.
type dataKeysFile struct {
	Version int             `json:"version"`
	Keys    []sealedDataKey `json:"keys"`
}

type sealedDataKey struct {
	ID     []byte `json:"id"`
	Sealed []byte `json:"sealed"`
}

func (s *sealedDataKey) binding() Binding {
	return Binding{Purpose: "data-key", Record: fmt.Sprintf("%x", s.ID)}
}

// DataKeys seals records with keys of its own, which a Wrapper has sealed. The
// Wrapper is asked once for each of them when they are opened, and never again:
// while a key management service is away, what is unsealed goes on. Every
// purpose has keys of its own, derived from these.
//
// It is a Wrapper too, for records of up to 1 MiB, and safe for concurrent use.
type DataKeys struct{ keys family }

// HasDataKeys reports whether there are data keys in storage, for which the
// wrapper that sealed them is needed.
func HasDataKeys(ctx context.Context, s Storage) (bool, error) {
	_, err := s.Load(ctx, dataKeysName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// OpenDataKeys unseals the data keys in storage. If there are none, one is made
// and stored first; of several processes that start at once one makes it and
// all use it. Those that an older key of the wrapper has sealed are sealed with
// its newest.
func OpenDataKeys(ctx context.Context, w Wrapper, s Storage) (*DataKeys, error) {
	for range 8 { // others may be at it, too
		d, next, old, err := loadDataKeys(ctx, w, s)
		if err == nil && next != nil {
			if err = s.Swap(ctx, dataKeysName, old, next); errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("data keys: %w", err)
		}
		return d, nil
	}
	return nil, errors.New("data keys: others keep changing them; try again")
}

// RotateDataKeys puts a new data key before those in storage.
func RotateDataKeys(ctx context.Context, w Wrapper, s Storage) error {
	for range 8 {
		data, err := s.Load(ctx, dataKeysName)
		if err != nil {
			return fmt.Errorf("data keys: %w", err)
		}
		f, err := readDataKeys(data)
		if err != nil {
			return fmt.Errorf("data keys: %w", err)
		}
		if len(f.Keys) >= maxGenerations {
			return fmt.Errorf("data keys: there are %d already, which is as many as may be", len(f.Keys))
		}
		_, fresh, err := newDataKey(ctx, w)
		if err != nil {
			return fmt.Errorf("data keys: %w", err)
		}
		f.Keys = append([]sealedDataKey{fresh}, f.Keys...)
		next, err := json.Marshal(f)
		if err == nil {
			err = s.Swap(ctx, dataKeysName, data, next)
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("data keys: %w", err)
		}
		return nil
	}
	return errors.New("data keys: others keep changing them; try again")
}

// loadDataKeys returns the keys, and what to put in the place of old, if
// anything.
func loadDataKeys(ctx context.Context, w Wrapper, s Storage) (d *DataKeys, next, old []byte, err error) {
	data, err := s.Load(ctx, dataKeysName)
	if errors.Is(err, fs.ErrNotExist) {
		key, sealed, err := newDataKey(ctx, w)
		if err != nil {
			return nil, nil, nil, err
		}
		next, err = json.Marshal(dataKeysFile{Version: 1, Keys: []sealedDataKey{sealed}})
		return &DataKeys{family{key}}, next, nil, err
	}
	if err != nil {
		return nil, nil, nil, err
	}
	f, err := readDataKeys(data)
	if err != nil {
		return nil, nil, nil, err
	}
	d = &DataKeys{}
	stale := false
	for i := range f.Keys {
		k := &f.Keys[i]
		fresh, err := w.Rewrap(ctx, k.binding(), k.Sealed)
		if err != nil {
			return nil, nil, nil, err
		}
		plain, err := w.Unseal(ctx, k.binding(), fresh)
		if err != nil {
			return nil, nil, nil, err
		}
		key, err := newSymmetric(plain)
		if err != nil || !bytes.Equal(key.id[:], k.ID) {
			return nil, nil, nil, ErrAltered
		}
		stale = stale || !bytes.Equal(fresh, k.Sealed)
		k.Sealed = fresh
		d.keys = append(d.keys, key)
	}
	if stale {
		next, err = json.Marshal(f)
	}
	return d, next, data, err
}

func newDataKey(ctx context.Context, w Wrapper) (*symmetric, sealedDataKey, error) {
	key, err := newSymmetric(randomKey())
	if err != nil {
		return nil, sealedDataKey{}, err
	}
	s := sealedDataKey{ID: key.id[:]}
	s.Sealed, err = w.Seal(ctx, s.binding(), key.key)
	return key, s, err
}

func readDataKeys(data []byte) (f dataKeysFile, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if len(data) > maxDataKeysFile || d.Decode(&f) != nil {
		return f, ErrAltered
	}
	if _, err := d.Token(); err != io.EOF || f.Version != 1 || len(f.Keys) == 0 || len(f.Keys) > maxGenerations {
		return f, ErrAltered
	}
	return f, nil
}

// Seal implements Wrapper.
func (d *DataKeys) Seal(ctx context.Context, b Binding, plain []byte) ([]byte, error) {
	return d.keys.seal(b, plain, maxRecord)
}

// Unseal implements Wrapper.
func (d *DataKeys) Unseal(ctx context.Context, b Binding, sealed []byte) ([]byte, error) {
	return d.keys.unseal(b, sealed, maxRecord)
}

// Rewrap implements Wrapper.
func (d *DataKeys) Rewrap(ctx context.Context, b Binding, sealed []byte) ([]byte, error) {
	return d.keys.rewrap(b, sealed, maxRecord)
}
