package keys_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
)

func openSigner(t testing.TB, w keys.Wrapper, s keys.Storage) keys.Signer {
	t.Helper()
	signer, err := keys.OpenSigner(t.Context(), w, s, "signer")
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func tokenSigner(t testing.TB) *keys.TokenSigner {
	t.Helper()
	key, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	s, err := keys.NewTokenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSigner(t *testing.T) {
	t.Parallel()
	local, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]keys.Signer{"local": local, "kept": openSigner(t, embedded(t, file(t), zero), &keystest.Memory{})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keystest.Signer(t, s)
		})
	}
}

func TestSignerKeyIsMadeOnceAndKeptSealed(t *testing.T) {
	t.Parallel()
	w, store := embedded(t, file(t), zero), &keystest.Memory{}
	first := openSigner(t, w, store)
	if again := openSigner(t, w, store); again.Key().ID != first.Key().ID {
		t.Error("the second start uses another key")
	}
	sealed, err := store.Load(t.Context(), "signer")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "PRIVATE") {
		t.Error("it is not sealed")
	}
	if _, err := x509.ParsePKCS8PrivateKey(sealed); err == nil {
		t.Error("it is not sealed")
	}
}

func TestSignersThatStartAtOnceShareOneKey(t *testing.T) {
	t.Parallel()
	w, store := embedded(t, file(t), zero), &keystest.Memory{}
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = openSigner(t, w, store).Key().ID })
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("key ids %q, want one", ids)
		}
	}
}

func TestASignerThatCannotBeUnsealedIsNeverReplaced(t *testing.T) {
	t.Parallel()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	w, other := embedded(t, file(t), zero), embedded(t, file(t), zero)
	der := func(key any) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sealed := func(w keys.Wrapper, record string, plain []byte) []byte {
		b, err := w.Seal(t.Context(), keys.Binding{Purpose: "signing-key", Record: record}, plain)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                   {[]byte{}, "altered"},
		"not sealed":              {[]byte("-----BEGIN PRIVATE KEY-----"), "altered"},
		"of another installation": {sealed(other, "signer", []byte("x")), "the key that it was sealed with is not here (key "},
		"under another name":      {sealed(w, "other", []byte("x")), "altered"},
		"not a key":               {sealed(w, "signer", []byte("x")), "not a P-256 key"},
		"another curve":           {sealed(w, "signer", der(p384)), "not a P-256 key"},
		"RSA":                     {sealed(w, "signer", der(rsaKey)), "not a P-256 key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &keystest.Memory{}
			if err := store.Swap(t.Context(), "signer", nil, c.data); err != nil {
				t.Fatal(err)
			}
			_, err := keys.OpenSigner(t.Context(), w, store, "signer")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "signing key signer: ") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if after, err := store.Load(t.Context(), "signer"); err != nil || string(after) != string(c.data) {
				t.Error("what was there was changed")
			}
		})
	}
}

func TestSignedTokenVerifiesWithThePublishedKeys(t *testing.T) {
	t.Parallel()
	s := tokenSigner(t)
	token, err := s.Sign(t.Context(), map[string]string{"sub": "x"}, "at+jwt")
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
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(tokenSigner(t).PublicJWKS(), &set); err != nil {
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

func TestZeroTokenSignerSignsNothing(t *testing.T) {
	t.Parallel()
	var s keys.TokenSigner
	if token, err := s.Sign(t.Context(), struct{}{}, "at+jwt"); err == nil || token != "" {
		t.Errorf("token %q, error %v; want an error", token, err)
	}
}

// away is a key in a service that does not answer.
type away struct{ keys.Signer }

func (away) Sign(context.Context, []byte) ([]byte, error) { return nil, keys.ErrUnavailable }

func TestAKeyThatIsOutOfReachSignsNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	local, err := keys.NewLocalSigner()
	if err != nil {
		t.Fatal(err)
	}
	s, err := keys.NewTokenSigner(away{local})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := s.Sign(t.Context(), struct{}{}, "at+jwt"); !errors.Is(err, keys.ErrUnavailable) || token != "" {
		t.Errorf("token %q, error %v", token, err)
	}
}
