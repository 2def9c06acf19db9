package keys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/secret"
)

var (
	zero   secret.Value
	phrase = secret.New([]byte("correct horse battery"))
	wrong  = secret.New([]byte("incorrect horse battery"))
)

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "keys.kek") }

// embedded returns the provider whose key file is at path.
func embedded(t testing.TB, path string, passphrase secret.Value) *keys.Embedded {
	t.Helper()
	w, err := keys.OpenEmbedded(path, passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		w, err = keys.CreateCheap(path, passphrase)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	for name, passphrase := range map[string]secret.Value{"in the clear": zero, "locked": phrase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keystest.Wrapper(t, func(t testing.TB) keystest.Provider {
				path := file(t)
				return keystest.Provider{
					Open:  func(t testing.TB) keys.Wrapper { return embedded(t, path, passphrase) },
					Other: func(t testing.TB) keys.Wrapper { return embedded(t, file(t), zero) },
					Rotate: func(t testing.TB) {
						if _, err := keys.RotateCheap(path, passphrase, passphrase); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

func dataKeys(t testing.TB, w keys.Wrapper, s keys.Storage) *keys.DataKeys {
	t.Helper()
	d, err := keys.OpenDataKeys(t.Context(), w, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDataKeys(t *testing.T) {
	t.Parallel()
	keystest.Wrapper(t, func(t testing.TB) keystest.Provider {
		w, store := embedded(t, file(t), zero), &keystest.Memory{}
		return keystest.Provider{
			Open:  func(t testing.TB) keys.Wrapper { return dataKeys(t, w, store) },
			Other: func(t testing.TB) keys.Wrapper { return dataKeys(t, w, &keystest.Memory{}) },
			Rotate: func(t testing.TB) {
				if err := keys.RotateDataKeys(t.Context(), w, store); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestStorageInMemory(t *testing.T) {
	t.Parallel()
	keystest.Storage(t, &keystest.Memory{})
}

func TestZeroKeysSealAndUnsealNothing(t *testing.T) {
	t.Parallel()
	b := keys.Binding{Purpose: "p", Record: "r"}
	sealed, err := embedded(t, file(t), zero).Seal(t.Context(), b, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []keys.Wrapper{&keys.Embedded{}, &keys.DataKeys{}} {
		if _, err := w.Seal(t.Context(), b, []byte("x")); err == nil {
			t.Error("sealed with no key")
		}
		if _, err := w.Unseal(t.Context(), b, sealed); !errors.Is(err, keys.ErrKeyGone) {
			t.Errorf("unsealed with no key: %v", err)
		}
	}
}

// counting is a wrapper that says how often it was asked, and can be away.
type counting struct {
	keys.Wrapper
	mu    sync.Mutex
	asked int
	away  bool
}

func (c *counting) ask() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.away {
		return keys.ErrUnavailable
	}
	return nil
}

func (c *counting) Seal(ctx context.Context, b keys.Binding, plain []byte) ([]byte, error) {
	if err := c.ask(); err != nil {
		return nil, err
	}
	return c.Wrapper.Seal(ctx, b, plain)
}

func (c *counting) Unseal(ctx context.Context, b keys.Binding, sealed []byte) ([]byte, error) {
	if err := c.ask(); err != nil {
		return nil, err
	}
	return c.Wrapper.Unseal(ctx, b, sealed)
}

func TestWhileTheKeysAreAwayWhatIsUnsealedGoesOnAndNothingElseOpens(t *testing.T) {
	t.Parallel()
	w, store := &counting{Wrapper: embedded(t, file(t), zero)}, &keystest.Memory{}
	d := dataKeys(t, w, store)
	asked := w.asked
	w.away = true
	b := keys.Binding{Purpose: "p", Record: "r"}
	for range 100 {
		sealed, err := d.Seal(t.Context(), b, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Unseal(t.Context(), b, sealed); err != nil {
			t.Fatal(err)
		}
	}
	if w.asked != asked {
		t.Errorf("the wrapper was asked %d times for 100 records, want none", w.asked-asked)
	}
	for _, s := range []keys.Storage{store, &keystest.Memory{}} {
		if _, err := keys.OpenDataKeys(t.Context(), w, s); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("opened: %v", err)
		}
	}
}

func TestProcessesThatStartAtOnceShareOneDataKey(t *testing.T) {
	t.Parallel()
	path, store := file(t), &keystest.Memory{}
	all := make([]*keys.DataKeys, 8)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			w, err := keys.CreateCheap(path, phrase)
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = dataKeys(t, w, store)
		})
	}
	wg.Wait()
	b := keys.Binding{Purpose: "p", Record: "r"}
	for _, d := range all {
		sealed, err := d.Seal(t.Context(), b, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range all {
			if _, err := other.Unseal(t.Context(), b, sealed); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDataKeysAreSealedAnewWhenTheirKeyWasRotated(t *testing.T) {
	t.Parallel()
	path, store := file(t), &keystest.Memory{}
	b := keys.Binding{Purpose: "p", Record: "r"}
	sealed, err := dataKeys(t, embedded(t, path, zero), store).Seal(t.Context(), b, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := store.Load(t.Context(), "data-keys")
	rotated, err := keys.RotateCheap(path, zero, phrase)
	if err != nil {
		t.Fatal(err)
	}
	d := dataKeys(t, rotated, store)
	after, _ := store.Load(t.Context(), "data-keys")
	if bytes.Equal(before, after) {
		t.Error("still sealed with the old key")
	}
	if plain, err := d.Unseal(t.Context(), b, sealed); err != nil || string(plain) != "x" {
		t.Errorf("%q, %v", plain, err)
	}
	dataKeys(t, embedded(t, path, phrase), store)
	if again, _ := store.Load(t.Context(), "data-keys"); !bytes.Equal(again, after) {
		t.Error("sealed anew without need")
	}
}

func TestDataKeysThatAreDamagedOrOfAnotherAreRefusedAndStay(t *testing.T) {
	t.Parallel()
	w, store := embedded(t, file(t), zero), &keystest.Memory{}
	dataKeys(t, w, store)
	good, _ := store.Load(t.Context(), "data-keys")
	other := &keystest.Memory{}
	dataKeys(t, w, other)
	foreign, _ := other.Load(t.Context(), "data-keys")
	var a, b struct {
		Version int
		Keys    []map[string][]byte
	}
	if json.Unmarshal(good, &a) != nil || json.Unmarshal(foreign, &b) != nil {
		t.Fatal("not JSON")
	}
	swapped := bytes.Replace(good, mustJSON(t, a.Keys[0]["sealed"]), mustJSON(t, b.Keys[0]["sealed"]), 1)
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "more behind it": append(bytes.Clone(good), '1'), "no keys": []byte(`{"version":1,"keys":[]}`),
		"another version": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1), "another's content under this id": swapped,
		"an unknown member": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":1,"x":1`), 1),
	} {
		s := &keystest.Memory{}
		if err := s.Swap(t.Context(), "data-keys", nil, bad); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.OpenDataKeys(t.Context(), w, s); !errors.Is(err, keys.ErrAltered) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := s.Load(t.Context(), "data-keys"); !bytes.Equal(after, bad) {
			t.Errorf("%s: it was changed", name)
		}
	}
	if _, err := keys.OpenDataKeys(t.Context(), embedded(t, file(t), zero), store); !errors.Is(err, keys.ErrKeyGone) {
		t.Errorf("with the key file of another installation: %v", err)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheKeyFileBelongsToItsOwnerAndShowsNoKeyWhenItIsLocked(t *testing.T) {
	t.Parallel()
	path := file(t)
	embedded(t, path, phrase)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
	data, _ := os.ReadFile(path)
	if !bytes.Contains(data, []byte("salt")) || bytes.Contains(data, []byte("check")) {
		t.Errorf("not locked:\n%s", data)
	}
	if _, err := keys.CreateCheap(file(t), secret.New([]byte("short"))); err == nil || !strings.Contains(err.Error(), "at least 12 bytes") {
		t.Errorf("a short passphrase: %v", err)
	}
}

func TestAKeyFileThatDoesNotFitIsOneClearSentenceAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	make := func(passphrase secret.Value) []byte {
		path := file(t)
		embedded(t, path, passphrase)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	clear, locked := make(zero), make(phrase)
	replace := func(data []byte, from, to string) []byte {
		if !bytes.Contains(data, []byte(from)) {
			t.Fatalf("no %s in %s", from, data)
		}
		return bytes.Replace(data, []byte(from), []byte(to), 1)
	}
	for name, c := range map[string]struct {
		data       []byte
		mode       os.FileMode
		passphrase secret.Value
		want       string
	}{
		"world-readable":                    {clear, 0o604, zero, "others than its owner may use it (mode 0604)"},
		"readable by its group":             {clear, 0o640, zero, "others than its owner may use it (mode 0640)"},
		"writable by its group":             {clear, 0o620, zero, "others than its owner may use it (mode 0620)"},
		"empty":                             {nil, 0o600, zero, "damaged or cut short"},
		"cut":                               {clear[:len(clear)/2], 0o600, zero, "damaged or cut short"},
		"something else":                    {[]byte("hello\n"), 0o600, zero, "damaged or cut short"},
		"two of them":                       {append(bytes.Clone(clear), clear...), 0o600, zero, "damaged or cut short"},
		"too large":                         {bytes.Repeat([]byte("\n"), 20<<10), 0o600, zero, "larger than 16384 bytes"},
		"of a later version":                {replace(clear, `"version": 1`, `"version": 2`), 0o600, zero, "is of version 2; this build reads version 1"},
		"of another kind":                   {replace(clear, "warder key", "winter key"), 0o600, zero, "damaged or cut short"},
		"another key under the same check":  {replace(clear, `"keys": "`, `"keys": "AAAA`), 0o600, zero, "damaged or cut short"},
		"a passphrase where none locks it":  {clear, 0o600, phrase, "is not locked by a passphrase, and one was given"},
		"no passphrase where one locks it":  {locked, 0o600, zero, "is locked by a passphrase, and none was given"},
		"a wrong passphrase":                {locked, 0o600, wrong, "is not opened by the configured passphrase"},
		"another salt":                      {replace(locked, `"salt": "`, `"salt": "AAAA`), 0o600, phrase, "is not opened by the configured passphrase"},
		"a cost that would never end":       {replace(locked, `"time": 1`, `"time": 4000000000`), 0o600, phrase, "damaged or cut short"},
		"a cost that would take all memory": {replace(locked, `"memory": 64`, `"memory": 4000000000`), 0o600, phrase, "damaged or cut short"},
		"a cost of nothing":                 {replace(locked, `"threads": 1`, `"threads": 0`), 0o600, phrase, "damaged or cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t)
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			for what, open := range map[string]func() (*keys.Embedded, error){
				"open":   func() (*keys.Embedded, error) { return keys.OpenEmbedded(path, c.passphrase) },
				"create": func() (*keys.Embedded, error) { return keys.CreateCheap(path, c.passphrase) },
				"rotate": func() (*keys.Embedded, error) { return keys.RotateCheap(path, c.passphrase, phrase) },
			} {
				_, err := open()
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), path) != 1 || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v, want the path once and %q", what, err, c.want)
				}
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, c.data) {
				t.Error("the refused file was changed")
			}
		})
	}
}

func FuzzKeyFile(f *testing.F) {
	path := file(f)
	for _, passphrase := range []secret.Value{zero, phrase} {
		seed := file(f)
		embedded(f, seed, passphrase)
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte(`"lock"`)) {
			return // its cost is the file's word, and slow
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := keys.OpenEmbedded(path, zero)
		if err != nil {
			return
		}
		if _, err := w.Seal(t.Context(), keys.Binding{Purpose: "p", Record: "r"}, []byte("x")); err != nil {
			t.Errorf("a file that was accepted cannot seal: %v", err)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	w := embedded(f, file(f), zero)
	b := keys.Binding{Purpose: "p", Record: "r"}
	good, err := w.Seal(f.Context(), b, []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := w.Unseal(t.Context(), b, data); err == nil && !bytes.Equal(data, good) {
			t.Errorf("%x unsealed as %q", data, plain)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	d := dataKeys(b, embedded(b, file(b), zero), &keystest.Memory{})
	bound, record := keys.Binding{Purpose: "session", Record: "0123456789abcdef"}, make([]byte, 256)
	sealed, err := d.Seal(b.Context(), bound, record)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Seal(b.Context(), bound, record)
		}
	})
	b.Run("unseal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Unseal(b.Context(), bound, sealed)
		}
	})
}
