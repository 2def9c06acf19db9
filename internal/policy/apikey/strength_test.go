package apikey_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

func TestWhatCanBeGuessedIsWeak(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"", "a", "changeme", "hunter2", "acme-production-key", "00000000000000000000000000000000", "0123456789abcdef0123456789abcdef",
		"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "correct-horse-battery-staple-and-some-more-words-behind-it",
		"ThisIsAVeryLongPassphraseWithoutAnyChanceInIt", "THEQUICKBROWNFOXJUMPSOVERTHELAZYDOGTWICE", "partner-2024-01-01-partner-2024-01-01-partner-2024-01-01",
		"12345678901234567890123456789012345678", "aAbBaAbBaAbBaAbBaAbBaAbBaAbBaAbB", "5f0b1c2d3e4f5a6b7c8d9e0f1a2b3c4", // 31 hex digits
		"f47ac10b58cc4372a567",
	} {
		if got := apikey.Strength([]byte(key)); got >= apikey.LeastStrength {
			t.Errorf("%q: %.0f bits", key, got)
		}
	}
}

func TestWhatIsRandomIsStrong(t *testing.T) {
	t.Parallel()
	made := map[string]func() string{
		"32 hexadecimal digits": func() string { b := make([]byte, 16); rand.Read(b); return hex.EncodeToString(b) },
		"64 hexadecimal digits": func() string { b := make([]byte, 32); rand.Read(b); return hex.EncodeToString(b) },
		"24 bytes in base64":    func() string { b := make([]byte, 24); rand.Read(b); return base64.StdEncoding.EncodeToString(b) },
		"a text of Go":          func() string { return rand.Text() + rand.Text() },
		"letters and digits":    func() string { return apikey.Generate()[12:44] },
	}
	for what, make := range made {
		weak := 0
		for range 1000 {
			if apikey.Strength([]byte(make())) < apikey.LeastStrength {
				weak++
			}
		}
		if weak > 40 {
			t.Errorf("%s: %d of 1000 are called weak", what, weak)
		}
	}
}

func TestWhatKeysHaveInCommonIsNoSecret(t *testing.T) {
	t.Parallel()
	var numbered, random [][]byte
	for i := range 20 {
		numbered = append(numbered, fmt.Appendf(nil, "9f8E7d6C5b4A3z2Y1x0WvUtSrQpOnMlK-%03d-live", i))
		random = append(random, []byte("acme_"+apikey.Generate()[12:44]))
	}
	if start, end := apikey.Common(numbered); start < 33 || end != 5 {
		t.Errorf("%d, %d", start, end)
	}
	if start, end := apikey.Common(random); start != 5 || end != 0 {
		t.Errorf("%d, %d", start, end)
	}
	if start, end := apikey.Common(numbered[:1]); start+end != 0 {
		t.Errorf("of one: %d, %d", start, end)
	}
	if start, end := apikey.Common([][]byte{[]byte("abcdef"), []byte("abcdefabcdef")}); start != 6 || end != 6 {
		t.Errorf("%d, %d", start, end)
	}
}
