package keys_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

func presented(t *testing.T, jwk string) (*keys.Key, keys.Thumbprint, error) {
	t.Helper()
	c, err := exchange.ParseClaims([]byte(jwk))
	if err != nil {
		t.Fatal(err)
	}
	return keys.ParsePresented(c)
}

// The examples of RFC 7638 section 3.1, RFC 8037 appendix A.3 and RFC 9449
// section 6.1.
func TestThumbprintsOfTheRFCs(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	for name, c := range map[string]struct{ jwk, want string }{
		"RSA": {`{"kty":"RSA","n":"` + n + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		"OKP": {`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		"EC":  {`{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
	} {
		_, got, err := presented(t, c.jwk)
		if err != nil || base64.RawURLEncoding.EncodeToString(got[:]) != c.want {
			t.Errorf("%s: %v, %v", name, base64.RawURLEncoding.EncodeToString(got[:]), err)
		}
		if want, ok := keys.ParseThumbprint(c.want); !ok || want != got {
			t.Errorf("%s: read as %v", name, want)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, _, err := presented(t, strings.TrimSuffix(c.jwk, "}")+`,"`+private+`":"AQAB"}`); err == nil || !strings.Contains(err.Error(), "private") {
				t.Errorf("%s with %s: %v", name, private, err)
			}
		}
	}
}

func TestAThumbprintHasOneSpelling(t *testing.T) {
	t.Parallel()
	const good = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for _, bad := range []string{"", good[:42], good + "=", good + "A", good[:42] + "J", strings.Replace(good, "-", "+", 1), good[:41] + "\n" + good[41:], "\n" + good[1:]} {
		if _, ok := keys.ParseThumbprint(bad); ok {
			t.Errorf("%q is read", bad)
		}
	}
}
