package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

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

// Whatever the algorithm, a signature is good for what was signed, by the key
// that signed it and under the algorithm that it was made with.
func TestASignatureIsGoodForItsKeyAndInputAlone(t *testing.T) {
	t.Parallel()
	ed := func() crypto.Signer {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return private
	}
	ec := func(c elliptic.Curve) func() crypto.Signer {
		return func() crypto.Signer {
			private, err := ecdsa.GenerateKey(c, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return private
		}
	}
	one, other := rsaKey(), mustRSA(t)
	twoRSA := []crypto.Signer{one, other}
	const input = "what.was-signed"
	for alg, pair := range map[string][]crypto.Signer{
		"RS256": twoRSA, "RS384": twoRSA, "RS512": twoRSA, "PS256": twoRSA, "PS384": twoRSA, "PS512": twoRSA,
		"ES256": {ec(elliptic.P256())(), ec(elliptic.P256())()}, "ES384": {ec(elliptic.P384())(), ec(elliptic.P384())()},
		"ES512": {ec(elliptic.P521())(), ec(elliptic.P521())()}, "EdDSA": {ed(), ed()},
	} {
		good, err := golangjwt.GetSigningMethod(alg).Sign(input, pair[0])
		if err != nil {
			t.Fatal(alg, err)
		}
		mine, theirs := key(t, "k", "", pair[0].Public()), key(t, "k", "", pair[1].Public())
		if !mine.Signed(alg, input, good) {
			t.Errorf("%s: a good signature is refused", alg)
		}
		altered := slices.Clone(good)
		altered[len(altered)/2] ^= 1
		for what, held := range map[string]bool{
			"of another key":   theirs.Signed(alg, input, good),
			"of another input": mine.Signed(alg, input+"x", good),
			"altered":          mine.Signed(alg, input, altered),
			"all zeros":        mine.Signed(alg, input, make([]byte, len(good))),
			"empty":            mine.Signed(alg, input, nil),
			"cut":              mine.Signed(alg, input, good[1:]),
			"with more behind": mine.Signed(alg, input, append(slices.Clone(good), 0)),
			"of no algorithm":  mine.Signed("none", input, nil),
		} {
			if held {
				t.Errorf("%s: a signature %s is good", alg, what)
			}
		}
		for _, another := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
			if another != alg && mine.Signed(another, input, good) {
				t.Errorf("a signature by %s is good as %s", alg, another)
			}
		}
	}
}

func mustRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return private
}
