package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/warder-gateway/warder/internal/keys"
)

func openSigner(t *testing.T, path string) *keys.Signer {
	t.Helper()
	s, err := keys.OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignerKeyIsMadeOnceAndBelongsToItsOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "signing.pem")
	first := openSigner(t, path)

	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", info.Mode().Perm())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v (%v), want the key only", entries, err)
	}
	again := openSigner(t, path)
	if first.Keys()[0].ID != again.Keys()[0].ID {
		t.Error("the second start uses another key")
	}
}

func TestSignersThatStartAtOnceShareOneKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "signing.pem")
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := keys.OpenSigner(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.Keys()[0].ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("key ids %q, want one", ids)
		}
	}
}

func TestSignedTokenVerifiesWithThePublishedKeys(t *testing.T) {
	t.Parallel()
	s := openSigner(t, filepath.Join(t.TempDir(), "signing.pem"))
	token, err := s.Sign(map[string]string{"sub": "x"}, "at+jwt")
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(s.PublicJWKS(), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	header := jws.Signatures[0].Protected
	found := set.Key(header.KeyID)
	if len(found) != 1 {
		t.Fatalf("%d published keys have the token's kid, want 1", len(found))
	}
	payload, err := jws.Verify(found[0])
	if err != nil || string(payload) != `{"sub":"x"}` {
		t.Errorf("payload %s, error %v", payload, err)
	}
	if typ := header.ExtraHeaders[jose.HeaderType]; typ != "at+jwt" {
		t.Errorf("typ %v, want at+jwt", typ)
	}

	thumbprint, err := found[0].Thumbprint(crypto.SHA256)
	if err != nil || base64.RawURLEncoding.EncodeToString(thumbprint) != header.KeyID {
		t.Errorf("kid %q is not the thumbprint of RFC 7638 (%v)", header.KeyID, err)
	}
	own := s.Keys()
	if len(own) != 1 || own[0].ID != header.KeyID || !own[0].Public.(*ecdsa.PublicKey).Equal(found[0].Key) {
		t.Error("the keys handed over in process are not the published ones")
	}
}

func TestPublishedKeysHoldNothingPrivate(t *testing.T) {
	t.Parallel()
	s := openSigner(t, filepath.Join(t.TempDir(), "signing.pem"))
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.PublicJWKS(), &set); err != nil {
		t.Fatal(err)
	}
	public := map[string]bool{"kty": true, "crv": true, "x": true, "y": true, "kid": true, "alg": true, "use": true}
	for _, key := range set.Keys {
		for member := range key {
			if !public[member] {
				t.Errorf("member %q is published", member)
			}
		}
	}
}

func TestSignerIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	s := openSigner(t, filepath.Join(t.TempDir(), "signing.pem"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := s.Sign(struct{}{}, "at+jwt"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestZeroSignerSignsNothing(t *testing.T) {
	t.Parallel()
	var s keys.Signer
	if token, err := s.Sign(struct{}{}, "at+jwt"); err == nil || token != "" {
		t.Errorf("token %q, error %v; want an error", token, err)
	}
}

func privateKeyPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestSignerRefusesAnyFileButOneKeyOfItsOwner(t *testing.T) {
	t.Parallel()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	good := privateKeyPEM(t, p256)
	sec1, _ := x509.MarshalECPrivateKey(p256)

	cases := map[string]struct {
		data []byte
		mode os.FileMode
		want string
	}{
		"readable by its group": {good, 0o640, "others than its owner may use it (mode 0640)"},
		"readable by everybody": {good, 0o604, "others than its owner may use it (mode 0604)"},
		"writable by its group": {good, 0o620, "others than its owner may use it (mode 0620)"},
		"empty":                 {nil, 0o600, "holds no PEM block"},
		"not PEM":               {[]byte("hello"), 0o600, "holds no PEM block"},
		"cut off":               {good[:len(good)/2], 0o600, "holds no PEM block"},
		"two keys":              {append(bytes.Clone(good), good...), 0o600, "holds more than one PEM block"},
		"SEC 1 form":            {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), 0o600, "holds another kind of PEM block"},
		"not DER":               {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600, "cannot be read as PKCS #8"},
		"another curve":         {privateKeyPEM(t, p384), 0o600, "holds a key of another kind"},
		"RSA":                   {privateKeyPEM(t, rsaKey), 0o600, "holds a key of another kind"},
		"too long":              {bytes.Repeat([]byte("\n"), 20<<10), 0o600, "is longer than 16384 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "signing.pem")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := keys.OpenSigner(path)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), path) != 1 {
				t.Errorf("error %q, want the path once and %q", err, c.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, c.data) {
				t.Error("the refused file was changed")
			}
		})
	}
}

func TestSignerSaysWhereItCannotStoreItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing", "signing.pem")} {
		_, err := keys.OpenSigner(path)
		if err == nil || !strings.HasPrefix(err.Error(), "signing key "+path+": ") {
			t.Errorf("error %v, want one that names %s", err, path)
		}
	}
}

func FuzzSignerFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "signing.pem")
	openOrFail := func() []byte {
		if _, err := keys.OpenSigner(path); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	f.Add(openOrFail())
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := keys.OpenSigner(path)
		if err != nil {
			return
		}
		if _, err := s.Sign(struct{}{}, "at+jwt"); err != nil {
			t.Errorf("a key that was accepted cannot sign: %v", err)
		}
	})
}
