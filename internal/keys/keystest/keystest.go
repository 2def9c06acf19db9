// Package keystest holds what every provider of keys has to do, as tests: one
// suite for keys.Wrapper, one for keys.Signer.
package keystest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

// Provider makes wrappers for the suite.
type Provider struct {
	// Open returns a wrapper, at every call the one of the same keys.
	Open func(t testing.TB) keys.Wrapper
	// Rotate adds a newer key, for the wrappers that are opened from then on.
	Rotate func(t testing.TB)
	// Other returns a wrapper that has nothing to do with those of Open.
	Other func(t testing.TB) keys.Wrapper
}

var bound = keys.Binding{Purpose: "test", Record: "one"}

// Wrapper runs the suite against providers that new makes.
func Wrapper(t *testing.T, new func(t testing.TB) Provider) {
	t.Run("what was sealed is unsealed", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		for _, n := range []int{1, 32, 256, keys.MaxWrap} {
			plain := bytes.Repeat([]byte{0x5a}, n)
			got := unseal(t, w, bound, seal(t, w, bound, plain))
			if !bytes.Equal(got, plain) {
				t.Errorf("%d bytes came back as %d others", n, len(got))
			}
		}
	})
	t.Run("sealed data does not show what it holds, and is never the same twice", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		plain := []byte("canary-4711-canary-4711-canary-4711")
		one, two := seal(t, w, bound, plain), seal(t, w, bound, plain)
		if bytes.Equal(one, two) {
			t.Error("sealed twice, the same bytes")
		}
		if bytes.Contains(one, plain[:8]) {
			t.Error("the content shows")
		}
	})
	t.Run("nothing at all and too much are not sealed", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		for _, n := range []int{0, 2 << 20} {
			if _, err := w.Seal(t.Context(), bound, make([]byte, n)); err == nil {
				t.Errorf("%d bytes were sealed", n)
			}
		}
		for _, b := range []keys.Binding{{}, {Purpose: "p"}, {Record: "r"}, {Purpose: "p", Record: strings.Repeat("r", 513)}} {
			if _, err := w.Seal(t.Context(), b, []byte("x")); err == nil {
				t.Errorf("sealed under %.40v", b)
			}
			if _, err := w.Unseal(t.Context(), b, seal(t, w, bound, []byte("x"))); err == nil {
				t.Errorf("unsealed under %.40v", b)
			}
		}
	})
	t.Run("sealed data is bound to its purpose and record", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		sealed := seal(t, w, keys.Binding{Purpose: "ab", Record: "cd"}, []byte("secret"))
		for _, b := range []keys.Binding{{Purpose: "ab", Record: "ce"}, {Purpose: "ac", Record: "cd"}, {Purpose: "a", Record: "bcd"}, {Purpose: "abc", Record: "d"}, {Purpose: "cd", Record: "ab"}} {
			refused(t, w, b, sealed, keys.ErrAltered)
		}
	})
	t.Run("a single bit that is changed, and any cut, is refused", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		sealed := seal(t, w, bound, []byte("0123456789abcdef"))
		for i := range sealed {
			for bit := range 8 {
				bad := slices.Clone(sealed)
				bad[i] ^= 1 << bit
				refused(t, w, bound, bad, keys.ErrAltered, keys.ErrKeyGone)
			}
			refused(t, w, bound, sealed[:i], keys.ErrAltered, keys.ErrKeyGone)
		}
		refused(t, w, bound, nil, keys.ErrAltered)
		refused(t, w, bound, append(slices.Clone(sealed), 0), keys.ErrAltered)
		refused(t, w, bound, make([]byte, 4<<20), keys.ErrAltered)
	})
	t.Run("what another installation sealed says that its key is gone", func(t *testing.T) {
		t.Parallel()
		p := new(t)
		refused(t, p.Open(t), bound, seal(t, p.Other(t), bound, []byte("x")), keys.ErrKeyGone)
	})
	t.Run("after a rotation the old is unsealed and the new is sealed anew", func(t *testing.T) {
		t.Parallel()
		p := new(t)
		before := p.Open(t)
		old := seal(t, before, bound, []byte("secret"))
		if same := rewrap(t, before, bound, old); !bytes.Equal(same, old) {
			t.Error("sealed anew without need")
		}
		p.Rotate(t)
		after := p.Open(t)
		if got := unseal(t, after, bound, old); string(got) != "secret" {
			t.Errorf("unsealed as %q", got)
		}
		fresh := rewrap(t, after, bound, old)
		if bytes.Equal(fresh, old) || string(unseal(t, after, bound, fresh)) != "secret" {
			t.Error("not sealed anew")
		}
		if again := rewrap(t, after, bound, fresh); !bytes.Equal(again, fresh) {
			t.Error("sealed anew twice")
		}
		refused(t, before, bound, fresh, keys.ErrKeyGone)
		if _, err := after.Rewrap(t.Context(), keys.Binding{Purpose: "test", Record: "two"}, old); !errors.Is(err, keys.ErrAltered) {
			t.Errorf("sealed anew for another record: %v", err)
		}
	})
	t.Run("it is safe for concurrent use", func(t *testing.T) {
		t.Parallel()
		w := new(t).Open(t)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				b := keys.Binding{Purpose: "test", Record: fmt.Sprint(i)}
				for range 20 {
					if string(unseal(t, w, b, seal(t, w, b, []byte(b.Record)))) != b.Record {
						t.Error("mixed up")
					}
				}
			})
		}
		wg.Wait()
	})
}

func seal(t testing.TB, w keys.Wrapper, b keys.Binding, plain []byte) []byte {
	t.Helper()
	sealed, err := w.Seal(t.Context(), b, plain)
	if err != nil {
		t.Error(err)
	}
	return sealed
}

func unseal(t testing.TB, w keys.Wrapper, b keys.Binding, sealed []byte) []byte {
	t.Helper()
	plain, err := w.Unseal(t.Context(), b, sealed)
	if err != nil {
		t.Error(err)
	}
	return plain
}

func rewrap(t testing.TB, w keys.Wrapper, b keys.Binding, sealed []byte) []byte {
	t.Helper()
	fresh, err := w.Rewrap(t.Context(), b, sealed)
	if err != nil {
		t.Error(err)
	}
	return fresh
}

// refused wants one of these errors, from Unseal and from Rewrap.
func refused(t testing.TB, w keys.Wrapper, b keys.Binding, sealed []byte, want ...error) {
	t.Helper()
	plain, err := w.Unseal(t.Context(), b, sealed)
	_, again := w.Rewrap(t.Context(), b, sealed)
	for _, err := range []error{err, again} {
		if plain != nil || !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
			t.Errorf("%d bytes: %v, want %v", len(sealed), err, want)
		}
	}
}

// Signer runs the suite against a key.
func Signer(t *testing.T, s keys.Signer) {
	t.Run("its signature verifies with its key", func(t *testing.T) {
		t.Parallel()
		key := s.Key()
		if !key.Alive() || key.ID == "" || !key.Fits(key.Algorithm) {
			t.Fatalf("key %+v", key)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		now := time.Unix(1_800_000_000, 0)
		head, _ := json.Marshal(map[string]string{"alg": key.Algorithm})
		for i := range 50 { // r or s is short now and then
			input := b64(head) + "." + b64(fmt.Appendf(nil, `{"exp":1900000000,"n":%d}`, i))
			signature, err := s.Sign(t.Context(), []byte(input))
			if err != nil {
				t.Fatal(err)
			}
			if err := keys.Verify(key, input+"."+b64(signature), key.Algorithm, now, 0); err != nil {
				t.Fatal(err)
			}
			if err := keys.Verify(key, input+"x."+b64(signature), key.Algorithm, now, 0); err == nil {
				t.Fatal("it is the signature of something else, too")
			}
		}
	})
	t.Run("its key is the same at every call", func(t *testing.T) {
		t.Parallel()
		if first, again := s.Key(), s.Key(); first != again {
			t.Error("another")
		}
	})
	t.Run("it is safe for concurrent use", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.Sign(t.Context(), []byte("x")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Memory is a Storage that keeps nothing when it is dropped.
type Memory struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// Load implements keys.Storage.
func (m *Memory) Load(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.kept[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(b), nil
}

// Swap implements keys.Storage.
func (m *Memory) Swap(_ context.Context, name string, old, next []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.kept[name]
	if ok != (old != nil) || !bytes.Equal(b, old) {
		return fs.ErrExist
	}
	if m.kept == nil {
		m.kept = map[string][]byte{}
	}
	m.kept[name] = slices.Clone(next)
	return nil
}

// Storage runs what every keys.Storage has to do.
func Storage(t *testing.T, s keys.Storage) {
	ctx := t.Context()
	if b, err := s.Load(ctx, "nothing"); !errors.Is(err, fs.ErrNotExist) || b != nil {
		t.Errorf("nothing was put, and %q comes back: %v", b, err)
	}
	steps := []struct {
		old, next string
		want      error
	}{{"x", "a", fs.ErrNotExist}, {"", "a", nil}, {"", "b", fs.ErrExist}, {"x", "b", fs.ErrExist}, {"a", "b", nil}, {"a", "c", fs.ErrExist}}
	now := ""
	for _, c := range steps {
		var old []byte
		if c.old != "" {
			old = []byte(c.old)
		}
		err := s.Swap(ctx, "it", old, []byte(c.next))
		if (err == nil) != (c.want == nil) || c.want == fs.ErrExist && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%q for %q: %v", c.next, c.old, err)
		}
		if err == nil {
			now = c.next
		}
		if b, _ := s.Load(ctx, "it"); string(b) != now {
			t.Errorf("after %q for %q there is %q, want %q", c.next, c.old, b, now)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			if s.Swap(ctx, "it", []byte(now), fmt.Append(nil, "racer", i)) == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 took the place of the same, want 1", won)
	}
}
