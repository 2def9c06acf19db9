package exchange_test

import (
	"crypto/sha256"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

// A token is the same whatever its signature is; two that were not signed are
// never taken for one.
func TestTheDigestOfATokenIsOfWhatWasSigned(t *testing.T) {
	t.Parallel()
	const header, payload = "eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiJhbGljZSJ9"
	spaced := "IAl7ImFsZyI6IkVTMjU2In0" // white space before the object
	for name, c := range map[string]struct{ token, of string }{
		"signed":                          {header + "." + payload + ".c2ln", header + "." + payload},
		"signed otherwise":                {header + "." + payload + ".b3RoZXI", header + "." + payload},
		"signed, with padding":            {header + "." + payload + ".c2ln=", header + "." + payload},
		"signed, space in the header":     {spaced + "." + payload + ".c2ln", spaced + "." + payload},
		"opaque":                          {"2YotnFZFEjr1zCsicMWpAA", "2YotnFZFEjr1zCsicMWpAA"},
		"opaque, in three parts":          {"v1.abc.secret", "v1.abc.secret"},
		"opaque, in three odd parts":      {"v~1.abc.secret", "v~1.abc.secret"},
		"two parts":                       {header + "." + payload, header + "." + payload},
		"five parts, which are encrypted": {header + ".a.b.c.d", header + ".a.b.c.d"},
		"nothing":                         {"", ""},
		"dots":                            {"..", ".."},
	} {
		if exchange.TokenDigest([]byte(c.token)) != sha256.Sum256([]byte(c.of)) {
			t.Errorf("%s: the digest is not of %q", name, c.of)
		}
	}
}
