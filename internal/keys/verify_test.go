package keys_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	private := ecKey(elliptic.P256())
	sign := func(claims golangjwt.MapClaims) string {
		token, err := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, claims).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	k := key(t, "k", "", private.Public())
	dead := key(t, "k", "", private.Public())
	keys.NewStatic(dead).Replace()
	rs512, err := golangjwt.NewWithClaims(golangjwt.SigningMethodRS512, golangjwt.MapClaims{"exp": now.Unix() + 60}).SignedString(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	good := sign(golangjwt.MapClaims{"exp": now.Unix() + 60})
	for _, c := range []struct {
		name, token, alg string
		key              *keys.Key
		want             fault.Code
	}{
		{"good", good, "ES256", k, fault.None},
		{"another algorithm than the header's", good, "ES384", key(t, "k", "", ecKey(elliptic.P384()).Public()), fault.TokenSignatureInvalid},
		{"another key", good, "ES256", key(t, "k", "", ecKey(elliptic.P256()).Public()), fault.TokenSignatureInvalid},
		{"a key on another curve", good, "ES256", key(t, "k", "", ecKey(elliptic.P384()).Public()), fault.TokenSignatureInvalid},
		{"a key for another algorithm", good, "ES256", key(t, "k", "RS256", rsaKey().Public()), fault.TokenSignatureInvalid},
		{"RS512", rs512, "RS512", key(t, "k", "", rsaKey().Public()), fault.None},
		{"RS512 where RS256 was agreed", rs512, "RS256", key(t, "k", "", rsaKey().Public()), fault.TokenSignatureInvalid},
		{"RS512 with a key for RS256", rs512, "RS512", key(t, "k", "RS256", rsaKey().Public()), fault.TokenSignatureInvalid},
		{"a dead key", good, "ES256", dead, fault.TokenSignatureInvalid},
		{"no key", good, "ES256", nil, fault.TokenSignatureInvalid},
		{"the zero key", good, "ES256", &keys.Key{Public: private.Public()}, fault.TokenSignatureInvalid},
		{"padding", good + "=", "ES256", k, fault.TokenSignatureInvalid},
		{"expired", sign(golangjwt.MapClaims{"exp": now.Unix() - 10}), "ES256", k, fault.TokenExpired},
		{"no exp", sign(golangjwt.MapClaims{}), "ES256", k, fault.CredentialMalformed},
		{"not yet", sign(golangjwt.MapClaims{"exp": now.Unix() + 60, "nbf": now.Unix() + 11}), "ES256", k, fault.TokenNotYetValid},
		{"of the future", sign(golangjwt.MapClaims{"exp": now.Unix() + 60, "iat": now.Unix() + 11}), "ES256", k, fault.TokenNotYetValid},
		{"within the skew", sign(golangjwt.MapClaims{"exp": now.Unix() - 9, "nbf": now.Unix() + 10, "iat": now.Unix() + 10}), "ES256", k, fault.None},
	} {
		err := keys.Verify(c.key, c.token, c.alg, now, 10*time.Second)
		if got := code(nil, err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestTheSaltOfPSSIsAsLongAsTheHash(t *testing.T) {
	t.Parallel()
	b64 := base64.RawURLEncoding.EncodeToString
	now := time.Unix(1_800_000_000, 0)
	input := b64([]byte(`{"alg":"PS256"}`)) + "." + b64([]byte(`{"exp":1900000000}`))
	h := sha256.Sum256([]byte(input))
	for salt, want := range map[int]fault.Code{32: fault.None, 20: fault.TokenSignatureInvalid, 0: fault.TokenSignatureInvalid, 64: fault.TokenSignatureInvalid} {
		options := &rsa.PSSOptions{SaltLength: salt}
		if salt == 0 {
			options.SaltLength = rsa.PSSSaltLengthAuto // as long as fits
		}
		sig, err := rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, h[:], options)
		if err != nil {
			t.Fatal(err)
		}
		if got := code(nil, keys.Verify(key(t, "k", "", rsaKey().Public()), input+"."+b64(sig), "PS256", now, 0)); got != want {
			t.Errorf("salt of %d: %v", salt, got)
		}
	}
}
