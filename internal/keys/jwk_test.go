package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func ecKey(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func edKey() ed25519.PublicKey {
	k, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// jwk writes a public key as go-jose does and then changes members; nil deletes one.
func jwk(t testing.TB, kid string, public any, change map[string]any) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: kid, Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for k, v := range change {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	b, err = json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func set(list ...string) string { return `{"keys":[` + strings.Join(list, ",") + `]}` }

func TestKeysThatMayVerify(t *testing.T) {
	t.Parallel()
	r, p256 := rsaKey().Public(), ecKey(elliptic.P256())
	tooLarge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}
	tooSmall := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	largest := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8191, 1), E: 65537}
	off := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	m := func(kv ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	for _, c := range []struct {
		name string
		jwk  string
		fits string // algorithms, empty: the key is left out
	}{
		{"RSA", jwk(t, "k", r, nil), "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"RSA for one algorithm", jwk(t, "k", r, m("alg", "PS384")), "PS384"},
		{"RSA of 8192 bits", jwk(t, "k", largest, nil), "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"P-256", jwk(t, "k", p256.Public(), nil), "ES256"},
		{"P-384", jwk(t, "k", ecKey(elliptic.P384()).Public(), nil), "ES384"},
		{"P-521", jwk(t, "k", ecKey(elliptic.P521()).Public(), nil), "ES512"},
		{"Ed25519", jwk(t, "k", edKey(), nil), "EdDSA"},
		{"no use", jwk(t, "k", r, m("use", nil)), "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"key_ops with verify", jwk(t, "k", p256.Public(), m("use", nil, "key_ops", []string{"verify"})), "ES256"},
		{"members nobody knows", jwk(t, "k", p256.Public(), m("x5c", []string{"x"}, "issuer", "y")), "ES256"},

		{"use enc", jwk(t, "k", r, m("use", "enc")), ""},
		{"use in another case", jwk(t, "k", r, m("use", "SIG")), ""},
		{"use that is a list", jwk(t, "k", r, m("use", []string{"sig"})), ""},
		{"key_ops without verify", jwk(t, "k", r, m("use", nil, "key_ops", []string{"encrypt"})), ""},
		{"key_ops as text", jwk(t, "k", r, m("use", nil, "key_ops", "verify")), ""},
		{"alg of another type", jwk(t, "k", r, m("alg", "ES256")), ""},
		{"alg of another curve", jwk(t, "k", p256.Public(), m("alg", "ES384")), ""},
		{"alg for encryption", jwk(t, "k", r, m("alg", "RSA-OAEP")), ""},
		{"alg HS256 on an RSA key", jwk(t, "k", r, m("alg", "HS256")), ""},
		{"alg none", jwk(t, "k", r, m("alg", "none")), ""},
		{"alg that is a number", jwk(t, "k", r, m("alg", 256)), ""},
		{"RSA of 1024 bits", jwk(t, "k", tooSmall, nil), ""},
		{"RSA of 8193 bits", jwk(t, "k", tooLarge, nil), ""},
		{"RSA exponent 1", jwk(t, "k", r, m("e", "AQ")), ""},
		{"RSA exponent even", jwk(t, "k", r, m("e", "Ag")), ""},
		{"RSA exponent huge", jwk(t, "k", r, m("e", "AQABAAEAAQ")), ""},
		{"RSA without e", jwk(t, "k", r, m("e", nil)), ""},
		{"padded base64", jwk(t, "k", r, m("e", "AQAB==")), ""},
		{"base64 with a line break", jwk(t, "k", r, m("e", "AQ\nAB")), ""},
		{"point off the curve", jwk(t, "k", p256.Public(), m("y", off)), ""},
		{"coordinate too short", jwk(t, "k", p256.Public(), m("y", off[:40])), ""},
		{"curve that is another's", jwk(t, "k", p256.Public(), m("crv", "P-384")), ""},
		{"unknown curve", jwk(t, "k", p256.Public(), m("crv", "secp256k1")), ""},
		{"kty and curve of two families", jwk(t, "k", p256.Public(), m("kty", "OKP")), ""},
		{"X25519", jwk(t, "k", edKey(), m("crv", "X25519")), ""},
		{"symmetric", `{"kty":"oct","kid":"k","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","alg":"HS256"}`, ""},
		{"KTY", `{"KTY":"RSA","kid":"k"}`, ""},
		{"an empty object", `{}`, ""},
		{"published with its private part", jwk(t, "k", p256, nil), ""},
		{"kid that is a number", jwk(t, "k", r, m("kid", 7)), ""},
		{"kid that is too long", jwk(t, strings.Repeat("k", 257), r, nil), ""},
	} {
		list, left, err := keys.ParseSet([]byte(set(c.jwk)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(list)+len(left) != 1 || len(list) == 1 != (c.fits != "") {
			t.Errorf("%s: %d keys, left out: %v", c.name, len(list), left)
			continue
		}
		var fits []string
		for _, alg := range strings.Fields("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA HS256 none rs256 RS1") {
			if len(list) == 1 && list[0].Fits(alg) {
				fits = append(fits, alg)
			}
		}
		if got := strings.Join(fits, " "); got != c.fits {
			t.Errorf("%s: fits %s, want %s", c.name, got, c.fits)
		}
	}
}

func TestKeySetsThatAreRefusedWhole(t *testing.T) {
	t.Parallel()
	k := jwk(t, "k", edKey(), nil)
	many := func(n int) string {
		return set(strings.Split(strings.TrimSuffix(strings.Repeat(k+"\n", n), "\n"), "\n")...)
	}
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"no keys at all", `{"keys":[]}`, true},
		{"100 keys", many(100), true},
		{"101 keys", many(101), false},
		{"1 MiB", set(k) + strings.Repeat(" ", 1<<20-len(set(k))), true},
		{"more", set(k) + strings.Repeat(" ", 1<<20-len(set(k))+1), false},
		{"nothing", ``, false},
		{"HTML", `<html>`, false},
		{"no member keys", `{"Keys":[]}`, false},
		{"keys that is an object", `{"keys":{}}`, false},
		{"keys twice", `{"keys":[],"keys":[]}`, false},
		{"a member of a key twice", set(strings.Replace(k, `{`, `{"kid":"other",`, 1)), false},
		{"a key that is text", `{"keys":["x"]}`, false},
		{"something behind", set(k) + `x`, false},
	} {
		if _, _, err := keys.ParseSet([]byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func key(t testing.TB, id, alg string, public any) *keys.Key {
	t.Helper()
	k, err := keys.NewKey(id, alg, public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFindInAStaticSet(t *testing.T) {
	t.Parallel()
	a, b := key(t, "a", "", edKey()), key(t, "b", "", edKey())
	ec := key(t, "ec", "", ecKey(elliptic.P256()).Public())
	twice := key(t, "a", "", ecKey(elliptic.P256()).Public()) // same name, another type
	s := keys.NewStatic(a, b, ec, twice)
	for _, c := range []struct {
		kid, alg string
		want     *keys.Key
	}{
		{"a", "EdDSA", a}, {"a", "ES256", twice}, {"b", "EdDSA", b}, {"ec", "ES256", ec},
		{"b", "ES256", nil}, {"c", "EdDSA", nil}, {"A", "EdDSA", nil}, {"", "EdDSA", nil}, {"a", "none", nil},
	} {
		got, err := s.Find(context.Background(), c.kid, c.alg, true)
		if got != c.want || (err == nil) != (c.want != nil) || err != nil && fault.Of(err) != fault.TokenKeyUnknown {
			t.Errorf("%s %s: %v %v", c.kid, c.alg, got, err)
		}
	}
	s.Replace(a, ec)
	if got, err := s.Find(context.Background(), "", "EdDSA", false); got != a || err != nil {
		t.Errorf("no kid, one key that fits: %v %v", got, err)
	}
	if !a.Alive() || b.Alive() || twice.Alive() {
		t.Error("keys that stayed live, keys that went are dead")
	}
	s.Replace(key(t, "a", "", a.Public))
	if got, _ := s.Find(context.Background(), "a", "EdDSA", false); got != a || !a.Alive() {
		t.Error("the same key under the same name is the same key")
	}
	if _, err := new(keys.Static).Find(context.Background(), "a", "EdDSA", true); fault.Of(err) != fault.TokenKeyUnknown {
		t.Error(err)
	}
	if new(keys.Key).Alive() || (*keys.Key)(nil).Alive() || new(keys.Key).Fits("RS256") {
		t.Error("the zero key lives")
	}
}

// What we accept encoding/json accepts, and every key in it has a use.
func FuzzParseSet(f *testing.F) {
	f.Add([]byte(set(jwk(f, "k", rsaKey().Public(), nil), jwk(f, "e", ecKey(elliptic.P256()).Public(), nil), jwk(f, "o", edKey(), nil))))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, left, err := keys.ParseSet(text)
		if err != nil {
			return
		}
		if !json.Valid(text) || len(list)+len(left) > 100 {
			t.Fatalf("%q", text)
		}
		for _, k := range list {
			fits := false
			for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
				fits = fits || k.Fits(alg)
			}
			if !fits || !k.Alive() || len(k.ID) > 256 {
				t.Fatal(fmt.Sprint(k.ID, k.Algorithm))
			}
		}
	})
}
