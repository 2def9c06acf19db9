package directory

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// xor is a sealer that anybody could open. Of another one it opens nothing.
type xor byte

func (x xor) Seal(plain []byte) ([]byte, error) {
	sealed := []byte{byte(x)}
	for _, c := range plain {
		sealed = append(sealed, c^byte(x))
	}
	return sealed, nil
}

func (x xor) Unseal(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != byte(x) {
		return nil, errors.New("it was sealed with another key")
	}
	again, _ := x.Seal(sealed[1:])
	return again[1:], nil
}

func TestImportedKeysAreFoundByTheirHMACAlone(t *testing.T) {
	onBothStores(t, func(t *testing.T, open func() *store.Store) {
		ctx, now, office := t.Context(), time.Now(), open()
		if err := AddConsumer(ctx, office, "acme", now); err != nil {
			t.Fatal(err)
		}
		type instance struct {
			*Memory
			d *Directory
			s *store.Store
		}
		with := func(s Sealer) *instance {
			i := &instance{Memory: NewMemory(slog.New(slog.DiscardHandler), time.Now), s: open()}
			i.Unlock(s)
			var err error
			if i.d, err = Over(i.Memory, time.Hour, nil); err != nil {
				t.Fatal(err)
			}
			return i
		}
		one, stranger := with(xor(1)), with(xor(2))
		text := []byte("any text, that a caller has: ;,=/")
		if _, code := one.d.Imported(text); code != fault.IdentityUnavailable {
			t.Errorf("before the store was read: %s", code)
		}
		for _, i := range []*instance{one, stranger} {
			if err := i.Load(ctx, i.s); err != nil {
				t.Fatal(err)
			}
			if _, code := i.d.Imported(text); code != fault.KeyMalformed {
				t.Errorf("where none was imported: %s", code)
			}
		}
		ours := refOf(3)
		keys := []ToImport{{Key: text}, {Key: []byte("second"), Weak: true, Expires: now.Add(time.Hour)}, {Key: []byte("wk_key-0003…"), Ours: ours}}
		made, clashes, err := ImportKeys(ctx, office, xor(1), "acme", keys, now)
		if err != nil || len(clashes) > 0 || len(made) != 3 {
			t.Fatal(made, clashes, err)
		}
		// Those who follow the store have them; who starts now has them as well.
		late := with(xor(1))
		if err := late.Load(ctx, late.s); err != nil {
			t.Fatal(err)
		}
		changes, err := office.Get(ctx, kindSecret, secretID)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []*instance{one, stranger} {
			i.mu.Lock()
			i.change(&store.Change{Record: changes})
			for _, k := range made {
				i.change(&store.Change{Record: k.record()})
			}
			i.mu.Unlock()
		}
		for what, i := range map[string]*instance{"following": one, "late": late} {
			for n, want := range map[string]fault.Code{string(text): fault.None, "second": fault.None, "third": fault.KeyUnknown, string(text) + " ": fault.KeyUnknown} {
				ref, code := i.d.Imported([]byte(n))
				if code != fault.None || !ref.Imported {
					t.Fatalf("%s: %q: %s", what, n, code)
				}
				r, code := i.d.Key(ref, now, false)
				if code != want || (r.Consumer != nil) != (want == fault.None) {
					t.Errorf("%s: %q: %s, want %s", what, n, code, want)
				}
			}
			if _, code := i.d.Key(ours, now, false); code != fault.None {
				t.Errorf("%s: one that we made: %s", what, code)
			}
			// Neither kind is taken for the other.
			ref, _ := i.d.Imported(text)
			ref.Imported = false
			if _, code := i.d.Key(ref, now, false); code != fault.KeyUnknown {
				t.Errorf("%s: by its HMAC as if we had made it: %s", what, code)
			}
			for _, bad := range [][]byte{nil, {}, make([]byte, MaxImported+1)} {
				if _, code := i.d.Imported(bad); code != fault.KeyMalformed {
					t.Errorf("%s: %d bytes: %s", what, len(bad), code)
				}
			}
		}
		if _, code := stranger.d.Imported(text); code != fault.IdentityUnavailable {
			t.Errorf("without what opens their key: %s", code)
		}

		// Nothing in the store would be found by a bare hash, nor holds a key.
		for _, k := range keys[:2] {
			digest := sha256.Sum256(k.Key)
			if _, err := office.ByAlias(ctx, kindKey, string(digest[:])); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("found by its SHA-256: %v", err)
			}
		}
		var dump bytes.Buffer
		if _, err := office.Backup(ctx, &dump); err != nil || strings.Contains(dump.String(), "second") {
			t.Errorf("the backup: %v", err)
		}
		// All or nothing, and every clash is told.
		_, clashes, err = ImportKeys(ctx, office, xor(1), "acme", []ToImport{{Key: []byte("new")}, {Key: []byte("second")}, {Ours: ours}}, now)
		if err != nil || len(clashes) != 2 || clashes[0].At != 1 || clashes[1].At != 2 || !strings.Contains(clashes[0].Text, "acme has this key already: "+made[1].ID()) {
			t.Errorf("%+v %v", clashes, err)
		}
		if _, _, err = ImportKeys(ctx, office, xor(2), "acme", []ToImport{{Key: []byte("new")}}, now); err == nil || !strings.Contains(err.Error(), "sealed with other keys") {
			t.Errorf("with another sealer: %v", err)
		}
		if _, _, err = ImportKeys(ctx, office, xor(1), "nobody", []ToImport{{Key: []byte("new")}}, now); !errors.Is(err, ErrUnknown) {
			t.Errorf("for nobody: %v", err)
		}
		if all := lastUses(t, office); len(all) != 3 {
			t.Errorf("%d keys, want 3: %v", len(all), all)
		}
		var weak []string
		if err := EachWeakKey(ctx, office, func(k StoredKey) error {
			weak = append(weak, k.ID())
			return nil
		}); err != nil || len(weak) != 1 || weak[0] != made[1].ID() || !strings.HasPrefix(weak[0], "ik_") {
			t.Errorf("weak: %v %v, want %s", weak, err, made[1].ID())
		}
	})
}

func TestAsManyAsMayBeAreImportedAtOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, open func() *store.Store) {
		ctx, now, office := t.Context(), time.Now(), open()
		if err := AddConsumer(ctx, office, "acme", now); err != nil {
			t.Fatal(err)
		}
		var keys []ToImport
		for i := range MostImported {
			keys = append(keys, ToImport{Key: fmt.Appendf(nil, "key %d", i)})
		}
		if made, clashes, err := ImportKeys(ctx, office, xor(1), "acme", keys, now); err != nil || len(clashes) > 0 || len(made) != MostImported {
			t.Error(len(made), clashes, err)
		}
		if _, _, err := ImportKeys(ctx, office, xor(1), "acme", append(keys, keys[0]), now); err == nil {
			t.Error("one more was imported")
		}
	})
}

func TestTheReferenceOfAnImportedKeyIsItsHMAC(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte{7}, secretSize)
	h := newHasher(secret)
	for n := range MaxImported + 1 {
		key := bytes.Repeat([]byte{'k'}, n)
		mac := hmac.New(sha256.New, secret)
		mac.Write(key)
		ref := h.ref(key)
		if !bytes.Equal(ref.Digest[:], mac.Sum(nil)) || !ref.Imported {
			t.Fatalf("%d bytes: %+v", n, ref)
		}
		if strings.Trim(string(ref.ID[:]), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("id %q", ref.ID)
		}
	}
}

// Whoever has lost what opens the key of imported keys takes its record out of
// the store, as docs/OPERATING.md says, and imports the keys again: also those
// that are there.
func TestKeysAreImportedAgainAfterTheirKeyIsLost(t *testing.T) {
	onBothStores(t, func(t *testing.T, open func() *store.Store) {
		ctx, now, s := t.Context(), time.Now(), open()
		if err := AddConsumer(ctx, s, "acme", now); err != nil {
			t.Fatal(err)
		}
		keys := []ToImport{{Key: []byte("any text, that a caller has")}}
		if _, clashes, err := ImportKeys(ctx, s, xor(1), "acme", keys, now); err != nil || len(clashes) > 0 {
			t.Fatal(clashes, err)
		}
		if _, _, err := ImportKeys(ctx, s, xor(2), "acme", []ToImport{{Key: []byte("more")}}, now); err == nil {
			t.Error("keys were imported beside some that nobody can find any more")
		}
		if _, err := s.Commit(ctx, store.Delete(kindSecret, secretID, 0)); err != nil {
			t.Fatal(err)
		}
		if _, clashes, err := ImportKeys(ctx, s, xor(2), "acme", keys, now); err != nil || len(clashes) > 0 {
			t.Fatal(clashes, err)
		}
		m := NewMemory(slog.New(slog.DiscardHandler), time.Now)
		m.Unlock(xor(2))
		d, err := Over(m, time.Hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Load(ctx, s); err != nil {
			t.Fatal(err)
		}
		ref, _ := d.Imported(keys[0].Key)
		if _, code := d.Key(ref, now, false); code != fault.None {
			t.Errorf("imported again: %s", code)
		}
	})
}

// A digest says nothing without its kind: a key of the file is found by the
// SHA-256 of what was sent, and not by the HMAC of something else.
func TestAKeyOfTheFileIsNoImportedKey(t *testing.T) {
	t.Parallel()
	ref := refOf(1)
	d, err := Over(nil, time.Hour, []Consumer{{Name: "acme", Keys: []Key{{Digest: ref.Digest}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, code := d.Key(ref, time.Now(), false); code != fault.None {
		t.Error(code)
	}
	ref.Imported = true
	if _, code := d.Key(ref, time.Now(), false); code != fault.KeyUnknown {
		t.Errorf("as an imported one: %s", code)
	}
}

func importedDirectory(t testing.TB, key []byte) *Directory {
	t.Helper()
	m := NewMemory(slog.New(slog.DiscardHandler), time.Now)
	held := &held{table: newTable()}
	held.hasher.Store(newHasher(bytes.Repeat([]byte{7}, secretSize)))
	held.names.set("acme")
	k := StoredKey{Ref: held.hasher.Load().ref(key), Consumer: "acme"}
	held.table.put(k.entry(held.names.place("acme"), 0), 0)
	m.held.Store(held)
	m.seen.Store(time.Now().UnixNano())
	d, err := Over(m, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAnImportedKeyAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector empties pools")
	}
	key := []byte("tGzv3JOkF0XG5Qx2TlKWIAtGzv9aB7cD1eF")
	d, now := importedDirectory(t, key), time.Now()
	var x exchange.Exchange
	if n := testing.AllocsPerRun(1000, func() {
		ref, code := d.Imported(key)
		r, found := d.Key(ref, now, true)
		if code != fault.None || found != fault.None || x.KeyIdentity(ref, r).Proof[:3] != "ik_" {
			t.Fatal(code, found)
		}
		x.Reset()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkImported(b *testing.B) {
	key := []byte("tGzv3JOkF0XG5Qx2TlKWIAtGzv9aB7cD1eF")
	d, now := importedDirectory(b, key), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		ref, _ := d.Imported(key)
		d.Key(ref, now, true)
	}
}
