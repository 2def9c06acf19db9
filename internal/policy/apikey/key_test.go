package apikey_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

func TestGeneratedKeysHaveTheForm(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var count [256]int
	const keys = 4000
	for range keys {
		key := apikey.Generate()
		if len(key) != apikey.Length || !apikey.WellFormed([]byte(key)) || !strings.HasPrefix(key, apikey.Prefix(key)+"_") {
			t.Fatalf("%q is not a key", key)
		}
		if seen[key] {
			t.Fatal("a key came twice")
		}
		seen[key] = true
		for _, c := range []byte(key[12:55]) {
			count[c]++
		}
	}
	// Each of 62 digits is expected 2,774 times with a deviation of 52. A bias
	// from taking bytes modulo 62 would give eight of them 3,360.
	for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		if n := count[c]; n < 2400 || n > 3150 {
			t.Errorf("digit %c came %d times", c, n)
		}
	}
}

func TestFormAndHashArePinned(t *testing.T) {
	t.Parallel()
	const key = "wk_1a2B3c4D_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"
	whole := key + "43t3OC"
	if !apikey.WellFormed([]byte(whole)) {
		t.Error("keys already given out would no longer be accepted")
	}
	if got := apikey.Hash(whole); got != "sha256:080da4c2fe6a3ff8e066facd1c8dab6878d51346544e5c268aabd9dd9a2c0947" {
		t.Errorf("hash %s", got)
	}
	if got := apikey.Prefix(whole); got != "wk_1a2B3c4D" {
		t.Errorf("prefix %s", got)
	}
}

func TestEveryAlteredKeyIsToldFromAWrongOne(t *testing.T) {
	t.Parallel()
	key := apikey.Generate()
	for i := range key {
		for _, c := range []byte("0aZ_-\x00") {
			if altered := []byte(key); altered[i] != c {
				altered[i] = c
				if apikey.WellFormed(altered) {
					t.Errorf("byte %d altered to %q is accepted", i, c)
				}
			}
		}
		if apikey.WellFormed([]byte(key[:i])) || apikey.WellFormed([]byte(key[i+1:])) {
			t.Errorf("cut at %d is accepted", i)
		}
	}
	for i := range len(key) - 1 {
		swapped := []byte(key)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		if string(swapped) != key && apikey.WellFormed(swapped) {
			t.Errorf("bytes %d and %d swapped are accepted", i, i+1)
		}
	}
	if apikey.WellFormed([]byte(key + "0")) {
		t.Error("a longer key is accepted")
	}
}

func FuzzWellFormed(f *testing.F) {
	f.Add([]byte(apikey.Generate()))
	f.Add([]byte("wk__"))
	f.Fuzz(func(t *testing.T, key []byte) {
		if !apikey.WellFormed(key) {
			return
		}
		if len(key) != apikey.Length || !strings.HasPrefix(string(key), "wk_") || strings.Trim(string(key), "_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("%q is no key", key)
		}
		for i := range key {
			key[i] ^= 1
			if apikey.WellFormed(key) {
				t.Fatalf("%q is still accepted", key)
			}
			key[i] ^= 1
		}
	})
}
